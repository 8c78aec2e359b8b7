"""A job is a sequence of steps. A command runs them one after the other; a flow runs each as a Prefect task of the same name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

_Result = TypeVar("_Result")

MINUTES, HOURS = 60.0, 3_600.0
"""Of a step's time limit, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, as a person sees it.

    `is_read`: it only asks the exchange, so trying it again can do no harm. `seconds_max`: never of a step that writes, for half of
    a write is worse than a late one.
    """

    name: str
    is_read: bool = False
    seconds_max: float | None = None


class Run(Protocol):
    """Whoever runs a job's steps."""

    def __call__(self, step: Step, work: Callable[[], _Result], message: Callable[[_Result], str] = ..., /) -> _Result:
        """Do the work and return what came of it; `message` says that to people. Raises: what the work raises."""


def plainly(step: Step, work: Callable[[], _Result], message: Callable[[_Result], str] = str, /) -> _Result:  # noqa: ARG001
    """Without a server: the work alone."""
    return work()
