"""Whether two price series move together: Engle–Granger by statsmodels, with every way it can deceive ruled out first.

The model is in levels: price_b = intercept + hedge_ratio · price_a + spread. A NaN or a collinear pair would come out of
statsmodels as t = −inf, p = 0, the best pair of all, and a halted one as p = 0.002; so nothing is tested before it is fit to be.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from statsmodels.tools.sm_exceptions import CollinearityWarning
from statsmodels.tsa.stattools import coint

Prices = NDArray[np.float64]

# statsmodels' own limit: above this R² it calls a pair collinear and answers −inf.
UNEXPLAINED_MIN = 100 * math.sqrt(float(np.finfo(np.float64).eps))
HALF_LIFE_BARS_MIN = 0.1
"""A residual that forgets within the bar: its half-life cannot be told any better, and must be above 0."""


class PairStatus(StrEnum):
    """Whether the numbers of a test mean anything."""

    OK = "ok"
    TOO_SHORT = "too_short"
    GAPPY = "gappy"
    UNUSABLE = "unusable"  # Infinite, zero or negative prices.
    CONSTANT = "constant"
    HALTED = "halted"  # Most bars do not move: a delisted or suspended contract.
    COLLINEAR = "collinear"  # One series is the other one, shifted and scaled.


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """What a series must bring before it is tested."""

    observations_min: int = 200
    gap_share_max: float = 0.02
    unmoved_share_max: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTest:
    """One direction of one pair. Without status OK there are no numbers. `half_life` is in bars; None: no reversion."""

    status: PairStatus
    observations: int
    detail: str = ""
    hedge_ratio: float | None = None
    intercept: float | None = None
    spread_mean: float | None = None
    spread_std: float | None = None
    t_stat: float | None = None
    p_value: float | None = None
    half_life: float | None = None


def examine(prices_a: Prices, prices_b: Prices, fitness: Fitness | None = None) -> PairTest:
    """Test price_b against price_a, bar by bar; NaN is a missing bar. Never raises for bad prices: the status says it."""
    fitness = fitness or Fitness()
    together = np.isfinite(prices_a) & np.isfinite(prices_b)
    present = np.flatnonzero(together)
    observations = len(present)
    if np.isinf(prices_a).any() or np.isinf(prices_b).any():
        return PairTest(status=PairStatus.UNUSABLE, observations=observations, detail="a price is infinite")
    if observations < fitness.observations_min:
        detail = f"{observations} common bars, need {fitness.observations_min}"
        return PairTest(status=PairStatus.TOO_SHORT, observations=observations, detail=detail)
    # From the first common bar to the end of the window: a symbol that stopped trading is a gap, one listed late is not.
    gap_share = 1 - observations / (len(together) - int(present[0]))
    if gap_share > fitness.gap_share_max:
        detail = f"{gap_share:.1%} of the bars are missing, at most {fitness.gap_share_max:.1%} may be"
        return PairTest(status=PairStatus.GAPPY, observations=observations, detail=detail)
    a, b = prices_a[present], prices_b[present]
    problem = _unfit(a, b, fitness)
    if problem is not None:
        return PairTest(status=problem[0], observations=observations, detail=problem[1])
    return _tested(a, b)


def _unfit(a: Prices, b: Prices, fitness: Fitness) -> tuple[PairStatus, str] | None:
    for leg, prices in (("a", a), ("b", b)):
        if prices.min() <= 0:
            return PairStatus.UNUSABLE, f"leg {leg} has a price of {prices.min():g}"
        if np.ptp(prices) == 0:
            return PairStatus.CONSTANT, f"leg {leg} never moves"
        unmoved = float(np.mean(np.diff(prices) == 0))
        if unmoved > fitness.unmoved_share_max:
            return PairStatus.HALTED, f"leg {leg} does not move in {unmoved:.0%} of the bars"
    correlation = float(np.corrcoef(a, b)[0, 1])
    if 1 - correlation**2 <= UNEXPLAINED_MIN:
        return PairStatus.COLLINEAR, f"R² is 1 within {UNEXPLAINED_MIN:.1g}"
    return None


def _tested(a: Prices, b: Prices) -> PairTest:
    hedge_ratio, intercept = ols_line(a, b)
    spread = b - hedge_ratio * a
    with warnings.catch_warnings():
        # Collinear pairs were sorted out above; should one slip through, it must not pass for the best of all.
        warnings.simplefilter("error", CollinearityWarning)
        try:
            t_stat, p_value, _ = coint(b, a, trend="c", maxlag=None, autolag="aic")
        except CollinearityWarning:
            return PairTest(status=PairStatus.COLLINEAR, observations=len(a), detail="statsmodels calls it collinear")
    if not (math.isfinite(t_stat) and math.isfinite(p_value)):
        return PairTest(status=PairStatus.UNUSABLE, observations=len(a), detail=f"the test gave t = {t_stat}")
    return PairTest(
        status=PairStatus.OK,
        observations=len(a),
        hedge_ratio=hedge_ratio,
        intercept=intercept,
        spread_mean=float(spread.mean()),
        spread_std=float(spread.std(ddof=1)),
        t_stat=float(t_stat),
        p_value=float(p_value),
        half_life=half_life_bars(spread - intercept),
    )


def ols_line(x: Prices, y: Prices) -> tuple[float, float]:
    """Slope and intercept of y on x by least squares, centred first so that large levels cost no digits."""
    x_centred, y_centred = x - x.mean(), y - y.mean()
    slope = float(x_centred @ y_centred / (x_centred @ x_centred))
    return slope, float(y.mean() - slope * x.mean())


def half_life_bars(residual: Prices) -> float | None:
    """−ln 2 / ln(1 + rho) of the AR(1) Δe = rho·e, at least `HALF_LIFE_BARS_MIN`; None when nothing pulls it back."""
    before, after = residual[:-1], residual[1:]
    energy = float(before @ before)
    if energy == 0:
        return None
    phi = float(before @ after) / energy
    if phi >= 1:
        return None
    if phi <= 0:
        return HALF_LIFE_BARS_MIN
    return max(HALF_LIFE_BARS_MIN, -math.log(2) / math.log(phi))


def q_values(p_values: Sequence[float]) -> list[float]:
    """Benjamini–Yekutieli: the share of false pairs among those at most this q, whatever depends on whatever."""
    if not p_values:
        return []
    return [float(q) for q in false_discovery_control(np.asarray(p_values), method="by")]
