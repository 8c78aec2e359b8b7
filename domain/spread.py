"""The spread of a pair over its last closed bars: exact mean and deviation, and the band a tick is compared with.

`spread = price_b − hedge_ratio · price_a`. Mean and standard deviation (ddof 1) are recomputed over the whole window
whenever a bar closes; running sums reach a negative variance and one bad print poisons them.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray


class SpreadMoments(msgspec.Struct, frozen=True, gc=False):
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


def statistics_of(spreads: NDArray[np.float64]) -> SpreadMoments | None:
    """Mean and deviation of a window; None when the deviation is zero against the level's own rounding."""
    mean = float(spreads.mean())
    std = float(spreads.std(ddof=1))
    resolution = float(np.abs(spreads).max()) * 1e-12
    if not math.isfinite(std) or std <= resolution:
        return None
    return SpreadMoments(mean, std)
