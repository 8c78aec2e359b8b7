"""What can be told of a stretch of a timeline at once: where `decide` surely has nothing to say, and which entries surely do not pay.

Nothing is decided here. Every moment that is not surely quiet and not surely too dear is looked at by the live functions, so the
margins cost time when they are too wide and are wrong only when they are too narrow; a test compares with looking at every moment.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.guards import DenialCode
from domain.orders import LegName, Side
from domain.pairs import PairConfig, PairSide
from flows.backtest.engine.account import half_life_hours
from flows.backtest.engine.market import Floats, Market
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.timeline import Timeline
from flows.backtest.engine.windows import bounds_of

_SURELY = 1e-9
"""Relative room for the rounding of everything behind the statistics themselves."""
CODES = ("", DenialCode.Z_NOT_EXECUTABLE.value, DenialCode.EDGE_TOO_SMALL.value)
LOOK = 0
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Screen:
    """Of the moments [start, stop) for a pair that is flat. `moments`: those with a signal, or perhaps one; ascending."""

    start: int
    stop: int
    moments: Places
    codes: NDArray[np.int8]  # Of each of them: LOOK, or the place of its denial in CODES.
    upwards: NDArray[np.bool_]  # Of each of them: the spread is above its mean. Sure where it is denied.
    looks: Places  # Places in `moments`.
    counts: tuple[
        Places, ...
    ]  # Of each denial in CODES from 1: how many before each place in `moments`, and at the end.
    may_be_above: NDArray[np.bool_]  # The spread may be at or above its mean, of every moment from start.
    may_be_below: NDArray[np.bool_]
    surely_moves: NDArray[np.bool_]  # There are statistics, of every moment from start.

    def surely_crosses(self, place: int) -> bool:
        """At a moment that may be on the other side of the mean: that it is, for certain, so that nobody has to look."""
        at = place - self.start
        return bool(self.surely_moves[at] and self.may_be_above[at] != self.may_be_below[at])


def screen_of(market: Market, terms: Terms, timeline: Timeline, pair: PairConfig, span: slice, *, deny: bool) -> Screen:
    """Of the moments in `span`. `deny`: tell what surely does not pay; else every signal is a look."""
    start, stop = span.start, span.stop
    size = terms.lookback_bars
    bars = timeline.bar[start:stop]
    enough = bars >= size
    if not enough.any():
        nowhere = np.zeros(stop - start, dtype=bool)
        none = np.empty(0, dtype=np.int64)
        counts = tuple(np.zeros(1, dtype=np.int64) for _ in CODES[1:])
        return Screen(
            start, stop, none, none.astype(np.int8), none.astype(bool), none, counts, nowhere, nowhere, nowhere
        )
    first = int(bars[enough][0])
    grid = slice(first - size, int(bars[-1]))
    windows = bounds_of(timeline.closes_b[grid] - pair.hedge_ratio * timeline.closes_a[grid], size)
    of_moment = np.clip(bars - first, 0, None)
    mean, error, low, high, resolution = (np.where(enough, column[of_moment], np.nan) for column in windows)
    price_a, price_b = timeline.price_a[start:stop], timeline.price_b[start:stop]
    spread = price_b - pair.hedge_ratio * price_a
    away = spread - mean
    error = error + _SURELY * (np.abs(spread) * 1e-6 + np.abs(away))
    distance = np.abs(away)
    with np.errstate(invalid="ignore"):
        near, far, moves = distance - error, distance + error, low > resolution
        may_signal = (far >= pair.entry_z * low) & (near < pair.stop_z * high)
        surely = (near >= pair.entry_z * high) & (far < pair.stop_z * low) & moves
        above, below = away + error >= 0, away - error <= 0
    found = np.flatnonzero(may_signal)
    codes = np.zeros(found.size, dtype=np.int8)
    if deny:
        distances = _Distances(away[found], far[found], low[found])
        codes = _surely_denied(market, terms, timeline, pair, start + found, distances) * surely[found]
    looks = np.flatnonzero(codes == LOOK)
    counts = tuple(np.concatenate(([0], np.cumsum(codes == number))) for number in range(1, len(CODES)))
    return Screen(start, stop, start + found, codes, away[found] > 0, looks, counts, above, below, moves)


class _Distances(NamedTuple):
    """Of moments: how far from the mean, how far at most, and the deviation at least."""

    away: Floats
    far: Floats
    low: Floats


def _surely_denied(  # noqa: PLR0917 - of one caller, in the order of `screen_of`.
    market: Market, terms: Terms, timeline: Timeline, pair: PairConfig, places: Places, distances: _Distances
) -> NDArray[np.int8]:
    """Of each of these moments of the timeline. 0 (LOOK): not surely; else the place in `CODES`.

    Live's sums (`domain.edge`) for a unit of leg b, each bent in favour of the entry by what the statistics and the rounding of leg
    a's quantity may be off.
    """
    away, far, low = distances
    hedge, error = pair.hedge_ratio, terms.hedge_error_max
    price_a, price_b = timeline.price_a[places], timeline.price_b[places]
    half_a, half_b = timeline.half_a[places], timeline.half_b[places]
    crossing = half_b + hedge * half_a
    executable = (far - crossing) * (1 + _SURELY)
    least_a = hedge * (1 - error)
    fees = 2 * terms.taker_fee_rate * (price_b + least_a * price_a)
    exit_spread = half_b + least_a * half_a
    funding = np.where(
        away < 0,
        _funding(market, pair, timeline, places, PairSide.SELL, error),
        _funding(market, pair, timeline, places, PairSide.BUY, error),
    )
    costs = fees + exit_spread + funding
    costs = costs - _SURELY * np.abs(costs)
    gain = executable - pair.exit_z * low
    gain = gain + _SURELY * np.abs(gain)
    with np.errstate(invalid="ignore"):
        inside_the_stop = crossing - np.abs(away) + (far - np.abs(away)) < pair.stop_z * low * (1 - _SURELY)
        not_executable = (executable < pair.entry_z * low * (1 - _SURELY)) & inside_the_stop
        too_dear = (gain < terms.limits.min_edge_ratio * costs) & (executable > 0)
    return np.where(not_executable, 1, np.where(too_dear, 2, 0)).astype(np.int8)


def _funding(  # noqa: PLR0917 - what `_surely_denied` was given, and a side.
    market: Market, pair: PairConfig, timeline: Timeline, places: Places, side: PairSide, error: float
) -> Floats:
    """At least what funding costs a unit of leg b, as `edge_of` reckons it."""
    hours, times = half_life_hours(pair), timeline.at_ms[places]
    total = np.zeros(times.size)
    legs = (
        (LegName.A, pair.hedge_ratio, timeline.price_a[places], error),
        (LegName.B, 1.0, timeline.price_b[places], 0.0),
    )
    for leg, units, price, off in legs:
        funding = market.funding_of(pair.symbol_of(leg))
        if not funding.at_ms.size:
            continue
        rates, interval = funding.rates_per_hour(times)
        longs = 1 if side.side_of(leg) is Side.BUY else -1
        settlement = units * price * rates * longs
        cost = np.maximum(settlement, 0.0) if hours is None else settlement * hours / interval
        total = total + cost - off * np.abs(cost)
    return total
