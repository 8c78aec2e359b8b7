"""Pairs with bars of a size of their own: each goes by its own window, whoever else watches its symbols."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_signals_generator import A, B, C, held, pair

from domain.pairs import BAR_SECONDS, PairConfig, PairSide, SignalType, TradingSignal
from domain.quotes import Quote
from domain.spread import SpreadMoments, statistics_of
from domain.symbols import PairId, Symbol
from domain.units import MINUTE_MS
from runner import events
from runner.config import SignalSettings
from runner.signals.generator import SignalGenerator
from runner.signals.warmup import INTERVALS, WindowMonitor

START_MS = 1_000_000 * MINUTE_MS  # The beginning of an hour, too.
RULES = SignalSettings(lookback_bars=4, debounce_ms=0)
Seen = tuple[SpreadMoments | None, int | None, float]


def quote(mid: float, event_ms: int) -> Quote:
    return Quote(mid, mid, 1.0, 1.0, event_ms, event_ms * 1_000_000)


class Told:
    """A generator, and what it says of one pair after every tick."""

    def __init__(self, *pairs: PairConfig, rules: SignalSettings = RULES) -> None:
        self.signals: list[TradingSignal] = []
        self.torn = 0
        self.generator = SignalGenerator(pairs, rules, position_usd=500.0, on_torn=self._on_torn)
        self.generator.register_signal_callback(self.signals.append)

    def _on_torn(self) -> None:
        self.torn += 1

    def tick(self, symbol: Symbol, mid: float, event_ms: int) -> None:
        self.generator.update(symbol, quote(mid, event_ms))

    def seen(self, pair_id: PairId) -> Seen:
        slot = self.generator.calculator.slots[pair_id]
        return slot.statistics, slot.closed_bar, slot.spread

    def signals_of(self, pair_id: PairId) -> list[tuple[SignalType, int, float]]:
        return [(s.signal_type, s.at_ms, s.z_score) for s in self.signals if s.pair_id == pair_id]


def test_the_sizes_that_are_taken_are_those_that_klines_come_in() -> None:
    assert get_args(SignalSettings.model_fields["bar_seconds"].annotation) == BAR_SECONDS == tuple(INTERVALS)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(60, 180), (60, 300), (300, 60), (180, 300), (None, 900)]),
    st.sampled_from([20_000, 60_000, 400_000]),
)
def test_pairs_that_share_a_symbol_are_told_what_each_is_told_alone(
    seed: int, sizes: tuple[int | None, int | None], wait_ms_max: int
) -> None:
    """To the last bit, and the same signals: with quiet legs, feeds that break, and ticks from another time among the rest."""
    first, second = pair("AB", A, B, bar_seconds=sizes[0]), pair("BC", B, C, bar_seconds=sizes[1])
    together, apart = Told(first, second), {one.pair_id: Told(one) for one in (first, second)}
    every = (together, *apart.values())
    random = np.random.default_rng(seed)
    mids, now_ms = {A: 100.0, B: 50.0, C: 25.0}, START_MS
    for _ in range(300):
        now_ms += int(random.integers(1, wait_ms_max))
        symbol = (A, B, C)[int(random.integers(0, 3))]
        chance = random.random()
        for one in every:
            if chance < 0.01:
                one.generator.interrupt([symbol])
            elif chance < 0.02:
                one.tick(symbol, mids[symbol], now_ms + 3_600_000)
            else:
                one.tick(symbol, mids[symbol], now_ms)
        mids[symbol] += float(random.normal(0, 0.5))
        for pair_id, alone in apart.items():
            (statistics, bar, spread), expected = together.seen(pair_id), alone.seen(pair_id)
            assert (statistics, bar) == expected[:2]
            assert spread == expected[2] or (math.isnan(spread) and math.isnan(expected[2]))
    for pair_id, alone in apart.items():
        assert together.signals_of(pair_id) == alone.signals_of(pair_id)


def test_each_window_is_of_its_own_bars() -> None:
    told = Told(pair("M1", A, B), pair("M5", A, B, bar_seconds=300))
    closes: dict[int, list[float]] = {60: [], 300: []}
    for minute in range(31):
        at_ms = START_MS + minute * MINUTE_MS
        told.tick(A, 10.0, at_ms)
        told.tick(B, 20.0 + minute % 7, at_ms)
        closes[60].append(15.0 + minute % 7)
        if minute % 5 == 4:
            closes[300].append(15.0 + minute % 7)
    for pair_id, seconds, known in (("M1", 60, closes[60][26:30]), ("M5", 300, closes[300][2:6])):
        statistics, _, _ = told.seen(PairId(pair_id))
        expected = statistics_of(np.array(known))
        assert statistics is not None
        assert expected is not None
        assert (statistics.mean, statistics.std) == pytest.approx((expected.mean, expected.std)), seconds
    assert {pair_id: row["bar_seconds"] for pair_id, row in told.generator.status().items()} == {"M1": 60, "M5": 300}


class Klines:
    """An exchange that has every bar; the close says which one it is."""

    def __init__(self) -> None:
        self.asked: list[tuple[Symbol, str]] = []
        self.now_ms = START_MS + 1_000

    async def klines(
        self, symbol: Symbol, *, interval: str, limit: int, end_ms: int | None = None
    ) -> Sequence[tuple[int, float]]:
        self.asked.append((symbol, interval))
        step_ms = next(seconds for seconds, name in INTERVALS.items() if name == interval) * 1000
        newest = min(self.now_ms, end_ms or self.now_ms) // step_ms * step_ms
        base = 10.0 if symbol == A else 20.0
        return [(newest - k * step_ms, base + (k * k) % 5 * step_ms / 60_000) for k in reversed(range(limit))]


class Clock:
    def now_ms(self) -> int:
        return START_MS

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing to wait for {seconds} s")


def warm_up(told: Told) -> tuple[Klines, list[dict[str, Any]]]:
    klines, said = Klines(), []

    async def run() -> int:
        keeper = WindowMonitor(
            told.generator,
            klines,
            clock=Clock(),  # type: ignore[arg-type]  # As much of it as is asked.
            wanted=asyncio.Event(),
            on_event=lambda event, facts: said.append({"event": event, **facts}),
        )
        return await keeper.warm_up()

    assert asyncio.run(run()) == 0
    return klines, said


def test_every_window_is_warmed_up_from_klines_of_its_own_size() -> None:
    told = Told(pair("M1", A, B), pair("H1", A, B, bar_seconds=3600), pair("BC", B, C, bar_seconds=3600))
    klines, said = warm_up(told)
    assert sorted(klines.asked) == [(A, "1h"), (A, "1m"), (B, "1h"), (B, "1m"), (C, "1h")]
    assert all(slot.statistics is not None for slot in told.generator.calculator.slots.values())
    assert told.seen(PairId("M1"))[0] != told.seen(PairId("H1"))[0]
    assert said == [{"event": events.WINDOWS_LOADED, "symbols": 5, "incomplete": []}]


def test_a_reload_with_another_bar_size_empties_the_window_and_warms_it_up() -> None:
    told = Told(pair())
    warm_up(told)
    told.tick(A, 10.0, START_MS)
    told.tick(B, 20.0, START_MS)
    told.generator.trade_opened(PairId("AB"), held(PairSide.SELL))
    slot = told.generator.calculator.slots[PairId("AB")]
    before, standing = slot.statistics, slot.standing
    assert before is not None
    torn = told.torn
    told.generator.reconfigure([pair(bar_seconds=3600)])
    assert told.generator.calculator.slots[PairId("AB")] is slot
    assert slot.statistics is None
    assert told.torn > torn, "it asks for klines"
    assert slot.standing == standing, "an open trade does not notice"
    assert slot.spread == 15.0, "and its exit need not wait for the next quote of either leg"
    klines, _ = warm_up(told)
    assert sorted(klines.asked) == [(A, "1h"), (B, "1h")]
    assert slot.statistics not in {before, None}
    told.tick(B, 30.0, START_MS + 1_000)
    assert [signal.signal_type for signal in told.signals] == [SignalType.EXIT]
    assert told.signals[0].spread_mean == 5.0, "by the mean that it was opened with"


def test_only_what_nobody_uses_any_more_is_forgotten() -> None:
    told = Told(pair("M1", A, B), pair("M5", A, B, bar_seconds=300))
    warm_up(told)
    told.generator.mark_stale(A, stale=True)
    one = told.seen(PairId("M1"))[0]
    told.generator.reconfigure([pair("M1", A, B)])
    assert told.generator.symbols == {A, B}
    assert told.seen(PairId("M1"))[0] == one, "the other grid did not notice"
    told.generator.reconfigure([pair("M1", A, B), pair("M3", A, C, bar_seconds=180)])
    slot = told.generator.calculator.slots[PairId("M3")]
    assert slot.leg_a.stale, "a symbol known to be stale is so on every grid"
    assert sorted(leg.symbol for leg in told.generator.calculator.torn()) == [A, C]
    told.generator.reconfigure([])
    assert told.generator.symbols == frozenset()
    assert told.generator.calculator.torn() == []
