"""The SQLite file under both journals: how it is opened, migrated, written to and read. No threads here."""

import json
import sqlite3
import sys
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from domain.entries import AnyEntry, Entry, OrderIntended, decode, encode, kind_of
from domain.errors import ConfigError, DuplicateEntry, InvariantBroken, JournalBroken
from storage.files import own_file, private_folder, sync_folder
from storage.journal_schema import migrations, require_known_schema, statements_of

APPLICATION_ID = 0x74646D6A  # "tdmj": tells our file from any other SQLite file.
BUSY_TIMEOUT_SECONDS = 10
REPLAY_CHUNK_ROWS = 5_000
_PARTS_OF_A_TRADE = frozenset({"order_intended", "order_advanced", "fill_seen"})

Row = tuple[int, str, str | None, str | None, str | None, str]
"""at_ms, kind, unique_key, trade_id, pair_id, body"""

_INSERT = "INSERT INTO entries (at_ms, kind, unique_key, trade_id, pair_id, body) VALUES (?, ?, ?, ?, ?, ?)"


def row_of(entry: Entry) -> Row:
    """Encode one entry. Raises: InvariantBroken for an entry that could not be read back (NaN, say)."""
    try:
        body = encode(entry)
        decode(body)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as problem:
        raise InvariantBroken(f"a {kind_of(entry)} entry cannot be journaled: {problem}") from problem
    named = entry.intent if isinstance(entry, OrderIntended) else entry
    return (
        entry.at_ms,
        kind_of(entry),
        entry.unique_key,
        getattr(named, "trade_id", None),
        getattr(named, "pair_id", None),
        body.decode(),
    )


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Create or open, and migrate. Raises: ConfigError with the file and the remedy."""
    connection: sqlite3.Connection | None = None
    try:
        private_folder(path.parent)
        is_new = not path.exists()
        own_file(path)
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS, cached_statements=16
        )
        _distrust(connection)
        _check_identity(connection, path)
        _require_write_ahead_log(connection, path)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA fullfsync=ON")  # macOS: an fsync that reaches the disk. No effect elsewhere.
        _migrate(connection)
        if is_new:
            sync_folder(path.parent)
    except (sqlite3.Error, OSError) as problem:
        if connection is not None:
            connection.close()
        raise ConfigError(explain(path, problem)) from problem
    except ConfigError:
        if connection is not None:
            connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises: ConfigError."""
    try:
        if path.exists():
            own_file(path)
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_SECONDS
        )
    except (sqlite3.Error, OSError) as problem:
        raise ConfigError(explain(path, problem)) from problem
    try:
        _distrust(connection)
        _check_identity(connection, path)
    except sqlite3.Error as problem:
        connection.close()
        raise ConfigError(explain(path, problem)) from problem
    except ConfigError:
        connection.close()
        raise
    return connection


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Insert all of them or none, inside the caller's transaction; the last row's seq. Raises: DuplicateEntry."""
    if len(rows) == 1:  # One statement is atomic by itself.
        return _insert_one(connection, rows[0])
    last_seq = 0
    connection.execute("SAVEPOINT unit")
    try:
        for row in rows:
            last_seq = _insert_one(connection, row)
    except DuplicateEntry:
        connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")
        raise
    connection.execute("RELEASE unit")
    return last_seq


def _insert_one(connection: sqlite3.Connection, row: Row) -> int:
    try:
        return connection.execute(_INSERT, row).lastrowid or 0
    except sqlite3.IntegrityError as problem:
        if problem.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_UNIQUE and row[2] is not None:
            raise DuplicateEntry(row[2]) from None
        raise


def last_seq_of(connection: sqlite3.Connection) -> int:
    """The newest row's number, 0 when there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0])


def journal_id_of(connection: sqlite3.Connection) -> str:
    """Which file this is, whatever its name: drawn at random when it was made."""
    return str(connection.execute("SELECT journal_id FROM identity").fetchone()[0])


def raw_rows(
    connection: sqlite3.Connection, *, after_seq: int, limit: int
) -> list[tuple[int, int, str, str | None, str | None, str]]:
    """The next rows in order: seq, at_ms, kind, trade_id, pair_id, body."""
    query = "SELECT seq, at_ms, kind, trade_id, pair_id, body FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
    return connection.execute(query, (after_seq, limit)).fetchall()


def replay(
    path: Path, *, kinds: Collection[str] | None = None, closed_before_ms: int | None = None
) -> Iterator[tuple[int, AnyEntry]]:
    """Every entry up to now, in order; without the orders and executions of trades that were closed before the moment given.

    Of such a trade the plan and the steps are told, so that what is counted over trades is not changed by leaving out
    what they consist of: most of a long journal. Raises: JournalBroken for a row that this version cannot read.
    """
    connection = open_for_reading(path)
    try:
        end = last_seq_of(connection)
        closed = set() if closed_before_ms is None else _closed_before(connection, closed_before_ms)
        for chunk in _chunks(connection, end, kinds):
            for seq, kind, trade_id, body in chunk:
                if kind in _PARTS_OF_A_TRADE and trade_id in closed:
                    continue
                try:
                    entry = decode(body)
                except msgspec.MsgspecError as problem:
                    raise JournalBroken(
                        f"{path}: row {seq} ({kind}) cannot be read by this version: {problem}; "
                        "use the release that wrote it, or restore the file"
                    ) from problem
                yield seq, entry
    except sqlite3.Error as problem:
        raise JournalBroken(explain(path, problem)) from problem
    finally:
        connection.close()


