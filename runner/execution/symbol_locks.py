"""One lock a symbol, held from decision to both-legs-terminal; taken sorted, so that two pairs cannot wait for each other."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from domain.symbols import Symbol


class SymbolLocks:
    """Pairs that share no symbol run in parallel."""

    def __init__(self) -> None:
        self._locks: dict[Symbol, asyncio.Lock] = {}
        self._waiting: Counter[Symbol] = Counter()

    def busy(self, symbols: Iterable[Symbol]) -> bool:
        """True when `hold` would have to wait."""
        return any(self._lock(symbol).locked() for symbol in symbols)

    def wanted(self, symbols: Iterable[Symbol]) -> bool:
        """True when somebody waits for one of them. Only what closes a trade ever waits: let it in as soon as it is safe."""
        return any(self._waiting[symbol] for symbol in symbols)

    @contextlib.asynccontextmanager
    async def hold(self, symbols: Iterable[Symbol]) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for symbol in sorted(set(symbols)):
                self._waiting[symbol] += 1
                try:
                    await stack.enter_async_context(self._lock(symbol))
                finally:
                    self._waiting[symbol] -= 1
            yield

    def _lock(self, symbol: Symbol) -> asyncio.Lock:
        return self._locks.setdefault(symbol, asyncio.Lock())
