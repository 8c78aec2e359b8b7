"""A bare exchange for tests: market, unsigned REST and public streams on a free port, nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from aiohttp import web

from paper.clock import ServerClock
from paper.faults import StreamFaults
from paper.market import Book, FundingSettlement, Market
from paper.public_rest import routes
from paper.public_ws import PublicStreams


@dataclass
class BareExchange:
    """What a test may touch of a running exchange."""

    market: Market
    faults: StreamFaults
    streams: PublicStreams
    port: int
    books: list[Book] = field(default_factory=list)
    fundings: list[FundingSettlement] = field(default_factory=list)

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serve(market: Market, **stream_options: float) -> AsyncIterator[BareExchange]:
    """Run a market behind real sockets."""
    clock = ServerClock()
    faults = StreamFaults(clock)
    streams = PublicStreams(market, faults, **stream_options)  # type: ignore[arg-type]
    app = web.Application()
    app.add_routes([*routes(market, clock), *streams.routes()])
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    exchange = BareExchange(market, faults, streams, runner.addresses[0][1])

    def on_book(book: Book) -> None:
        exchange.books.append(book)
        streams.publish(book)

    running = asyncio.create_task(market.run(on_book, exchange.fundings.append))
    try:
        yield exchange
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await streams.close()
        await runner.cleanup()


Serve = Callable[..., contextlib.AbstractAsyncContextManager[BareExchange]]


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let the loop run until the condition holds. Raises: TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the market has no event for every condition a test can think of.
            await asyncio.sleep(0)
