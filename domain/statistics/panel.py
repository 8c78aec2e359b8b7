"""Aligned closes of a universe: what a scan is given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from domain.statistics.adf import Floats
from domain.units import DAY_MS, SECOND_MS


class Space(StrEnum):
    """In what the hedge ratio is measured: LEVELS in units of x for a unit of y, LOGS in dollars of x for a dollar of y."""

    LEVELS = "levels"
    LOGS = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePanel:
    """Closes (bars, symbols), oldest first, all on one grid of time; NaN where a symbol has no bar. `bar_seconds`: one step."""

    symbols: tuple[str, ...]
    prices: Floats
    open_ms: NDArray[np.int64] | None = None
    bar_seconds: int | None = None

    def __post_init__(self) -> None:
        if self.prices.ndim != 2 or self.prices.shape[1] != len(self.symbols):
            raise ValueError(f"{len(self.symbols)} symbols need as many columns, not an array of {self.prices.shape}")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("a symbol is named twice")

    @property
    def bars(self) -> int:
        return int(self.prices.shape[0])

    @property
    def bars_per_day(self) -> float:
        """Without a known bar the slowest is assumed, a day: funding is then charged in full."""
        return DAY_MS / (self.bar_seconds * SECOND_MS) if self.bar_seconds else 1.0

    def between(self, start: int, stop: int) -> "PricePanel":
        """The bars [start, stop)."""
        times = None if self.open_ms is None else self.open_ms[start:stop]
        return PricePanel(
            symbols=self.symbols, prices=self.prices[start:stop], open_ms=times, bar_seconds=self.bar_seconds
        )

    def only(self, places: Sequence[int]) -> "PricePanel":
        """These columns, in this order."""
        return PricePanel(
            symbols=tuple(self.symbols[place] for place in places),
            prices=np.ascontiguousarray(self.prices[:, list(places)]),
            open_ms=self.open_ms,
            bar_seconds=self.bar_seconds,
        )

    def directions(self) -> Iterator[tuple[int, int]]:
        """Every ordered pair (y, x) of columns."""
        count = len(self.symbols)
        return ((y, x) for y in range(count) for x in range(count) if y != x)
