"""A ladder of pauses, prices or sizes: one rung a try, and the last one repeats for ever."""

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


def step_of(ladder: Sequence[_T], tries: int) -> _T:
    """The rung after so many tries, from 0; the last one when there are no more. Raises: IndexError for an empty ladder."""
    return ladder[min(tries, len(ladder) - 1)]
