"""Prices and funding from a file of one's own: what is wrong with it is one clear line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from domain.errors import ConfigError
from domain.klines import FundingRate
from domain.symbols import Symbol, unified
from flows.backtest.engine.market import Bars, Quotes, Times, bars_of_quotes
from flows.common.prices import TIME_NAMES, in_a_line, source_of, times_sql
from storage import locked_duckdb
from storage.sql import identifier

_QUOTE_ASSETS = ("USDT", "USDC")
_EARLIEST_MS = 1_230_768_000_000  # 2009: before it there was nothing of ours to trade, and a number is no time.


def read_prices(path: Path, *, step_ms: int) -> tuple[Bars, Quotes | None]:
    """Klines (symbol, ts, open, close; high, low and volume are let be), or quotes (symbol, ts, bid, ask) and the bars they make.

    `ts` is a bar's opening. `step_ms` is the bar that quotes are made into; klines say themselves. Rows in any order; the same row
    twice counts once. Without `open` an order is filled at the next close. Raises: ConfigError.
    """
    with _opened(path) as connection:
        columns = _columns_of(connection, path)
        if {"bid", "ask"} <= columns.keys():
            quotes = _quotes(connection, path, columns)
            return bars_of_quotes(quotes, step_ms), quotes
        if "close" not in columns:
            raise ConfigError(f"{path}: need columns close or bid and ask; it has {', '.join(columns)}")
        return _bars(connection, path, columns), None


def read_funding(path: Path) -> dict[Symbol, list[FundingRate]]:
    """Settlements: symbol, ts, rate (or funding_rate), a fraction of the notional that longs pay. Raises: ConfigError."""
    with _opened(path) as connection:
        columns = _columns_of(connection, path)
        name = next((name for name in ("rate", "funding_rate") if name in columns), None)
        if name is None:
            raise ConfigError(f"{path}: no column rate; it has {', '.join(columns)}")
        _fill_rows(connection, path, columns, [name])
        absurd = connection.execute(f"SELECT symbol, {name} FROM rows WHERE abs({name}) >= 1 LIMIT 1").fetchall()  # noqa: S608
        if absurd:
            symbol, rate = absurd[0]
            raise ConfigError(
                f"{path}: {name} of {symbol} is {rate:g}; need a fraction of the notional, 0.0001 for 1 bp"
            )
        _one_each(connection, path, [name], "rates")
        found: dict[Symbol, list[FundingRate]] = {}
        for symbol, at_ms, rate in connection.execute("FROM single ORDER BY ALL").fetchall():
            found.setdefault(named(symbol, path), []).append(FundingRate(int(at_ms), float(rate)))
    return found


def named(text: str, path: Path) -> Symbol:
    """`BTCUSDT`, `BTC/USDT` or `BTC/USDT:USDT`. Raises: ConfigError."""
    typed = text
    for asset in _QUOTE_ASSETS:
        if "/" not in text and text.endswith(asset) and len(text) > len(asset):
            typed = f"{text.removesuffix(asset)}/{asset}"
    try:
        return unified(typed)
    except ValueError as problem:
        raise ConfigError(f"{path}: {problem}") from None


@contextmanager
def _opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with the view `file`. Raises: ConfigError, whatever DuckDB says on the way."""
    source = source_of(path)
    try:
        with locked_duckdb.in_memory(files=[path]) as connection:
            connection.execute(f"CREATE VIEW file AS FROM {source}")
            yield connection
    except duckdb.Error as problem:
        raise ConfigError(f"{path}: cannot be read: {in_a_line(str(problem))}") from None


def _columns_of(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Lower case to the file's own spelling; `ts` is the time, whatever its name. Raises: ConfigError."""
    named = {str(row[0]).lower(): str(row[0]) for row in connection.execute("DESCRIBE file").fetchall()}
    times = [named[name] for name in TIME_NAMES if name in named]
    missing = [] if "symbol" in named else ["symbol"]
    missing += [] if times else ["ts"]
    if missing:
        raise ConfigError(f"{path}: no column {', '.join(missing)}; it has {', '.join(named)}")
    return {**named, "ts": times[0]}


def _fill_rows(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, str], values: Sequence[str]
) -> None:
    """The table `rows` (symbol, at_ms, values…, n): n is the row's place in the file. A missing number is a missing row.

    Raises: ConfigError.
    """
    picked = ", ".join(f"{identifier(columns[name])} AS {name}" for name in values)
    symbol, stamp = identifier(columns["symbol"]), identifier(columns["ts"])
    source = f"SELECT {symbol} AS symbol, {stamp} AS stamp, {picked} FROM file"  # noqa: S608 - quoted.
    connection.execute(f"CREATE TEMP TABLE given AS {source}")
    if not connection.execute("SELECT count(*) FROM given").fetchall()[0][0]:
        raise ConfigError(f"{path}: there is nothing in it")
    unnamed = connection.execute("SELECT count(*) FROM given WHERE symbol IS NULL OR stamp IS NULL").fetchall()[0][0]
    if unnamed:
        raise ConfigError(f"{path}: {unnamed} rows have no symbol or no {columns['ts']}; remove them")
    for name in values:
        wrong = connection.execute(
            f"SELECT symbol, {name} FROM given WHERE {name} IS NOT NULL AND CAST({name} AS VARCHAR) <> ''"  # noqa: S608
            f" AND TRY_CAST({name} AS DOUBLE) IS NULL LIMIT 1"
        ).fetchall()
        if wrong:
            raise ConfigError(f"{path}: {name} of {wrong[0][0]} is {wrong[0][1]!r}, which is not a number")
    stamp = times_sql(connection, path, columns["ts"])
    casts = ", ".join(f"TRY_CAST({name} AS DOUBLE) AS {name}" for name in values)
    there = " AND ".join(f"isfinite(TRY_CAST({name} AS DOUBLE))" for name in values)
    connection.execute(
        f"CREATE TEMP TABLE rows AS SELECT CAST(symbol AS VARCHAR) AS symbol, {stamp} AS at_ms, {casts}, rowid AS n"  # noqa: S608
        f" FROM given WHERE {there}"
    )
    times = connection.execute("SELECT count(*), min(at_ms) FROM rows").fetchall()[0]
    if not times[0]:
        raise ConfigError(f"{path}: no row of it has all of {', '.join(values)}")
    if times[1] < _EARLIEST_MS:
        raise ConfigError(f"{path}: {columns['ts']} {times[1]} is not a time; write it as 2026-01-31T23:59:00Z")


