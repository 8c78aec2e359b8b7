"""Who does the testing of a universe that is too large for one process."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from domain.statistics.engle_granger import Spread

SpreadOver = Callable[[int], AbstractContextManager[Spread | None]]
"""Who tests so many symbols instead of this process, as long as the context lasts; None: nobody else."""


def nobody_else(_: int) -> AbstractContextManager[None]:
    return nullcontext()
