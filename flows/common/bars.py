"""Bars and settlements from the exchange into the Parquet store: only what is missing, only what is closed.

Time is the exchange's: its newest closed bar is "now", because a replayed market lives in a year of its own. Each page is stored
as it comes, so whoever is killed goes on where it was. What the exchange itself does not have is remembered (`holes.json`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from domain.errors import ConfigError
from domain.klines import Kline
from domain.symbols import Symbol
from domain.units import DAY_MS, HOUR_MS
from flows.common.progress import Bar
from flows.common.reads import FUNDINGS_PER_REQUEST_MAX, KLINES_PER_REQUEST, ExchangeReads
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from storage import market
from storage.market_holes import note_holes, read_holes, without

Say = Callable[[str], None]
READS_AT_ONCE = 8
"""Symbols asked for at once: enough that round trips overlap; how fast it may go is the budget's business."""
_NEWEST = 3  # The open bar and the two closed ones before it.
_HOLE_BELIEVED_MS = HOUR_MS  # A younger hole may be the exchange's own delay.
_FAILURES_SHOWN = 20
_FUNDING_APART_MS = 9 * HOUR_MS  # Settlements are at most eight hours apart.


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
    """Make the store hold each symbol's last `bars` closed bars. Safe to run twice; the second run asks one small question a symbol.

    One symbol's trouble is reported and does not stop the others. Raises: ConfigError when the store cannot be written.
    """
    job = _Bars(reads, root, timeframe, bars)
    count, failures = _each(reads, symbols, job.refresh, what=f"{timeframe} candles", say=say)
    return Fetched(end_ms=job.end_ms, bars=count, failures=failures)


def _each(
    reads: ExchangeReads, symbols: Sequence[Symbol], work: Callable[[Symbol], int], *, what: str, say: Say
) -> tuple[int, dict[Symbol, str]]:
    """Do it for every symbol, several at once; returns the rows that came and the symbols that failed."""
    total, done, failures = 0, 0, dict[Symbol, str]()
    waiting = list(symbols)

    def settle(symbol: Symbol, result: Callable[[], int]) -> bool:
        nonlocal total, done
        done += 1
        bar(done, len(symbols))
        try:
            total += result()
        except (ExchangeError, ValueError) as problem:
            failures[symbol] = str(problem)
            if len(failures) <= _FAILURES_SHOWN:
                say(f"{symbol}: {problem}")
            return False
        return True

    with Bar(what, say) as bar:
        # The first one alone: it tells what time it is in the market, and what the others need not ask for.
        while waiting:
            symbol = waiting.pop(0)
            if settle(symbol, lambda symbol=symbol: work(symbol)):  # type: ignore[misc]
                break
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="fetch") as pool:
            futures = {pool.submit(work, symbol): symbol for symbol in waiting}
            try:
                for future in as_completed(futures):
                    settle(futures[future], future.result)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                reads.abandon()
                raise
    failed = f", {len(failures)} symbols failed" if failures else ""
    say(f"{what} of {len(symbols)} symbols: {total} fetched{failed}")
    return total, failures


class _OtherMarket(Exception):
    """What we hold is not this market's past: a new seed, another replay; or, of the real one, a bar that was revised."""


