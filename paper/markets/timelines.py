"""Recorded markets: klines and quotes read from Parquet or CSV, as a past and a timeline of what comes next."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

import duckdb
import numpy as np
import numpy.typing as npt

from domain.units import DAY_MS, MINUTE_MS
from paper.market import Listing
from paper.markets.bars import BarColumns
from paper.markets.listings import guessed_listing, known_listing

_KLINES = {"symbol", "ts", "open", "high", "low", "close", "volume"}
_QUOTES = {"symbol", "E_ms", "update_id", "bid", "bid_qty", "ask", "ask_qty"}
_WARM_UP_BARS = 60
_LONG_HISTORY_DAYS = 14
_DIGITS_MAX = 10
# When a bar's open, two extremes and close are played, in milliseconds after its open time.
_EXTREMES_MS = (0, 20_000, 40_000, 59_000)
# When the way from the last close to this one is played instead.
_CLOSES_MS = (14_000, 29_000, 44_000, 59_000)
_PATHS = ("closes", "extremes")
_STAGGER_MS = 61
_STAGGER_MS_MAX = 990

Columns = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]


class Quote(NamedTuple):
    """A recorded best bid and ask."""

    bid_ticks: int
    ask_ticks: int
    bid_quantity: Decimal
    ask_quantity: Decimal
    update_id: int


class Event(NamedTuple):
    """One thing that happened: a price, and the quote it comes from when there is one."""

    event_ms: int
    symbol: str
    price_ticks: int
    volume: float
    quote: Quote | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A recording cut in two at `start_ms`: bars before it, events from it on, nothing at or after `end_ms`."""

    listings: dict[str, Listing]
    past: dict[str, BarColumns]
    start_ms: int
    end_ms: int
    events: Iterator[Event]
    left_out: tuple[str, ...]  # Symbols without a bar before the start.


def open_timeline(data: Path, *, start_ms: int | None = None) -> Timeline:
    """Read a recording. `path?start=2025-05-19T00:00Z` says where its past ends; `start_ms` wins over it.

    Without either, the first two weeks are the past, or the first sixty bars of a short recording.

    Klines are played from close to close in straight lines; `path?path=extremes` plays through both extremes of each bar.
    A kline does not report when in its minute the extremes were, so extremes of two contracts that were half a minute apart
    in truth meet in such a replay: spreads overshoot and come back at the close, a profit that never was. Closes are
    simultaneous.

    Raises: ValueError when the file cannot be used, with what is wrong with it.
    """
    name, _, query = str(data).partition("?")
    options = dict(parse_qsl(query))
    path = Path(name)
    unknown = options.keys() - {"start", "path"}
    if unknown:
        raise ValueError(
            f"{path}: unknown option {', '.join(sorted(unknown))}; start=TIME and path={'|'.join(_PATHS)} are known"
        )
    if options.get("path", _PATHS[0]) not in _PATHS:
        raise ValueError(f"path={options['path']}: not one of {', '.join(_PATHS)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; --data wants Parquet or CSV with klines or quotes")
    if start_ms is None and "start" in options:
        start_ms = _time_ms(options["start"])
    reader = "read_csv_auto" if path.suffix.lower() in {".csv", ".gz"} else "read_parquet"
    with _connection_to(name) as connection:
        try:
            described = connection.execute(f"describe select * from {reader}(?)", [name]).fetchall()  # noqa: S608
            kinds = {str(row[0]): str(row[1]) for row in described}
            if kinds.keys() >= _KLINES:
                time = "ts" if kinds["ts"] == "BIGINT" else "epoch_ms(ts)"
                columns = connection.execute(
                    f"select symbol, {time} as at_ms, open, high, low, close, volume "  # noqa: S608
                    f"from {reader}(?) order by symbol, at_ms",
                    [name],
                ).fetchnumpy()
                return _kline_timeline(path, columns, start_ms, closes_only=options.get("path") != "extremes")
            if kinds.keys() >= _QUOTES:
                columns = connection.execute(
                    # Of one millisecond in the order of the file: what was heard first is played first, as a backtest has it.
                    "select symbol, E_ms as at_ms, update_id, bid, bid_qty, ask, ask_qty, row_number() over () as n "  # noqa: S608
                    f"from {reader}(?) order by at_ms, n",
                    [name],
                ).fetchnumpy()
                return _quote_timeline(path, columns, start_ms)
        except duckdb.Error as error:
            raise ValueError(f"{path}: cannot be read: {error}") from error
    raise ValueError(f"{path}: needs the columns {sorted(_KLINES)} (klines) or {sorted(_QUOTES)} (quotes)")


