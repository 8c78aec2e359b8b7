"""The connections of the control server: never more than a few, and each has a moment to send a whole request.

asyncio and aiohttp set neither bound. A thousand connections that say nothing use up the process's file descriptors, and then the
loop spends its time on accepting, and logging that it cannot, instead of on orders.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.ports import Clock

CONNECTIONS_MAX = 64
REQUEST_SECONDS_MAX = 10.0
"""From the first byte that could have been sent to the last one of the headers; between two requests it counts anew."""
SWEEP_SECONDS = 1.0

MakeProtocol = Callable[[], asyncio.Protocol]
OnCut = Callable[[str], None]


class Connections:
    """Makes a protocol for each connection (`make`) and cuts the ones that only wait. `on_cut` hears why, for each."""

    def __init__(self, make: MakeProtocol, on_cut: OnCut, clock: Clock) -> None:
        self._make = make
        self._on_cut = on_cut
        self._clock = clock
        self._open: dict[asyncio.BaseTransport, _Connection] = {}
        self._loop = asyncio.get_running_loop()
        self._next_sweep: asyncio.TimerHandle | None = None

    def __call__(self) -> asyncio.Protocol:
        """The protocol of one new connection: what `loop.create_server` asks for."""
        return _Connection(self._make(), self)

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def serving(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Around the answer to one request: it may take as long as it takes."""
        connection = None if transport is None else self._open.get(transport)
        if connection is None:
            yield
            return
        connection.waits_since = None
        try:
            yield
        finally:
            connection.waits_since, connection.has_asked = self._seconds(), True

    def close(self) -> None:
        """Stop watching."""
        if self._next_sweep is not None:
            self._next_sweep.cancel()
            self._next_sweep = None

    def opened(self, connection: "_Connection", transport: asyncio.BaseTransport) -> None:
        """A connection was accepted. Whoever has waited longest makes room, so that a flood keeps nobody out."""
        connection.waits_since = self._seconds()
        self._open[transport] = connection
        if len(self._open) > CONNECTIONS_MAX:
            waiting = (other for other in self._open.values() if other.waits_since is not None)
            self._cut(min(waiting, key=_waits_since), f"more than {CONNECTIONS_MAX} connections at once")
        if self._next_sweep is None:
            self._next_sweep = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def closed(self, transport: asyncio.BaseTransport | None) -> None:
        """A connection has ended."""
        if transport is not None:
            self._open.pop(transport, None)

    def _seconds(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _sweep(self) -> None:
        late = self._seconds() - REQUEST_SECONDS_MAX
        for connection in list(self._open.values()):
            if connection.waits_since is not None and connection.waits_since < late:
                why = "" if connection.has_asked else f"no whole request within {REQUEST_SECONDS_MAX:g} s"
                self._cut(connection, why)
        self._next_sweep = self._loop.call_later(SWEEP_SECONDS, self._sweep) if self._open else None

    def _cut(self, connection: "_Connection", why: str) -> None:
        transport = connection.transport
        if transport is None:
            return
        self._open.pop(transport, None)
        transport.abort()
        if why:
            self._on_cut(why)


class _Connection(asyncio.Protocol):
    """Passes everything on to the server's own protocol, and knows since when it has been waiting for a request."""

    def __init__(self, inner: asyncio.Protocol, owner: Connections) -> None:
        self._inner = inner
        self._owner = owner
        self.transport: asyncio.WriteTransport | None = None
        self.waits_since: float | None = None  # By the monotonic clock; None while a request is answered.
        self.has_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self._inner.connection_made(transport)
        self._owner.opened(self, transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.closed(self.transport)
        self._inner.connection_lost(exc)


def _waits_since(connection: _Connection) -> float:
    return connection.waits_since or 0.0
