"""The checks that come before a test, on the bars that a pair really has."""

import numpy as np
from numpy.typing import NDArray

from domain.statistics.adf import Floats
from domain.statistics.compiled import compiled
from domain.statistics.status import CODES, PairStatus

OK, TOO_SHORT, GAPPY = CODES[PairStatus.OK], CODES[PairStatus.TOO_SHORT], CODES[PairStatus.GAPPY]
CONSTANT, HALTED = CODES[PairStatus.CONSTANT], CODES[PairStatus.HALTED]
BAD_PRINT = CODES[PairStatus.BAD_PRINT]
BAD_PRINT_SHARE_MIN = 0.03
_RETURNED = 0.25  # A print is bad when at most this share of the leap is left a bar later.


@compiled
def leg_code(prices: Floats, count: int, unmoved_share_max: float, bad_print_steps: float) -> int:
    """OK, CONSTANT, HALTED or BAD_PRINT for the first `count` prices.

    A step is a share of the larger of its two prices: below one, the same up and down. As a share of the price before, one leap
    of × 1000 would raise the mean step above the way back, and the worst misprints would hide themselves.
    """
    still, moved = 0, 0.0
    for t in range(1, count):
        still += prices[t] == prices[t - 1]
        moved += abs(prices[t] - prices[t - 1]) / max(prices[t], prices[t - 1])
    if still == count - 1:
        return CONSTANT
    if still > unmoved_share_max * (count - 1):
        return HALTED
    leap_min = max(bad_print_steps * moved / (count - 1), BAD_PRINT_SHARE_MIN)
    for t in range(1, count - 1):
        out, back = prices[t] - prices[t - 1], prices[t + 1] - prices[t]
        if abs(out) > leap_min * max(prices[t], prices[t - 1]):
            has_returned = out * back < 0 and abs(out + back) < _RETURNED * abs(out)
            if has_returned and abs(back) > leap_min / 2 * max(prices[t + 1], prices[t]):
                return BAD_PRINT
    return OK


@compiled
def leg_codes(prices: Floats, unmoved_share_max: float, bad_print_steps: float, codes: NDArray[np.int64]) -> None:
    """The code of each row of `prices` (symbols, bars)."""
    for row in range(prices.shape[0]):
        codes[row] = leg_code(prices[row], prices.shape[1], unmoved_share_max, bad_print_steps)


@compiled
def judge_pairs(
    prices: Floats,
    present: NDArray[np.bool_],
    pairs: NDArray[np.int64],
    observations_min: int,
    gap_share_max: float,
    must_be_current: bool,
    unmoved_share_max: float,
    bad_print_steps: float,
    codes: NDArray[np.int64],
    bars: NDArray[np.int64],
) -> None:
    """The code of each pair, and the bars that both have."""
    count = prices.shape[1]
    a, b = np.empty(count), np.empty(count)
    for row in range(pairs.shape[0]):
        n, first, end = 0, count, count if must_be_current else 0
        for t in range(count):
            if present[pairs[row, 0], t] and present[pairs[row, 1], t]:
                first, end = min(first, t), max(end, t + 1)
                a[n], b[n] = prices[pairs[row, 0], t], prices[pairs[row, 1], t]
                n += 1
        bars[row] = n
        if n < observations_min:
            codes[row] = TOO_SHORT
        elif 1 - n / (end - first) > gap_share_max:
            codes[row] = GAPPY
        else:
            one = leg_code(a, n, unmoved_share_max, bad_print_steps)
            other = leg_code(b, n, unmoved_share_max, bad_print_steps)
            codes[row] = other if one == OK else one if other == OK else min(one, other)
