"""Whether the live runner must be started again: level-triggered, from what is, not from what happened.

The platform's crash automation is quick but can be 15 minutes late or miss altogether; the health flow asks this every few
minutes. It never starts a second runner: a held journal lock is life, whatever the server believes, and a run that waits or
has only just begun is given its time. Who stopped the runner on purpose (cancelled it, or it ended by itself) is obeyed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.stack.identity import ACCOUNT_BUSY

STARTING_SECONDS = 180.0
"""A run has this long from its last change of state to take the journal's lock."""

_WAITING = frozenset({"SCHEDULED", "PENDING"})
_ON_ITS_WAY_OUT = frozenset({"CANCELLING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """One run of the deployment `live`, as the server sees it."""

    run_id: str
    state_type: str
    state_name: str
    message: str
    state_age_seconds: float
    has_process: bool  # Of this machine, told by pid and start time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """What to do, and why. `once` makes the start idempotent: the same dead run is followed by one new run only."""

    start: bool
    is_wanted: bool
    is_alive: bool  # The journal's lock is held: a runner lives.
    reason: str
    once: str = ""
    mark_crashed: str | None = None  # A run that the server takes for running although its process is gone.


def judge(*, enabled: bool, lock_holder: int | None, runs: Sequence[LiveRun]) -> Restart:
    """`runs`: newest first. `enabled`: the Prefect variable `live_enabled`; unset means yes."""
    if lock_holder is not None:
        unwanted = "" if enabled else "; live_enabled is off: cancel the run to stop it"
        return Restart(start=False, is_wanted=enabled, is_alive=True, reason=f"alive (process {lock_holder}){unwanted}")
    if not enabled:
        return Restart(start=False, is_wanted=False, is_alive=False, reason="switched off by the variable live_enabled")
    newest = next((run for run in runs if not _is_refused_twin(run)), None)
    if newest is None:
        return Restart(
            start=False, is_wanted=False, is_alive=False, reason="never started here; run the deployment `live` once"
        )
    age = f"{newest.state_age_seconds:.0f} s"
    if newest.state_type in _WAITING:
        return Restart(start=False, is_wanted=True, is_alive=False, reason=f"a run is waiting to start for {age}")
    if newest.state_type in _ON_ITS_WAY_OUT:
        return Restart(start=False, is_wanted=False, is_alive=False, reason="a run is being cancelled")
    if newest.state_type in {"CANCELLED", "COMPLETED"}:
        return Restart(
            start=False,
            is_wanted=False,
            is_alive=False,
            reason=f"stopped on purpose: {newest.message or newest.state_type}",
        )
    if newest.state_type == "FAILED":
        return Restart(
            start=False,
            is_wanted=True,
            is_alive=False,
            reason=f"the last run failed, a person must look: {newest.message}",
        )
    if newest.state_type == "RUNNING" and newest.has_process:
        return Restart(
            start=False, is_wanted=True, is_alive=False, reason="its process lives and starts its runner anew by itself"
        )
    if newest.state_type == "RUNNING" and newest.state_age_seconds < STARTING_SECONDS:
        return Restart(start=False, is_wanted=True, is_alive=False, reason=f"a run began {age} ago and is starting")
    is_ghost = newest.state_type == "RUNNING"
    what = "is called running, but its process is gone" if is_ghost else "crashed"
    return Restart(
        start=True,
        is_wanted=True,
        is_alive=False,
        reason=f"the last run {what} ({age} ago); starting it again",
        once=f"health-after-{newest.run_id}",
        mark_crashed=newest.run_id if is_ghost else None,
    )


def _is_refused_twin(run: LiveRun) -> bool:
    return run.state_type == "CANCELLED" and run.state_name == ACCOUNT_BUSY
