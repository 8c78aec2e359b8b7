"""Klines and funding rates as Parquet, one file per symbol and month, each replaced whole; read through DuckDB.

`<root>/klines/<timeframe>/<BASE-QUOTE-SETTLE>/<YYYY-MM>.parquet`, `<root>/funding/<BASE-QUOTE-SETTLE>/<YYYY-MM>.parquet`.
Prices are DOUBLE: they feed statistics, not orders. Times are Unix milliseconds of a bar's opening.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from domain.errors import ConfigError
from domain.klines import FundingRate
from domain.symbols import Symbol
from domain.units import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, WEEK_MS
from storage import locked_duckdb
from storage.files import open_own, private_folder, replacing
from storage.locks import LockHeld, take
from storage.sql import identifier, literal, literals

_TIMEFRAME = re.compile(r"([1-9][0-9]{0,3})([smhdw])")
_SYMBOL = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9]+:[A-Za-z0-9]+")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9]+-[A-Za-z0-9]+-[A-Za-z0-9]+")
_WAIT_SECONDS = 120.0
"""For another writer of the same symbol, which writes months of bars in seconds."""
_UNIT_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}
_KLINE_COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")
_FUNDING_COLUMNS = ("at_ms", "rate")
HOLES_NAME = "holes.json"


class Closes(NamedTuple):
    """Aligned closes: `matrix[i, j]` is the close of `symbols[j]` in the bar that opened at `times[i]`; NaN is a gap."""

    times: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float64]
    symbols: tuple[Symbol, ...]


def timeframe_ms(timeframe: str) -> int:
    """`1h` -> 3600000. Raises: ValueError."""
    match = _TIMEFRAME.fullmatch(timeframe)
    if match is None:
        raise ValueError(f"{timeframe!r} is not a timeframe; write it as 1m, 5m, 1h or 1d")
    return int(match[1]) * _UNIT_MS[match[2]]


def write_klines(root: Path, symbol: Symbol, timeframe: str, rows: Iterable[Sequence[float]]) -> int:
    """Upsert bars by their opening time; the later of two equal ones wins. Returns how many rows were given.

    Safe to run twice. Rows are in ccxt's order: open_ms, open, high, low, close, volume. Give closed bars only.
    Raises: ValueError for a bar off the timeframe's grid or with a price that is not a positive number; ConfigError.
    """
    step_ms = timeframe_ms(timeframe)
    table = np.array([row[:6] for row in rows], dtype=np.float64).reshape(-1, 6)
    bad = ~np.isfinite(table[:, 1:]).all(axis=1) | (table[:, 1:5] <= 0).any(axis=1)
    if bad.any():
        raise ValueError(f"{symbol} {timeframe}: not a bar: {tuple(table[bad][0].tolist())}")
    # Weeks open on Mondays, the epoch was a Thursday: no grid to check.
    off = table[:, 0] % step_ms != 0
    if not timeframe.endswith("w") and off.any():
        raise ValueError(f"{symbol} {timeframe}: a bar cannot open at {table[off][0, 0]:.0f}")
    _upsert(root, _folder(root, "klines", symbol, timeframe), _KLINE_COLUMNS, table)
    return len(table)


def write_funding(root: Path, symbol: Symbol, rows: Iterable[Sequence[float]]) -> int:
    """Upsert settlements (at_ms, rate). Returns how many rows were given. Raises: ValueError, ConfigError."""
    table = np.array([row[:2] for row in rows], dtype=np.float64).reshape(-1, 2)
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        raise ValueError(f"{symbol}: not a funding rate: {tuple(table[bad][0].tolist())}")
    _upsert(root, _folder(root, "funding", symbol), _FUNDING_COLUMNS, table)
    return len(table)


def read_klines(
    root: Path, symbol: Symbol, timeframe: str, start_ms: int, end_ms: int
) -> dict[str, npt.NDArray[np.float64 | np.int64]]:
    """Columns of the bars that opened in [start_ms, end_ms), in order; empty when there are none."""
    files = _files(_folder(root, "klines", symbol, timeframe), start_ms, end_ms)
    with _engine(root) as connection:
        return _columns(connection, files, _KLINE_COLUMNS, start_ms, end_ms)


def read_funding(root: Path, symbol: Symbol, start_ms: int, end_ms: int) -> list[FundingRate]:
    """The settlements in [start_ms, end_ms), in order."""
    files = _files(_folder(root, "funding", symbol), start_ms, end_ms)
    with _engine(root) as connection:
        found = _columns(connection, files, _FUNDING_COLUMNS, start_ms, end_ms)
    return [FundingRate(*row) for row in zip(found["at_ms"].tolist(), found["rate"].tolist(), strict=True)]


def read_closes(root: Path, symbols: Sequence[Symbol], timeframe: str, start_ms: int, end_ms: int) -> Closes:
    """Closes of the bars that opened in [start_ms, end_ms) on one grid without holes: a missing bar is NaN.

    The grid runs from the first to the last bar that any of the symbols has; it is empty when none has one.
    """
    step_ms = timeframe_ms(timeframe)
    names = tuple(symbols)
    files = [_files(_folder(root, "klines", name, timeframe), start_ms, end_ms) for name in names]
    with _engine(root) as connection:
        series = [_columns(connection, months, ("open_ms", "close"), start_ms, end_ms) for months in files]
    opened = [found["open_ms"] for found in series if found["open_ms"].size]
    if not opened:
        return Closes(np.empty(0, dtype=np.int64), np.empty((0, len(names))), names)
    first, last = min(int(times[0]) for times in opened), max(int(times[-1]) for times in opened)
    times = np.arange(first, last + 1, step_ms, dtype=np.int64)
    matrix = np.full((times.size, len(names)), np.nan)
    for column, found in enumerate(series):
        matrix[(found["open_ms"].astype(np.int64) - first) // step_ms, column] = found["close"]
    return Closes(times, matrix, names)


def last_open_ms(root: Path, symbol: Symbol, timeframe: str) -> int | None:
    """When the newest stored bar opened; None when there is none."""
    files = _files(_folder(root, "klines", symbol, timeframe))
    if not files:
        return None
    with _engine(root) as connection:
        times = _columns(connection, files[-1:], ("open_ms",))["open_ms"]
    return int(times[-1]) if times.size else None


def gaps(root: Path, symbol: Symbol, timeframe: str, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """The holes in [start_ms, end_ms): (opening of the first missing bar, opening of the next bar that is there)."""
    files = _files(_folder(root, "klines", symbol, timeframe), start_ms, end_ms)
    with _engine(root) as connection:
        times = _columns(connection, files, ("open_ms",), start_ms, end_ms)["open_ms"]
    return gaps_between(times, timeframe_ms(timeframe), start_ms, end_ms)


def gaps_between(times: npt.NDArray[np.int64], step_ms: int, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """The same of bars that opened at `times`, in order and within [start_ms, end_ms)."""
    first = -(-start_ms // step_ms) * step_ms
    end = -(-end_ms // step_ms) * step_ms
    if end <= first:
        return []
    edges = np.concatenate(([first - step_ms], times.astype(np.int64), [end]))
    holes = np.flatnonzero(np.diff(edges) > step_ms)
    return [(int(edges[hole]) + step_ms, int(edges[hole + 1])) for hole in holes]


def forget(root: Path, symbol: Symbol, timeframe: str) -> None:
    """Delete every bar of this symbol and timeframe, and what is known of its holes. Raises: ConfigError."""
    folder = _folder(root, "klines", symbol, timeframe)
    with alone_in(folder):
        for path in (*_files(folder), *folder.glob(HOLES_NAME)):
            path.unlink()


def klines_folder(root: Path, symbol: Symbol, timeframe: str) -> Path:
    """Where the bars of a symbol lie."""
    return _folder(root, "klines", symbol, timeframe)


def funding_folder(root: Path, symbol: Symbol) -> Path:
    """Where the settlements of a symbol lie."""
    return _folder(root, "funding", symbol)


def stored_symbols(root: Path, timeframe: str) -> list[Symbol]:
    """Every symbol that has bars of this timeframe, in order of name."""
    timeframe_ms(timeframe)
    folder = root / "klines" / timeframe
    names = sorted(item.name for item in folder.iterdir() if item.is_dir()) if folder.exists() else []
    return [Symbol("{}/{}:{}".format(*name.split("-"))) for name in names if _FOLDER_NAME.fullmatch(name)]


def _folder(root: Path, kind: str, symbol: Symbol, timeframe: str | None = None) -> Path:
    """A symbol's folder. `/` and `:` cannot be in a name everywhere."""
    name = symbol.replace("/", "-").replace(":", "-")
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"{symbol!r} is not a unified symbol, BASE/QUOTE:SETTLE")
    if timeframe is None:
        return root / kind / name
    timeframe_ms(timeframe)
    return root / kind / timeframe / name


