"""The configured pairs, as of now: replaced as a whole by a reload, read by the engine at every signal."""

from collections.abc import Iterable, Iterator, Mapping

from domain.pairs import PairConfig
from domain.symbols import PairId, Symbol


class PairsRegistry:
    """Satisfies `runner.execution.signal_port.Pairs`."""

    def __init__(self, pairs: Iterable[PairConfig] = ()) -> None:
        self._pairs: Mapping[PairId, PairConfig] = {pair.pair_id: pair for pair in pairs}

    def get(self, pair_id: PairId) -> PairConfig | None:
        """None for a pair that is not configured (any more)."""
        return self._pairs.get(pair_id)

    def __iter__(self) -> Iterator[PairConfig]:
        return iter(self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, pair_id: PairId) -> bool:
        return pair_id in self._pairs

    @property
    def symbols(self) -> frozenset[Symbol]:
        """Of every leg."""
        return frozenset(symbol for pair in self for symbol in pair.symbols)

    def replace(self, pairs: Iterable[PairConfig]) -> Mapping[PairId, PairConfig]:
        """From now on these and no others. Returns those that were configured before."""
        before = self._pairs
        self._pairs = {pair.pair_id: pair for pair in pairs}
        return before

    def drop(self, pair_id: PairId) -> None:
        """Configured no more."""
        self._pairs = {known: pair for known, pair in self._pairs.items() if known != pair_id}
