"""When an order may be called dead: a table of what each doubt says, and properties of the whole."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.order_resolution import (
    LOOKS_MIN,
    MOVED_POSITION_MS,
    SETTLE_MS,
    STRANGE_POSITION_MS,
    Evidence,
    Resolution,
    judge,
)

D = Decimal
PROVEN = Evidence(
    past_bound_ms=1, absences=LOOKS_MIN, absent_for_ms=SETTLE_MS, is_resting=False, unexplained_executions=0, working_orders=0,
    unknown_buys=D(10), unknown_sells=D(0), position_change=D(0),
)  # fmt: skip
LONG = STRANGE_POSITION_MS


@dataclass(frozen=True)
class Seen:
    """What differs from a complete proof, and the verdict."""

    what: str
    verdict: Resolution
    changes: dict[str, Any]


V = Resolution
TABLE = [
    Seen("everything agrees", V.DEAD, {}),
    Seen("in the last millisecond of its window", V.TOO_EARLY, {"past_bound_ms": 0}),
    Seen("absent ten times, but before the bound", V.TOO_EARLY, {"past_bound_ms": -1, "absences": 10}),
    Seen("denied once or twice: said of one success in 800", V.LOOK_AGAIN, {"absences": LOOKS_MIN - 1}),
    Seen("denied often within a moment: one lagging replica", V.LOOK_AGAIN, {"absences": 9, "absent_for_ms": 10}),
    Seen("open orders did not answer", V.LOOK_AGAIN, {"is_resting": None}),
    Seen("executions did not answer", V.LOOK_AGAIN, {"unexplained_executions": None}),
    Seen("positions did not answer", V.LOOK_AGAIN, {"position_change": None}),
    Seen("it rests", V.RESTING, {"is_resting": True}),
    Seen("an execution nobody claims", V.EXECUTION_UNEXPLAINED, {"unexplained_executions": 1}),
    Seen("nor does time explain it", V.EXECUTION_UNEXPLAINED, {"unexplained_executions": 1, "absent_for_ms": 9 * LONG}),
    Seen("another order of ours is working", V.IN_FLIGHT, {"working_orders": 1}),
    Seen("the position grew by all of it", V.POSITION_MOVED, {"position_change": D(10)}),
    Seen("the position grew by a part of it", V.POSITION_MOVED, {"position_change": D("0.001")}),
    Seen("a minute does not undo that", V.POSITION_MOVED, {"position_change": D(10), "absent_for_ms": MOVED_POSITION_MS - 1}),
    Seen("the list of trades would show it by now", V.DEAD, {"position_change": D(10), "absent_for_ms": MOVED_POSITION_MS}),
    Seen("the position shrank, which a purchase cannot do", V.POSITION_STRANGE, {"position_change": D(-1)}),
    Seen("the position grew by more than was ordered", V.POSITION_STRANGE, {"position_change": D(11)}),
    Seen("somebody else's, and long enough", V.DEAD, {"position_change": D(-1), "absent_for_ms": LONG}),
    Seen("a purchase and a sale could cancel out", V.POSITION_STRANGE, {"unknown_sells": D(10)}),
    Seen("both absent for a minute", V.DEAD, {"unknown_sells": D(10), "absent_for_ms": LONG}),
    Seen("a sale moved it", V.POSITION_MOVED, {"unknown_buys": D(0), "unknown_sells": D(10), "position_change": D(-4)}),
]  # fmt: skip


@pytest.mark.parametrize("seen", TABLE, ids=lambda seen: seen.what)
def test_each_doubt(seen: Seen) -> None:
    assert judge(msgspec.structs.replace(PROVEN, **seen.changes)) is seen.verdict


QUANTITIES = st.decimals(min_value=0, max_value=100, places=2)
EVIDENCE = st.builds(
    Evidence,
    past_bound_ms=st.integers(-10_000, 100_000),
    absences=st.integers(0, 20),
    absent_for_ms=st.integers(0, 400_000),
    is_resting=st.one_of(st.none(), st.booleans()),
    unexplained_executions=st.one_of(st.none(), st.integers(0, 3)),
    working_orders=st.integers(0, 2),
    unknown_buys=QUANTITIES,
    unknown_sells=QUANTITIES,
    position_change=st.one_of(st.none(), st.decimals(min_value=-200, max_value=200, places=2)),
)


@given(EVIDENCE)
def test_dead_needs_every_proof(seen: Evidence) -> None:
    if judge(seen) is not Resolution.DEAD:
        return
    assert seen.past_bound_ms > 0
    assert seen.absences >= LOOKS_MIN
    assert seen.absent_for_ms >= SETTLE_MS
    assert seen.is_resting is False
    assert seen.unexplained_executions == 0
    assert seen.working_orders == 0
    assert seen.position_change is not None
    moved = seen.position_change
    as_if_executed = -seen.unknown_sells <= moved <= seen.unknown_buys
    assert moved == 0 or seen.absent_for_ms >= (MOVED_POSITION_MS if as_if_executed else STRANGE_POSITION_MS)


@given(EVIDENCE, st.sampled_from(("is_resting", "unexplained_executions", "position_change")))
def test_a_question_without_an_answer_never_kills(seen: Evidence, unanswered: str) -> None:
    assert judge(msgspec.structs.replace(seen, **{unanswered: None})) is not Resolution.DEAD


@given(EVIDENCE, st.integers(0, 10_000), st.integers(0, 5))
def test_more_looking_never_revives(seen: Evidence, later_ms: int, more: int) -> None:
    """The same picture for longer: what was dead stays dead."""
    later = msgspec.structs.replace(
        seen,
        past_bound_ms=seen.past_bound_ms + later_ms,
        absences=seen.absences + more,
        absent_for_ms=seen.absent_for_ms + later_ms,
    )
    assert judge(seen) is not Resolution.DEAD or judge(later) is Resolution.DEAD
