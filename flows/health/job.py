"""The health check: every probe once, the worst of them is the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.entries import HealthChecked
from flows.common import facts
from flows.common.bars import Say
from flows.health import probes
from flows.health.probes import Probe, ProbeStatus
from flows.health.rules import HealthRules
from runner.config import Settings

WORST_LAST = (ProbeStatus.OK, ProbeStatus.DEGRADED, ProbeStatus.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One check."""

    run_id: str
    probes: tuple[Probe, ...]

    @property
    def verdict(self) -> ProbeStatus:
        return max((probe.status for probe in self.probes), key=WORST_LAST.index)

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
    pid = probes.runner_pid(settings)
    found = [
        *probes.runner(settings, pid=pid, is_wanted=is_wanted),
        *probes.records(settings, rules, runs=pid is not None, now_ms=facts.now_ms()),
        probes.exchange(settings, rules),
        probes.pairs_file(settings, pairs_path),
        probes.disk(settings, rules),
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
