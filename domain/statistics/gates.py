"""What a pair must show besides a small q-value. Each gate is a pure function of one direction: a reason with facts, or None."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np

from domain.edge import FundingTerms, edge_of
from domain.orders import LegName
from domain.pairs import PairSide
from domain.quotes import Quote
from domain.spread import SpreadMoments
from domain.statistics import adf
from domain.statistics.adf import Floats
from domain.statistics.engle_granger import PairTests
from domain.statistics.fdr import Correction
from domain.statistics.mackinnon import UNIT_ROOT_NO_CONSTANT, p_values
from domain.statistics.orthogonal import solve_orthogonal
from domain.statistics.panel import Space

_HOLDOUT_BARS_MIN = 20
_HOURS_PER_DAY = 24.0


class Reason(StrEnum):
    """Why a direction was kept or not, the first that applies. A direction that was not ranked has its status for a reason."""

    KEPT = "kept"
    NOT_RANKED = "not_ranked"
    Q_ABOVE_LEVEL = "q_above_level"
    OTHER_DIRECTION = "other_direction"  # The same pair the other way round has the lower t.
    HEDGE_NOT_POSITIVE = "hedge_not_positive"  # Both legs would stand on the same side.
    HALF_LIFE_OUTSIDE = "half_life_outside"
    UNSTABLE = "unstable"
    HOLDOUT_BROKE = "holdout_broke"
    EDGE_BELOW_COST = "edge_below_cost"
    SYMBOL_CAP = "symbol_cap"
    TOTAL_CAP = "total_cap"


REASONS = tuple(Reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a round trip costs: four fills, each a taker fee and half a spread of its leg, and funding for a half-life."""

    taker_fee_bps: float = 5.0
    half_spread_bps: float = 0.5
    funding_bps_per_day: float = 3.0
    """Of each leg, paid whichever side it is on: the sign a month ahead is nobody's to know."""
    entry_z: float = 2.0
    exit_z: float = 0.0
    min_edge_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The limits. `holdout_share`: the newest part of the window, which no fit sees and every kept pair must survive."""

    q_max: float = 0.05
    correction: Correction = Correction.BY
    half_life_bars_min: float = 0.1
    half_life_bars_max: float = 120.0
    sub_windows: int = 3
    """Equal parts of the formation window in each of which the hedge ratio must come out alike; below 2: no such gate."""
    sub_window_drift_max: float = 0.5
    holdout_share: float = 0.25
    holdout_z_max: float = 4.0
    costs: Costs | None = Costs()
    pairs_per_symbol_max: int = 3
    pairs_max: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.holdout_share <= 0.5:
            raise ValueError(f"holdout_share must be between 0 and 0.5, not {self.holdout_share}")
        if not 0 < self.q_max < 1:
            raise ValueError(f"q_max must be between 0 and 1, not {self.q_max}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A reason and what it rests on, in words with numbers."""

    reason: Reason
    facts: str


def hedge_is_positive(tests: PairTests, y: int, x: int) -> Rejection | None:
    """One leg long, the other short, or it is no pair trade."""
    ratio = tests.hedge_ratio[y, x]
    if ratio > 0:
        return None
    return Rejection(reason=Reason.HEDGE_NOT_POSITIVE, facts=f"hedge ratio {ratio:.6g}")


def half_life_is_useful(tests: PairTests, y: int, x: int, gates: Gates) -> Rejection | None:
    """Neither noise of the bid and ask nor a wait for weeks."""
    bars = tests.half_life[y, x]
    if gates.half_life_bars_min <= bars <= gates.half_life_bars_max:
        return None
    facts = f"half-life {bars:.3g} bars, need {gates.half_life_bars_min:g} to {gates.half_life_bars_max:g}"
    return Rejection(reason=Reason.HALF_LIFE_OUTSIDE, facts=facts)


def is_stable(hedge_ratio: float, parts: Sequence[float], gates: Gates) -> Rejection | None:
    """The hedge ratio of every part of the window within a share of the whole window's; NaN is a part that has none."""
    for number, part in enumerate(parts, start=1):
        if not abs(part / hedge_ratio - 1) <= gates.sub_window_drift_max:
            facts = f"hedge ratio {part:.4g} in part {number} of {len(parts)} against {hedge_ratio:.4g}"
            return Rejection(reason=Reason.UNSTABLE, facts=facts)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """A spread, by the numbers of the formation window, over bars that formed none of them."""

    bars: int
    z_last: float
    z_abs_max: float
    crossings: int
    p_value: float  # ADF without constant: mean and hedge ratio are given, not fitted. NaN: too few bars.


