"""A job's steps as Prefect tasks: each has its name, its message and its place in the run's graph.

What the steps hand on never enters Prefect: arrays of a universe are neither hashed nor stored nor looked into.
"""

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx
from prefect import allow_failure, runtime, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import PrefectException
from prefect.states import Completed
from prefect.tasks import Task

from domain.errors import TandemError
from flows.common.progress import heard_by
from flows.common.steps import Step
from runner.exchange.errors import ExchangeError, OutcomeUnknown, Refused

READ_RETRIES_AFTER_SECONDS = [5.0, 30.0]
"""Of a read that the exchange did not answer. Each try is patient by itself; this outlives a short outage."""

_Result = TypeVar("_Result")


class StepOverdue(TandemError):
    """A step took longer than it may."""


class _Work(Generic[_Result]):
    """What a step does, and what came of it. Opaque on purpose: Prefect looks into everything that looks like a collection."""

    def __init__(self, step: Step, work: Callable[[], _Result], message: Callable[[_Result], str]) -> None:
        self._step, self._work, self._message = step, work, message
        self.results: list[_Result] = []

    def __call__(self) -> State[Any]:
        with heard_by(_ProgressArtifact(self._step.name)):
            result = self._work()
        self.results.append(result)
        return Completed(message=self._message(result))


@task(cache_policy=NO_CACHE, persist_result=False)
def _do(work: _Work[Any]) -> State[Any]:
    return work()


class Tasks:
    """Runs one flow run's steps, one after the other. A step that failed and was coped with is a node like any other."""

    def __init__(self) -> None:
        self._last: list[State[Any]] = []

    def __call__(self, step: Step, work: Callable[[], _Result], message: Callable[[_Result], str] = str, /) -> _Result:
        """Raises: what the work raises; when it takes too long OutcomeUnknown of a read, StepOverdue of anything else."""
        box = _Work(step, work, message)
        before = [allow_failure(state) for state in self._last]
        state: State[Any] = task_of(step)(box, return_state=True, wait_for=before)
        self._last = [state]
        if not state.is_completed():
            if state.name == "TimedOut":
                late = f"{step.name}: not done within {step.seconds_max:g} s"
                raise OutcomeUnknown(late) if step.is_read else StepOverdue(late)
            state.result()
        return box.results[-1]


def task_of(step: Step) -> Task[[_Work[Any]], State[Any]]:
    """The step's own task: only reads are tried again."""
    return _do.with_options(
        name=step.name,
        task_run_name=step.name,
        timeout_seconds=step.seconds_max,
        retries=len(READ_RETRIES_AFTER_SECONDS) if step.is_read else 0,
        retry_delay_seconds=READ_RETRIES_AFTER_SECONDS if step.is_read else 0,
        retry_condition_fn=_may_pass,
    )


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """No answer may become one. A refusal, a bad file and a bug stay what they are."""
    problem = state.result(raise_on_failure=False)
    return isinstance(problem, ExchangeError) and not isinstance(problem, Refused)


class _ProgressArtifact:
    """How far a long step has come, for the UI. A server that does not take it is left alone: the work goes on."""

    def __init__(self, step: str) -> None:
        flow = runtime.flow_run.flow_name or "run"
        self._key = re.sub(r"[^a-z0-9]+", "-", f"{flow}-{step}-progress".lower())
        self._artifact: Any = None
        self._is_heard = True

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._is_heard:
            return
        share, text = 100.0 * done / max(total, 1), f"{what}: {done} of {total}"
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(share, key=self._key, description=text)
            else:
                update_progress_artifact(self._artifact, share, description=text)
        except (PrefectException, httpx.HTTPError, OSError, RuntimeError):
            self._is_heard = False
