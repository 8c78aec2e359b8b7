"""How strict a reconciliation is: the parameters of the flow and of the command. Imports nothing that computes, for `--help`."""

from pydantic import BaseModel, ConfigDict, Field


class ReconciliationRules(BaseModel):
    """How strict, and how patient."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tolerance: float = Field(
        default=0.0, ge=0, lt=0.1, description="Difference that is let pass, as a share of the larger quantity."
    )
    settle_seconds: float = Field(
        default=3.0, ge=0, le=120, description="Pause between the two looks; only a difference that outlives it counts."
    )
