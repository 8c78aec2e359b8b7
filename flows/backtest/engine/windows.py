"""Mean and deviation of the last bars' spreads: for all windows at once within a bound, and for one window as live has it.

Running sums are fast and not exact, so they decide nothing: they come with a bound on what they may be wrong by, and whatever
lies within it is computed by the live function. The sums begin anew every few thousand bars, so that a bad print widens the bound
round itself only.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.spread import SpreadMoments, statistics_of
from flows.backtest.engine.market import Floats

_UNIT = 2.0**-53
_BLOCK_BARS = 4096


class Bounds(NamedTuple):
    """Of every window: where the mean and the deviation of `statistics_of` surely lie. NaN: a bar is missing, there are none."""

    mean: Floats
    mean_error: Floats
    std_low: Floats
    std_high: Floats
    resolution: Floats
    """The least deviation above which a window surely moves at all."""


def bounds_of(spreads: Floats, size: int) -> Bounds:
    """Window `i` is spreads[i : i + size]."""
    windows = max(spreads.size - size + 1, 0)
    found = Bounds(*(np.full(windows, np.nan) for _ in Bounds._fields))
    block = max(_BLOCK_BARS, size)
    for start in range(0, windows, block):
        stop = min(start + block, windows)
        part = _bounds_of_block(spreads[start : stop + size - 1], size)
        for whole, piece in zip(found, part, strict=True):
            whole[start:stop] = piece
    return found


def _bounds_of_block(spreads: Floats, size: int) -> Bounds:
    """By running sums of the distances from the block's own middle; the bounds are the textbook's for summing in order."""
    finite = np.isfinite(spreads)
    is_whole = bool(finite.all())
    known = spreads if is_whole else spreads[finite]
    centre = float(known.mean()) if known.size else 0.0
    peak = float(np.abs(known).max()) if known.size else 0.0
    distance = spreads - centre if is_whole else np.where(finite, spreads - centre, 0.0)
    squares = distance * distance
    sum_error = 4 * spreads.size * _UNIT * float(np.abs(distance).sum())
    square_error = 4 * spreads.size * _UNIT * float(squares.sum())
    sums, totals = _window_sums(distance, size), _window_sums(squares, size)
    rounding = 2 * (size + 8) * _UNIT  # What the exact function itself may lose, of the level and of its own result.
    mean_error = sum_error / size + rounding * peak
    variance = (totals - sums * sums / size) / (size - 1)
    error = (square_error + (2 * np.abs(sums) * sum_error + sum_error**2 + 8 * _UNIT * sums * sums) / size) / (size - 1)
    error += 2 * rounding * np.abs(variance) + 2 * (rounding * peak) ** 2
    blank = np.zeros(sums.size)
    if not is_whole:
        blank[_window_sums((~finite).astype(np.float64), size) != 0.0] = np.nan
    return Bounds(
        mean=centre + sums / size + blank,
        mean_error=np.full(sums.size, mean_error) + blank,
        std_low=np.sqrt(np.maximum(variance - error, 0.0)) + blank,
        std_high=np.sqrt(np.maximum(variance, 0.0) + error) + blank,
        resolution=np.full(sums.size, peak * 2e-12) + blank,
    )


def _window_sums(values: Floats, size: int) -> Floats:
    running = np.concatenate(([0.0], np.cumsum(values)))
    found: Floats = running[size:] - running[:-size]
    return found


def statistics_at(
    closes_a: Floats, closes_b: Floats, hedge_ratio: float, *, first_bar: int, end: int, size: int
) -> SpreadMoments | None:
    """Of the `size` bars before place `end`, to the last bit as live has them: its ring has a bar at its number modulo `size`."""
    start = end - size
    if start < 0:
        return None
    spreads = closes_b[start:end] - hedge_ratio * closes_a[start:end]
    turn = size - (first_bar + start) % size
    return statistics_of(np.concatenate((spreads[turn:], spreads[:turn])))


def statistics_at_all(
    closes_a: Floats, closes_b: Floats, hedge_ratio: float, *, first_bar: int, ends: NDArray[np.int64], size: int
) -> list[SpreadMoments | None]:
    """`statistics_at` each of `ends`, bit for bit: numpy sums each row of a matrix in the order in which it sums that row alone.

    One window costs numpy hardly less than a hundred.
    """
    starts = np.maximum(ends - size, 0)[:, None]
    bars = starts + (np.arange(size) - first_bar - starts) % size
    rings = closes_b[bars] - hedge_ratio * closes_a[bars]
    means, deviations = rings.mean(axis=1), rings.std(axis=1, ddof=1)
    moves = np.isfinite(deviations) & (deviations > np.abs(rings).max(axis=1) * 1e-12) & (ends >= size)
    found = zip(means.tolist(), deviations.tolist(), moves.tolist(), strict=True)
    return [SpreadMoments(mean, std) if is_moving else None for mean, std, is_moving in found]
