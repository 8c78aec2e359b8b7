"""Show on the terminal what the runner writes to its log, as it writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import click


class Follower:
    """Prints whole lines that are added to a file after `begin`; a file that shrinks was begun anew."""

    def __init__(self, path: Path, *, every_s: float = 0.25, show: Callable[[str], None] = click.echo) -> None:
        self._path = path
        self._every_s = every_s
        self._show = show
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""
        self.lines = 0

    def catch_up(self) -> None:
        """Print what is there by now."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                chunk = file.read()
        except FileNotFoundError:
            return
        self._offset += len(chunk)
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self.lines += 1
            self._show(line.decode("utf-8", "replace"))

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self.catch_up()
            await asyncio.sleep(self._every_s)
