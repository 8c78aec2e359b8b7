"""One lock a symbol, held from decision to both-legs-terminal. Both of a pair's symbols are taken at once or not at all.

Nobody holds one symbol while waiting for another, so there is nothing to deadlock on and no symbol is kept from a pair that
could use it. Who waits is served by urgency, then by arrival; nobody overtakes an earlier waiter for a symbol both want.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from domain.symbols import Symbol


class Urgency(IntEnum):
    """Who goes first. Entries are not here: an entry that would have to wait is denied."""

    UNWIND = 0  # A leg stands alone.
    EXIT = 1
    CHECK = 2  # Background looks at trades that rest.


@dataclass(slots=True, eq=False)
class _Waiter:
    symbols: frozenset[Symbol]
    urgency: Urgency
    number: int
    granted: asyncio.Future[None]


class SymbolLocks:
    """Pairs that share no symbol run in parallel. Belongs to one event loop."""

    def __init__(self) -> None:
        self._held: set[Symbol] = set()
        self._waiters: list[_Waiter] = []  # Sorted by urgency, then by arrival.
        self._arrivals = 0

    def busy(self, symbols: Iterable[Symbol]) -> bool:
        """True when one of them is held, or somebody waits for one."""
        asked = frozenset(symbols)
        return not asked.isdisjoint(self._held) or any(asked & waiter.symbols for waiter in self._waiters)

    def wanted(self, symbols: Iterable[Symbol]) -> bool:
        """True when something that closes a trade waits for one of them: let it in as soon as it is safe."""
        asked = frozenset(symbols)
        return any(asked & waiter.symbols for waiter in self._waiters if waiter.urgency <= Urgency.EXIT)

    @contextlib.contextmanager
    def hold_now(self, symbols: Iterable[Symbol]) -> Iterator[bool]:
        """For entries: true when they are held for the block, false when that would mean to wait."""
        asked = frozenset(symbols)
        if self.busy(asked):
            yield False
            return
        self._held |= asked
        try:
            yield True
        finally:
            self._release(asked)

    @contextlib.asynccontextmanager
    async def hold(self, symbols: Iterable[Symbol], urgency: Urgency) -> AsyncIterator[None]:
        """Wait for all of them. A waiter that is cancelled leaves nothing behind."""
        asked = frozenset(symbols)
        await self._wait(asked, urgency)
        try:
            yield
        finally:
            self._release(asked)

    async def _wait(self, symbols: frozenset[Symbol], urgency: Urgency) -> None:
        self._arrivals += 1
        waiter = _Waiter(symbols, urgency, self._arrivals, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._waiters.sort(key=lambda each: (each.urgency, each.number))
        self._grant()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.cancelled():
                self._grant()  # Those it stood before may go now.
            else:  # It was granted in the same moment.
                self._release(symbols)
            raise

    def _grant(self) -> None:
        """Serve in order; what an earlier waiter still lacks is kept for it."""
        kept: set[Symbol] = set()
        for waiter in list(self._waiters):
            if waiter.granted.cancelled():
                self._waiters.remove(waiter)
            elif waiter.symbols.isdisjoint(self._held | kept):
                self._waiters.remove(waiter)
                self._held |= waiter.symbols
                waiter.granted.set_result(None)
            else:
                kept |= waiter.symbols

    def _release(self, symbols: frozenset[Symbol]) -> None:
        self._held -= symbols
        self._grant()