def _connection_to(name: str) -> duckdb.DuckDBPyConnection:
    """It reads this file and nothing else, whatever the file says; writes nothing and loads no extension."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    quoted = "'" + name.replace("'", "''") + "'"
    connection.execute(f"SET allowed_paths = [{quoted}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _time_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"start={text}: not an ISO time such as 2025-05-19T00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"start={text}: the time zone is missing, for UTC append Z")
    return int(moment.timestamp() * 1_000)


def _listing(symbol: str, prices: Floats) -> Listing:
    """The sheet's rules if these prices obey its tick, else rules guessed from the prices."""
    price = float(prices[-1])
    known = known_listing(symbol, price=price)
    if known is not None and _are_multiples(prices, float(known.tick)):
        return known
    for digits in range(_DIGITS_MAX):
        if _are_multiples(prices, 10.0**-digits):
            return guessed_listing(symbol, tick=Decimal(1).scaleb(-digits), price=price)
    return guessed_listing(symbol, tick=Decimal(1).scaleb(-_DIGITS_MAX), price=price)


def _are_multiples(prices: Floats, tick: float) -> bool:
    in_ticks = prices / tick
    return bool(np.all(np.abs(in_ticks - np.rint(in_ticks)) < 1e-3))


def _ticks(prices: npt.NDArray[np.generic], listing: Listing) -> npt.NDArray[np.int32]:
    return np.rint(prices.astype(np.float64) / float(listing.tick)).astype(np.int32)


def _dense(columns: Columns, rows: slice, listing: Listing) -> BarColumns:
    """Consecutive minutes; a missing one is flat at the close before it, without volume."""
    at_ms = columns["at_ms"][rows].astype(np.int64)
    index = (at_ms - at_ms[0]) // MINUTE_MS
    count = int(index[-1]) + 1
    present = np.zeros(count, bool)
    present[index] = True
    source = np.maximum.accumulate(np.where(present, np.cumsum(present) - 1, 0))
    prices = {name: _ticks(columns[name][rows], listing)[source] for name in ("open", "high", "low", "close")}
    for name in ("open", "high", "low"):
        prices[name] = np.where(present, prices[name], prices["close"])
    volume = np.where(present, columns["volume"][rows].astype(np.float32)[source], np.float32(0))
    return BarColumns(start_ms=int(at_ms[0]), volume=volume, **prices)


def _part(bars: BarColumns, first: int, beyond: int) -> BarColumns:
    return BarColumns(
        start_ms=bars.start_ms + first * MINUTE_MS,
        open=bars.open[first:beyond],
        high=bars.high[first:beyond],
        low=bars.low[first:beyond],
        close=bars.close[first:beyond],
        volume=bars.volume[first:beyond],
    )


