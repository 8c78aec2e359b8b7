"""What a scan ranks by, by name. The one file that another statistic is added to: a name, a function, a line in the table.

One that needs numbers which no test has yet adds them to `PairTests` and to what finds them (`spreads.py`, or a file of its own).
Imports nothing that computes: the rules of the flows take their choices from here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain.statistics.adf import Floats
    from domain.statistics.engle_granger import PairTests

JOHANSEN_TRACE_MIN = 15.4943
"""The 95 % quantile of Johansen's trace of two series with a constant, for no common trend (MacKinnon, Haug and Michelis 1999)."""


class Statistic(StrEnum):
    """By whose evidence pairs are ranked and corrected for the number of looks."""

    ENGLE_GRANGER = "engle_granger"
    JOHANSEN_CONFIRMED = "johansen_confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """`p_values` of every direction [y, x] of the tests, NaN where there are no numbers; never too small by chance alone."""

    meaning: str
    p_values: Callable[["PairTests"], "Floats"]


def engle_granger(tests: "PairTests") -> "Floats":
    """MacKinnon's p of the residual's t."""
    return tests.p_value


def johansen_confirmed(tests: "PairTests") -> "Floats":
    """The same, and 1 where Johansen's trace does not speak against "no cointegration" at 5 %: never smaller than either asks for."""
    found = tests.p_value.copy()
    found[tests.johansen_trace <= JOHANSEN_TRACE_MIN] = 1.0
    return found


STATISTICS: Mapping[Statistic, Ranking] = MappingProxyType(
    {
        Statistic.ENGLE_GRANGER: Ranking(meaning="p of the Engle-Granger test", p_values=engle_granger),
        Statistic.JOHANSEN_CONFIRMED: Ranking(
            meaning="the same, only where Johansen's trace agrees at 5 %", p_values=johansen_confirmed
        ),
    }
)
"""Every name, and what is behind it."""
