"""The flight recorder: entries made durable before anything leaves the machine, without blocking the event loop.

`Journal` belongs to one live runner: an OS lock, one writer thread, group commit. `FlowJournal` is the file beside it
to which several short-lived flow processes append. Both hold the same table; `storage.recorder` drains both.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from domain.entries import AnyEntry, Entry, EventLogged
from domain.errors import AccountBusy, ConfigError, DuplicateEntry, InvariantBroken, JournalBroken
from domain.trade_book import KINDS_FOLDED
from storage import entries_file
from storage.entries_file import Row
from storage.files import private_folder
from storage.locks import LockHeld, OsLock

_T = TypeVar("_T")

NOTES_MAX = 20_000
NOTES_LINGER_SECONDS = 0.05
"""How long telemetry may wait for company before it is committed; an append never waits for it."""
GROUP_ROWS_MAX = 2_000


class _Unit:
    """Rows that are written together or not at all, and who waits for them."""

    __slots__ = ("dropped", "future", "outcome", "rows", "taken")

    def __init__(self, rows: Sequence[Row], future: "asyncio.Future[None] | None") -> None:
        self.rows = rows
        self.future = future
        self.outcome: Exception | None = None
        self.taken = False
        self.dropped = False


class Journal:
    """One account's journal. Every method but the constructor belongs to one thread, the event loop's.

    Cancelling an `append` takes nothing back: the rows may become durable all the same, so a caller that was cancelled
    must treat them as written. A journal carried into a forked child is broken there and untouched here.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: OsLock,
        on_broken: Callable[[BaseException], None] | None,
    ) -> None:
        self.path: Final = path
        self._on_broken = on_broken
        self._pid = os.getpid()
        self._units: deque[_Unit] = deque()
        self._notes: deque[_Unit] = deque()
        # SimpleQueue and deque never make the loop wait for the thread: no lock is shared while it writes.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._notes_announced = False
        self._closing = False
        self._cause: BaseException | None = None
        self._dropped_notes = 0
        self._last_seq = entries_file.last_seq_of(connection)
        self._appends_queued = 0  # Written by the loop only,
        self._appends_taken = 0  # and this one by the thread only.
        self._loop = _running_loop()
        # Connection and lock belong to the thread, which a forked child does not have: nothing there can use them.
        self._thread = threading.Thread(
            target=self._write_until_closed, args=(connection, lock, path.stat()), name="journal", daemon=True
        )
        self._thread.start()

    @classmethod
    def open(cls, path: Path, *, on_broken: Callable[[BaseException], None] | None = None) -> Self:
        """Create or open, migrate, and take `<path>.lock`.

        `on_broken` is called once, on the event loop if one is running, when a row could not be made durable.
        Raises: AccountBusy when another process holds the journal; ConfigError, one line, for everything else.
        """
        try:
            private_folder(path.parent)
            lock = OsLock(path.with_name(path.name + ".lock"))
        except LockHeld as held:
            ours = f"another runner (process {held.holder}) trades this account; stop it first"
            raise AccountBusy(f"{path}: {held.explain(ours)}") from None
        except OSError as problem:
            raise ConfigError(entries_file.explain(path, problem)) from problem
        try:
            connection = entries_file.open_for_writing(path)
            return cls(path, connection, lock, on_broken)
        except BaseException:
            lock.release()
            raise

    @property
    def broken(self) -> bool:
        """True once a row could not be made durable; it stays true."""
        return self._cause is not None

    @property
    def last_seq(self) -> int:
        """The number of the newest durable row."""
        return self._last_seq

    @property
    def dropped_notes(self) -> int:
        """Telemetry rows given up because the disk could not keep pace."""
        return self._dropped_notes

    def replay(
        self, *, kinds: Collection[str] | None = None, closed_before_ms: int | None = None
    ) -> Iterator[tuple[int, AnyEntry]]:
        """Durable entries up to now, in order, through a connection of its own; see `entries_file.replay`."""
        return entries_file.replay(self.path, kinds=kinds, closed_before_ms=closed_before_ms)

    async def recall(self, client_order_id: str) -> list[AnyEntry]:
        """Everything that reports the trade this order belongs to, in order; nothing for an order never intended.

        Raises: JournalBroken.
        """
        try:
            return await asyncio.to_thread(entries_file.entries_of_order, self.path, client_order_id, KINDS_FOLDED)
        except ConfigError as problem:
            raise JournalBroken(str(problem)) from problem

    async def append(self, *entries: Entry) -> None:
        """Return once all entries are durable, in one transaction.

        Raises: DuplicateEntry when a unique key is in the journal already (then none of them is written);
        InvariantBroken for an entry that could not be read back; JournalBroken for everything else, and from then on.
        """
        self._refuse_if_unusable()
        if not entries:
            return
        self._loop = asyncio.get_running_loop()
        future = self._loop.create_future()
        unit = _Unit([entries_file.row_of(entry) for entry in entries], future)
        self._appends_queued += 1
        self._units.append(unit)
        self._wake.put(None)
        await future

    def note(self, entry: Entry) -> None:
        """Queue telemetry behind whatever was appended before, and return at once; never raises for a full disk."""
        if self._cause is not None or self._closing:
            self._dropped_notes += 1
            return
        while self._notes and self._notes[0].taken:
            self._notes.popleft()
        if len(self._notes) >= NOTES_MAX:
            self._notes.popleft().dropped = True
            self._dropped_notes += 1
        unit = _Unit([_telemetry_row(entry)], None)
        self._notes.append(unit)
        self._units.append(unit)
        if not self._notes_announced:
            self._notes_announced = True
            self._wake.put(None)

    async def close(self) -> None:
        """Write what is queued, fsync, let the lock go. Harmless when done twice or when broken."""
        if os.getpid() != self._pid:
            return
        self._closing = True
        self._wake.put(None)
        await asyncio.to_thread(self._thread.join)

    def _refuse_if_unusable(self) -> None:
        if self._cause is not None:
            raise JournalBroken(f"{self.path}: the journal broke earlier: {self._cause}") from self._cause
        if self._closing:
            raise JournalBroken(f"{self.path}: the journal is closed")
        if os.getpid() != self._pid:
            raise JournalBroken(
                f"{self.path}: the journal belongs to process {self._pid}; a forked child may not write"
            )

    # Below: the writer thread.

    def _write_until_closed(self, connection: sqlite3.Connection, lock: OsLock, identity: os.stat_result) -> None:
        try:
            while not (self._closing and not self._units):
                self._wake.get()
                if not self._closing and self._appends_queued == self._appends_taken:
                    self._linger_for_company()
                self._notes_announced = False
                while batch := self._take_batch():
                    self._write(connection, batch, identity)
                    self._wake_waiters(batch)
        finally:
            connection.close()
            lock.release()

    def _linger_for_company(self) -> None:
        """Telemetry alone may wait a moment for more; the first append ends the wait."""
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=NOTES_LINGER_SECONDS)

    def _take_batch(self) -> list[_Unit]:
        batch: list[_Unit] = []
        rows = 0
        while self._units and rows < GROUP_ROWS_MAX:
            unit = self._units.popleft()
            unit.taken = True
            if unit.future is not None:
                self._appends_taken += 1
            if not unit.dropped:
                batch.append(unit)
                rows += len(unit.rows)
        return batch

    def _write(self, connection: sqlite3.Connection, batch: list[_Unit], identity: os.stat_result) -> None:
        """One transaction, one fsync. A duplicate spoils its own unit only; anything else breaks the journal."""
        if self._cause is not None:
            return
        last_seq = self._last_seq
        try:
            _require_same_file(self.path, identity)
            connection.execute("BEGIN IMMEDIATE")
            for unit in batch:
                try:
                    last_seq = max(last_seq, entries_file.insert(connection, unit.rows))
                except DuplicateEntry as duplicate:
                    unit.outcome = duplicate
            connection.execute("COMMIT")
        except Exception as problem:  # noqa: BLE001 - the top of the thread: whatever it is, nothing may be promised now
            self._break(problem)
            _roll_back(connection)
        else:
            self._last_seq = last_seq

    def _break(self, problem: Exception) -> None:
        known = isinstance(problem, sqlite3.Error | OSError)
        self._cause = JournalBroken(entries_file.explain(self.path, problem) if known else f"{self.path}: {problem!r}")
        if self._on_broken is not None and not self._call_in_loop(self._on_broken, self._cause):
            self._on_broken(self._cause)

    def _wake_waiters(self, batch: list[_Unit]) -> None:
        waiting = [unit for unit in batch if unit.future is not None]
        if self._cause is not None:
            self._dropped_notes += len(batch) - len(waiting)
            for unit in waiting:
                unit.outcome = JournalBroken(str(self._cause))
        if waiting:
            self._call_in_loop(_resolve, waiting)

    def _call_in_loop(self, function: Callable[[_T], None], argument: _T) -> bool:
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # The loop is closed: nobody waits there any more.
            return False
        return True


