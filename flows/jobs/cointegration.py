"""One pair at a time: the statistics' kernel for the numbers, and statsmodels for a second opinion before anything is written.

The model is in levels: price_b = intercept + hedge_ratio · price_a + spread.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.errors import InvariantBroken
from domain.statistics.engle_granger import Criterion, Method, PairTests, examine_pairs
from domain.statistics.panel import PricePanel, Space
from domain.statistics.status import STATUSES, Fitness, PairStatus

Prices = NDArray[np.float64]

__all__ = ["Fitness", "PairStatus", "PairTest", "confirm", "confirm_numbers", "examine"]

T_DIFFERENCE_MAX = 1e-6
"""More than rounding on either side: statsmodels itself loses up to 1e-8 on smooth series."""
_DETAILS = {
    PairStatus.UNUSABLE: "a price is infinite, zero or negative, or the spread has no single fit",
    PairStatus.CONSTANT: "a leg never moves",
    PairStatus.BAD_PRINT: "one bar is far out and back again",
    PairStatus.COLLINEAR: "one leg is the other one, shifted and scaled",
}


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
    panel = PricePanel(symbols=("b", "a"), prices=np.column_stack((prices_b, prices_a)))
    tests = examine_pairs(panel, Method(fitness=fitness))
    status, observations = STATUSES[tests.status[0, 1]], int(tests.bars[0, 1])
    if status is not PairStatus.OK:
        return PairTest(status=status, observations=observations, detail=_detail(status, observations, fitness))
    half_life = float(tests.half_life[0, 1])
    return PairTest(
        status=status,
        observations=observations,
        hedge_ratio=float(tests.hedge_ratio[0, 1]),
        intercept=float(tests.intercept[0, 1]),
        spread_mean=float(tests.intercept[0, 1]),  # The residual's mean is 0.
        spread_std=float(tests.residual_std[0, 1]),
        t_stat=float(tests.t_stat[0, 1]),
        p_value=float(tests.p_value[0, 1]),
        half_life=half_life if math.isfinite(half_life) else None,
    )


def _detail(status: PairStatus, observations: int, fitness: Fitness) -> str:
    if status is PairStatus.TOO_SHORT:
        return f"{observations} common bars, need {fitness.observations_min}"
    if status is PairStatus.GAPPY:
        return f"{observations} common bars; more than {fitness.gap_share_max:.1%} of the bars are missing"
    if status is PairStatus.HALTED:
        return f"a leg does not move in more than {fitness.unmoved_share_max:.0%} of the bars"
    return _DETAILS.get(status, "")


def confirm(name: str, test: PairTest, prices_a: Prices, prices_b: Prices) -> None:
    """statsmodels' own word on a pair that was found OK.

    Raises: InvariantBroken, naming the pair, when it does not say the same; then nothing may be written.
    """
    if test.status is PairStatus.OK:
        assert test.t_stat is not None
        assert test.hedge_ratio is not None
        numbers = (test.t_stat, test.hedge_ratio)
        confirm_numbers(name, numbers, (prices_b, prices_a), Method())


def confirm_tests(panel: PricePanel, tests: PairTests, y: int, x: int, method: Method) -> None:
    """The same for one direction of a scan, on the window that `tests` are of. Raises: InvariantBroken."""
    numbers = float(tests.t_stat[y, x]), float(tests.hedge_ratio[y, x])
    name = f"{panel.symbols[y]} on {panel.symbols[x]}"
    confirm_numbers(name, numbers, (panel.prices[:, y], panel.prices[:, x]), method)


def confirm_numbers(name: str, ours: tuple[float, float], legs: tuple[Prices, Prices], method: Method) -> None:
    """`ours` (t, hedge ratio) of the first leg on the second, against statsmodels. Raises: InvariantBroken."""
    # A second or more to import, and only needed when something was found.
    from statsmodels.tools.sm_exceptions import CollinearityWarning  # noqa: PLC0415
    from statsmodels.tsa.stattools import coint  # noqa: PLC0415

    together = np.isfinite(legs[0]) & np.isfinite(legs[1])
    y, x = (np.log(leg[together]) if method.space is Space.LOGS else leg[together] for leg in legs)
    autolag = None if method.criterion is Criterion.FIXED else str(method.criterion)
    with warnings.catch_warnings():
        # What it calls collinear comes back as −inf, and is a disagreement.
        warnings.simplefilter("ignore", CollinearityWarning)
        t_stat = float(coint(y, x, trend="c", maxlag=method.lags_max, autolag=autolag)[0])
    hedge_ratio = float(np.polynomial.Polynomial.fit(x, y, 1).convert().coef[1])
    t_differs = not abs(t_stat - ours[0]) <= T_DIFFERENCE_MAX * max(1.0, abs(t_stat))
    if t_differs or not math.isclose(hedge_ratio, ours[1], rel_tol=1e-6, abs_tol=1e-12):
        raise InvariantBroken(
            f"{name}: statsmodels says t {t_stat:.9g} and hedge ratio {hedge_ratio:.9g}, we say {ours[0]:.9g} and {ours[1]:.9g};"
            " nothing was written"
        )
