"""p-values of unit-root and cointegration statistics: the response surfaces of MacKinnon (1994, 2010), as statsmodels has them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """p = Φ(polynomial in t), one polynomial up to `bend`, another above it; 0 below `low` and 1 above `high`."""

    low: float
    bend: float
    high: float
    below: Sequence[float]
    above: Sequence[float]


COINTEGRATION = Surface(
    low=-18.86,
    bend=-2.62,
    high=0.92,
    below=(2.92, 1.5012, 0.039796),
    above=(2.1945, 0.64695, -0.29198, -0.042377),
)
"""Two series, a constant: Engle-Granger."""
UNIT_ROOT = Surface(
    low=-18.83,
    bend=-1.61,
    high=2.74,
    below=(2.1659, 1.4412, 0.038269),
    above=(1.7339, 0.93202, -0.12745, -0.010368),
)
"""One series, a constant: augmented Dickey-Fuller."""
UNIT_ROOT_NO_CONSTANT = Surface(
    low=-19.04,
    bend=-1.04,
    high=np.inf,
    below=(0.6344, 1.2378, 0.032496),
    above=(0.4797, 0.93557, -0.06999, 0.033066),
)
"""One series whose mean is known: a spread by numbers that were fixed before."""


def p_values(t_stat: Floats, surface: Surface) -> Floats:
    """p of each t; NaN stays NaN."""
    t = np.asarray(t_stat, dtype=np.float64)
    below, above = np.polynomial.Polynomial(surface.below), np.polynomial.Polynomial(surface.above)
    p = ndtr(np.where(t <= surface.bend, below(t), above(t)))
    found: Floats = np.where(t > surface.high, 1.0, np.where(t < surface.low, 0.0, p))
    return found
