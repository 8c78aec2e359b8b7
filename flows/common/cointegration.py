"""statsmodels' second opinion, before anything is written or called kept: whoever computes what moves money differently must be
checked by somebody else."""

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from domain.errors import InvariantBroken
from domain.statistics.engle_granger import Criterion, Method, PairTests
from domain.statistics.estimators import HedgeEstimator
from domain.statistics.panel import PricePanel, Space

Prices = NDArray[np.float64]

T_DIFFERENCE_MAX = 1e-6
"""More than rounding on either side: statsmodels itself loses up to 1e-8 on smooth series."""


def confirm_tests(panel: PricePanel, tests: PairTests, y: int, x: int, method: Method) -> None:
    """One direction of a scan, on the window that `tests` are of. Raises: InvariantBroken."""
    numbers = float(tests.t_stat[y, x]), float(tests.hedge_ratio[y, x])
    name = f"{panel.symbols[y]} on {panel.symbols[x]}"
    confirm_numbers(name, numbers, (panel.prices[:, y], panel.prices[:, x]), method)


def confirm_numbers(name: str, ours: tuple[float, float], legs: tuple[Prices, Prices], method: Method) -> None:
    """`ours` (t, hedge ratio) of the first leg on the second, against statsmodels. Raises: InvariantBroken.

    The hedge ratio is looked at when it is the test's own, of least squares.
    """
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
    is_of_test = method.estimator is HedgeEstimator.OLS_LEVELS
    if t_differs or (is_of_test and not math.isclose(hedge_ratio, ours[1], rel_tol=1e-6, abs_tol=1e-12)):
        raise InvariantBroken(
            f"{name}: statsmodels says t {t_stat:.9g} and hedge ratio {hedge_ratio:.9g}, we say {ours[0]:.9g} and {ours[1]:.9g};"
            " nothing was written"
        )