def _one_each(connection: duckdb.DuckDBPyConnection, path: Path, values: Sequence[str], what: str) -> None:
    """The same row twice is one row; two that differ are not. Raises: ConfigError."""
    listed = ", ".join(values)
    connection.execute(f"CREATE TEMP TABLE single AS SELECT DISTINCT symbol, at_ms, {listed} FROM rows")  # noqa: S608
    torn = connection.execute(
        "SELECT symbol, at_ms FROM single GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    ).fetchall()
    if torn:
        raise ConfigError(f"{path}: {torn[0][0]} has two {what} at {_described(torn[0][1])}; keep one")


def _bars(connection: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, str]) -> Bars:
    values = ["open", "close"] if "open" in columns else ["close"]
    _fill_rows(connection, path, columns, values)
    _positive(connection, path, values)
    _one_each(connection, path, values, "bars")
    found = connection.execute("FROM single ORDER BY symbol, at_ms").fetchnumpy()
    names, places = np.unique(found["symbol"].astype(str), return_inverse=True)
    at_ms = found["at_ms"].astype(np.int64)
    step_ms = _step_of(names, places, at_ms, path)
    off = np.flatnonzero(at_ms % step_ms)
    if off.size:
        raise ConfigError(
            f"{path}: {names[places[off[0]]]} has a bar at {_described(int(at_ms[off[0]]))}, off the grid of {step_ms / 1000:g} s"
        )
    first_bar = int(at_ms.min()) // step_ms
    count = int(at_ms.max()) // step_ms - first_bar + 1
    tables = {}
    for name in values:
        table = np.full((count, names.size), np.nan)
        table[at_ms // step_ms - first_bar, places] = found[name].astype(np.float64)
        tables[name] = table
    return Bars(
        symbols=tuple(named(str(name), path) for name in names),
        first_bar=first_bar,
        step_ms=step_ms,
        closes=tables["close"],
        opens=tables.get("open"),
    )


def _step_of(names: NDArray[np.str_], places: Times, at_ms: Times, path: Path) -> int:
    """The one interval of all symbols; one with two bars only may have a gap between them. Raises: ConfigError."""
    apart = {str(name): np.diff(at_ms[places == place]) for place, name in enumerate(names)}
    few = {name: own for name, own in apart.items() if own.size}
    steps: dict[int, str] = {}
    for name, own in ({name: own for name, own in few.items() if own.size > 1} or few).items():
        steps.setdefault(int(own.min()), name)
    if not steps:
        raise ConfigError(f"{path}: no symbol has two bars")
    if len(steps) > 1:
        (one, first), (other, second) = list(steps.items())[:2]
        raise ConfigError(
            f"{path}: mixed intervals: {first} has a bar every {one / 1000:g} s, {second} every {other / 1000:g} s; resample them"
        )
    step = next(iter(steps))
    if step < 1000:
        raise ConfigError(f"{path}: bars {step} ms apart are quotes; give them as symbol, ts, bid, ask")
    return step


def _quotes(connection: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, str]) -> Quotes:
    _fill_rows(connection, path, columns, ["bid", "ask"])
    _positive(connection, path, ["bid", "ask"])
    crossed = connection.execute(
        "SELECT symbol, at_ms, bid, ask FROM rows WHERE bid > ask ORDER BY ALL LIMIT 1"
    ).fetchall()
    if crossed:
        symbol, at_ms, bid, ask = crossed[0]
        raise ConfigError(
            f"{path}: {symbol} has a bid of {bid:g} above its ask of {ask:g} at {_described(at_ms)}; leave the row out"
        )
    found = connection.execute("FROM rows ORDER BY at_ms, n").fetchnumpy()
    names, places = np.unique(found["symbol"].astype(str), return_inverse=True)
    return Quotes(
        symbols=tuple(named(str(name), path) for name in names),
        at_ms=found["at_ms"].astype(np.int64),
        place=places.astype(np.int64),
        bid=found["bid"].astype(np.float64),
        ask=found["ask"].astype(np.float64),
    )


def _positive(connection: duckdb.DuckDBPyConnection, path: Path, values: Sequence[str]) -> None:
    for name in values:
        query = f"SELECT symbol, at_ms, {name} FROM rows WHERE {name} <= 0 ORDER BY ALL LIMIT 1"  # noqa: S608
        wrong = connection.execute(query).fetchall()
        if wrong:
            symbol, at_ms, value = wrong[0]
            raise ConfigError(
                f"{path}: {name} of {symbol} at {_described(at_ms)} is {value:g}, which is no price; leave the row out"
            )


def _described(at_ms: int) -> str:
    return str(np.datetime64(at_ms, "ms"))
