"""Bars from the exchange into the Parquet store: only what is missing, only what is closed.

Time is the exchange's: its newest closed bar is "now", because a replayed market lives in a year of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from domain.errors import ConfigError, ExchangeError
from domain.symbols import Symbol
from flows.jobs.exchange_reads import FUNDINGS_PER_REQUEST_MAX, KLINES_PER_REQUEST_MAX, ExchangeReads
from runner.config import Settings
from storage import market
from storage.market import Kline

Say = Callable[[str], None]
_NEWEST = 3  # The open bar and the two closed ones before it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a refresh brought. `end_ms` is the close of the newest bar of any symbol: the market's own now."""

    end_ms: int | None
    bars: int = 0
    failures: dict[Symbol, str] = field(default_factory=dict)


def store_of(settings: Settings) -> Path:
    """Real, demo and made-up prices never share a folder: a calibration must not read the wrong market."""
    if settings.trading_mode == "live":
        return settings.storage.market / ("demo" if settings.data.use_testnet else "binance")
    return settings.storage.market / "paper"


def refresh(
    reads: ExchangeReads, root: Path, symbols: Sequence[Symbol], timeframe: str, *, bars: int, say: Say
) -> Fetched:
    """Make the store hold each symbol's last `bars` closed bars. Safe to run twice; the second run asks for almost nothing.

    One symbol's trouble is reported and does not stop the others. Raises: ConfigError when the store cannot be written.
    """
    newest: list[int] = []
    failures: dict[Symbol, str] = {}
    total = 0
    for number, symbol in enumerate(symbols, start=1):
        try:
            end_ms, count = _refresh_one(reads, root, symbol, timeframe, bars)
        except (ExchangeError, ValueError) as problem:
            failures[symbol] = str(problem)
            say(f"[{number}/{len(symbols)}] {symbol} {timeframe}: {problem}")
            continue
        newest.append(end_ms)
        total += count
        say(f"[{number}/{len(symbols)}] {symbol} {timeframe}: {count} bars fetched")
    return Fetched(end_ms=max(newest, default=None), bars=total, failures=failures)


def _refresh_one(reads: ExchangeReads, root: Path, symbol: Symbol, timeframe: str, bars: int) -> tuple[int, int]:
    step_ms = market.timeframe_ms(timeframe)
    stored_before = market.last_open_ms(root, symbol, timeframe)
    first_limit = _NEWEST if stored_before is not None else min(KLINES_PER_REQUEST_MAX, bars + 1)
    # The last row of a question without an end is the bar that is still open.
    page = reads.klines(symbol, timeframe, limit=first_limit)[:-1]
    if not page:
        raise ValueError("the exchange has no closed bar yet")
    end_ms = page[-1].open_ms + step_ms
    start_ms = end_ms - bars * step_ms
    if stored_before is not None and not _agrees(root, symbol, timeframe, page):
        # Another market was here before (a new seed, another replay): what we hold is not this one's past.
        fetched = page + _backwards(reads, symbol, timeframe, start_ms, end_ms)
        return end_ms, market.write_klines(root, symbol, timeframe, fetched)
    count = market.write_klines(root, symbol, timeframe, _not_stored(root, symbol, timeframe, page))
    for gap_start, gap_end in reversed(market.gaps(root, symbol, timeframe, start_ms, end_ms)):
        # One bar of overlap on the left, to notice that the store belongs to another market.
        fetched = _backwards(reads, symbol, timeframe, gap_start - step_ms, gap_end)
        if not _agrees(root, symbol, timeframe, fetched):
            fetched = _backwards(reads, symbol, timeframe, start_ms, end_ms)
            return end_ms, count + market.write_klines(root, symbol, timeframe, fetched)
        count += market.write_klines(root, symbol, timeframe, _not_stored(root, symbol, timeframe, fetched))
    return end_ms, count


def _backwards(reads: ExchangeReads, symbol: Symbol, timeframe: str, start_ms: int, end_ms: int) -> list[Kline]:
    """The bars that opened in [start_ms, end_ms), newest page first. Stops where the exchange has nothing older."""
    step_ms = market.timeframe_ms(timeframe)
    found: list[Kline] = []
    while end_ms > start_ms:
        limit = min(KLINES_PER_REQUEST_MAX, (end_ms - start_ms) // step_ms)
        page = [bar for bar in reads.klines(symbol, timeframe, limit=limit, end_ms=end_ms - 1) if bar.open_ms < end_ms]
        if not page:
            break
        found = [bar for bar in page if bar.open_ms >= start_ms] + found
        end_ms = page[0].open_ms
    return found


def _stored(root: Path, symbol: Symbol, timeframe: str, rows: Sequence[Kline]) -> dict[int, float]:
    if not rows:
        return {}
    held = market.read_klines(root, symbol, timeframe, rows[0].open_ms, rows[-1].open_ms + 1)
    return dict(zip(held["open_ms"].tolist(), held["close"].tolist(), strict=True))


def _agrees(root: Path, symbol: Symbol, timeframe: str, rows: Sequence[Kline]) -> bool:
    held = _stored(root, symbol, timeframe, rows)
    return all(held.get(bar.open_ms, bar.close) == bar.close for bar in rows)


def _not_stored(root: Path, symbol: Symbol, timeframe: str, rows: Sequence[Kline]) -> list[Kline]:
    held = _stored(root, symbol, timeframe, rows)
    return [bar for bar in rows if bar.open_ms not in held]


def refresh_funding(reads: ExchangeReads, root: Path, symbols: Sequence[Symbol], start_ms: int, end_ms: int) -> int:
    """Add the settlements of [start_ms, end_ms) to the store; returns how many came. Raises: ExchangeError, ConfigError."""
    count = 0
    for symbol in symbols:
        held = market.read_funding(root, symbol, start_ms, end_ms)
        # Settlements are hours apart: ask from the last one on, unless the window begins before the first.
        since_ms = held[-1].at_ms + 1 if held and held[0].at_ms - start_ms < 86_400_000 else start_ms
        while since_ms < end_ms:
            page = reads.funding_rates(symbol, since_ms, end_ms)
            count += market.write_funding(root, symbol, page)
            if len(page) < FUNDINGS_PER_REQUEST_MAX:
                break
            since_ms = page[-1].at_ms + 1
    return count


def bars_in(days: float, timeframe: str) -> int:
    """How many bars make up so many days. Raises: ConfigError for a timeframe that is none."""
    try:
        return max(1, round(days * 86_400_000 / market.timeframe_ms(timeframe)))
    except ValueError as problem:
        raise ConfigError(f"--timeframe: {problem}") from None