def holdout_of(y: Floats, x: Floats, *, hedge_ratio: float, intercept: float, residual_std: float) -> Holdout:
    """`y` and `x` (bars,) in the tested space, NaN where a bar is missing."""
    z = (y - intercept - hedge_ratio * x) / residual_std
    z = z[np.isfinite(z)]
    if not len(z):
        return Holdout(bars=0, z_last=math.nan, z_abs_max=math.nan, crossings=0, p_value=math.nan)
    p = math.nan
    if len(z) >= _HOLDOUT_BARS_MIN:
        t_stat, _ = solve_orthogonal(z, adf.AIC, None)
        p = float(p_values(np.array([t_stat]), UNIT_ROOT_NO_CONSTANT)[0])
    return Holdout(
        bars=len(z),
        z_last=float(z[-1]),
        z_abs_max=float(np.abs(z).max()),
        crossings=int(np.count_nonzero(np.diff(z > 0))),
        p_value=p,
    )


def survives_holdout(holdout: Holdout, gates: Gates) -> Rejection | None:
    """It never ran to the stop, and it came back to its mean at least once."""
    if holdout.bars < _HOLDOUT_BARS_MIN:
        return Rejection(reason=Reason.HOLDOUT_BROKE, facts=f"{holdout.bars} bars out of sample")
    if not holdout.z_abs_max <= gates.holdout_z_max:
        facts = f"|z| {holdout.z_abs_max:.3g} out of sample, at most {gates.holdout_z_max:g}"
        return Rejection(reason=Reason.HOLDOUT_BROKE, facts=facts)
    if not holdout.crossings:
        return Rejection(reason=Reason.HOLDOUT_BROKE, facts="never at its mean out of sample")
    return None


def edge_ratio(
    *,
    space: Space,
    hedge_ratio: float,
    residual_std: float,
    half_life_bars: float,
    price_y: float,
    price_x: float,
    bars_per_day: float,
    costs: Costs,
) -> float:
    """What an entry at `costs.entry_z` is expected to earn over what it costs: the live runner's own sums (`domain.edge`).

    For one unit of y (levels) or one dollar of it (logs), with hedge_ratio of x against it; y is leg b, x is leg a. Both legs pay
    their funding, for which of them will in a month is nobody's to know.
    """
    ratio = abs(hedge_ratio)
    price_b, price_a = (price_y, price_x) if space is Space.LEVELS else (1.0, 1.0)
    side = PairSide.SELL
    rate = costs.funding_bps_per_day * 1e-4
    edge = edge_of(
        side=side,
        hedge_ratio=ratio,
        # So that z at the mids is -entry_z: the distance that an entry has.
        statistics=SpreadMoments(price_b - ratio * price_a + costs.entry_z * residual_std, residual_std),
        exit_z=costs.exit_z,
        quote_a=_quoted(price_a, costs),
        quote_b=_quoted(price_b, costs),
        quantity_a=Decimal(ratio),
        quantity_b=Decimal(1),
        taker_fee_rate=costs.taker_fee_bps * 1e-4,
        funding_a=FundingTerms(rate * side.side_of(LegName.A).sign, _HOURS_PER_DAY),
        funding_b=FundingTerms(rate * side.side_of(LegName.B).sign, _HOURS_PER_DAY),
        half_life_hours=half_life_bars / bars_per_day * _HOURS_PER_DAY,
    )
    return edge.reversion / edge.costs if edge.costs > 0 else math.inf


def _quoted(mid: float, costs: Costs) -> Quote:
    half = mid * costs.half_spread_bps * 1e-4
    return Quote(bid=mid - half, ask=mid + half, bid_quantity=0.0, ask_quantity=0.0, event_ms=0, received_ns=0)


def pays(ratio: float, costs: Costs) -> Rejection | None:
    """The expected reversion pays for the trade, with the margin that is asked for."""
    if ratio >= costs.min_edge_ratio:
        return None
    return Rejection(
        reason=Reason.EDGE_BELOW_COST, facts=f"edge {ratio:.3g} of its costs, need {costs.min_edge_ratio:g}"
    )
