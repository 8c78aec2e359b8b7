"""The health check: every probe once, the worst of them is the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.entries import HealthChecked
from flows.common import facts
from flows.common.bars import Say
from flows.health import probes
from flows.health.probes import HealthLimits, Probe, ProbeStatus
from runner.config import Settings

_WORST_LAST = (ProbeStatus.OK, ProbeStatus.DEGRADED, ProbeStatus.FAILED)


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

    def limits(self) -> HealthLimits:
        return HealthLimits(**self.model_dump())


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One check."""

    run_id: str
    probes: tuple[Probe, ...]

    @property
    def verdict(self) -> ProbeStatus:
        return max((probe.status for probe in self.probes), key=_WORST_LAST.index)

    @property
    def has_failed(self) -> bool:
        return self.verdict is ProbeStatus.FAILED


def check(
    settings: Settings,
    pairs_path: Path,
    rules: HealthRules,
    *,
    run_id: str,
    say: Say,
    is_wanted: bool = True,
    extra: Sequence[Probe] = (),
) -> Health:
    """Probe everything and record it. `is_wanted` false: a runner that does not run is fine. Raises: ConfigError."""
    limits = rules.limits()
    pid = probes.runner_pid(settings)
    found = [
        *probes.runner(settings, pid=pid, is_wanted=is_wanted),
        *probes.records(settings, limits, runs=pid is not None, now_ms=facts.now_ms()),
        probes.exchange(settings, limits),
        probes.pairs_file(settings, pairs_path),
        probes.disk(settings, limits),
        *extra,
    ]
    at_ms = facts.now_ms()
    for probe in found:
        say(f"{probe.status:>8}  {probe.name}: {probe.detail}")
    facts.record(
        settings,
        [
            HealthChecked(at_ms=at_ms, run_id=run_id, name=probe.name, status=str(probe.status), detail=probe.detail)
            for probe in found
        ],
    )
    return Health(run_id=run_id, probes=tuple(found))


def table_of(result: Health) -> list[dict[str, Any]]:
    """One row a probe, the worst first."""
    ordered = sorted(result.probes, key=lambda probe: -_WORST_LAST.index(probe.status))
    return [{"probe": probe.name, "status": str(probe.status), "detail": probe.detail} for probe in ordered]


def summary_of(result: Health) -> str:
    """One line for people."""
    bad = [f"{probe.name}: {probe.detail}" for probe in result.probes if probe.status is result.verdict]
    if result.verdict is ProbeStatus.OK:
        return f"ok: {len(result.probes)} probes"
    return f"{result.verdict}: {'; '.join(bad)}"
