"""When the health flow starts the live runner again: one row, one story, newest run first."""

import pytest

from flows.health.restart import LiveRun, judge
from flows.stack.identity import ACCOUNT_BUSY


def _run(
    state: str, *, age: float = 600, message: str = "", name: str = "", process: bool = False, run_id: str = "r1"
) -> LiveRun:
    return LiveRun(
        run_id=run_id, state_type=state, state_name=name, message=message, state_age_seconds=age, has_process=process
    )


TWIN = _run("CANCELLED", name=ACCOUNT_BUSY, message="the words are for people", run_id="twin")

# enabled, who holds the lock, runs -> start?, wanted?
STORIES = [
    ("alive", True, 77, [_run("RUNNING", process=True)], False, True),
    ("alive although the server says crashed", True, 77, [_run("CRASHED")], False, True),
    ("alive without a server-side run (tandem run)", True, 77, [], False, True),
    ("switched off", False, None, [_run("CRASHED")], False, False),
    ("never started", True, None, [], False, False),
    ("crashed", True, None, [_run("CRASHED")], True, True),
    ("crashed, a refused twin came after", True, None, [TWIN, _run("CRASHED")], True, True),
    ("ghost: running by the server, no process", True, None, [_run("RUNNING")], True, True),
    ("running, just begun", True, None, [_run("RUNNING", age=20)], False, True),
    ("running, between two runners of its own", True, None, [_run("RUNNING", process=True)], False, True),
    ("cancelled by a person", True, None, [_run("CANCELLED")], False, False),
    ("ended by itself", True, None, [_run("COMPLETED")], False, False),
    ("being cancelled", True, None, [_run("CANCELLING")], False, False),
    ("already scheduled", True, None, [_run("SCHEDULED"), _run("CRASHED", run_id="old")], False, True),
    ("failed: a person must look", True, None, [_run("FAILED", message="bad config")], False, True),
]


@pytest.mark.parametrize(
    ("story", "enabled", "holder", "runs", "start", "wanted"), STORIES, ids=[r[0] for r in STORIES]
)
def test_stories(
    *, story: str, enabled: bool, holder: int | None, runs: list[LiveRun], start: bool, wanted: bool
) -> None:
    verdict = judge(enabled=enabled, lock_holder=holder, runs=runs)
    assert (verdict.start, verdict.is_wanted) == (start, wanted)
    assert verdict.reason


def test_the_same_death_is_followed_by_one_start() -> None:
    first, second = (judge(enabled=True, lock_holder=None, runs=[_run("CRASHED", age=age)]) for age in (300, 600))
    assert first.once == second.once != ""


def test_only_a_ghost_is_marked_crashed() -> None:
    assert judge(enabled=True, lock_holder=None, runs=[_run("RUNNING")]).mark_crashed == "r1"
    assert judge(enabled=True, lock_holder=None, runs=[_run("CRASHED")]).mark_crashed is None
