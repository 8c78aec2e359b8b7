"""Progress of long work: a bar on a terminal, a line now and then elsewhere, nothing for what is over within a second."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE_SECONDS = 1.0
_LINE_EVERY_SECONDS = 5.0

Listener = Callable[[str, int, int], None]
"""Hears now and then what is going on, how much of it is done, and of how much."""
_LISTENER: ContextVar[Listener | None] = ContextVar("_LISTENER", default=None)


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Every bar inside also speaks to `listener`, as often as it would write a line, and once when it is done."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


class Bar:
    """Called with (done, total); a context manager, so that the terminal is left as it was."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what, self._say = what, say
        self._started = self._reported_at = time.monotonic()
        self._is_heard = False
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
        elif now - self._reported_at >= _LINE_EVERY_SECONDS:
            self._reported_at = now
            self._say(f"{self._what}: {done} of {total}, {now - self._started:.0f} s")
            self._is_heard = True
            self._report(done, total)
        elif self._is_heard and done == total:
            self._report(done, total)

    def _report(self, done: int, total: int) -> None:
        listener = _LISTENER.get()
        if listener is not None:
            listener(self._what, done, total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
