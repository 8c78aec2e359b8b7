"""The universe of a scan: candles of the exchange, and what else is known of its symbols."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain.errors import ConfigError, ExchangeError
from domain.statistics.panel import PricePanel
from domain.statistics.prefilter import SymbolFacts
from domain.symbols import Symbol, unified
from flows.jobs.bars import Say, bars_in, refresh, store_of
from flows.jobs.exchange_reads import ExchangeReads
from flows.jobs.scan import ScanRules
from runner.config import Settings
from storage import market

_MS_PER_DAY = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """Prices, and what is known of the symbols besides."""

    panel: PricePanel
    facts: dict[str, SymbolFacts]


def gather(settings: Settings, rules: ScanRules, *, say: Say) -> Universe:
    """Bring the store up to date and read the universe from it. Raises: ConfigError, ExchangeError."""
    root = store_of(settings)
    bars = bars_in(rules.window_days, rules.timeframe)
    try:
        wanted = [unified(name) for name in rules.symbols]
    except ValueError as problem:
        raise ConfigError(f"--symbol: {problem}") from None
    with ExchangeReads(settings) as reads:
        listed = reads.listed()
        unknown = [symbol for symbol in wanted if symbol not in listed]
        if unknown:
            raise ConfigError(f"--symbol: the exchange does not list {', '.join(unknown)}")
        trading = [symbol for symbol in listed if listed[symbol].is_trading and symbol.endswith(":USDT")]
        symbols = wanted or sorted(trading)
        if len(symbols) > rules.symbols_max:
            say(f"taking the first {rules.symbols_max} of {len(symbols)} symbols; raise symbols_max for more")
            symbols = symbols[: rules.symbols_max]
        fetched = refresh(reads, root, symbols, rules.timeframe, bars=bars, say=say)
    if fetched.end_ms is None:
        raise ExchangeError(f"no candles from the exchange ({next(iter(fetched.failures.values()), 'none listed')})")
    step_ms = market.timeframe_ms(rules.timeframe)
    start_ms = fetched.end_ms - bars * step_ms
    reached = [symbol for symbol in symbols if symbol not in fetched.failures]
    closes = market.read_closes(root, reached, rules.timeframe, start_ms, fetched.end_ms)
    panel = PricePanel(
        symbols=tuple(closes.symbols), prices=closes.matrix, open_ms=closes.times, bar_seconds=step_ms // 1000
    )
    facts = {}
    if rules.quote_volume_usd_per_day_min is not None:
        facts = {str(name): _facts(root, name, rules.timeframe, start_ms, fetched.end_ms) for name in closes.symbols}
    return Universe(panel=panel, facts=facts)


def _facts(root: Path, symbol: Symbol, timeframe: str, start_ms: int, end_ms: int) -> SymbolFacts:
    held = market.read_klines(root, symbol, timeframe, start_ms, end_ms)
    days = (end_ms - start_ms) / _MS_PER_DAY
    return SymbolFacts(quote_volume_usd_per_day=float(np.sum(held["volume"] * held["close"])) / days)
