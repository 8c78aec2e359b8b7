"""Whether the numbers of a pair test mean anything, and what a series must bring before it is tested."""

from dataclasses import dataclass
from enum import StrEnum


class PairStatus(StrEnum):
    """One word for a pair. Only OK is ever ranked; a matrix of results holds the place in this list."""

    OK = "ok"
    TOO_SHORT = "too_short"
    GAPPY = "gappy"
    UNUSABLE = "unusable"  # Infinite, zero, negative or absurd prices (1e50), or a regression without a solution.
    CONSTANT = "constant"
    HALTED = "halted"  # Most bars do not move: a delisted or suspended contract.
    BAD_PRINT = "bad_print"  # One bar far out and back again.
    COLLINEAR = "collinear"  # One series is the other one, shifted and scaled.
    STATIONARY_LEG = "stationary_leg"  # A leg comes back by itself: the test asks what two wanderers have in common.
    EXCLUDED = "excluded"  # By an economic prefilter, before anything was tested.


STATUSES = tuple(PairStatus)
CODES = {status: code for code, status in enumerate(STATUSES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """What a series must bring. `leg_p_min`: ADF p-value at or below which a leg is stationary; None: legs are not tested."""

    observations_min: int = 200
    gap_share_max: float = 0.02
    must_be_current: bool = True
    """The common window lasts to the panel's end: what stopped trading has a gap. False: to the last bar that both have."""
    unmoved_share_max: float = 0.5
    bad_print_steps: float | None = 20.0
    """A bar that leaves and comes back by this many mean absolute steps, and 3 %, is a misprint. None: all prices are believed."""
    leg_p_min: float | None = None
