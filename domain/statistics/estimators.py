"""The hedge ratios to choose from, by name. The one file that another estimator is added to: a name, a function, a line in the table.

An estimator says with how much of x a unit of y is hedged; the test of the pair stays Engle and Granger's, whose residual is of
least squares. Imports nothing that computes: the rules of the flows take their choices from here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain.statistics.adf import Floats


class HedgeEstimator(StrEnum):
    """How a hedge ratio is estimated."""

    OLS_LEVELS = "ols_levels"
    TLS_LEVELS = "tls_levels"
    OLS_CHANGES = "ols_changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """`hedge_ratio` of series (bars, 2), y and x in the tested space, bar by bar and without gaps: units of x for a unit of y.

    NaN where there is none.
    """

    meaning: str
    hedge_ratio: Callable[["Floats"], float]


def ols_levels(legs: "Floats") -> float:
    """Σ xy / Σ x² of the centred series: the slope that leaves the least squares of y (Engle and Granger 1987, first step)."""
    centred = legs - legs.mean(axis=0)
    return float(centred[:, 0] @ centred[:, 1] / (centred[:, 1] @ centred[:, 1]))


def tls_levels(legs: "Floats") -> float:
    """The slope of the first principal axis of the centred series: least squares at right angles to the line.

    Of both legs' errors alike, so that y on x and x on y are one line. In closed form (Adcock 1878), by the root that loses no
    digits: with a = Σ y² - Σ x² and b = 2 Σ xy, it is (a + √(a² + b²)) / b.
    """
    centred = legs - legs.mean(axis=0)
    y, x = centred[:, 0], centred[:, 1]
    difference, twice = float(y @ y - x @ x), 2 * float(x @ y)
    length = math.hypot(difference, twice)
    if twice == 0.0:
        return 0.0 if difference < 0 else math.nan
    return (difference + length) / twice if difference > 0 else twice / (length - difference)


def ols_changes(legs: "Floats") -> float:
    """Σ ΔyΔx / Σ (Δx)² of the centred changes: the hedge of least variance from bar to bar (Ederington 1979)."""
    return ols_levels(legs[1:] - legs[:-1])


ESTIMATORS: Mapping[HedgeEstimator, Estimator] = MappingProxyType(
    {
        HedgeEstimator.OLS_LEVELS: Estimator(
            meaning="least squares of y on x, as the test has it", hedge_ratio=ols_levels
        ),
        HedgeEstimator.TLS_LEVELS: Estimator(
            meaning="total least squares, errors of both legs alike", hedge_ratio=tls_levels
        ),
        HedgeEstimator.OLS_CHANGES: Estimator(
            meaning="least squares of y's changes on x's, least variance from bar to bar", hedge_ratio=ols_changes
        ),
    }
)
"""Every name, and what is behind it."""
