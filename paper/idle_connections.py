"""Connections that only wait, so that who opens many of them, or never finishes asking, keeps no trader out.

aiohttp bounds neither. One that has asked before may wait for its next request as long as there is room.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

WAITING_MAX = 256
FIRST_REQUEST_SECONDS_MAX = 10.0


class Handler(Protocol):
    """What aiohttp has for each connection."""

    @property
    def transport(self) -> asyncio.BaseTransport | None: ...


class Waiting:
    """Knows which connections are being answered; the others wait. Times are the loop's, in seconds."""

    def __init__(self) -> None:
        self._answered: set[asyncio.BaseTransport] = set()
        self._since: dict[asyncio.BaseTransport, float] = {}
        self._have_asked: set[asyncio.BaseTransport] = set()

    @contextmanager
    def answering(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Around the answer to one request, or the life of a websocket: it may take as long as it takes."""
        if transport is None:
            yield
            return
        self._answered.add(transport)
        self._since.pop(transport, None)
        try:
            yield
        finally:
            self._answered.discard(transport)
            self._have_asked.add(transport)

    def sweep(self, handlers: Iterable[Handler], now: float) -> int:
        """Cut who is late with the first request, and of too many the ones that have waited longest. Returns how many."""
        alive = [transport for handler in handlers if (transport := handler.transport) is not None]  # Oldest first.
        self._have_asked.intersection_update(alive)
        self._since = {
            transport: self._since.get(transport, now) for transport in alive if transport not in self._answered
        }
        # Who has asked before goes last: it is a trader's more likely than a flood's.
        oldest = sorted(self._since, key=lambda transport: (transport in self._have_asked, self._since[transport]))
        late = now - FIRST_REQUEST_SECONDS_MAX
        cut = [
            transport
            for place, transport in enumerate(oldest)
            if place < len(oldest) - WAITING_MAX
            or (transport not in self._have_asked and self._since[transport] < late)
        ]
        for transport in cut:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            del self._since[transport]
        return len(cut)