def _kline_timeline(path: Path, columns: Columns, start_ms: int | None, *, closes_only: bool) -> Timeline:
    symbols = columns["symbol"].astype(str)
    if not len(symbols):
        raise ValueError(f"{path}: holds no bar")
    edges = [0, *(np.flatnonzero(symbols[1:] != symbols[:-1]) + 1).tolist(), len(symbols)]
    listings: dict[str, Listing] = {}
    bars: dict[str, BarColumns] = {}
    for first, beyond in pairwise(edges):
        symbol, rows = str(symbols[first]), slice(first, beyond)
        at_ms = columns["at_ms"][rows].astype(np.int64)
        steps = at_ms[1:] - at_ms[:-1]
        if len(steps) == 0 or np.any(steps % MINUTE_MS) or int(steps.min()) != MINUTE_MS:
            raise ValueError(f"{path}: {symbol} is not made of one-minute bars, each once")
        listings[symbol] = _listing(symbol, columns["close"][rows].astype(np.float64))
        bars[symbol] = _dense(columns, rows, listings[symbol])
    first_ms = min(row.start_ms for row in bars.values())
    end_ms = min(row.start_ms + len(row.close) * MINUTE_MS for row in bars.values())
    if start_ms is None:
        long = end_ms - first_ms > (_LONG_HISTORY_DAYS + 1) * DAY_MS
        start_ms = first_ms + (_LONG_HISTORY_DAYS * DAY_MS if long else _WARM_UP_BARS * MINUTE_MS)
    start_ms = start_ms // MINUTE_MS * MINUTE_MS
    left_out = tuple(symbol for symbol, row in bars.items() if row.start_ms >= start_ms)
    for symbol in left_out:
        del bars[symbol], listings[symbol]
    if not bars or start_ms >= end_ms:
        raise ValueError(f"{path}: nothing to play, start is not inside the recording's common window")
    cut = {symbol: (start_ms - row.start_ms) // MINUTE_MS for symbol, row in bars.items()}
    future = {symbol: _part(row, cut[symbol], len(row.close)) for symbol, row in bars.items()}
    return Timeline(
        listings=listings,
        past={symbol: _part(row, 0, cut[symbol]) for symbol, row in bars.items()},
        start_ms=start_ms,
        end_ms=end_ms,
        events=_play(future, minutes=(end_ms - start_ms) // MINUTE_MS, closes_only=closes_only),
        left_out=left_out,
    )


def _play(bars: Mapping[str, BarColumns], *, minutes: int, closes_only: bool) -> Iterator[Event]:
    """Each bar as four prices: open, the extreme that lies behind it, the other one, close; or four steps to the close."""
    offsets = _CLOSES_MS if closes_only else _EXTREMES_MS
    for minute in range(minutes):
        events: list[Event] = []
        for number, (symbol, row) in enumerate(bars.items()):
            opened, high, low, close = (int(c[minute]) for c in (row.open, row.high, row.low, row.close))
            path = (
                _steps(int(row.close[max(minute - 1, 0)]), close) if closes_only else _swing(opened, high, low, close)
            )
            volume = float(row.volume[minute]) / len(path)
            at_ms = row.start_ms + minute * MINUTE_MS + number * _STAGGER_MS % _STAGGER_MS_MAX
            events += [Event(at_ms + offset, symbol, p, volume, None) for offset, p in zip(offsets, path, strict=True)]
        events.sort(key=lambda event: event.event_ms)
        yield from events


def _swing(opened: int, high: int, low: int, close: int) -> tuple[int, ...]:
    return (opened, low, high, close) if close >= opened else (opened, high, low, close)


def _steps(before: int, close: int) -> tuple[int, ...]:
    steps = len(_CLOSES_MS)
    return tuple(before + round((close - before) * (step + 1) / steps) for step in range(steps))


def _quote_timeline(path: Path, columns: Columns, start_ms: int | None) -> Timeline:
    symbols = columns["symbol"].astype(str)
    at_ms = columns["at_ms"].astype(np.int64)
    if not len(symbols):
        raise ValueError(f"{path}: holds no quote")
    names = [str(name) for name in np.unique(symbols)]
    if start_ms is None:
        latest_first_ms = max(int(at_ms[symbols == name][0]) for name in names)
        start_ms = (latest_first_ms // MINUTE_MS + 1) * MINUTE_MS
    start_ms = start_ms // MINUTE_MS * MINUTE_MS
    end_ms = int(at_ms[-1]) + 1
    if not int(at_ms[0]) < start_ms < end_ms:
        raise ValueError(f"{path}: nothing to play, start is not inside the recording")
    listings: dict[str, Listing] = {}
    past: dict[str, BarColumns] = {}
    for name in names:
        rows = np.flatnonzero(symbols == name)
        listing = _listing(name, np.concatenate((columns["bid"][rows], columns["ask"][rows])).astype(np.float64))
        before = rows[at_ms[rows] < start_ms]
        if len(before) == 0:
            continue
        listings[name] = listing
        past[name] = _bars_of(columns, before, listing, start_ms)
    return Timeline(
        listings=listings,
        past=past,
        start_ms=start_ms,
        end_ms=end_ms,
        events=_quotes(columns, np.flatnonzero((at_ms >= start_ms) & np.isin(symbols, list(listings))), listings),
        left_out=tuple(name for name in names if name not in listings),
    )


def _bars_of(columns: Columns, rows: npt.NDArray[np.intp], listing: Listing, start_ms: int) -> BarColumns:
    """Minute bars of the middles; the recording says nothing about volume."""
    middle = _ticks((columns["bid"][rows].astype(np.float64) + columns["ask"][rows].astype(np.float64)) / 2, listing)
    minute = columns["at_ms"][rows].astype(np.int64) // MINUTE_MS
    first, edges = np.unique(minute, return_index=True)
    ends = np.append(edges[1:], len(rows)) - 1
    # The minutes up to the start, each pointing at the last one that has quotes.
    source = np.searchsorted(first, np.arange(first[0], start_ms // MINUTE_MS), "right") - 1
    present = np.isin(np.arange(first[0], start_ms // MINUTE_MS), first)
    close = middle[ends][source]
    return BarColumns(
        start_ms=int(first[0]) * MINUTE_MS,
        open=np.where(present, middle[edges][source], close),
        high=np.where(present, np.maximum.reduceat(middle, edges)[source], close),
        low=np.where(present, np.minimum.reduceat(middle, edges)[source], close),
        close=close,
        volume=np.zeros(len(source), np.float32),
    )


def _quotes(columns: Columns, rows: npt.NDArray[np.intp], listings: Mapping[str, Listing]) -> Iterator[Event]:
    symbols = columns["symbol"][rows].astype(str)
    bids, asks = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
    for symbol, listing in listings.items():
        own = symbols == symbol
        bids[own], asks[own] = (_ticks(columns[name][rows[own]], listing) for name in ("bid", "ask"))
    for index, row in enumerate(rows.tolist()):
        bid, ask = int(bids[index]), int(asks[index])
        quote = Quote(
            bid_ticks=bid,
            ask_ticks=ask,
            bid_quantity=Decimal(str(columns["bid_qty"][row])),
            ask_quantity=Decimal(str(columns["ask_qty"][row])),
            update_id=int(columns["update_id"][row]),
        )
        yield Event(int(columns["at_ms"][row]), str(symbols[index]), (bid + ask) // 2, 0.0, quote)
