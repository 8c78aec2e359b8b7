"""The gates over a whole recalibration: enough data, not too much changed at once, never an empty file over a full one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from domain.statistics.decisions import Action, Code, Decision, Finding, RecalibrationRules, Refusal, RunGate

_MANY = 1_000_000


def retired(decided: Sequence[Decision]) -> int:
    """How many were open for entries and are not any more."""
    return sum(one.action is Action.RETIRE and one.before is not None and one.before.enabled for one in decided)


def turnover_max(decided: Sequence[Decision], rules: RecalibrationRules) -> int:
    """How many pairs may be added and retired at once; a file without pairs is filled."""
    if not decided:
        return _MANY
    return max(1, math.floor(rules.max_turnover * len(decided))) if rules.max_turnover > 0 else 0


def never_emptied(decided: Sequence[Decision]) -> list[Decision]:
    """Where nothing would be left, what would be dropped is closed for entries instead."""
    if any(one.after is not None for one in decided):
        return list(decided)
    found = []
    for one in decided:
        assert one.before is not None
        instead = Finding(code=Code.NEVER_EMPTY, facts="the file would be empty; allow_empty drops it")
        findings = (*one.findings[:-1], instead, Finding(code=Code.CLOSE_ONLY))
        action = Action.RETIRE if one.before.enabled else Action.KEEP
        found.append(replace(one, findings=findings, action=action, after=one.before.closed()))
    return found


def refusals(
    decided: Sequence[Decision], rules: RecalibrationRules, *, symbols: int, unreached: int
) -> Iterator[Refusal]:
    """The gates over the whole. Additions keep within the turnover by themselves; retirements are too grave to choose among."""
    untested = sum(Code.NOT_TESTED in one.codes for one in decided)
    if decided and untested > rules.untested_share_max * len(decided):
        facts = f"{untested} of {len(decided)} pairs could not be tested, at most {rules.untested_share_max:.0%} may be"
        yield Refusal(gate=RunGate.NOT_ENOUGH_DATA, facts=facts)
    elif unreached > rules.untested_share_max * (symbols + unreached) or symbols < 2:
        facts = (
            f"{unreached} of {symbols + unreached} symbols have no bars, at most {rules.untested_share_max:.0%} may be"
        )
        yield Refusal(gate=RunGate.NOT_ENOUGH_DATA, facts=facts)
    count, limit = retired(decided), turnover_max(decided, rules)
    if count > limit:
        facts = (
            f"{count} of {len(decided)} pairs would be retired, at most {limit} at once ({rules.max_turnover:.0%});"
            " read why in the table, then allow it with a larger max_turnover"
        )
        yield Refusal(gate=RunGate.TURNOVER_EXCEEDED, facts=facts)
