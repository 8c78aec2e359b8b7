"""The spread of a pair over its last closed bars: exact mean and deviation, and the band a tick is compared with.

`spread = price_b − hedge_ratio · price_a`. Mean and standard deviation (ddof 1) are recomputed over the whole window
whenever a bar closes; running sums reach a negative variance and one bad print poisons them.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray


class SpreadStatistics(msgspec.Struct, frozen=True, gc=False):
    """Mean and standard deviation (ddof 1) of a full window, in price units of leg b."""

    mean: float
    std: float

    def z_score(self, spread: float) -> float:
        return (spread - self.mean) / self.std


class Band(msgspec.Struct, frozen=True, gc=False):
    """An open interval of spreads within which there is nothing to decide."""

    low: float
    high: float


EVERYTHING = Band(-math.inf, math.inf)


class SpreadWindow:
    """The last `size` closed-bar spreads of one pair, oldest first."""

    __slots__ = ("_count", "_next", "_ring")

    def __init__(self, size: int) -> None:
        self._ring: NDArray[np.float64] = np.empty(size, dtype=np.float64)
        self._next = 0
        self._count = 0

    @property
    def is_full(self) -> bool:
        return self._count == len(self._ring)

    def __len__(self) -> int:
        return self._count

    def append(self, spread: float) -> None:
        """Take one closed bar's spread. Raises: ValueError when it is not finite."""
        if not math.isfinite(spread):
            raise ValueError(f"a closed bar's spread must be finite, not {spread}")
        self._ring[self._next] = spread
        self._next = (self._next + 1) % len(self._ring)
        self._count = min(self._count + 1, len(self._ring))

    def clear(self) -> None:
        self._next = 0
        self._count = 0

    def values(self) -> NDArray[np.float64]:
        """A copy in order of time."""
        if not self.is_full:
            return self._ring[: self._count].copy()
        return np.concatenate((self._ring[self._next :], self._ring[: self._next]))

    def statistics(self) -> SpreadStatistics | None:
        """None until the window is full, and for a window that does not move at all."""
        return statistics_of(self._ring) if self.is_full else None


def statistics_of(spreads: NDArray[np.float64]) -> SpreadStatistics | None:
    """Mean and deviation of a window; None when the deviation is zero against the level's own rounding."""
    mean = float(spreads.mean())
    std = float(spreads.std(ddof=1))
    resolution = float(np.abs(spreads).max()) * 1e-12
    if not math.isfinite(std) or std <= resolution:
        return None
    return SpreadStatistics(mean, std)
