"""What a journal consists of: our migrations, and nothing else. A trigger or a view that somebody added would run as we do."""

import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from domain.errors import ConfigError
from domain.text import one_line

_MAINTENANCE = frozenset({"sqlite_stat1", "sqlite_stat4"})
"""What ANALYZE leaves behind: figures for the query planner."""

Schema = dict[tuple[str, str], tuple[str, str | None]]
"""(kind, name) to (table, SQL), as sqlite_master has it."""


@cache
def migrations() -> tuple[str, ...]:
    """The SQL of each step, in order."""
    folder = Path(__file__).parent / "sql" / "journal"
    return tuple(path.read_text() for path in sorted(folder.glob("*.sql")))


def statements_of(script: str) -> Iterator[str]:
    """One at a time: `executescript` would commit what is open first."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def require_known_schema(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Exactly what the migrations up to this version make. Raises: ConfigError with the name of what is too much, or altered."""
    expected, found = _schema_of(version), _read(connection)
    for (kind, name), (table, sql) in sorted(found.items()):
        wanted = expected.get((kind, name))
        what = f"{kind} {one_line(name)}" + (f" on {one_line(table)}" if table != name else "")
        if wanted is None:
            raise _foreign(path, f"holds the {what}, which is none of ours")
        if wanted != (table, sql):
            raise _foreign(path, f"its {what} is not as we make it")
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise _foreign(path, f"its {missing[0][0]} {missing[0][1]} is missing")


@cache
def _schema_of(version: int) -> Schema:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for script in migrations()[:version]:
            connection.executescript(script)
        return _read(connection)
    finally:
        connection.close()


def _read(connection: sqlite3.Connection) -> Schema:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {(kind, name): (table, sql) for kind, name, table, sql in rows if name not in _MAINTENANCE}


def _foreign(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path}: {what}; restore it from a backup, or move it aside to start empty")