class _Bars:
    """One refresh of one timeframe. `end_ms`: the newest close that any symbol has shown."""

    def __init__(self, reads: ExchangeReads, root: Path, timeframe: str, bars: int) -> None:
        self._reads, self._root, self._timeframe, self._bars = reads, root, timeframe, bars
        self._step_ms = market.timeframe_ms(timeframe)
        self.end_ms: int | None = None

    def refresh(self, symbol: Symbol) -> int:
        """Returns how many bars came. Raises: ExchangeError, ValueError, ConfigError."""
        try:
            newest = market.last_open_ms(self._root, symbol, self._timeframe)
        except ConfigError as damaged:
            raise ValueError(str(damaged)) from None
        # The last row of a question without an end is the bar that is still open.
        page = self._reads.klines(symbol, self._timeframe, limit=self._first_limit(newest))[:-1]
        if not page:
            raise ValueError("the exchange has no closed bar yet")
        end_ms = page[-1].open_ms + self._step_ms
        self.end_ms = max(end_ms, self.end_ms or 0)
        start_ms = end_ms - self._bars * self._step_ms
        try:
            return self._complete(symbol, page, start_ms, end_ms)
        except _OtherMarket:
            if self._reads.market_may_change:
                market.forget(self._root, symbol, self._timeframe)
            return self._complete(symbol, page, start_ms, end_ms, anew=True)

    def _first_limit(self, newest: int | None) -> int:
        """Of the first question: what must be new, two bars that we hold, and the open one."""
        wanted = self._bars + 1
        if newest is not None:
            since = 0 if self.end_ms is None else (self.end_ms - newest) // self._step_ms
            wanted = min(wanted, max(0, since) + _NEWEST)
        return max(2, min(wanted, KLINES_PER_REQUEST))

    def _complete(
        self, symbol: Symbol, page: Sequence[Kline], start_ms: int, end_ms: int, *, anew: bool = False
    ) -> int:
        """The whole window, `page` being its newest part. `anew`: what is stored of it is not believed. Raises: _OtherMarket."""
        first_ms = min(start_ms - self._step_ms, page[0].open_ms)
        try:
            held = market.read_klines(self._root, symbol, self._timeframe, first_ms, end_ms)
        except ConfigError as damaged:
            raise ValueError(str(damaged)) from None
        closes = {} if anew else dict(zip(held["open_ms"].tolist(), held["close"].tolist(), strict=True))
        count = self._keep(symbol, page, closes)
        times = np.array(sorted(time_ms for time_ms in closes if time_ms >= start_ms), dtype=np.int64)
        folder = market.klines_folder(self._root, symbol, self._timeframe)
        missing = without(market.gaps_between(times, self._step_ms, start_ms, end_ms), read_holes(folder))
        for gap in reversed(missing):
            count += self._fill(symbol, gap, closes)
            left = market.gaps_between(_within(closes, gap), self._step_ms, *gap)
            note_holes(folder, [hole for hole in left if hole[1] <= end_ms - _HOLE_BELIEVED_MS])
        return count

    def _fill(self, symbol: Symbol, gap: tuple[int, int], closes: dict[int, float]) -> int:
        """The bars of a gap, newest page first. Stops where the exchange has nothing older."""
        start_ms, end_ms = gap
        if start_ms - self._step_ms in closes:
            # One bar of overlap on the left, to notice that the store belongs to another market.
            start_ms -= self._step_ms
        count = 0
        while end_ms > start_ms:
            limit = min(KLINES_PER_REQUEST, (end_ms - start_ms) // self._step_ms)
            page = self._reads.klines(symbol, self._timeframe, limit=limit, end_ms=end_ms - 1)
            page = [bar for bar in page if bar.open_ms < end_ms]
            if not page:
                break
            count += self._keep(symbol, [bar for bar in page if bar.open_ms >= start_ms], closes)
            end_ms = page[0].open_ms
        return count

    def _keep(self, symbol: Symbol, page: Sequence[Kline], closes: dict[int, float]) -> int:
        """Store what is new of a page, and add it to `closes`. Raises: _OtherMarket before anything is stored."""
        if any(closes.get(bar.open_ms, bar.close) != bar.close for bar in page):
            raise _OtherMarket
        new = [bar for bar in page if bar.open_ms not in closes]
        closes.update({bar.open_ms: bar.close for bar in new})
        return market.write_klines(self._root, symbol, self._timeframe, new)


def _within(closes: dict[int, float], span: tuple[int, int]) -> npt.NDArray[np.int64]:
    return np.array(sorted(time_ms for time_ms in closes if span[0] <= time_ms < span[1]), dtype=np.int64)


def fetch_funding(
    reads: ExchangeReads, root: Path, symbols: Sequence[Symbol], start_ms: int, end_ms: int, *, say: Say
) -> Fetched:
    """Make the store hold the settlements of [start_ms, end_ms); a symbol's trouble does not stop the others. Raises: ConfigError."""

    def one(symbol: Symbol) -> int:
        return _settlements(reads, root, symbol, start_ms, end_ms)

    count, failures = _each(reads, symbols, one, what="funding", say=say)
    return Fetched(end_ms=end_ms, bars=count, failures=failures)


def refresh_funding(reads: ExchangeReads, root: Path, symbols: Sequence[Symbol], start_ms: int, end_ms: int) -> int:
    """The same for a caller that needs all of it; returns how many came. Raises: ExchangeError, ConfigError."""
    fetched = fetch_funding(reads, root, symbols, start_ms, end_ms, say=lambda _: None)
    for symbol, problem in fetched.failures.items():
        raise ExchangeError(f"funding of {symbol}: {problem}")
    return fetched.bars


def _settlements(reads: ExchangeReads, root: Path, symbol: Symbol, start_ms: int, end_ms: int) -> int:
    folder = market.funding_folder(root, symbol)
    try:
        held = market.read_funding(root, symbol, start_ms, end_ms)
    except ConfigError as damaged:
        raise ValueError(str(damaged)) from None
    times = [rate.at_ms for rate in held]
    gaps = _silences(times, start_ms, end_ms)
    newest = times[-1] + 1 if times else start_ms
    if newest + HOUR_MS <= end_ms and (newest, end_ms) not in gaps:
        gaps.append((newest, end_ms))
    count = 0
    for gap in without(gaps, read_holes(folder)):
        since_ms = gap[0]
        came: list[int] = []
        while since_ms < gap[1]:
            page = reads.funding_rates(symbol, since_ms, gap[1])
            count += market.write_funding(root, symbol, page)
            came += [rate.at_ms for rate in page]
            if len(page) < FUNDINGS_PER_REQUEST_MAX:
                break
            since_ms = came[-1] + 1
        note_holes(folder, [hole for hole in _silences(came, *gap) if hole[1] < end_ms])
    return count


def _silences(times: Sequence[int], start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Where settlements are further apart than they can be."""
    edges = [start_ms - 1, *times, end_ms]
    return [(before + 1, after) for before, after in pairwise(edges) if after - before > _FUNDING_APART_MS]


def bars_in(days: float, timeframe: str) -> int:
    """How many bars make up so many days. Raises: ConfigError for a timeframe that is none."""
    try:
        return max(1, round(days * DAY_MS / market.timeframe_ms(timeframe)))
    except ValueError as problem:
        raise ConfigError(f"--timeframe: {problem}") from None
