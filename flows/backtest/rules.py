"""What a backtest replays, at what cost, and how it recalibrates on the way: the parameters of the flow and of the command."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.recalibrate.rules import CalibrationRules


class BacktestRules(BaseModel):
    """What is replayed, and at what cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    timeframe: str = Field(
        default="",
        pattern=r"^([1-9]\d{0,2}[mhd])?$",
        description="The bar. Empty: signal.bar_seconds of the configuration, or the file's own.",
    )
    days: float | None = Field(
        default=None, gt=0, le=730, description="How far back is traded, in days. Empty: 3, or all of the file."
    )
    lookback_bars: int | None = Field(
        default=None, ge=3, le=100_000, description="Closed bars behind mean and deviation. Empty: as configured."
    )
    half_spread_bps: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Half the bid-ask spread paid on every fill, in basis points. Quotes have their own.",
    )
    taker_fee_bps: float | None = Field(
        default=None, ge=0, le=100, description="Fee on every fill, in basis points. Empty: as configured."
    )
    slippage_bps: float = Field(
        default=0, ge=0, le=100, description="Paid beyond the spread on every fill, in basis points."
    )
    latency_bars: int = Field(
        default=1, ge=1, le=1000, description="Bars (or quotes) from a decision to its fill; 1: the next one."
    )
    latency_ms: int = Field(default=0, ge=0, le=3_600_000, description="… and at least so many milliseconds.")
    min_edge_ratio: float | None = Field(
        default=None, ge=0, description="Expected reversion over costs that an entry needs. Empty: as configured."
    )
    cost_scales: list[Annotated[float, Field(ge=0, le=1000)]] = Field(
        default=[0.0, 1.0, 2.0], max_length=20, description="The same again with so many times the fee, decided anew."
    )
    walk_forward: bool = Field(
        default=False, description="Recalibrate on the way as the nightly flow would, knowing only what was known then."
    )
    recalibrate_every_days: int = Field(default=1, ge=1, le=365, description="Days from one recalibration to the next.")
    calibration: CalibrationRules = Field(
        default=CalibrationRules(),
        description="How the walk recalibrates; its window is the formation window. listed: from no pairs at all.",
    )
    prices: str = Field(
        default="",
        description="A .parquet or .csv of klines or quotes, instead of the exchange's bars; relative to the project folder.",
    )
    funding: str = Field(default="", description="A .parquet or .csv of funding rates (symbol, ts, rate), with prices.")
    fetch: bool = Field(default=True, description="Bring the stored bars up to date first; off: use what is stored.")
