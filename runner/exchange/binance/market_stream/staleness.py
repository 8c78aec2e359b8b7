"""Which symbols have gone quiet, by local receipt: said once when it begins and once when it is over."""

from collections.abc import Iterable
from typing import Protocol

from domain.symbols import Symbol
from runner.exchange.connection import StaleCallback


class Received(Protocol):
    """What staleness needs to know of a symbol's feed."""

    @property
    def symbol(self) -> Symbol: ...

    @property
    def received_ns(self) -> int: ...


class StalenessWatch:
    """Compares ages with the limit whenever it is told to look."""

    def __init__(self, *, silence_seconds_max: float, on_change: StaleCallback) -> None:
        self._limit_ns = round(silence_seconds_max * 1e9)
        self._on_change = on_change
        self._since_ns: dict[Symbol, int] = {}
        self.stale: set[Symbol] = set()

    def forget(self, symbols: Iterable[Symbol]) -> None:
        for symbol in symbols:
            self._since_ns.pop(symbol, None)
            self.stale.discard(symbol)

    def look(self, feeds: Iterable[Received], now_ns: int) -> None:
        """Report what has changed since the last look."""
        for feed in feeds:
            symbol = feed.symbol
            # A symbol that was never quoted ages from the first look on, a lost connection's from its last quote.
            since_ns = self._since_ns.setdefault(symbol, now_ns)
            if feed.received_ns > since_ns:
                since_ns = self._since_ns[symbol] = feed.received_ns
            stale = now_ns - since_ns > self._limit_ns
            if stale != (symbol in self.stale):
                (self.stale.add if stale else self.stale.discard)(symbol)
                age = (now_ns - feed.received_ns) / 1e9 if feed.received_ns else None
                self._on_change(symbol, stale, age)
