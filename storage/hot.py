"""The recorder's working file, `hot.duckdb`: migrated, appended to with its offsets, published whole.

One process holds it (see `storage.locks`), one thread uses it. That process never opens or closes the file by other
means: POSIX locks are dropped by any close, so even the copy is made by a subprocess.
"""

import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import numpy as np
import numpy.typing as npt

from domain.errors import TandemError
from storage import locked_duckdb
from storage.files import own_file, private_folder, replacing
from storage.locked_duckdb import Options
from storage.rows import LedgerRow
from storage.sql import identifier, literal, qualified

_SCRIPTS = Path(__file__).parent / "sql" / "ledger"
_NULL_TEXT = "\x01"  # Stands for NULL in an array of text: numpy has no other word for it, and no row holds it.
_NULL_INT = -(2**63)
_ARRAY_BYTES_MAX = 32 * 2**20
_FROM_NUMPY = {
    "DOUBLE": "if(isnan({0}), NULL, {0})",
    "BIGINT": f"nullif({{0}}, {_NULL_INT})",
    "TIMESTAMP WITH TIME ZONE": f"epoch_ms(nullif({{0}}, {_NULL_INT}))::TIMESTAMPTZ",
}


class NewerLedger(TandemError):
    """The file was written by a newer release; nothing was touched."""


def migrations() -> list[tuple[int, str, str]]:
    """Version, name and SQL of each step of the tables' schema, in order."""
    return [(int(path.name[:3]), path.name, path.read_text()) for path in sorted(_SCRIPTS.glob("[0-9]*.sql"))]


def views() -> str:
    """The views, laid anew whenever the file is opened: they are code, not data, and hold no rows to migrate."""
    return (_SCRIPTS / "views.sql").read_text()


def hot_file_of(ledger: Path) -> Path:
    """`ledger.duckdb` -> `ledger.hot.duckdb`, beside it."""
    return ledger.with_name(f"{ledger.stem}.hot{ledger.suffix}")


def schema_version_of(connection: duckdb.DuckDBPyConnection) -> int:
    """0 for an empty file."""
    table = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'journal' AND table_name = 'schema_version'"
    if not connection.execute(table).fetchall()[0][0]:
        return 0
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM journal.schema_version").fetchall()[0][0])


class HotFile:
    """The open working file."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path: Final = path
        self._connection = connection
        self._inserts: dict[str, tuple[list[tuple[str, str]], str]] = {}

    @classmethod
    def open(cls, path: Path, *, now_ms: Callable[[], int]) -> Self:
        """Create or open, and migrate. Raises: NewerLedger, FileRefused; duckdb.Error for a file that DuckDB refuses."""
        private_folder(path.parent)
        if path.exists():
            own_file(path)
        options: Options = {"memory_limit": "1GB"}
        if int(duckdb.__version__.split(".")[0]) >= 2:
            options["storage_compatibility_version"] = "v1.5.0"  # Readable by the clients that people have.
        connection = locked_duckdb.database(path, read_only=False, **options)
        try:
            path.chmod(0o600)  # As DuckDB made it, or as an older release left it.
            _migrate(connection, path, now_ms)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    def offset_of(self, journal_id: str) -> int:
        """The last row of that journal which is in this file."""
        query = f"SELECT seq FROM journal.offsets WHERE journal_id = {literal(journal_id)}"  # noqa: S608
        found = self._connection.execute(query).fetchall()
        return int(found[0][0]) if found else 0

    def append(
        self, rows: Sequence[LedgerRow], *, journal_id: str, journal: str, offset: int, newest_ms: int, now_ms: int
    ) -> None:
        """Rows and offset in one transaction. Raises: duckdb.Error, OverflowError; then nothing is written."""
        tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            tables[row.table].append(row.values)
        self._connection.execute("BEGIN")
        try:
            for table, values in tables.items():
                self._insert(table, values)
            self._connection.execute(
                f"INSERT OR REPLACE INTO journal.offsets VALUES ({literal(journal_id)}, {literal(journal)}, {offset}, "  # noqa: S608
                f"{_moment(newest_ms)}, {_moment(now_ms)})"
            )
            self._connection.execute("COMMIT")
        except (duckdb.Error, OverflowError, ValueError):
            self._roll_back()
            raise

    def publish(self, ledger: Path) -> None:
        """Replace the ledger by a copy of this file, whole. Raises: duckdb.Error, OSError, CalledProcessError."""
        self._connection.execute("CHECKPOINT")
        with replacing(ledger) as fresh:
            # A group of its own: Ctrl-C on the terminal must not tear the copy.
            command = ["cp", "--", str(self.path), str(fresh)]
            subprocess.run(command, check=True, capture_output=True, process_group=0)  # noqa: S603

    def close(self) -> None:
        self._connection.close()

    def _insert(self, table: str, values: list[dict[str, Any]]) -> None:
        columns, statement = self._insert_of(table)
        widest = max(len(text) for row in values for text in row.values() if isinstance(text, str))
        if len(values) > 1 and widest * 4 * len(values) > _ARRAY_BYTES_MAX:  # An array is as wide as its widest text.
            half = len(values) // 2
            self._insert(table, values[:half])
            self._insert(table, values[half:])
            return
        batch = {name: _array([row.get(name) for row in values], kind) for name, kind in columns}
        self._connection.register("batch", batch)
        try:
            self._connection.execute(statement)
        finally:
            self._connection.unregister("batch")

    def _insert_of(self, table: str) -> tuple[list[tuple[str, str]], str]:
        if table not in self._inserts:
            described = self._connection.execute(f"DESCRIBE {qualified(table)}").fetchall()
            columns = [(str(name), str(kind)) for name, kind, *_ in described]
            values = ", ".join(
                _FROM_NUMPY.get(kind, f"nullif({{0}}::VARCHAR, chr(1))::{kind}").format(identifier(name))
                for name, kind in columns
            )
            self._inserts[table] = (columns, f"INSERT INTO {qualified(table)} SELECT {values} FROM batch")  # noqa: S608
        return self._inserts[table]

    def _roll_back(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.Error:  # Ended by the error already, or the whole file is: the caller reopens it.
            return


def _array(values: list[Any], kind: str) -> npt.NDArray[Any]:
    if kind == "DOUBLE":
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    if kind in _FROM_NUMPY:
        return np.array([_NULL_INT if value is None else value for value in values], dtype=np.int64)
    return np.array([_NULL_TEXT if value is None else value for value in values], dtype=np.str_)


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path, now_ms: Callable[[], int]) -> None:
    steps = migrations()
    version = schema_version_of(connection)
    known = steps[-1][0]
    if version > known:
        raise NewerLedger(
            f"{path}: written by a newer release (schema {version}, this one knows {known}); run that release, "
            "or name another file in storage.ledger"
        )
    for number, name, script in steps:
        if number <= version:
            continue
        connection.execute("BEGIN")
        try:
            connection.execute("CREATE SCHEMA IF NOT EXISTS journal")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS journal.schema_version "
                "(version BIGINT NOT NULL, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
            )
            connection.execute(script)
            connection.execute(
                f"INSERT INTO journal.schema_version VALUES ({number}, {literal(name)}, {_moment(now_ms())})"  # noqa: S608
            )
            connection.execute("COMMIT")
        except duckdb.Error:
            connection.execute("ROLLBACK")
            raise
    connection.execute("BEGIN")
    try:
        connection.execute(views())
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise


def _moment(time_ms: int) -> str:
    return f"epoch_ms({int(time_ms)}::BIGINT)::TIMESTAMPTZ"
