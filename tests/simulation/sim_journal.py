"""`storage.journal` without its thread: the same table, the same group commit, the same promises, on a disk that the seed owns.

Durable on commit, all of an append or none of it, a duplicate spoils its own append only, and a disk that failed once is
never trusted again by the process that saw it. The disk outlives processes; a death may come on either side of a commit.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from sim_loop import Dead, Timeline

from domain.entries import AnyEntry, Entry, decode, kind_of
from domain.errors import DuplicateEntry, JournalBroken
from domain.trade_book import KINDS_FOLDED
from storage import entries_file
from storage.entries_file import Row


@cache
def _table() -> sqlite3.Connection:
    """One table in memory, made by the real migrations, emptied for each story."""
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=16)
    entries_file._migrate(connection)
    return connection


class Disk:
    """What is durable, and when a commit comes to pass."""

    def __init__(self, timeline: Timeline, seed: random.Random) -> None:
        self.timeline = timeline
        self.seed = seed
        self.connection = _table()
        self.connection.execute("DELETE FROM entries")
        self.commits = 0
        self.full = False
        self.stall_chance = 0.0
        self.keys: set[str] = set()
        self.at_commit: Callable[[int, bool], bool] = lambda _number, _durable: False
        """Asked before and after each commit (number, is it durable): True when the process dies right there."""

    def latency(self) -> float:
        if self.stall_chance and self.seed.random() < self.stall_chance:
            return self.seed.uniform(0.2, 4.0)
        return self.seed.uniform(0.0002, 0.002)

    def write(self, units: Sequence["_Unit"]) -> None:
        """One transaction. Raises: sqlite3.Error when the disk is full."""
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        self.connection.execute("BEGIN IMMEDIATE")
        for unit in units:
            try:
                entries_file.insert(self.connection, unit.rows)
            except DuplicateEntry as duplicate:
                unit.outcome = duplicate
            else:
                self.keys.update(row[2] for row in unit.rows if row[2] is not None)
        self.connection.execute("COMMIT")

    def replay(self, kind: str | None = None) -> Iterator[AnyEntry]:
        """What a start would read; of one kind if asked."""
        for _, _, of_kind, _, _, body in entries_file.raw_rows(self.connection, after_seq=0, limit=1_000_000):
            if kind is None or kind == of_kind:
                yield decode(body)


class _Unit:
    """Rows that are written together or not at all, and who waits for them."""

    __slots__ = ("future", "outcome", "rows")

    def __init__(self, rows: list[Row], future: "asyncio.Future[None] | None") -> None:
        self.rows = rows
        self.future = future
        self.outcome: Exception | None = None


class SimJournal:
    """Satisfies `runner.ports.Journal` for one process."""

    def __init__(self, disk: Disk, *, kill: Callable[[], None], on_broken: Callable[[BaseException], None]) -> None:
        self._disk = disk
        self._kill = kill
        self._on_broken = on_broken
        self._queue: list[_Unit] = []
        self._writing = False
        self._cause: Exception | None = None
        self.dead = False

    @property
    def broken(self) -> bool:
        return self._cause is not None

    async def append(self, *entries: Entry) -> None:
        if self.dead:
            raise Dead
        if self._cause is not None:
            raise JournalBroken(f"the journal broke earlier: {self._cause}") from self._cause
        if not entries:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Unit([entries_file.row_of(entry) for entry in entries], future))
        self._start()
        await future

    def note(self, entry: Entry) -> None:
        """Telemetry; only what a book is made of is worth its encoding here."""
        if self._cause is None and not self.dead and kind_of(entry) in KINDS_FOLDED:
            self._queue.append(_Unit([entries_file.row_of(entry)], None))
            self._start()

    def _start(self) -> None:
        if not self._writing and self._queue:
            self._writing = True
            batch, self._queue = self._queue, []
            self._disk.timeline.after(self._disk.latency(), self._finish, batch)

    def _finish(self, batch: list[_Unit]) -> None:
        if self.dead:
            return
        disk = self._disk
        disk.commits += 1
        if disk.at_commit(disk.commits, False):
            self._kill()
            return
        if self._cause is None:
            try:
                disk.write(batch)
            except sqlite3.Error as problem:
                self._cause = JournalBroken(str(problem))
                self._on_broken(self._cause)
        if disk.at_commit(disk.commits, True):
            self._kill()
            return
        loop = asyncio.get_running_loop()
        loop.call_soon(self._resolve, batch)
        self._writing = False
        self._start()

    def _resolve(self, batch: list[_Unit]) -> None:
        for unit in batch:
            if unit.future is None or unit.future.done():
                continue
            outcome = unit.outcome if self._cause is None else JournalBroken(str(self._cause))
            if outcome is None:
                unit.future.set_result(None)
            else:
                unit.future.set_exception(outcome)
