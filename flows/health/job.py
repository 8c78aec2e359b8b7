"""The health check: every probe once, the worst of them is the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.entries import HealthChecked
from flows.common import facts
from flows.common.bars import Say
from flows.common.steps import MINUTES, Run, Step, plainly
from flows.health import probes
from flows.health.probes import Probe, ProbeStatus
from flows.health.rules import HealthRules
from runner.config import Settings

_PROBE_SECONDS_MAX = 2 * MINUTES
"""No probe raises and each is patient for seconds; a probe that hangs is a fault of ours, and the run says so."""
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
    run: Run = plainly,
) -> Health:
    """Probe everything and record it. `is_wanted` false: a runner that does not run is fine. Raises: ConfigError."""
    pid = probes.runner_pid(settings)
    steps: dict[str, Callable[[], list[Probe]]] = {
        "runner": lambda: probes.runner(settings, pid=pid, is_wanted=is_wanted),
        "records": lambda: probes.records(settings, rules, runs=pid is not None, now_ms=facts.now_ms()),
        "exchange": lambda: [probes.exchange(settings, rules)],
        "pairs file": lambda: [probes.pairs_file(settings, pairs_path)],
        "disk": lambda: [probes.disk(settings, rules)],
    }
    found = [probe for name, look in steps.items() for probe in run(_probe(name), look, seen)] + [*extra]
    for probe in found:
        say(f"{probe.status:>8}  {probe.name}: {probe.detail}")
    run(RECORD, lambda: _recorded(settings, run_id, found), lambda count: f"{count} probes for the ledger")
    return Health(run_id=run_id, probes=tuple(found))


RECORD = Step(name="record")


def _probe(name: str) -> Step:
    return Step(name=name, seconds_max=_PROBE_SECONDS_MAX)


def seen(found: Sequence[Probe]) -> str:
    """What a step's probes saw, in one line."""
    return "; ".join(f"{probe.status}: {probe.detail}" for probe in found)


def _recorded(settings: Settings, run_id: str, found: Sequence[Probe]) -> int:
    at_ms = facts.now_ms()
    facts.record(
        settings,
        [
            HealthChecked(at_ms=at_ms, run_id=run_id, name=probe.name, status=str(probe.status), detail=probe.detail)
            for probe in found
        ],
    )
    return len(found)
