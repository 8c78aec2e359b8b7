"""The walk forward: recalibrated on the way by the nightly flow's own function, from nothing but the bars that had closed by then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.pairs import PairConfig
from domain.statistics.decisions import Incumbent, RecalibrationRules, Universe
from domain.statistics.panel import PricePanel
from domain.statistics.recalibration import Recalibration, recalibrate
from domain.symbols import PairId, Symbol
from domain.units import DAY_MS, MINUTE_MS
from flows.backtest.engine.figures import Sums, sums_of
from flows.backtest.engine.market import Bars, Market
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.walk import Progress, Walk

NIGHTLY_MS = 30 * MINUTE_MS
"""The nightly flow runs half an hour after midnight, UTC."""
_GONE_MS = DAY_MS
"""A symbol without a bar for so long does not trade any more, as the exchange's list would say by then."""


Question = tuple[int, tuple[Incumbent, ...], frozenset[PairId]]
"""When, which pairs stand in the file, and which of them have open trades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRules:
    """When it is recalibrated and on what. The thresholds are those of pairs that the recalibration adds."""

    recalibration: RecalibrationRules
    formation_ms: int
    every_days: int
    candle_ms: int
    entry_z: float
    exit_z: float
    stop_z: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """From one recalibration to the next: what it decided, what these pairs did where they were fitted, and what they did next.

    `in_sample`: the pairs that were open for entries, on their formation window. `out_of_sample`: the trades decided in the stretch.
    """

    start_ms: int
    end_ms: int
    formation_start_ms: int
    decided: Recalibration
    pairs: tuple[PairConfig, ...]
    in_sample: Sums
    out_of_sample: Sums

    @property
    def in_sample_days(self) -> float:
        return (self.start_ms - self.formation_start_ms) / DAY_MS

    @property
    def days(self) -> float:
        return (self.end_ms - self.start_ms) / DAY_MS


def recalibration_times(bars: Bars, rules: ForwardRules) -> list[int]:
    """Half an hour after midnight, the first one with a whole formation window behind it, then every so many days."""
    first = bars.start_ms + rules.formation_ms
    first = -(-(first - NIGHTLY_MS) // DAY_MS) * DAY_MS + NIGHTLY_MS
    return list(range(first, bars.end_ms, rules.every_days * DAY_MS))


def walk_forward(
    market: Market,
    terms: Terms,
    rules: ForwardRules,
    configured: Sequence[PairConfig] = (),
    *,
    in_sample: bool = True,
    known: dict[Question, Recalibration] | None = None,
    progress: Progress | None = None,
) -> tuple[Walk, list[Stretch]]:
    """Trade the whole market, recalibrating. `configured`: the pairs that stand in the file before the first recalibration.

    `in_sample` False leaves those figures at nothing, for a rerun that needs the trades only. `known`: what was decided in another
    walk over the same market by the same rules, and is added to: the same question has the same answer. Never raises for prices.
    """
    known = {} if known is None else known
    bars = market.bars
    times = recalibration_times(bars, rules)
    walk = Walk(market, terms)
    incumbents = tuple(
        Incumbent(
            pair_id=pair.pair_id, leg_a=pair.leg_a, leg_b=pair.leg_b, hedge_ratio=pair.hedge_ratio, enabled=pair.enabled
        )
        for pair in configured
    )
    thresholds = {pair.pair_id: pair for pair in configured}
    found: list[tuple[int, int, Recalibration, tuple[PairConfig, ...]]] = []
    for number, (at_ms, end_ms) in enumerate(zip(times, (*times[1:], bars.end_ms), strict=True), start=1):
        question = (at_ms, incumbents, walk.open_pairs)
        decided = known.get(question)
        if decided is None:
            decided = known[question] = decide(bars, rules, incumbents, at_ms=at_ms, open_pairs=walk.open_pairs)
        incumbents = decided.pairs_after
        pairs = tuple(_config(one, rules, thresholds) for one in incumbents)
        found.append((at_ms, end_ms, decided, pairs))
        walk.configure(pairs, at_ms=at_ms)
        walk.run(end_ms)
        if progress is not None:
            progress(number, len(times))
    walk.finish()
    return walk, [_stretch(market, terms, rules, walk, one, in_sample=in_sample) for one in found]


def decide(
    bars: Bars, rules: ForwardRules, incumbents: Sequence[Incumbent], *, at_ms: int, open_pairs: frozenset[PairId]
) -> Recalibration:
    """What the nightly flow would decide at this moment, by the candles that had closed."""
    panel = candles(bars, rules.candle_ms, at_ms - rules.formation_ms, at_ms)
    newest = bars.panel(at_ms - _GONE_MS, at_ms)
    silent: NDArray[np.bool_] = np.logical_not(np.isfinite(newest.prices).any(axis=0))
    gone = {str(bars.symbols[place]): "no bar for a day" for place in np.flatnonzero(silent).tolist()}
    there = np.flatnonzero(np.isfinite(panel.prices).any(axis=0) & ~silent).tolist()
    wanted = there
    if rules.recalibration.universe is Universe.CONFIGURED:
        legs = {leg for one in incumbents for leg in (one.leg_a, one.leg_b)}
        wanted = [place for place in there if panel.symbols[place] in legs]
    return recalibrate(
        panel.only(wanted),
        incumbents,
        rules.recalibration,
        open_trades={str(pair_id) for pair_id in open_pairs},
        gone=gone,
    )


def candles(bars: Bars, candle_ms: int, start_ms: int, end_ms: int) -> PricePanel:
    """Closes of the candles that opened at or after `start_ms` and were over by `end_ms`; one without a single bar is missing."""
    per_candle = candle_ms // bars.step_ms
    first = -(-max(start_ms, bars.start_ms) // candle_ms)
    last = min(end_ms, bars.end_ms) // candle_ms
    count = max(last - first, 0)
    place = first * per_candle - bars.first_bar
    part = bars.closes[place : place + count * per_candle]
    whole = part.reshape(count, per_candle, len(bars.symbols))
    finite = np.isfinite(whole)
    newest = per_candle - 1 - finite[:, ::-1].argmax(axis=1)
    prices = np.take_along_axis(whole, newest[:, None, :], axis=1)[:, 0, :]
    return PricePanel(
        symbols=tuple(bars.symbols),
        prices=np.ascontiguousarray(prices),
        open_ms=(first + np.arange(count, dtype=np.int64)) * candle_ms,
        bar_seconds=candle_ms // 1000,
    )


def _config(one: Incumbent, rules: ForwardRules, thresholds: Mapping[PairId, PairConfig]) -> PairConfig:
    """The pair as the runner would read it from the file."""
    pair_id = PairId(one.pair_id)
    known = thresholds.get(pair_id)
    if known is not None:
        config = msgspec.structs.replace(known, hedge_ratio=one.hedge_ratio, enabled=one.enabled)
    else:
        config = PairConfig(
            pair_id=pair_id,
            leg_a=Symbol(one.leg_a),
            leg_b=Symbol(one.leg_b),
            hedge_ratio=one.hedge_ratio,
            entry_z=rules.entry_z,
            exit_z=rules.exit_z,
            stop_z=rules.stop_z,
            half_life_bars=None,
            half_life_bar_seconds=rules.candle_ms // 1000,
            enabled=one.enabled,
        )
    if one.fit is None:
        return config
    return msgspec.structs.replace(
        config, half_life_bars=one.fit.half_life_bars, half_life_bar_seconds=rules.candle_ms // 1000
    )


def _stretch(
    market: Market,
    terms: Terms,
    rules: ForwardRules,
    walk: Walk,
    one: tuple[int, int, Recalibration, tuple[PairConfig, ...]],
    *,
    in_sample: bool,
) -> Stretch:
    at_ms, end_ms, decided, pairs = one
    start_ms = max(at_ms - rules.formation_ms, market.bars.start_ms)
    fitted = []
    if in_sample:
        before = Walk(market, terms, timelines=walk.timelines)
        before.configure([pair for pair in pairs if pair.enabled], at_ms=start_ms)
        before.run(at_ms)
        before.finish()
        fitted = before.trades
    return Stretch(
        start_ms=at_ms,
        end_ms=end_ms,
        formation_start_ms=start_ms,
        decided=decided,
        pairs=pairs,
        in_sample=sums_of(fitted),
        out_of_sample=sums_of([trade for trade in walk.trades if at_ms < trade.decided_ms <= end_ms]),
    )
