"""What a recalibration looks at: closes of the universe and of the file's own symbols on one grid, and what could not be had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domain.instruments import Instrument
from domain.statistics.panel import PricePanel
from domain.statistics.prefilter import SymbolFacts
from domain.symbols import Symbol, unified
from flows.common import facts
from flows.common.bars import Say, bars_in, refresh, store_of
from flows.common.reads import ExchangeReads
from flows.common.universe import gather
from flows.recalibrate.rules import CalibrationRules
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from storage import market


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """`panel`: every bar of [start_ms, end_ms) that any symbol has. `gone`, `unreached`: symbols without bars, and why."""

    panel: PricePanel
    facts: dict[str, SymbolFacts]
    gone: dict[str, str]
    unreached: dict[str, str]
    start_ms: int
    end_ms: int
    timeframe: str
    bars_fetched: int

    @property
    def window(self) -> str:
        return f"{facts.iso(self.start_ms)}/{facts.iso(self.end_ms)} {self.timeframe}"


def collect(settings: Settings, rules: CalibrationRules, held: Sequence[Symbol], *, say: Say) -> Evidence:
    """Bring the store up to date and read from it. Raises: ConfigError, ExchangeError when nothing at all can be had."""
    rules.own_sectors()  # Bad ones are bad, whether this universe asks for them or not.
    root, step_ms = store_of(settings), market.timeframe_ms(rules.timeframe)
    bars = bars_in(rules.window_days, rules.timeframe)
    universe = gather(settings, rules, say=say) if rules.universe == "listed" else None
    known = set(universe.panel.symbols) if universe is not None else set()
    own = [symbol for symbol in held if symbol not in known]
    gone: dict[str, str] = {}
    with ExchangeReads(settings) as reads:
        listed = reads.listed()
        for symbol in own:
            if symbol not in listed:
                gone[symbol] = "not listed by the exchange"
            elif not listed[symbol].is_trading:
                gone[symbol] = "not trading"
        fetched = refresh(
            reads, root, [symbol for symbol in own if symbol not in gone], rules.timeframe, bars=bars, say=say
        )
    unreached = {str(symbol): why for symbol, why in fetched.failures.items()}
    if universe is not None:
        unreached = {name: "no candles" for name in _expected(listed, rules) if name not in known} | unreached
    ends = [] if fetched.end_ms is None else [fetched.end_ms]
    if universe is not None and universe.panel.open_ms is not None and universe.panel.bars:
        ends.append(int(universe.panel.open_ms[-1]) + step_ms)
    if not ends:
        why = next(iter((fetched.failures | gone).values()), "no bars")
        raise ExchangeError(f"no candles from the exchange for any pair ({why}); nothing was changed")
    end_ms = max(ends)
    start_ms = end_ms - bars * step_ms
    if universe is not None and not own:
        return Evidence(
            panel=universe.panel,
            facts=universe.facts,
            gone={},
            unreached=unreached,
            start_ms=start_ms,
            end_ms=end_ms,
            timeframe=rules.timeframe,
            bars_fetched=0,
        )
    reached = sorted(known | {symbol for symbol in own if symbol not in gone and symbol not in fetched.failures})
    closes = market.read_closes(root, [Symbol(name) for name in reached], rules.timeframe, start_ms, end_ms)
    prices, times = closes.matrix, closes.times
    # Bars that all of them lack at the end count as missing, too.
    behind = (end_ms - int(times[-1])) // step_ms - 1 if times.size else 0
    if behind > 0:
        prices = np.vstack([prices, np.full((behind, prices.shape[1]), np.nan)])
        times = np.concatenate([times, times[-1] + step_ms * np.arange(1, behind + 1)])
    return Evidence(
        panel=PricePanel(symbols=tuple(closes.symbols), prices=prices, open_ms=times, bar_seconds=step_ms // 1000),
        facts=universe.facts if universe is not None else {},
        gone=gone,
        unreached=unreached,
        start_ms=start_ms,
        end_ms=end_ms,
        timeframe=rules.timeframe,
        bars_fetched=fetched.bars,
    )


def _expected(listed: Mapping[Symbol, Instrument], rules: CalibrationRules) -> set[str]:
    """What a universe should have brought: nothing is missing as long as nobody knows which symbols a cap left out."""
    wanted = {unified(name) for name in rules.symbols}
    found = wanted or {name for name, one in listed.items() if one.is_trading and name.endswith(":USDT")}
    return set() if len(found) > rules.symbols_max else {str(name) for name in found}
