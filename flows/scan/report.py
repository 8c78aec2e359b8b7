"""A scan for people: one row a ranked pair, best first, and one line over all of it."""

import math
from typing import Any

from domain.statistics.scan import ScanResult
from domain.statistics.status import STATUSES, PairStatus
from flows.scan.job import Scan


def table_of(found: Scan, *, rows_max: int) -> list[dict[str, Any]]:
    """One row a ranked pair, best first: for a terminal and an artifact."""
    result, tests = found.result, found.result.tests
    notes = notes_of(result)
    rows: list[dict[str, Any]] = []
    seen: set[frozenset[int]] = set()
    for y, x in result.ranked().tolist():
        if len(rows) == rows_max:
            break
        if frozenset((y, x)) in seen:
            continue
        seen.add(frozenset((y, x)))
        rows.append(
            {
                "y": tests.symbols[y],
                "x": tests.symbols[x],
                "n": int(tests.bars[y, x]),
                "hedge_ratio": float(tests.hedge_ratio[y, x]),
                "t_stat": float(tests.t_stat[y, x]),
                "p_value": float(result.p_value[y, x]),
                "q_value": float(result.q_value[y, x]),
                "half_life": None if math.isnan(tests.half_life[y, x]) else float(tests.half_life[y, x]),
                "reason": notes.get((y, x), result.reason_of(y, x)),
            }
        )
    return rows


def excluded_lines(found: Scan, *, most: int = 20) -> list[str]:
    """Which symbols were not looked at, and why; a line each, and one for those that are too many."""
    lines = [f"left out: {symbol}: {reason}" for symbol, reason in sorted(found.result.excluded_symbols.items())]
    return lines if len(lines) <= most else [*lines[:most], f"left out: {len(lines) - most} more"]


def notes_of(result: ScanResult) -> dict[tuple[int, int], str]:
    """The refusals of the gates, with their facts."""
    return {
        (survivor.y, survivor.x): f"{survivor.rejection.reason}: {survivor.rejection.facts}"
        for survivor in result.survivors
        if survivor.rejection is not None
    }


def summary_of(found: Scan) -> str:
    """One line for people."""
    result = found.result
    tests = result.tests
    count = len(tests.symbols)
    unfit = {
        str(status): int((tests.status == code).sum()) - (count if status is PairStatus.EXCLUDED else 0)
        for code, status in enumerate(STATUSES)
        if status is not PairStatus.OK
    }
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(unfit.items()) if number) or "none"
    gates = result.options.gates
    formation = f"{result.formation_bars} bars" + (f", {result.holdout_bars} held out" if result.holdout_bars else "")
    passed = len(result.survivors)
    filtered = f"; {len(result.excluded_symbols)} symbols left out beforehand" if result.excluded_symbols else ""
    return (
        f"{count * (count - 1)} directions of {count} symbols over {formation} in {found.seconds:.1f} s: {result.family} ranked,"
        f" {passed} pairs with q ≤ {gates.q_max:g} ({str(gates.correction).upper()} over all of them), {len(result.kept)} kept;"
        f" not ranked: {statuses}{filtered}"
    )
