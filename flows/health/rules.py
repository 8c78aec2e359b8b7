"""When a health check calls something bad: parameters of flow and command. Imports nothing that computes, for `--help`."""

from pydantic import BaseModel, ConfigDict, Field


class HealthRules(BaseModel):
    """When something is called bad."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ledger_lag_rows_max: int = Field(default=1000, ge=0, description="Rows the ledger may be behind the journal …")
    ledger_lag_seconds_max: float = Field(default=30, gt=0, description="… and for how long, in seconds.")
    journal_silence_seconds_max: float = Field(
        default=120, gt=0, description="How long a living runner may write nothing, in seconds."
    )
    clock_skew_ms_max: float = Field(
        default=1000, gt=0, description="Distance to the exchange's clock, in milliseconds."
    )
    disk_free_gib_min: float = Field(
        default=1.0, gt=0, description="Free disk space, in GiB; a quarter of it is failure."
    )
