"""Distance: a relay that delivers every byte a fixed time after it came, both ways and in order, for HTTP and websockets alike."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float) -> None:
    """One direction: read at once, write when its time has come, and pass on the end."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES):
                on_the_way.put_nowait((loop.time() + delay_seconds, data))
        on_the_way.put_nowait((loop.time() + delay_seconds, b""))
        with contextlib.suppress(ConnectionError):
            await delivering
    finally:
        delivering.cancel()
        writer.close()


@asynccontextmanager
async def through_latency(port: int, *, one_way_seconds: float) -> AsyncIterator[int]:
    """The port at which `port` of this machine is to be found at that distance."""

    ends: set[asyncio.StreamWriter] = set()
    relays: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ends.update((writer, back))
        await asyncio.gather(_carry(reader, back, one_way_seconds), _carry(there, writer, one_way_seconds))
        ends.difference_update((writer, back))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(relay(reader, writer))
        relays.add(task)
        task.add_done_callback(relays.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for end in list(ends):
            end.transport.abort()
        await asyncio.gather(*relays, return_exceptions=True)
