"""The walk forward: recalibrated by the nightly flow's function, and nothing in it knows what comes later."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from backtest_worlds import DAY, HOUR, START_MS, bars_of, pair, symbol, terms

from domain.statistics.decisions import Action, Incumbent, RecalibrationRules, Universe
from domain.statistics.engle_granger import Method
from domain.statistics.gates import Gates
from domain.statistics.scan import ScanOptions
from domain.statistics.status import Fitness
from flows.backtest.engine import forward
from flows.backtest.engine.forward import ForwardRules, Stretch, candles, recalibration_times, walk_forward
from flows.backtest.engine.market import Bars, Market
from flows.backtest.engine.walk import Walk

DAYS, FORMATION_DAYS = 30, 20
GATES = Gates(half_life_bars_max=60.0, costs=None, sub_windows=0, holdout_share=0.0)
SCAN = ScanOptions(method=Method(fitness=Fitness(leg_p_min=None)), gates=GATES)


def rules(universe: Universe = Universe.LISTED, **changes: Any) -> ForwardRules:
    given: dict[str, Any] = {
        "recalibration": RecalibrationRules(universe=universe, scan=SCAN, max_turnover=1.0),
        "formation_ms": FORMATION_DAYS * DAY,
        "every_days": 2,
        "candle_ms": HOUR,
        "entry_z": 1.5,
        "exit_z": 0.0,
        "stop_z": 4.0,
    }
    return ForwardRules(**{**given, **changes})


def world(seed: int = 4, *, step_ms: int = HOUR) -> Bars:
    """A leads B and C by relations that hold, D walks alone; B's relation ends on day 22."""
    rng = np.random.default_rng(seed)
    count = DAYS * DAY // step_ms
    walk_a = 100 + np.cumsum(rng.normal(0, 0.3, count))
    columns = {"A": walk_a, "D": 100 + np.cumsum(rng.normal(0, 0.3, count))}
    for name, ratio in (("B", 0.8), ("C", 1.3)):
        noise = np.zeros(count)
        for bar in range(1, count):
            noise[bar] = 0.8 * noise[bar - 1] + rng.normal(0, 0.5)
        columns[name] = 50 + ratio * walk_a + noise
    ends = 22 * DAY // step_ms
    columns["B"][ends:] += np.cumsum(rng.normal(0, 3.0, count - ends))
    return bars_of(columns, step_ms=step_ms)


def otherwise_after(bars: Bars, cut_ms: int) -> Bars:
    """The same until then; everything that opens later is another market."""
    first = bars.place_of(cut_ms)
    rng = np.random.default_rng(99)
    factor = np.exp(np.cumsum(rng.normal(0.001, 0.02, (bars.count - first, len(bars.symbols))), axis=0))
    closes, opens = bars.closes.copy(), np.array(bars.opens)
    closes[first:] *= factor
    opens[first:] *= factor
    return replace(bars, closes=closes, opens=opens)


def told(stretches: list[Stretch], cut_ms: int) -> list[Any]:
    """What was decided up to then, and what the pairs had done in the formation windows before."""
    return [
        (one.start_ms, one.decided.decisions, one.pairs, one.in_sample) for one in stretches if one.start_ms <= cut_ms
    ]


CUTS = [FORMATION_DAYS * DAY + 5 * HOUR, 22 * DAY + 30 * 60_000, 27 * DAY + 7 * HOUR]


@pytest.mark.parametrize("cut", CUTS)
def test_the_future_does_not_change_the_past(cut: int) -> None:
    """Everything after a moment is another market; every recalibration, decision, fill and trade up to it is the same."""
    bars, cut_ms = world(), START_MS + cut // HOUR * HOUR
    given = terms(taker_fee_rate=1e-4, lookback_bars=24)
    first, stretches = walk_forward(Market(bars=bars), given, rules())
    second, others = walk_forward(Market(bars=otherwise_after(bars, cut_ms)), given, rules())
    assert told(stretches, cut_ms) == told(others, cut_ms)
    over = [trade for trade in first.trades if trade.closed_ms < cut_ms]
    assert over == [trade for trade in second.trades if trade.closed_ms < cut_ms]
    assert {_entry(t) for t in first.trades if t.decided_ms <= cut_ms} == {
        _entry(t) for t in second.trades if t.decided_ms <= cut_ms
    }
    assert first.trades != second.trades


