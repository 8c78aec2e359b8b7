"""Progress that a person can watch: one line a step, with the time it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import click


class Steps:
    """Prints what happens, with seconds since the beginning and the time of each step."""

    def __init__(self) -> None:
        self._began_at_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_at_s

    def say(self, text: str, *, colour: str | None = None) -> None:
        """Print one line with the clock in front."""
        click.echo(click.style(f"[{self.elapsed_s:6.1f} s] ", dim=True) + click.style(text, fg=colour))

    def warn(self, text: str) -> None:
        """Print one line that must not be overlooked."""
        self.say(f"! {text}", colour="yellow")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Print the step when it is over; append to the list yielded to say what came of it."""
        began_at_s, facts = time.monotonic(), list[str]()
        try:
            yield facts
        except BaseException:
            self.say(f"x {name:<22} after {time.monotonic() - began_at_s:.1f} s", colour="red")
            raise
        took_s = time.monotonic() - began_at_s
        self.say(f"+ {name:<22} {took_s:5.1f} s  {' '.join(facts)}", colour="green")