class FlowJournal:
    """The journal that flows share: several processes, each appending now and then, synchronously.

    Whoever comes second waits for the file up to `entries_file.BUSY_TIMEOUT_SECONDS`. One object belongs to one thread.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path: Final = path
        self._connection = connection
        self._identity = path.stat()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create or open, and migrate. Raises: ConfigError, one line with the remedy."""
        return cls(path, entries_file.open_for_writing(path))

    def append_sync(self, *entries: Entry) -> None:
        """Return once all entries are durable, in one transaction; none of them is written when this raises.

        Raises: DuplicateEntry, InvariantBroken, JournalBroken.
        """
        rows = [entries_file.row_of(entry) for entry in entries]
        if not rows:
            return
        try:
            _require_same_file(self.path, self._identity)
            self._connection.execute("BEGIN IMMEDIATE")
            entries_file.insert(self._connection, rows)
            self._connection.execute("COMMIT")
        except DuplicateEntry:
            _roll_back(self._connection)
            raise
        except (sqlite3.Error, OSError) as problem:
            _roll_back(self._connection)
            raise JournalBroken(entries_file.explain(self.path, problem)) from problem

    def replay(self, *, kinds: Collection[str] | None = None) -> Iterator[tuple[int, AnyEntry]]:
        """Every durable entry up to now, in order. Raises: JournalBroken."""
        return entries_file.replay(self.path, kinds=kinds)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _resolve(units: list[_Unit]) -> None:
    for unit in units:
        if unit.future is None or unit.future.done():  # Done: its waiter was cancelled.
            continue
        if unit.outcome is None:
            unit.future.set_result(None)
        else:
            unit.future.set_exception(unit.outcome)


def _telemetry_row(entry: Entry) -> Row:
    """Facts that JSON cannot hold are written as text: a log line must never stop a trade."""
    try:
        return entries_file.row_of(entry)
    except InvariantBroken:
        if not isinstance(entry, EventLogged):
            raise
        facts = {str(name): str(value).encode(errors="replace").decode() for name, value in entry.facts.items()}
        return entries_file.row_of(msgspec.structs.replace(entry, facts=facts))


def _require_same_file(path: Path, identity: os.stat_result) -> None:
    """A row written into a file that was unlinked or replaced would be durable nowhere."""
    now = path.stat()
    if (now.st_dev, now.st_ino) != (identity.st_dev, identity.st_ino):
        raise OSError("another file was put in its place")


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