def _entry(trade: Any) -> tuple[Any, ...]:
    return trade.trade_id, trade.side, trade.entry_z, trade.quantity_a, trade.quantity_b, trade.hedge_ratio


def test_a_leak_of_one_candle_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above, with a recalibration that looks one candle ahead."""

    def leaking(bars: Bars, candle_ms: int, start_ms: int, end_ms: int) -> Any:
        return candles(bars, candle_ms, start_ms, end_ms + candle_ms)

    monkeypatch.setattr(forward, "candles", leaking)
    bars, cut_ms = world(), START_MS + 24 * DAY
    given = terms(lookback_bars=24)
    _, stretches = walk_forward(Market(bars=bars), given, rules())
    _, others = walk_forward(Market(bars=otherwise_after(bars, cut_ms)), given, rules())
    moment = cut_ms + 30 * 60_000
    assert told(stretches, moment) != told(others, moment)


def test_what_it_decides_and_trades() -> None:
    """The true pairs are found and traded; the one whose relation ends is retired, and nothing of it is opened afterwards."""
    walk, stretches = walk_forward(Market(bars=world()), terms(lookback_bars=24), rules())
    assert [one.start_ms for one in stretches] == recalibration_times(world(), rules())
    assert stretches[0].start_ms == START_MS + FORMATION_DAYS * DAY + 30 * 60_000
    first = {frozenset((p.leg_a, p.leg_b)) for p in stretches[0].pairs if p.enabled}
    assert frozenset((symbol("A"), symbol("B"))) in first
    assert not any(symbol("D") in legs for legs in first)
    last = {frozenset((p.leg_a, p.leg_b)) for p in stretches[-1].pairs if p.enabled}
    assert frozenset((symbol("A"), symbol("B"))) not in last
    retired_ms = next(
        one.start_ms
        for one in stretches
        if any(
            d.action is Action.RETIRE and {d.leg_a, d.leg_b} == {symbol("A"), symbol("B")}
            for d in one.decided.decisions
        )
    )
    assert retired_ms > START_MS + 22 * DAY
    of_ended = [t for t in walk.trades if {t.symbol_a, t.symbol_b} == {symbol("A"), symbol("B")}]
    assert of_ended
    assert all(trade.decided_ms <= retired_ms for trade in of_ended)
    assert sum(one.out_of_sample.trades for one in stretches) == len(walk.trades) > 20
    assert all(one.in_sample.trades > 0 for one in stretches if any(p.enabled for p in one.pairs))


def test_in_sample_is_the_same_pairs_on_their_own_window() -> None:
    market, given = Market(bars=world()), terms(lookback_bars=24)
    walk, stretches = walk_forward(market, given, rules())
    one = stretches[2]
    alone = Walk(market, given)
    alone.configure([p for p in one.pairs if p.enabled], at_ms=one.start_ms - FORMATION_DAYS * DAY)
    alone.run(one.start_ms)
    alone.finish()
    assert one.in_sample.trades == len(alone.trades) > 0
    assert one.in_sample.net_usd == sum(trade.net_usd for trade in alone.trades)
    assert one.in_sample_days == FORMATION_DAYS
    assert walk.trades


def test_a_pair_with_an_open_trade_is_closed_for_entries_and_its_trade_ends_by_its_own_numbers() -> None:
    """The very recalibration that retires it knows that a trade is open: it stays in the list, closes only, and is gone later."""
    bars = world()
    asked: list[frozenset[str]] = []
    known = forward.decide

    def listening(*arguments: Any, **named: Any) -> Any:
        asked.append(named["open_pairs"])
        return known(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "decide", listening)
        walk, stretches = walk_forward(Market(bars=bars), terms(lookback_bars=24), rules(every_days=1))
    for one, open_pairs in zip(stretches, asked, strict=True):
        standing = {trade.pair_id for trade in walk.trades if trade.decided_ms <= one.start_ms < trade.closed_ms}
        assert standing == open_pairs
        for decision in one.decided.decisions:
            if decision.action is Action.RETIRE:
                assert (decision.after is not None) == (decision.pair_id in open_pairs)
    assert any(asked)


def test_configured_pairs_are_recalibrated_and_nothing_is_added() -> None:
    configured = [pair("A", "B", hedge_ratio=0.8, stop_z=3.5), pair("A", "D", hedge_ratio=1.0)]
    walk, stretches = walk_forward(
        Market(bars=world()), terms(lookback_bars=24), rules(Universe.CONFIGURED), configured
    )
    assert {p.pair_id for one in stretches for p in one.pairs} == {"A_B", "A_D"}
    assert {p.stop_z for one in stretches for p in one.pairs if p.pair_id == "A_B"} == {3.5}
    fitted = {p.hedge_ratio for one in stretches for p in one.pairs if p.pair_id == "A_B"}
    assert len(fitted) > 1
    assert all(p.half_life_bar_seconds == 3600 for p in stretches[0].pairs if p.half_life_bars is not None)
    assert not any(trade.pair_id == "A_D" for trade in walk.trades)


def test_the_same_question_is_not_asked_twice() -> None:
    known: dict[Any, Any] = {}
    market, given = Market(bars=world()), terms(lookback_bars=24)
    first, _ = walk_forward(market, given, rules(), known=known)
    answers = dict(known)
    second, _ = walk_forward(market, given, rules(), known=known)
    assert known == answers
    assert first.trades == second.trades


def test_candles_are_closes_of_what_is_over() -> None:
    """Of minutes: the last close of each whole hour; an hour without a bar is missing; one that is not over is not there."""
    minutes = np.arange(1.0, 60 * 5 + 31)
    minutes[60:120] = np.nan
    minutes[179] = np.nan
    bars = bars_of({"A": minutes}, step_ms=60_000)
    panel = candles(bars, HOUR, START_MS, START_MS + 5 * HOUR + 29 * 60_000)
    assert panel.open_ms is not None
    assert (panel.open_ms - START_MS).tolist() == [0, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]
    assert panel.prices[:, 0].tolist() == pytest.approx([60, np.nan, 179, 240, 300], nan_ok=True)
    assert candles(bars, HOUR, START_MS + 1, START_MS + 2 * HOUR - 1).prices.size == 0


def test_a_symbol_that_stopped_trading_is_gone() -> None:
    """C has no bar after day 25: its pair is retired the next time but one at the latest, and never entered again."""
    bars = world()
    last = 25 * 24
    place = bars.symbols.index(symbol("C"))
    closes, opens = bars.closes.copy(), np.array(bars.opens)
    closes[last:, place] = opens[last:, place] = np.nan
    walk, stretches = walk_forward(
        Market(bars=replace(bars, closes=closes, opens=opens)), terms(lookback_bars=24), rules()
    )
    assert any(symbol("C") in (p.leg_a, p.leg_b) for p in stretches[0].pairs)
    later = [one for one in stretches if one.start_ms > START_MS + 27 * DAY]
    assert not any(symbol("C") in (p.leg_a, p.leg_b) and p.enabled for one in later for p in one.pairs)
    of_c = [t for t in walk.trades if symbol("C") in (t.symbol_a, t.symbol_b)]
    assert max(trade.decided_ms for trade in of_c) <= START_MS + 25 * DAY


def test_the_panel_of_a_recalibration_ends_with_what_has_closed() -> None:
    bars = world()
    seen = []
    known = forward.recalibrate

    def listening(panel: Any, *arguments: Any, **named: Any) -> Any:
        seen.append(panel)
        return known(panel, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "recalibrate", listening)
        at_ms = START_MS + 21 * DAY + 30 * 60_000
        forward.decide(
            bars,
            rules(),
            (Incumbent(pair_id="X", leg_a="A/USDT:USDT", leg_b="B/USDT:USDT", hedge_ratio=1.0),),
            at_ms=at_ms,
            open_pairs=frozenset(),
        )
    (panel,) = seen
    assert int(panel.open_ms[-1]) + HOUR == START_MS + 21 * DAY
    assert int(panel.open_ms[0]) >= at_ms - FORMATION_DAYS * DAY
