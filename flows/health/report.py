"""A health check for people: a row a probe, the worst first, and one line over all of them."""

from typing import Any

from flows.health.job import WORST_LAST, Health
from flows.health.probes import ProbeStatus


def table_of(result: Health) -> list[dict[str, Any]]:
    """One row a probe, the worst first."""
    ordered = sorted(result.probes, key=lambda probe: -WORST_LAST.index(probe.status))
    return [{"probe": probe.name, "status": str(probe.status), "detail": probe.detail} for probe in ordered]


def summary_of(result: Health) -> str:
    """One line for people."""
    bad = [f"{probe.name}: {probe.detail}" for probe in result.probes if probe.status is result.verdict]
    if result.verdict is ProbeStatus.OK:
        return f"ok: {len(result.probes)} probes"
    return f"{result.verdict}: {'; '.join(bad)}"