def _chunks(
    connection: sqlite3.Connection, end: int, kinds: Collection[str] | None
) -> Iterator[list[tuple[int, str, str | None, str]]]:
    """Rows up to `end` in order, a few thousand at a time.

    Each chunk is fetched whole: a long read transaction would keep the log from being checkpointed. The kind's index gives the
    numbers, once; the bodies of other kinds are never touched.
    """
    if kinds is None:
        reached = 0
        query = f"SELECT seq, kind, trade_id, body FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT {REPLAY_CHUNK_ROWS}"  # noqa: S608
        while chunk := connection.execute(query, (reached, end)).fetchall():
            yield chunk
            reached = chunk[-1][0]
        return
    marks = ",".join("?" * len(kinds))
    query = f"SELECT seq FROM entries WHERE kind IN ({marks}) AND seq <= ? ORDER BY seq"  # noqa: S608
    numbers = array("q", (seq for (seq,) in connection.execute(query, (*kinds, end)).fetchall()))
    query = "SELECT seq, kind, trade_id, body FROM entries WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"
    for first in range(0, len(numbers), REPLAY_CHUNK_ROWS):
        wanted = numbers[first : first + REPLAY_CHUNK_ROWS].tolist()
        yield connection.execute(query, (json.dumps(wanted),)).fetchall()


def _closed_before(connection: sqlite3.Connection, moment_ms: int) -> set[str]:
    """Trades whose last step is their end, `closed`, before that moment, and whose executions leave nothing: no dust, nothing late."""
    steps = (
        "SELECT trade_id, at_ms, json_extract(body, '$.status') FROM entries WHERE kind = 'trade_advanced' ORDER BY seq"
    )
    last = {trade_id: (at_ms, status) for trade_id, at_ms, status in connection.execute(steps)}
    closed = {trade_id for trade_id, (at_ms, status) in last.items() if status == "closed" and at_ms < moment_ms}
    executions = (
        "SELECT trade_id, json_extract(body, '$.leg'), json_extract(body, '$.fill.side'), json_extract(body, '$.fill.quantity') "
        "FROM entries WHERE kind = 'fill_seen' AND trade_id IS NOT NULL"
    )
    held: defaultdict[tuple[str, str | None], Decimal] = defaultdict(Decimal)
    for trade_id, leg, side, quantity in connection.execute(executions):
        if trade_id in closed:
            held[trade_id, leg] += Decimal(quantity) if side == "buy" else -Decimal(quantity)
    return closed - {trade_id for (trade_id, _), quantity in held.items() if quantity}


def entries_of_order(path: Path, client_order_id: str, kinds: Collection[str]) -> list[AnyEntry]:
    """Of the trade this order belongs to: its entries of these kinds, in order; none if the order was never intended.

    Raises: ConfigError, JournalBroken.
    """
    connection = open_for_reading(path)
    try:
        found = connection.execute(
            "SELECT trade_id FROM entries WHERE unique_key = ?", (f"order:{client_order_id}",)
        ).fetchone()
        if found is None:
            return []
        wanted = sorted(kinds)
        rows = connection.execute(
            f"SELECT body FROM entries WHERE trade_id = ? AND kind IN ({','.join('?' * len(wanted))}) ORDER BY seq",  # noqa: S608
            (found[0], *wanted),
        ).fetchall()
        return [decode(body) for (body,) in rows]
    except (sqlite3.Error, msgspec.MsgspecError) as problem:
        raise JournalBroken(explain(path, problem)) from problem
    finally:
        connection.close()


def _distrust(connection: sqlite3.Connection) -> None:
    """Nothing that a file brings with it may run: no function from its schema, no write into SQLite's own tables."""
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # noqa: FBT003


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id != APPLICATION_ID and (application_id or version or tables):
        raise ConfigError(f"{path}: a SQLite file, but not a Tandem journal; name another file in storage.journal")
    known = len(migrations())
    if version > known:
        raise ConfigError(
            f"{path}: written by a newer release (schema {version}, this one knows {known}); "
            "run that release, or name another file in storage.journal"
        )
    require_known_schema(connection, path, version)


def _require_write_ahead_log(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise ConfigError(f"{path}: this file system cannot hold a write-ahead log; put storage.journal elsewhere")


def _migrate(connection: sqlite3.Connection) -> None:
    steps = migrations()
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for script in steps[version:]:
            # executescript would commit first; a statement at a time keeps the migration in this transaction.
            for statement in statements_of(script):
                connection.execute(statement)
        if version < len(steps):
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={len(steps)}")
        connection.execute("SELECT seq, at_ms, kind, unique_key, trade_id, pair_id, body FROM entries LIMIT 0")
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


_EMPTY = "restore it from a backup, or move it aside to start empty"
_REMEDIES = {
    sqlite3.SQLITE_NOTADB: "it is not a SQLite file; name another one in storage.journal",
    sqlite3.SQLITE_CORRUPT: f"it is damaged; {_EMPTY}",
    sqlite3.SQLITE_READONLY: "it cannot be written; correct its permissions (and its folder's), or name another file",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the folder exists and may be written, and that it is a file",
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_BUSY: "another program holds it locked; close that program",
    sqlite3.SQLITE_LOCKED: "another program holds it locked; close that program",
    sqlite3.SQLITE_ERROR: f"its table is missing or altered; {_EMPTY}",
}


def explain(path: Path, problem: Exception) -> str:
    """One line: file, remedy, and what SQLite or the system said."""
    if isinstance(problem, PermissionError):
        code = sqlite3.SQLITE_READONLY
    elif isinstance(problem, OSError):
        code = sqlite3.SQLITE_CANTOPEN
    else:
        code = getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # Without what an extended code adds.
    return f"{path}: {_REMEDIES.get(code, _EMPTY)} ({problem})"
