"""A file of prices for a scan: what is wrong with the file is one clear line, what is wrong with a symbol is its status."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from domain.errors import ConfigError
from domain.statistics.panel import PricePanel
from domain.text import one_line
from storage import locked_duckdb
from storage.files import require_file
from storage.locked_duckdb import file_name
from storage.sql import identifier

READERS = {".parquet": "read_parquet", ".csv": "read_csv"}
TIME_NAMES = ("ts", "open_ms", "e_ms", "time", "timestamp")
_ZONED = r"(?i)\d\d:\d\d.*(z|utc|[+-]\d{2}(:?\d{2})?)$"
_OUR_SQL = re.compile(r"^LINE \d+:", re.MULTILINE)
_DIGITS = r"^-?\d+(\.0+)?$"
_STAMP_MAX = 1e19  # Beyond it a number is no time, nanoseconds of this century included.
# How many of a unit make a millisecond, by the size of a stamp of this century. What is smaller is a number of bars.
_EPOCHS = ((1e17, 1e-6), (1e14, 1e-3), (1e11, 1.0), (1e8, 1e3))


def read_prices(path: Path) -> PricePanel:
    """A table of prices: long (symbol, ts, close) or wide (a time column first, then one column a symbol).

    Parquet or CSV by the file's ending. Rows may be in any order; a row that is there twice counts once. A close that is
    missing or NaN is a missing bar. Raises: ConfigError, one line.
    """
    source = source_of(path)
    try:
        with locked_duckdb.in_memory(files=[path]) as connection:
            columns = [str(row[0]) for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()]
            time_name = _long_form(connection, source, columns, path)
            stamps = times_sql(connection, path, time_name)
            panel = _panel(connection, path, stamps)
    except duckdb.Error as problem:
        raise ConfigError(f"{path}: cannot be read as prices: {in_a_line(str(problem))}") from None
    _check_intervals(panel, path)
    return panel


def only_symbols(panel: PricePanel, symbols: Sequence[str], path: Path) -> PricePanel:
    """These of the file, or all of it when none is named. Raises: ConfigError when one is not there."""
    for symbol in symbols:
        if symbol not in panel.symbols:
            near = difflib.get_close_matches(symbol, panel.symbols, n=1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"it has {', '.join(panel.symbols[:10])}" + ", …" * (len(panel.symbols) > 10)
            )
            raise ConfigError(f"--symbol {symbol}: there is none in {path}; {hint}")
    return panel.only([panel.symbols.index(symbol) for symbol in dict.fromkeys(symbols)]) if symbols else panel


def source_of(path: Path) -> str:
    """The SQL that reads this very file of prices, by its ending. Raises: ConfigError when it is no such file."""
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a .parquet or .csv file of prices")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: need a .parquet or .csv file of prices")
    try:
        require_file(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None
    options = ", all_varchar = true" if reader == "read_csv" else ""
    return f"{reader}({file_name(path)}{options})"


def in_a_line(problem: str) -> str:
    """DuckDB says what is wrong in the middle of a page of advice, and after it our own SQL."""
    if "utf-8" in problem.lower() or "unicode" in problem.lower():
        return "it is not UTF-8 text; save it as UTF-8"
    lines = [line.strip() for line in _OUR_SQL.split(problem)[0].splitlines() if line.strip()]
    return one_line(" ".join(lines[:3]))[:300]


def _long_form(connection: duckdb.DuckDBPyConnection, source: str, columns: list[str], path: Path) -> str:
    """Make the table `given` (symbol, stamp, close), all text as it came; returns the name of the time column."""
    named = {name.lower(): name for name in columns}
    known = [named[name] for name in TIME_NAMES if name in named]
    time_name = known[0] if known else columns[0]
    if {"symbol", "close"} & set(named):
        missing = [name for name in ("symbol", "close") if name not in named]
        missing += [] if known else ["ts"]
        if missing:
            raise ConfigError(f"{path}: no column {', '.join(missing)}; it has {', '.join(columns)}")
        symbol, stamp, close = map(identifier, (named["symbol"], time_name, named["close"]))
        rows = f"SELECT {symbol} AS symbol, {stamp} AS stamp, {close} AS close FROM {source}"  # noqa: S608 - quoted.
    else:
        if len(columns) < 2:
            raise ConfigError(f"{path}: need columns symbol, ts, close, or a time column and one column a symbol")
        stamp = identifier(time_name)
        rows = (
            f"SELECT symbol, stamp, close FROM (SELECT {stamp} AS stamp, * EXCLUDE ({stamp}) FROM {source})"  # noqa: S608
            " UNPIVOT INCLUDE NULLS (close FOR symbol IN (COLUMNS(* EXCLUDE (stamp))))"
        )
    connection.execute(f"CREATE TEMP TABLE given AS {rows}")
    if not connection.execute("SELECT count(*) FROM given").fetchall()[0][0]:
        raise ConfigError(f"{path}: no prices in it")
    unnamed = connection.execute("SELECT count(*) FROM given WHERE symbol IS NULL OR stamp IS NULL").fetchall()[0][0]
    if unnamed:
        raise ConfigError(f"{path}: {unnamed} rows have no symbol or no {time_name}; remove them")
    wrong = connection.execute(
        "SELECT symbol, close FROM given WHERE close IS NOT NULL AND CAST(close AS VARCHAR) <> ''"
        " AND TRY_CAST(close AS DOUBLE) IS NULL LIMIT 1"
    ).fetchall()
    if wrong:
        raise ConfigError(f"{path}: a close of {wrong[0][0]} is {wrong[0][1]!r}, which is not a number")
    return time_name


def times_sql(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> str:
    """The SQL that makes a stamp a whole number: Unix milliseconds, or the number of a bar. Raises: ConfigError."""
    kind = str(connection.execute("SELECT typeof(stamp) FROM given LIMIT 1").fetchall()[0][0])
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "epoch_ms(stamp::TIMESTAMPTZ)" if "ZONE" in kind else "epoch_ms(stamp::TIMESTAMP)"
    digits, zoned, rows, largest = connection.execute(
        "SELECT count(*) FILTER (regexp_matches(trim(t), ?)), count(*) FILTER (regexp_matches(trim(t), ?)), count(*),"
        " max(abs(TRY_CAST(t AS DOUBLE))) FROM (SELECT CAST(stamp AS VARCHAR) AS t FROM given)",
        [_DIGITS, _ZONED],
    ).fetchall()[0]
    if digits == rows:
        if largest >= _STAMP_MAX:
            raise ConfigError(
                f"{path}: a {name} is {largest:g}, which is no time; write Unix seconds, milliseconds, or 2026-01-31T23:59:00Z"
            )
        factor = next((factor for least, factor in _EPOCHS if largest >= least), 1.0)
        return (
            f"round(CAST(stamp AS DOUBLE) * {factor})::BIGINT"
            if factor != 1
            else "CAST(CAST(stamp AS DOUBLE) AS BIGINT)"
        )
    if digits:
        raise ConfigError(
            f"{path}: {digits} of {rows} values of {name} are numbers and the others are not; use one form"
        )
    bad = connection.execute(
        "SELECT stamp FROM given WHERE NOT coalesce(isfinite(TRY_CAST(stamp AS TIMESTAMPTZ)), false) LIMIT 1"
    ).fetchall()
    if bad:
        raise ConfigError(f"{path}: {name} {bad[0][0]!r} is not a time; write it as 2026-01-31T23:59:00Z")
    if 0 < zoned < rows:
        raise ConfigError(
            f"{path}: mixed time zones: {zoned} of {rows} values of {name} carry one; write all of them in UTC"
        )
    return "epoch_ms(stamp::TIMESTAMPTZ)"


def _panel(connection: duckdb.DuckDBPyConnection, path: Path, number: str) -> PricePanel:
    connection.execute(
        f"CREATE TEMP TABLE bars AS SELECT CAST(symbol AS VARCHAR) AS symbol, {number} AS at_ms,"  # noqa: S608 - our own SQL.
        " min(TRY_CAST(close AS DOUBLE)) AS low, max(TRY_CAST(close AS DOUBLE)) AS high FROM given GROUP BY ALL"
    )
    torn = connection.execute(
        "SELECT symbol, at_ms, low, high FROM bars WHERE low <> high ORDER BY ALL LIMIT 1"
    ).fetchall()
    if torn:
        symbol, at, low, high = torn[0]
        raise ConfigError(f"{path}: {symbol} has two closes at {_explained(at)}, {low:g} and {high:g}; keep one")
    symbols = [str(row[0]) for row in connection.execute("SELECT DISTINCT symbol FROM bars ORDER BY 1").fetchall()]
    times = connection.execute("SELECT DISTINCT at_ms FROM bars ORDER BY 1").fetchnumpy()["at_ms"].astype(np.int64)
    found = connection.execute(
        "SELECT dense_rank() OVER (ORDER BY at_ms) - 1 AS bar, dense_rank() OVER (ORDER BY symbol) - 1 AS place,"
        " low AS close FROM bars"
    ).fetchnumpy()
    prices = np.full((len(times), len(symbols)), np.nan)
    closes = np.ma.filled(np.ma.asarray(found["close"]).astype(np.float64), np.nan)
    prices[found["bar"].astype(np.int64), found["place"].astype(np.int64)] = closes
    steps = np.diff(times)
    step = int(np.median(steps)) if len(steps) else 0
    seconds = step // 1000 if times[-1] >= 1e11 and step >= 1000 else None
    return PricePanel(symbols=tuple(symbols), prices=prices, open_ms=times, bar_seconds=seconds)


def _explained(at: int) -> str:
    return str(np.datetime64(at, "ms")) if at >= 1e11 else f"bar {at}"


def _check_intervals(panel: PricePanel, path: Path) -> None:
    """Every symbol on one interval, or its gaps would be the fault of the others. Raises: ConfigError."""
    assert panel.open_ms is not None
    steps: dict[int, list[str]] = {}
    for place, symbol in enumerate(panel.symbols):
        own: NDArray[np.int64] = np.diff(panel.open_ms[np.isfinite(panel.prices[:, place])])
        if len(own) >= 2:
            steps.setdefault(int(own.min()), []).append(symbol)
    unit, scale = ("seconds", 1000) if panel.bar_seconds else ("bars", 1)
    if len(steps) > 1:
        common, *_, odd = sorted(steps, key=lambda step: -len(steps[step]))
        raise ConfigError(
            f"{path}: mixed intervals: {steps[odd][0]} has a bar every {odd / scale:g} {unit}, {len(steps[common])} others every"
            f" {common / scale:g}; resample them to one"
        )
    for step in steps:
        _check_grid(panel, path, step)


def _check_grid(panel: PricePanel, path: Path, step: int) -> None:
    """No symbol has bars between those of the others: each would be a gap of all the others. Raises: ConfigError.

    A bar that most symbols have is on the grid wherever it is: days are not equally long where clocks change.
    """
    assert panel.open_ms is not None
    present = np.isfinite(panel.prices)
    owners = present.sum(axis=1)
    _, whose = np.unique(panel.open_ms % step, return_inverse=True)
    weights = np.bincount(whose, weights=owners)
    if 2 * weights.max() < weights.sum():
        return  # No grid at all, such as months.
    astray = np.flatnonzero((whose != weights.argmax()) & (owners > 0) & (2 * owners <= len(panel.symbols)))
    if astray.size:
        symbol = panel.symbols[int(present[astray[0]].argmax())]
        raise ConfigError(
            f"{path}: {symbol} has a bar at {_explained(int(panel.open_ms[astray[0]]))}, between the bars of the others;"
            " shift it to their times or leave it out"
        )
