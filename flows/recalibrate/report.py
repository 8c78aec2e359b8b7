"""A recalibration for people: one row a pair, the incumbent's numbers beside the new ones, and one line over all of it."""

from typing import Any

from domain.statistics.decisions import Action, Code, Decision
from flows.recalibrate.result import Recalibration


def table_of(result: Recalibration) -> list[dict[str, Any]]:
    """One row a pair: the file's own first, then what came in, then what was near."""
    return [_row(decision) for decision in result.decisions]


def _row(decision: Decision) -> dict[str, Any]:
    before, found = decision.before, decision.found
    old = None if before is None else before.fit
    return {
        "pair": decision.pair_id,
        "decision": str(decision.action),
        "reason": decision.reason,  # Before the figures: a browser shows the first columns, and some rows have no figures.
        "hedge ratio before": _figures(None if before is None else before.hedge_ratio),
        "hedge ratio new": _figures(None if found is None else found.hedge_ratio),
        "half-life before": _figures(None if old is None else old.half_life_bars, 3),
        "half-life": _figures(None if found is None else found.half_life_bars, 3),
        "t before": _figures(None if old is None else old.t_stat, 4),
        "t": _figures(None if found is None else found.t_stat, 4),
        "p": _share(None if found is None else found.p_value),
        "q": _share(None if found is None else found.q_value),
        "edge / cost": _figures(None if found is None else found.edge_ratio, 3),
        "candles": "" if found is None else found.observations,
        "enabled": _enabled(decision),
    }


def _enabled(decision: Decision) -> str:
    if decision.after is None:
        return "" if decision.action is Action.REJECT else "gone"
    return "yes" if decision.after.enabled else "closes only"


def _figures(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _share(value: float | None) -> str:
    """A p or q; beyond the edge of MacKinnon's surface, at about 2e-29, it says 0, which is no probability."""
    return "< 1e-28" if value is not None and value < 1e-28 else _figures(value, 3)


def summary_of(result: Recalibration) -> str:
    """One line for people: what was looked at, what was decided, what became of the file."""
    scanned = result.verdict.scanned
    counts = decisions_of(result)
    untested = sum(Code.NOT_TESTED in one.codes for one in result.verdict.decisions)
    if untested:
        counts += f", {untested} of them not tested"
    gates = result.rules
    family = (
        f"{scanned.family} directions of {len(result.evidence.panel.symbols)} symbols"
        f" ({gates.correction.upper()}, level {gates.q_max:g})"
    )
    return f"{result.window}: {family}: {counts}; {end_of(result)}"


def decisions_of(result: Recalibration) -> str:
    """How many pairs were decided on which way."""
    return ", ".join(f"{count} {word}" for word, count in result.counts.items() if count) or "nothing to decide"


def end_of(result: Recalibration) -> str:
    """What became of the file."""
    if result.is_refused:
        return "refused, nothing was written: " + "; ".join(map(str, result.verdict.refusals))
    if result.dry_run:
        return "dry run, nothing written"
    if result.written_version is None:
        return "no row changed, the file stays as it was"
    return f"pairs file is now version {result.written_version}"
