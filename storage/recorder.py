"""The recorder: drains the journals into the hot file, exactly once, and publishes the ledger about every second.

`python -m storage.recorder --journal J --flows-journal F --ledger L`. Whatever goes wrong, the journals are the truth:
the recorder says so on stderr, tries again, and catches up.
"""

import contextlib
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
import duckdb
import msgspec

from domain.entries import decode
from domain.errors import ConfigError
from storage import entries_file
from storage.files import private_folder, sweep
from storage.hot import HotFile, NewerLedger, hot_file_of
from storage.locks import LockHeld, OsLock
from storage.rows import TIME_MS_MAX, LedgerRow, Unrecordable, row_of, unreadable

BATCH_ROWS = 5_000
POLL_SECONDS = 0.1
RETRY_SECONDS_MAX = 15.0
PUBLISH_SHARE = 10
"""Publishing may take at most one part in so many of the time: a big file is published less often."""
NICE = 10
_TRANSIENT = ("Could not set lock", "No space left", "Permission denied", "Read-only", "Too many open files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The files of one account."""

    journal: Path
    flows_journal: Path
    ledger: Path

    @property
    def lock(self) -> Path:
        return self.ledger.with_name(self.ledger.name + ".lock")


class Recorder:
    """Drains and publishes; holds the ledger's lock for as long as it lives."""

    def __init__(self, paths: Paths) -> None:
        """Take the lock and open the hot file. Raises: LockHeld, NewerLedger, ConfigError."""
        self._paths = paths
        private_folder(paths.ledger.parent)
        self._lock = OsLock(paths.lock)
        sweep(paths.ledger)
        self._hot: HotFile | None = None
        self._unpublished = True
        self._batch_rows = BATCH_ROWS
        self._reported: dict[str, str] = {}
        try:
            self._try("ledger", self._open_hot)
        except BaseException:
            self._lock.release()
            raise

    def cycle(self) -> bool:
        """Drain what is there. True when all of it is in the hot file. Raises: NewerLedger."""
        return self._try("ledger", self._drain_both)

    def publish(self) -> bool:
        """Publish if something changed. True when the ledger shows all that was drained."""
        if not self._unpublished and self._paths.ledger.exists():
            return True
        self._unpublished = not self._try("publish", self._publish)
        return not self._unpublished

    def close(self) -> None:
        """Close the file, then let the lock go."""
        if self._hot is not None:
            self._hot.close()
            self._hot = None
        self._lock.release()

    def _drain_both(self) -> bool:
        if self._hot is None:
            self._open_hot()
        runner_done = self._drain("runner", self._paths.journal)
        return self._drain("flows", self._paths.flows_journal) and runner_done

    def _publish(self) -> bool:
        if self._hot is None:
            return False
        self._hot.publish(self._paths.ledger)
        return True

    def _open_hot(self) -> bool:
        path = hot_file_of(self._paths.ledger)
        try:
            self._hot = HotFile.open(path, now_ms=_now_ms)
        except duckdb.Error as problem:
            if _is_newer(problem):
                raise NewerLedger(f"{path}: written by a newer DuckDB: {_first_line(problem)}") from problem
            if any(word in str(problem) for word in _TRANSIENT):
                raise
            self._move_aside(path, _first_line(problem))
            self._hot = HotFile.open(path, now_ms=_now_ms)
        return True

    def _move_aside(self, path: Path, why: str) -> None:
        """The journals hold everything: a file that cannot be trusted is kept for a person and built anew."""
        aside = path.with_name(f"{path.name}.damaged-{_now_ms()}")
        for suffix in ("", ".wal"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        _say(f"{path} is unusable ({why}); moved to {aside.name}, rebuilding from the journals")
        self._unpublished = True

    def _drain(self, name: str, path: Path) -> bool:
        """Up to the row that is the newest now: a busy writer must not keep the ledger from being published."""
        if not path.exists():
            return True
        try:
            with contextlib.closing(entries_file.open_for_reading(path)) as connection:
                end = entries_file.last_seq_of(connection)
                while not self._drain_batch(name, path, connection, end):
                    pass
        except (sqlite3.Error, ConfigError) as problem:
            # The other journal goes on; this one is tried again.
            self._say_once(name, f"{path} cannot be read now: {problem}")
            return False
        self._reported.pop(name, None)
        return True

    def _drain_batch(self, name: str, path: Path, connection: sqlite3.Connection, end: int) -> bool:
        """One transaction's worth. True when the hot file holds everything up to that row."""
        assert self._hot is not None
        journal_id = entries_file.journal_id_of(connection)
        offset = self._hot.offset_of(journal_id)
        if offset > end:
            self._rebuild(f"{path} went back from row {offset} to {end}: an older copy was put in its place")
            return False
        if offset == end:
            return True
        raw = entries_file.raw_rows(connection, after_seq=offset, limit=self._batch_rows)
        if not raw:  # Somebody deleted rows by hand; there is nothing to record in their place.
            return True
        rows = [_recorded(seq, at_ms, kind, body, name) for seq, at_ms, kind, _, _, body in raw]
        try:
            self._append(rows, journal_id, name, raw[-1][0], raw[-1][1])
        except (duckdb.DataError, OverflowError, ValueError) as problem:
            if len(raw) > 1:  # One row of the batch does not fit: close in on it.
                self._batch_rows = max(1, len(raw) // 4)
                return False
            seq, at_ms, kind = raw[0][:3]
            substitute = unreadable(at_ms=at_ms, seq=seq, kind=kind, problem=_first_line(problem))
            self._append([_placed(substitute, seq, name)], journal_id, name, seq, at_ms)
        self._batch_rows = min(BATCH_ROWS, self._batch_rows * 2)
        self._unpublished = True
        return raw[-1][0] >= end

    def _append(self, rows: list[LedgerRow], journal_id: str, name: str, offset: int, newest_ms: int) -> None:
        assert self._hot is not None
        newest_ms = min(max(newest_ms, 0), TIME_MS_MAX)
        self._hot.append(
            rows, journal_id=journal_id, journal=name, offset=offset, newest_ms=newest_ms, now_ms=_now_ms()
        )

    def _rebuild(self, why: str) -> None:
        assert self._hot is not None
        self._hot.close()
        self._hot = None
        self._move_aside(hot_file_of(self._paths.ledger), why)
        self._open_hot()

    def _try(self, what: str, action: Callable[[], bool]) -> bool:
        """Trouble with the hot file or the disk: say it, close, and let the next cycle open it again."""
        try:
            done = action()
        except (duckdb.Error, OSError, subprocess.CalledProcessError) as problem:
            detail = (
                problem.stderr.decode(errors="replace") if isinstance(problem, subprocess.CalledProcessError) else ""
            )
            self._say_once(what, f"{self._paths.ledger}: {_first_line(problem)} {detail.strip()}".rstrip())
            if self._hot is not None:
                with contextlib.suppress(duckdb.Error):
                    self._hot.close()
                self._hot = None
            return False
        self._reported.pop(what, None)
        return done

    def _say_once(self, what: str, message: str) -> None:
        if self._reported.get(what) != message:
            self._reported[what] = message
            _say(f"{message}; nothing is lost, trying again")


def drain_once(journal: Path, flows_journal: Path, ledger: Path) -> bool:
    """Drain and publish here and now, unless a recorder does it anyway; True when this call did it.

    For commands that wrote to the flows' journal while nothing else runs. Raises: NewerLedger, ConfigError.
    """
    try:
        recorder = Recorder(Paths(journal=journal, flows_journal=flows_journal, ledger=ledger))
    except LockHeld:
        return False
    try:
        if not (recorder.cycle() and recorder.publish()):
            raise ConfigError(f"{ledger}: could not be written, see above; the journals hold everything")
    finally:
        recorder.close()
    return True


class _Stop:
    """SIGTERM and SIGINT ask for an orderly end; waiting ends when one arrives, or when the parent is gone."""

    def __init__(self, *, with_parent: bool) -> None:
        self._parent = os.getppid() if with_parent else None
        self._reader, self._writer = os.pipe()
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def wait(self, seconds: float) -> bool:
        """True when the end was asked for."""
        select.select([self._reader], [], [], 0 if self._asked else seconds)
        if self._parent is not None and os.getppid() != self._parent:
            self._asked = True
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            os.write(self._writer, b".")


def record(paths: Paths, *, publish_seconds: float, once: bool, with_parent: bool) -> None:
    """Run until asked to end; then drain to the end and publish. Raises: LockHeld, NewerLedger."""
    stop = _Stop(with_parent=with_parent)
    recorder = Recorder(paths)
    published_at = -publish_seconds
    pause = publish_seconds
    retry_seconds = POLL_SECONDS
    # The lock is held; a backlog is nobody's business but ours. Whoever started us may have legs to watch.
    sys.stdout.write(f"recorder ready pid={os.getpid()} ledger={paths.ledger}\n")
    sys.stdout.flush()
    try:
        asked = once
        while True:
            drained = recorder.cycle()
            started = time.monotonic()
            published = False
            if asked or started - published_at >= pause:
                published = recorder.publish()
                published_at = time.monotonic()
                pause = max(publish_seconds, PUBLISH_SHARE * (published_at - started))
            if asked and ((drained and published) or not once):
                return
            if asked and once:
                raise ConfigError(f"{paths.ledger}: could not be written, see above; the journals hold everything")
            retry_seconds = POLL_SECONDS if drained else min(retry_seconds * 2, RETRY_SECONDS_MAX)
            asked = stop.wait(min(retry_seconds, max(publish_seconds, 0.01)) if drained else retry_seconds)
    finally:
        recorder.close()


@click.command()
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The runner's journal.")
@click.option("--flows-journal", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The flows'.")
@click.option("--ledger", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to publish.")
@click.option("--publish-seconds", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="How often.")
@click.option("--once", is_flag=True, help="Drain to the end, publish, exit.")
@click.option("--with-parent", is_flag=True, help="End in good order when the process that started this one is gone.")
def main(
    *, journal: Path, flows_journal: Path, ledger: Path, publish_seconds: float, once: bool, with_parent: bool
) -> None:
    """Record the journals into the ledger until SIGTERM or SIGINT. Exit codes: 0 done, 1 failed, 2 refused to start."""
    os.umask(0o077)
    os.nice(NICE)
    paths = Paths(journal=journal, flows_journal=flows_journal, ledger=ledger)
    try:
        record(paths, publish_seconds=publish_seconds, once=once, with_parent=with_parent)
    except LockHeld as held:
        ours = f"process {held.holder} records this ledger already; nothing to do"
        _say(f"{ledger}: {held.explain(ours)}")
        sys.exit(2)
    except NewerLedger as newer:
        _say(str(newer))
        sys.exit(2)
    except (ConfigError, OSError) as problem:
        _say(str(problem))
        sys.exit(1)


def _recorded(seq: int, at_ms: int, kind: str, body: str, journal: str) -> LedgerRow:
    try:
        row = row_of(decode(body))
    except (msgspec.MsgspecError, Unrecordable) as problem:
        _say(f"row {seq} ({kind}) of the {journal} journal cannot be recorded: {problem}; it is in events as an error")
        row = unreadable(at_ms=at_ms, seq=seq, kind=kind, problem=str(problem))
    return _placed(row, seq, journal)


def _placed(row: LedgerRow, seq: int, journal: str) -> LedgerRow:
    row.values["seq"] = seq
    row.values["journal"] = journal
    return row


def _is_newer(problem: duckdb.Error) -> bool:
    text = str(problem)
    return "newer version of DuckDB" in text or "can only read version" in text


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [repr(problem)])[0]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _say(message: str) -> None:
    sys.stderr.write(f"recorder: {message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
