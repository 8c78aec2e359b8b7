"""What a recalibration may do: the parameters of the flow and of the command. Imports nothing that computes, for `--help`."""

import hashlib
from typing import Literal

from pydantic import Field

from flows.scan.rules import ScanRules


class CalibrationRules(ScanRules):
    """Which pairs are tested, what a pair must show to stay or to come in, and how much may change at once."""

    universe: Literal["configured", "listed"] = Field(
        default="configured",
        description="configured: the pairs of the file, nothing is added. listed: all trading contracts, pairs come and go.",
    )
    space: Literal["levels"] = Field(default="levels", description="The runner trades price levels.")
    p_value_max: float = Field(
        default=0.05, gt=0, lt=1, description="Engle–Granger p-value above which a pair of the file is unfit."
    )
    hedge_drift_max: float = Field(
        default=0.25, gt=0, description="Largest change of the hedge ratio in one run, as a share of the old one."
    )
    disable_unfit: bool = Field(default=True, description="Open no new trades in a pair that no longer passes.")
    max_turnover: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Share of the file's pairs that may be added and retired at once, one at least; beyond it nothing is written.",
    )
    untested_share_max: float = Field(
        default=0.5, ge=0, le=1, description="Largest share of pairs, and of symbols, without usable bars."
    )
    allow_empty: bool = Field(
        default=False, description="Let the file become empty. False: its last pairs stay in it and close only."
    )

    @property
    def sha256(self) -> str:
        """Of every rule: what the same bars are judged by."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
