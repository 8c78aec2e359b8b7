"""Show on the terminal what the runner writes to its log, as it writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import click


class Follower:
    """Prints whole lines that are added to a file after `begin`; a file that shrinks was begun anew; a full one goes on as `….1`."""

    def __init__(self, path: Path, *, every_s: float = 0.25, show: Callable[[str], None] = click.echo) -> None:
        self._path = path
        self._every_s = every_s
        self._show = show
        self._offset, self._inode = (path.stat().st_size, path.stat().st_ino) if path.exists() else (0, 0)
        self._rest = b""
        self.lines = 0

    def catch_up(self) -> None:
        """Print what is there by now."""
        try:
            now = self._path.stat()
            if self._inode not in {0, now.st_ino}:
                self._read_the_full_one()
            if self._inode != now.st_ino or now.st_size < self._offset:
                self._offset, self._rest = 0, b""
            self._inode = now.st_ino
            self._read(self._path)
        except FileNotFoundError:
            return

    def _read_the_full_one(self) -> None:
        """What was added to it before it was put aside."""
        aside = self._path.with_name(f"{self._path.name}.1")
        if aside.exists() and aside.stat().st_ino == self._inode:
            self._read(aside)

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._offset)
            chunk = file.read()
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
