"""Reading the published ledger: one statement, read-only, every handle closed again; blocks nobody, blocked by nobody."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from domain.errors import TandemError
from domain.symbols import PairId, Symbol, TradeId
from domain.text import one_line
from storage import locked_duckdb
from storage.files import require_file
from storage.hot import migrations, schema_version_of
from storage.locks import holder_of

QUERY_SECONDS = 30.0
MEMORY_MAX = "1GB"
_FETCHED_ROWS = 10_000
_UNQUOTED_AT = re.compile(r"(?<![\"'\w])at(?![\"'\w])", re.IGNORECASE)

# DuckDB shares one instance per path in a process: a second handle would show the file as the first one found it.
_one_at_a_time = threading.Lock()


class LedgerUnavailable(TandemError):
    """There is no ledger to read, or not one that this release can read."""


class QueryRefused(TandemError):
    """The statement is not one, is wrong, or asks for more than reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a statement answered."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTrade:
    """A pair trade that is not over, as the ledger knows it. Quantities are signed: negative is short."""

    trade_id: TradeId
    pair_id: PairId
    status: str
    symbol_a: Symbol
    symbol_b: Symbol
    held_a: Decimal
    held_b: Decimal
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How far the ledger has come."""

    newest_at: datetime | None  # Of the newest entry drained, by the clock of whoever wrote it.
    drained_at: datetime | None
    runner_seq: int  # The runner's journal is in the ledger up to this row.
    flows_seq: int
    recorder_pid: int | None  # None: no recorder runs.


def read(
    ledger: Path,
    sql: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
    *,
    seconds: float = QUERY_SECONDS,
) -> Table:
    """Run exactly one statement on the published ledger. Times come back in UTC.

    Raises: LedgerUnavailable (none yet, newer release, damaged), QueryRefused (one line; also when it takes longer than that).
    """
    if not sql.isascii() and any("\ud800" <= letter <= "\udfff" for letter in sql):
        raise QueryRefused("the statement is not text in UTF-8")
    with _one_at_a_time:
        connection = _open(ledger)
        try:
            return _answer(connection, sql, parameters, seconds)
        finally:
            connection.close()


@contextmanager
def reading(ledger: Path) -> Iterator[Callable[[str], Table]]:
    """Several statements on one and the same publication; other readers of this process wait meanwhile.

    Raises: LedgerUnavailable; what is yielded raises QueryRefused.
    """
    with _one_at_a_time:
        connection = _open(ledger)
        try:
            yield lambda sql: _answer(connection, sql, (), QUERY_SECONDS)
        finally:
            connection.close()


def positions(ledger: Path) -> dict[Symbol, Decimal]:
    """What we believe we hold, net per symbol, zeros left out. Raises: LedgerUnavailable."""
    return {
        Symbol(symbol): quantity for symbol, quantity in read(ledger, "SELECT symbol, quantity FROM positions").rows
    }


def open_trades(ledger: Path) -> list[OpenTrade]:
    """Pair trades that are not over, oldest first. Raises: LedgerUnavailable."""
    table = read(
        ledger,
        "SELECT trade_id, pair_id, status, symbol_a, symbol_b, held_a, held_b, opened_at FROM pair_trades "
        "WHERE closed_at IS NULL ORDER BY opened_at, trade_id",
    )
    return [OpenTrade(**dict(zip(table.columns, row, strict=True))) for row in table.rows]


def freshness(ledger: Path) -> Freshness:
    """How far the ledger has come, and whether anybody records. Raises: LedgerUnavailable."""
    ((newest_at, drained_at, runner_seq, flows_seq),) = read(
        ledger,
        "SELECT max(newest_at), max(drained_at), coalesce(arg_max(seq, drained_at) FILTER (journal = 'runner'), 0), "
        "coalesce(arg_max(seq, drained_at) FILTER (journal = 'flows'), 0) FROM journal.offsets",
    ).rows
    return Freshness(
        newest_at=newest_at,
        drained_at=drained_at,
        runner_seq=runner_seq,
        flows_seq=flows_seq,
        recorder_pid=holder_of(ledger.with_name(ledger.name + ".lock")),
    )


def _open(ledger: Path) -> duckdb.DuckDBPyConnection:
    if not ledger.exists():
        raise LedgerUnavailable(f"{ledger}: nothing recorded yet; start `tandem up`, or check storage.ledger")
    try:
        require_file(ledger)
        # Reading takes one core at most: the runner may need the other.
        connection = locked_duckdb.database(ledger, read_only=True, memory_limit=MEMORY_MAX)
    except (duckdb.Error, OSError) as problem:
        raise LedgerUnavailable(f"{ledger}: {_one_line(problem)}") from problem
    try:
        version, known = schema_version_of(connection), migrations()[-1][0]
    except duckdb.Error as problem:
        connection.close()
        raise LedgerUnavailable(f"{ledger}: {_one_line(problem)}") from problem
    if not 0 < version <= known:
        connection.close()
        what = f"written by a newer release (schema {version}, this one knows {known}); use that release"
        raise LedgerUnavailable(f"{ledger}: {what if version else 'a DuckDB file, but not a Tandem ledger'}")
    return connection


def _answer(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any], seconds: float
) -> Table:
    try:
        with locked_duckdb.interrupted_after(connection, seconds):
            return _executed(connection, sql, parameters, time.monotonic() + seconds)
    except duckdb.InterruptException:
        raise QueryRefused(f"took longer than {seconds:g} s and was stopped; ask for less, or allow more") from None


def _executed(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any], deadline: float
) -> Table:
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise QueryRefused(f"need exactly one statement, not {len(statements)}")
        # Without parameters none are passed: binding makes DuckDB 1.5 import pandas.
        if parameters:
            connection.execute(statements[0], parameters if isinstance(parameters, Mapping) else list(parameters))
        else:
            connection.execute(statements[0])
        described = connection.description or []
        rows: list[tuple[Any, ...]] = []
        while described and (more := connection.fetchmany(_FETCHED_ROWS)):
            rows += more
            if time.monotonic() > deadline:  # Making Python objects of rows cannot be interrupted.
                raise duckdb.InterruptException  # noqa: TRY301
    except duckdb.InterruptException:
        raise
    except duckdb.Error as problem:
        hint = ""
        if isinstance(problem, duckdb.ParserException) and _UNQUOTED_AT.search(sql):
            hint = '; at is a word of SQL: write the column as "at"'
        raise QueryRefused(_one_line(problem) + hint) from problem
    return Table(
        columns=tuple(str(column[0]) for column in described),
        types=tuple(str(column[1]) for column in described),
        rows=[tuple(_in_utc(value) for value in row) for row in rows],
    )


def _in_utc(value: Any) -> Any:
    """DuckDB answers with pytz's zones; everybody else expects the standard library's."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


def _one_line(problem: BaseException) -> str:
    """The message, and where DuckDB points to, without its drawing of the statement."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    lines_kept = [line for line in lines if not line.startswith(("LINE ", "^"))]
    return one_line(" ".join(lines_kept) or repr(problem))
