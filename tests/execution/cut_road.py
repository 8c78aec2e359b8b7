"""A road to the paper exchange that a test can cut: connections break, new ones are refused, until it is repaired."""

import asyncio
import contextlib
from typing import Any

from paper.server import PaperExchange


class CutRoad:
    """Stands in for the exchange: its addresses lead over this road, everything else is the exchange's own."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange
        self._target = exchange.rest_url.removeprefix("http://")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    async def is_mismatch(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.split(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        both = {writer, there_writer}
        self._writers |= both
        try:
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
