"""Where a backtest's prices come from: a file of one's own, or the store of bars, brought up to date first."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from domain.errors import ConfigError
from domain.instruments import Instrument
from domain.pairs import PairConfig
from domain.symbols import Symbol, unified
from domain.units import DAY_MS
from flows.backtest.engine.files import read_funding, read_prices
from flows.backtest.engine.market import Bars, Market, with_funding
from flows.backtest.rules import BacktestRules
from flows.common.bars import Say, bars_in, refresh, refresh_funding, store_of
from flows.common.reads import ExchangeReads
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from storage import market as store

_DAYS_DEFAULT = 3.0
_FUNDING_BEFORE_MS = 2 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The market, the contracts' rules where the exchange told them, and what must be said about either.

    `bar_ms`: of the windows of pairs without a size of their own.
    """

    market: Market
    bar_ms: int
    instruments: Mapping[Symbol, Instrument] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def data_hash(self) -> str:
        """Of symbols, times and prices: the same data, the same word."""
        bars, quotes = self.market.bars, self.market.quotes
        found = hashlib.sha256("\n".join(bars.symbols).encode())
        found.update(f"{bars.first_bar} {bars.step_ms}".encode())
        parts = [bars.closes, bars.opens] if quotes is None else [quotes.at_ms, quotes.place, quotes.bid, quotes.ask]
        for part in parts:
            if part is not None:
                found.update(np.ascontiguousarray(part).tobytes())
        for symbol, funding in sorted(self.market.funding.items()):
            found.update(symbol.encode() + funding.at_ms.tobytes() + funding.rates.tobytes())
        return found.hexdigest()[:16]


def timeframe_of(seconds: int) -> str:
    for unit_seconds, unit in ((86_400, "d"), (3_600, "h")):
        if seconds % unit_seconds == 0:
            return f"{seconds // unit_seconds}{unit}"
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


def load(settings: Settings, rules: BacktestRules, pairs: Sequence[PairConfig], *, say: Say) -> Loaded:
    """Every symbol that is traded, or may come to be. Raises: ConfigError, ExchangeError when bars must be had and cannot be."""
    if rules.funding and not rules.prices:
        raise ConfigError("--funding needs --prices; the exchange's own rates are used without it")
    loaded = _of_file(settings, rules, pairs) if rules.prices else _of_store(settings, rules, pairs, say)
    bars = loaded.market.bars
    for pair in pairs:
        if pair.bar_seconds is not None and pair.bar_seconds * 1000 % bars.step_ms:
            raise ConfigError(
                f"{pair.pair_id}: its bars of {timeframe_of(pair.bar_seconds)} cannot be made of bars of"
                f" {timeframe_of(bars.step_ms // 1000)}; replay shorter bars, or leave the pair out with --only"
            )
    missing = sorted({symbol for pair in pairs for symbol in pair.symbols} - set(bars.symbols))
    if missing:
        where = rules.prices or str(store_of(settings))
        raise ConfigError(
            f"{where}: has no bars of {', '.join(missing)}; take the pair out, or leave it out with --only"
        )
    return loaded


def _timeframe(settings: Settings, rules: BacktestRules, pairs: Sequence[PairConfig]) -> str:
    """The bars that are replayed: as asked for, else the longest of which every pair's own bars can be made."""
    if rules.timeframe:
        return rules.timeframe
    default = settings.signal.bar_seconds
    return timeframe_of(math.gcd(*(pair.bar_seconds or default for pair in pairs)) or default)


