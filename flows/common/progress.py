"""Progress of long work: a bar on a terminal, a line now and then elsewhere, nothing for what is over within a second."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE_SECONDS = 1.0
_LINE_EVERY_SECONDS = 5.0


class Bar:
    """Called with (done, total); a context manager, so that the terminal is left as it was."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what, self._say = what, say
        self._started = self._said = time.monotonic()
        console = Console(stderr=True)
        self._bar = (
            Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=console, transient=True,
            )
            if console.is_terminal
            else None
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=None) if self._bar is not None else None

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._started < _PATIENCE_SECONDS:
            return
        if self._bar is not None and self._task is not None:
            self._bar.start()
            self._bar.update(self._task, completed=done, total=total)
        elif now - self._said >= _LINE_EVERY_SECONDS:
            self._said = now
            self._say(f"{self._what}: {done} of {total}, {now - self._started:.0f} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
