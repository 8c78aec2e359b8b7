"""One open websocket: reads until it ends, subscribes at a pace the exchange accepts, knows how long it has been silent."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Sequence

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from domain.symbols import Symbol
from runner.exchange.binance.market_stream.settings import FeedSettings
from runner.exchange.binance.symbols import stream_name
from runner.exchange.binance.transport import open_socket
from runner.ports import Clock

CONNECT_ERRORS = (OSError, TimeoutError, WebSocketException, EOFError)
"""Whatever a socket that cannot be opened may raise."""

OnMessage = Callable[["Session", bytes, int], None]


class Session:
    """Owns one socket and its reader task. Ends by itself when the socket does; `why` then says why."""

    def __init__(self, clock: Clock, socket: ClientConnection, settings: FeedSettings, on_message: OnMessage) -> None:
        self._clock = clock
        self._socket = socket
        self._settings = settings
        self._on_message = on_message
        self._requests = 0
        self._turn = asyncio.Lock()
        self.requested: set[Symbol] = set()
        self._answers: dict[int, tuple[Symbol, ...]] = {}
        self.opened_ns = self.heard_ns = clock.monotonic_ns()
        self.quoted = False  # A quote has come through this socket.
        self.why = ""
        self.ended = asyncio.create_task(self._read(), name="feed-session")

    @classmethod
    async def open(cls, clock: Clock, settings: FeedSettings, on_message: OnMessage) -> "Session":
        """Raises: one of CONNECT_ERRORS."""
        socket = await open_socket(
            settings.url, open_seconds_max=settings.connect_seconds_max, ping_seconds=20, close_seconds_max=1
        )
        return cls(clock, socket, settings, on_message)

    @property
    def age_seconds(self) -> float:
        return (self._clock.monotonic_ns() - self.opened_ns) / 1e9

    async def subscribe(self, symbols: Iterable[Symbol]) -> None:
        """Ask for bookTicker of each. Raises: ConnectionClosed."""
        wanted = tuple(symbols)
        self.requested.update(wanted)
        await self._request("SUBSCRIBE", wanted)

    async def unsubscribe(self, symbols: Iterable[Symbol]) -> None:
        """Raises: ConnectionClosed."""
        unwanted = tuple(symbols)
        self.requested.difference_update(unwanted)
        await self._request("UNSUBSCRIBE", unwanted)

    def answered(self, request_id: int | str | None) -> tuple[Symbol, ...]:
        """What the request with this id was about."""
        return self._answers.pop(request_id, ()) if isinstance(request_id, int) else ()

    async def close(self, why: str) -> None:
        """Close politely if the other side listens, at once if it does not."""
        self.why = self.why or why
        with contextlib.suppress(*CONNECT_ERRORS):
            await self._socket.close()
        self.ended.cancel()
        await asyncio.wait({self.ended})

    async def _request(self, method: str, symbols: Sequence[Symbol]) -> None:
        size = self._settings.streams_per_request_max
        for start in range(0, len(symbols), size):
            chunk = tuple(symbols[start : start + size])
            async with self._turn:
                self._requests += 1
                self._answers[self._requests] = chunk
                params = [f"{stream_name(symbol)}@bookTicker" for symbol in chunk]
                await self._socket.send(json.dumps({"method": method, "params": params, "id": self._requests}))
                await self._clock.sleep(1 / self._settings.requests_per_second_max)

    async def _read(self) -> None:
        receive, on_message, now_ns = self._socket.recv, self._on_message, self._clock.monotonic_ns
        try:
            while True:
                message = await receive(decode=False)
                self.heard_ns = heard_ns = now_ns()
                on_message(self, message, heard_ns)
        except ConnectionClosed as closed:
            self.why = self.why or f"closed by the other side ({closed.rcvd.code if closed.rcvd else 'no close frame'})"