def _of_file(settings: Settings, rules: BacktestRules, pairs: Sequence[PairConfig]) -> Loaded:
    path = Path(rules.prices)
    step_ms = store.timeframe_ms(_timeframe(settings, rules, pairs))
    bar_ms = store.timeframe_ms(rules.timeframe or timeframe_of(settings.signal.bar_seconds))
    bars, quotes = read_prices(path, step_ms=step_ms)
    if rules.timeframe and quotes is None and bars.step_ms != step_ms:
        raise ConfigError(
            f"--timeframe {rules.timeframe}: the bars of {path} are {timeframe_of(bars.step_ms // 1000)}; leave it out"
        )
    rates = read_funding(Path(rules.funding)) if rules.funding else {}
    notes = ["contract rules unknown: quantities are not rounded to the exchange's steps"]
    silent = [symbol for symbol in bars.symbols if symbol not in rates]
    if silent:
        notes.append("no funding rates" + (f" of {len(silent)} symbols" if rates else "") + ": none is paid")
    if rules.days is not None and quotes is not None:
        raise ConfigError(f"--days: the quotes of {path} are taken whole; leave it out, or cut the file")
    if quotes is None and bars.opens is None:
        notes.append("no opens in the file: filled at the next bar's close")
    if rules.days is not None:
        days = rules.days + (rules.calibration.window_days if rules.walk_forward else 0)
        first = max(bars.count - bars_in(days, timeframe_of(bars.step_ms // 1000)), 0)
        bars = replace(
            bars,
            first_bar=bars.first_bar + first,
            closes=bars.closes[first:],
            opens=None if bars.opens is None else bars.opens[first:],
        )
    market = with_funding(bars, quotes, rates)
    return Loaded(market=market, bar_ms=bars.step_ms if quotes is None else bar_ms, notes=tuple(notes))


def _of_store(settings: Settings, rules: BacktestRules, pairs: Sequence[PairConfig], say: Say) -> Loaded:
    timeframe = _timeframe(settings, rules, pairs)
    bar_ms = store.timeframe_ms(rules.timeframe or timeframe_of(settings.signal.bar_seconds))
    root, step_ms = store_of(settings), store.timeframe_ms(timeframe)
    days = _DAYS_DEFAULT if rules.days is None else rules.days
    days += rules.calibration.window_days if rules.walk_forward else 0
    count = bars_in(days, timeframe)
    instruments: Mapping[Symbol, Instrument] = {}
    own = sorted({symbol for pair in pairs for symbol in pair.symbols})
    if rules.fetch:
        with ExchangeReads(settings) as reads:
            instruments = reads.listed()
            symbols = _universe(rules, own, [s for s in sorted(instruments) if instruments[s].is_trading])
            known = [symbol for symbol in symbols if symbol in instruments]
            fetched = refresh(reads, root, known, timeframe, bars=count, say=say)
            if fetched.end_ms is None:
                why = next(iter(fetched.failures.values()), "not listed")
                raise ExchangeError(f"no bars from the exchange ({why})")
            end_ms = fetched.end_ms
            refresh_funding(reads, root, known, end_ms - count * step_ms - _FUNDING_BEFORE_MS, end_ms)
    else:
        symbols = _universe(rules, own, store.stored_symbols(root, timeframe))
        opened = [store.last_open_ms(root, symbol, timeframe) for symbol in symbols]
        newest = max((time_ms for time_ms in opened if time_ms is not None), default=None)
        if newest is None:
            raise ConfigError(f"{root}: no {timeframe} bars of these pairs are stored; run without --no-fetch")
        end_ms = newest + step_ms
    notes = [] if instruments else ["contract rules unknown: quantities are not rounded to the exchange's steps"]
    bars = read_bars(root, symbols, timeframe, end_ms - count * step_ms, end_ms)
    rates = {symbol: store.read_funding(root, symbol, 0, end_ms) for symbol in bars.symbols}
    market = with_funding(bars, None, rates)
    return Loaded(market=market, bar_ms=bar_ms, instruments=instruments, notes=tuple(notes))


def _universe(rules: BacktestRules, own: list[Symbol], there: list[Symbol]) -> list[Symbol]:
    """The symbols of the pairs; walking forward over what is listed, those of the universe, too."""
    if not (rules.walk_forward and rules.calibration.universe == "listed"):
        return own
    try:
        wanted = [unified(name) for name in rules.calibration.symbols]
    except ValueError as problem:
        raise ConfigError(f"--symbol: {problem}") from None
    listed = wanted or [symbol for symbol in there if symbol.endswith(":USDT")][: rules.calibration.symbols_max]
    return sorted({*own, *listed})


def read_bars(root: Path, symbols: Sequence[Symbol], timeframe: str, start_ms: int, end_ms: int) -> Bars:
    """All symbols on one grid without holes; NaN where one has no bar."""
    step_ms = store.timeframe_ms(timeframe)
    first = -(-start_ms // step_ms)
    count = max(end_ms // step_ms - first, 0)
    opens, closes = np.full((count, len(symbols)), np.nan), np.full((count, len(symbols)), np.nan)
    for column, symbol in enumerate(symbols):
        held = store.read_klines(root, symbol, timeframe, first * step_ms, end_ms)
        places = held["open_ms"].astype(np.int64) // step_ms - first
        opens[places, column] = held["open"]
        closes[places, column] = held["close"]
    return Bars(symbols=tuple(symbols), first_bar=first, step_ms=step_ms, closes=closes, opens=opens)