def _month_of(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m")


def _files(folder: Path, start_ms: int | None = None, end_ms: int | None = None) -> list[Path]:
    """The months' files in order, only those that the span touches."""
    first = "" if start_ms is None else _month_of(start_ms)
    last = "9999-12" if end_ms is None else _month_of(end_ms)
    return sorted(path for path in folder.glob("????-??.parquet") if first <= path.stem <= last)


def _upsert(root: Path, folder: Path, columns: tuple[str, ...], table: npt.NDArray[np.float64]) -> None:
    if not len(table):
        return
    times = table[:, 0].astype(np.int64)  # Milliseconds: exact as floats for the next hundred thousand years.
    fresh = {name: table[:, index] if index else times for index, name in enumerate(columns)}
    months = times.astype("datetime64[ms]").astype("datetime64[M]").astype(str)
    with alone_in(folder), _engine(root) as connection:
        for month in sorted(set(months.tolist())):
            target, here = folder / f"{month}.parquet", months == month
            stored = _columns(connection, [target] if target.exists() else [], columns)
            merged = {name: np.concatenate((stored[name], fresh[name][here])) for name in columns}
            # The later of two equal ones wins: seen from the end it is the first.
            times = merged[columns[0]]
            kept = len(times) - 1 - np.unique(times[::-1], return_index=True)[1]
            _write_whole(connection, target, {name: merged[name][kept] for name in columns})


_process = 0
_root = Path()
_database: duckdb.DuckDBPyConnection | None = None
_making = threading.Lock()


def _engine(root: Path) -> duckdb.DuckDBPyConnection:
    """A connection of one's own to the process's one engine: starting an engine costs ten times what reading a month does.

    Files are replaced under it, so it keeps none of them in memory. It sees nothing but what lies under this root.
    """
    global _process, _root, _database  # noqa: PLW0603 - one engine a process; a forked child must not use its parent's.
    with _making:
        if _database is None or _process != os.getpid() or _root != root:
            _database = locked_duckdb.in_memory(folders=[root], enable_external_file_cache=False)
            _process, _root = os.getpid(), root
        return _database.cursor()


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One writer at a time per symbol, or a month written twice at once would lose one half. Raises: ConfigError.

    What a killed writer left half-written is removed: nobody else writes here now.
    """
    try:
        private_folder(folder)
        descriptor = open_own(folder / ".lock")
    except OSError as problem:
        raise ConfigError(f"{folder}: cannot be written: {problem}; correct storage.market") from problem
    try:
        take(descriptor, folder / ".lock", wait_seconds=_WAIT_SECONDS)
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        yield
    except LockHeld as held:
        ours = f"process {held.holder} has been writing here for {_WAIT_SECONDS:g} s; wait for it, or end it"
        raise ConfigError(f"{folder}: {held.explain(ours)}") from None
    finally:
        os.close(descriptor)


def _write_whole(
    connection: duckdb.DuckDBPyConnection, target: Path, batch: dict[str, npt.NDArray[np.float64 | np.int64]]
) -> None:
    """Beside it, fsynced, renamed: a reader sees the old file or the new one."""
    try:
        with replacing(target) as beside:
            connection.register("batch", batch)
            options = "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false"
            connection.execute(f"COPY (FROM batch) TO {literal(beside)} ({options})").fetchall()
    except (OSError, duckdb.Error) as problem:
        raise ConfigError(
            f"{target}: cannot be written: {str(problem).splitlines()[0]}; make room, or correct storage.market"
        ) from problem


def _columns(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    columns: tuple[str, ...],
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The columns of these files, the first one being the time, in order of time. Raises: ConfigError."""
    if not files:
        return {name: np.empty(0, dtype=np.float64 if index else np.int64) for index, name in enumerate(columns)}
    time = identifier(columns[0])
    query = f"SELECT {', '.join(map(identifier, columns))} FROM read_parquet([{literals(files)}])"  # noqa: S608
    if start_ms is not None and end_ms is not None:
        query += f" WHERE {time} >= {int(start_ms)} AND {time} < {int(end_ms)}"
    try:
        found: dict[str, npt.NDArray[Any]] = connection.execute(f"{query} ORDER BY {time}").fetchnumpy()
    except duckdb.Error as problem:
        raise ConfigError(
            f"{files[0].parent}: cannot be read: {str(problem).splitlines()[0]}; delete the damaged file, it is downloaded again"
        ) from problem
    return found
