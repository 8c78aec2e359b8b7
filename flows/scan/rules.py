"""How a scan looks and what it keeps: the parameters of the flow and of the command. Imports nothing that computes, for `--help`."""

from typing import Literal

from pydantic import Field

from domain.statistics.estimators import ESTIMATORS, HedgeEstimator
from domain.statistics.statistic import STATISTICS, Statistic
from flows.common.universe_rules import UniverseRules


class ScanRules(UniverseRules):
    """How the universe is tested, and what a pair must show to be kept."""

    space: Literal["levels", "logs"] = Field(default="levels", description="Prices as they are, or their logarithms.")
    statistic: Statistic = Field(
        default=Statistic.ENGLE_GRANGER,
        description="What pairs are ranked by. "
        + "; ".join(f"{name}: {one.meaning}" for name, one in STATISTICS.items())
        + ".",
    )
    hedge_estimator: HedgeEstimator = Field(
        default=HedgeEstimator.OLS_LEVELS,
        description="The hedge ratio. " + "; ".join(f"{name}: {one.meaning}" for name, one in ESTIMATORS.items()) + ".",
    )
    criterion: Literal["aic", "bic", "t-stat", "fixed"] = Field(
        default="aic", description="How the number of lags is chosen."
    )
    lags_max: int | None = Field(default=None, ge=0, le=500, description="Most lags; empty: Schwert's rule.")
    observations_min: int = Field(default=200, ge=50, description="Fewest common candles that count as evidence.")
    gap_share_max: float = Field(default=0.02, ge=0, lt=0.5, description="Largest share of missing candles.")
    must_be_current: bool = Field(
        default=True, description="A symbol without its newest candles has a gap. False: each pair's own common window."
    )
    leg_p_min: float | None = Field(
        default=0.05, ge=0, lt=1, description="ADF p-value up to which a leg is stationary; empty: legs are not tested."
    )
    q_max: float = Field(default=0.05, gt=0, lt=1, description="Largest q-value: the share of false pairs let pass.")
    correction: Literal["by", "bh"] = Field(default="by", description="Benjamini-Yekutieli or Benjamini-Hochberg.")
    half_life_candles_min: float = Field(default=0.1, ge=0, description="Shortest half-life that is believed.")
    half_life_candles_max: float = Field(default=120, gt=0, description="Longest half-life worth waiting for.")
    sub_windows: int = Field(default=3, ge=0, le=20, description="Parts in which the hedge ratio must agree; 0: off.")
    sub_window_drift_max: float = Field(default=0.5, gt=0, description="Largest difference of a part, as a share.")
    holdout_share: float = Field(default=0.25, ge=0, le=0.5, description="Newest share that no fit sees.")
    holdout_z_max: float = Field(default=4, gt=0, description="Largest |z| out of sample.")
    taker_fee_bps: float = Field(default=5, ge=0, description="Fee on each of the four fills.")
    half_spread_bps: float = Field(default=0.5, ge=0, description="Half the spread, on each of the four fills.")
    funding_bps_per_day: float = Field(default=3, ge=0, description="Funding of each leg, always paid.")
    min_edge_ratio: float = Field(default=1, ge=0, description="The way from entry to exit over its costs; 0: off.")
    pairs_per_symbol_max: int = Field(default=3, ge=1, description="Most kept pairs that share a symbol.")
    pairs_max: int = Field(default=20, ge=1, description="Most kept pairs.")
