"""The universe of a scan: candles of the exchange, and what else is known of its symbols."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain.errors import ConfigError
from domain.klines import FundingRate
from domain.statistics.panel import PricePanel
from domain.statistics.prefilter import SymbolFacts
from domain.symbols import Symbol, unified
from domain.units import DAY_MS, MINUTE_MS
from flows.common.bars import Say, bars_in, fetch_funding, refresh, store_of
from flows.common.reads import ExchangeReads, Listing
from flows.common.universe_rules import UniverseRules
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from storage import market

_BAN_SECONDS_MAX = 300.0
"""The longest ban that a universe waits for: the exchange's first one lasts two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """Prices, and what is known of the symbols besides."""

    panel: PricePanel
    facts: dict[str, SymbolFacts]


def gather(settings: Settings, rules: UniverseRules, *, say: Say) -> Universe:
    """Bring the store up to date and read the universe from it. Raises: ConfigError, ExchangeError."""
    root = store_of(settings)
    bars = bars_in(rules.window_days, rules.timeframe)
    sectors = rules.own_sectors()
    try:
        wanted = [unified(name) for name in rules.symbols]
    except ValueError as problem:
        raise ConfigError(f"--symbol: {problem}") from None
    step_ms = market.timeframe_ms(rules.timeframe)
    with ExchangeReads(settings, patience_seconds=_BAN_SECONDS_MAX, say=say) as reads:
        listed = reads.listings()
        symbols = _chosen(reads, listed, wanted, rules.symbols_max, say)
        fetched = refresh(reads, root, symbols, rules.timeframe, bars=bars, say=say)
        if fetched.end_ms is None:
            reason = next(iter(fetched.failures.values()), "none listed")
            raise ExchangeError(f"no candles from the exchange ({reason})")
        start_ms = fetched.end_ms - bars * step_ms
        reached = [symbol for symbol in symbols if symbol not in fetched.failures]
        if rules.funding_bps_per_day_max is not None:
            fetch_funding(reads, root, reached, start_ms, fetched.end_ms, say=say)
    closes = market.read_closes(root, reached, rules.timeframe, start_ms, fetched.end_ms)
    panel = PricePanel(
        symbols=tuple(closes.symbols), prices=closes.matrix, open_ms=closes.times, bar_seconds=step_ms // 1000
    )
    window = start_ms, fetched.end_ms
    facts = {
        str(symbol): facts_of(
            symbol,
            listed[symbol],
            rules,
            root=root,
            timeframe=rules.timeframe,
            window=window,
            sector=sectors.get(symbol),
        )
        for symbol in closes.symbols
    }
    return Universe(panel=panel, facts=facts)


def _chosen(
    reads: ExchangeReads, listed: Mapping[Symbol, Listing], wanted: Sequence[Symbol], symbols_max: int, say: Say
) -> list[Symbol]:
    """What is asked for, else what trades; of too many the most traded ones."""
    unknown = [symbol for symbol in wanted if symbol not in listed]
    if unknown:
        raise ConfigError(f"--symbol: the exchange does not list {', '.join(unknown)}")
    found = list(dict.fromkeys(wanted)) or sorted(
        symbol for symbol, listing in listed.items() if listing.instrument.is_trading and symbol.endswith(":USDT")
    )
    if len(found) <= symbols_max:
        return found
    say(f"taking the {symbols_max} most traded of {len(found)} symbols; raise symbols_max for more")
    volumes = reads.quote_volumes()
    return sorted(sorted(found, key=lambda symbol: -volumes.get(symbol, 0.0))[:symbols_max])


def facts_of(
    symbol: Symbol,
    listing: Listing,
    rules: UniverseRules,
    *,
    root: Path,
    timeframe: str,
    window: tuple[int, int],
    sector: str | None = None,
) -> SymbolFacts:
    """What the rules ask for, of the stored window [start, end) ms; the rest stays unknown. `sector`: before the exchange's."""
    start_ms, end_ms = window
    volume = None
    if rules.quote_volume_usd_per_day_min is not None:
        held = market.read_klines(root, symbol, timeframe, start_ms, end_ms)
        volume = float(np.sum(held["volume"] * held["close"])) / ((end_ms - start_ms) / DAY_MS)
    funding = None
    if rules.funding_bps_per_day_max is not None:
        funding = funding_extreme_bps(market.read_funding(root, symbol, start_ms, end_ms))
    age = None if listing.onboard_ms is None else (end_ms - listing.onboard_ms) / DAY_MS
    return SymbolFacts(
        quote_volume_usd_per_day=volume,
        age_days=age,
        funding_bps_per_day=funding,
        sector=sector or listing.sector,
    )


def funding_extreme_bps(settled: Sequence[FundingRate]) -> float | None:
    """The sum of that day (UTC) whose funding was furthest from 0, in basis points; None without a settlement."""
    days: dict[int, float] = {}
    for rate in settled:
        # Settlements carry a few milliseconds of jitter; the one at midnight pays for the day before.
        day = (rate.at_ms - MINUTE_MS) // DAY_MS
        days[day] = days.get(day, 0.0) + rate.rate * 1e4
    return max(days.values(), key=abs, default=None)
