"""The signal generator against a naive oracle, and its manners: once, debounced, never from a stale leg, one pair at a time."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.decide import EntryRules, HeldTrade, PairState, decide, rearmed
from domain.entries import SpreadSampled
from domain.pairs import PairConfig, PairSide, SignalType, TradingSignal
from domain.quotes import Quote
from domain.spread import SpreadMoments, statistics_of
from domain.symbols import PairId, Symbol
from runner.config import SignalSettings
from runner.signals.generator import SignalGenerator

A, B, C = (Symbol(f"{name}/USDT:USDT") for name in ("AAA", "BBB", "CCC"))
BAR_MS = 60_000
START_MS = 100 * BAR_MS
RULES = SignalSettings(lookback_bars=5, debounce_ms=0)
PAIR_ID = PairId("AB")


def pair(pair_id: str = "AB", leg_a: Symbol = A, leg_b: Symbol = B, **changes: object) -> PairConfig:
    made = PairConfig(
        pair_id=PairId(pair_id), leg_a=leg_a, leg_b=leg_b, hedge_ratio=0.5, entry_z=2.0, exit_z=0.0, stop_z=4.0,
        half_life_bars=None, half_life_bar_seconds=60,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


class Rig:
    """A generator with windows loaded: spread of A and B has mean 5 and deviation 1."""

    def __init__(self, *pairs: PairConfig, rules: SignalSettings = RULES, listens: bool = True) -> None:
        self.signals: list[TradingSignal] = []
        self.samples: list[SpreadSampled] = []
        self.failed: list[tuple[PairId, Exception]] = []
        self.generator = SignalGenerator(
            pairs or (pair(),),
            rules,
            position_usd=500.0,
            on_sample=self.samples.append,
            on_pair_failed=lambda pair_id, error: self.failed.append((pair_id, error)),
        )
        if listens:
            self.generator.register_signal_callback(self.signals.append)
        self.received_ns = 0
        self.load()

    def load(self) -> None:
        for symbol in self.generator.symbols:
            shape = (0.0, 0.0, 0.0, 0.0, 0.0) if symbol == A else (-1.0, 1.0, 0.0, -1.0, 1.0)
            base = 10.0
            rows = [(START_MS - (5 - i) * BAR_MS, base + x) for i, x in enumerate(shape)]
            assert self.generator.calculator.load(symbol, rows)

    def tick(self, symbol: Symbol, mid: float, *, event_ms: int = START_MS + 1_000) -> None:
        self.received_ns += 1_000_000
        self.generator.update(symbol, Quote(mid, mid, 1.0, 1.0, event_ms, self.received_ns))

    @property
    def types(self) -> list[SignalType]:
        return [signal.signal_type for signal in self.signals]


def held(side: PairSide = PairSide.SELL, *, time_stop_ms: int | None = None) -> HeldTrade:
    return HeldTrade(side, SpreadMoments(5.0, 1.0), 0.5, 0.0, 4.0, time_stop_ms)


STORIES: list[tuple[str, float, list[SignalType]]] = [
    ("inside the band", 10.0, []),
    ("far above", 12.5, [SignalType.BUY]),
    ("far below", 7.5, [SignalType.SELL]),
    ("beyond the stop", 16.0, []),
    ("beyond the stop below", 4.0, []),
]


@pytest.mark.parametrize(("price_b", "expected"), [s[1:] for s in STORIES], ids=[s[0] for s in STORIES])
def test_a_band_that_is_left_is_a_signal(price_b: float, expected: list[SignalType]) -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.tick(B, price_b)
    assert rig.types == expected
    assert rig.failed == []


def test_a_signal_says_everything_and_always_the_same() -> None:
    first, second = Rig(), Rig()
    for rig in (first, second):
        rig.tick(A, 10.0)
        rig.tick(B, 12.5)
    (signal,) = first.signals
    assert second.signals == [signal]
    assert signal.signal_id == f"AB:{START_MS + 1_000}:BUY"
    assert signal.spread == 7.5
    assert signal.spread_mean == pytest.approx(5.0)
    assert signal.z_score == pytest.approx(2.5)
    assert signal.suggested_position_size == 500.0
    assert [sample.z_score for sample in first.samples] == [signal.z_score]


def test_the_other_leg_crosses_the_band_as_well() -> None:
    rig = Rig()
    rig.tick(B, 10.0)
    rig.tick(A, 10.0)
    rig.tick(A, 15.0)
    assert rig.types == [SignalType.SELL]


def test_a_signal_is_not_repeated_for_thirty_seconds_of_market_time() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    for seconds in (1, 2, 30, 32, 33):
        rig.tick(B, 12.5, event_ms=START_MS + seconds * 1000)
    assert rig.types == [SignalType.BUY, SignalType.BUY]


def test_an_entry_that_nobody_could_judge_yet_comes_again_at_once() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.tick(B, 12.5, event_ms=START_MS + 1000)
    rig.generator.denied(PAIR_ID)
    rig.tick(B, 12.5, event_ms=START_MS + 2000)
    assert rig.types == [SignalType.BUY], "denied is denied"
    rig.generator.not_judged(PAIR_ID)
    rig.tick(B, 12.5, event_ms=START_MS + 3000)
    assert rig.types == [SignalType.BUY, SignalType.BUY]


def test_a_pair_outside_its_band_is_looked_at_whichever_leg_ticks() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.tick(B, 10.0)
    rig.tick(A, 10.0)
    rig.tick(B, 14.05)  # Beyond the stop: nothing is said.
    rig.tick(A, 10.2)
    assert rig.types == [SignalType.BUY]


def test_a_pair_that_is_busy_says_nothing() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.generator.trade_opening(PAIR_ID)
    rig.tick(B, 12.5)
    assert rig.types == []
    rig.generator.trade_failed(PAIR_ID)
    rig.tick(B, 12.5)
    assert rig.types == [SignalType.BUY]


EXITS: list[tuple[str, PairSide, float, list[SignalType]]] = [
    ("short spread comes back", PairSide.BUY, 9.9, [SignalType.EXIT]),
    ("short spread still out", PairSide.BUY, 11.0, []),
    ("short spread runs away", PairSide.BUY, 14.5, [SignalType.STOP]),
    ("long spread comes back", PairSide.SELL, 10.1, [SignalType.EXIT]),
    ("long spread still out", PairSide.SELL, 9.0, []),
    ("long spread runs away", PairSide.SELL, 5.5, [SignalType.STOP]),
]


@pytest.mark.parametrize(("side", "price_b", "expected"), [s[1:] for s in EXITS], ids=[s[0] for s in EXITS])
def test_a_held_trade_leaves_by_its_own_statistics(side: PairSide, price_b: float, expected: list[SignalType]) -> None:
    rig = Rig()
    rig.generator.trade_opened(PAIR_ID, held(side))
    rig.generator.reconfigure([pair(hedge_ratio=3.0, entry_z=1.0)])
    rig.tick(A, 10.0)
    rig.tick(B, price_b)
    assert rig.types == expected


def test_a_time_stop_is_seen_inside_the_band_once_a_bar_has_closed() -> None:
    rig = Rig()
    rig.generator.trade_opened(PAIR_ID, held(PairSide.SELL, time_stop_ms=START_MS + 30_000))
    rig.tick(A, 10.0)
    rig.tick(B, 9.0)
    rig.tick(A, 10.0, event_ms=START_MS + BAR_MS)
    rig.tick(B, 9.0, event_ms=START_MS + BAR_MS)
    assert rig.types == [SignalType.TIME_STOP]


def test_after_a_stop_the_pair_waits_for_its_mean() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.generator.trade_opened(PAIR_ID, held(PairSide.BUY))
    rig.generator.trade_closed(PAIR_ID, stopped_sign=1)
    rig.tick(B, 12.5)
    assert rig.types == []
    rig.tick(B, 9.9)
    rig.tick(B, 12.5)
    assert rig.types == [SignalType.BUY]


def test_a_stale_leg_blocks_entries_but_not_exits() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.generator.mark_stale(A, stale=True)
    rig.tick(B, 12.5)
    assert rig.types == []
    rig.generator.trade_opened(PAIR_ID, held(PairSide.BUY))
    rig.tick(B, 9.0)
    assert rig.types == [SignalType.EXIT]


def test_after_an_interruption_old_quotes_are_not_quotes() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.tick(B, 10.0)
    rig.generator.interrupt([A, B])
    assert rig.generator.quote_of(A) is None
    rig.tick(B, 12.5)
    assert rig.types == []
    rig.tick(A, 10.0)
    assert rig.types == [SignalType.BUY]


def test_two_signals_within_the_debounce_are_one() -> None:
    rig = Rig(rules=SignalSettings(lookback_bars=5, debounce_ms=20))
    rig.tick(A, 10.0)
    rig.tick(B, 12.5)
    rig.tick(B, 7.5)
    assert rig.types == [SignalType.BUY]
    rig.received_ns += 20_000_000
    rig.tick(B, 7.5)
    assert rig.types == [SignalType.BUY, SignalType.SELL]


def test_one_failing_pair_never_stops_the_others() -> None:
    rig = Rig(pair(), pair("CA", C, B))

    def refuse(signal: TradingSignal) -> None:
        if signal.pair_id == PAIR_ID:
            raise RuntimeError("a bug")

    rig.generator.register_signal_callback(refuse)
    rig.tick(A, 10.0)
    rig.tick(C, 10.0)
    rig.generator.calculator.load(C, [(START_MS - (5 - i) * BAR_MS, 10.0) for i in range(5)])
    rig.tick(B, 16.0)
    rig.signals.clear()
    rig.tick(B, 12.5)
    rig.tick(B, 12.5, event_ms=START_MS + 40_000)
    assert [pair_id for pair_id, _ in rig.failed] == [PAIR_ID]
    assert [signal.pair_id for signal in rig.signals].count(PAIR_ID) == 1
    assert rig.generator.status()[PAIR_ID]["standing"] == "failed"
    assert rig.generator.status()[PairId("CA")]["standing"] == "watching"


def test_a_callback_may_change_the_pairs_in_the_middle_of_a_tick() -> None:
    rig = Rig(pair(), pair("CB", C, B))
    rig.tick(A, 10.0)
    rig.tick(C, 10.0)
    rig.generator.register_signal_callback(lambda _: rig.generator.reconfigure([pair()]))
    rig.tick(B, 12.5)
    assert rig.failed == []
    assert rig.generator.symbols == {A, B}


class Oracle:
    """The same rules written down the slow way: every tick, every pair, the whole window."""

    def __init__(self, pairs: list[PairConfig], windows: dict[Symbol, list[float]]) -> None:
        self.pairs = pairs
        self.windows = windows
        self.mids: dict[Symbol, float] = {}
        self.standing = {p.pair_id: PairState() for p in pairs}
        self.given: list[tuple[PairId, SignalType, int]] = []

    def statistics(self, p: PairConfig) -> SpreadMoments | None:
        a, b = np.array(self.windows[p.leg_a]), np.array(self.windows[p.leg_b])
        return statistics_of(b - p.hedge_ratio * a)

    def close_bar(self) -> None:
        for symbol, window in self.windows.items():
            window.append(self.mids[symbol])
            del window[0]

    def tick(self, symbol: Symbol, mid: float, now_ms: int, act: Callable[[PairId, SignalType], None]) -> None:
        self.mids[symbol] = mid
        for p in self.pairs:
            if symbol not in p.symbols or not set(p.symbols) <= set(self.mids):
                continue
            spread = self.mids[p.leg_b] - p.hedge_ratio * self.mids[p.leg_a]
            now = self.standing[p.pair_id]
            statistics = self.statistics(p)
            if rearmed(now, spread, statistics):
                now = self.standing[p.pair_id] = msgspec.structs.replace(now, stopped_at_sign=0)
            got = decide(spread, now, EntryRules(p.entry_z, p.stop_z), statistics, now_ms)
            if got is not None:
                self.standing[p.pair_id] = msgspec.structs.replace(now, last_signal=got, last_signal_ms=now_ms)
                self.given.append((p.pair_id, got, now_ms))
                act(p.pair_id, got)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.01, 0.05, 0.3, 2.0]),
    st.integers(1, 4),
)
def test_signals_are_those_of_a_naive_oracle(seed: int, step: float, pair_count: int) -> None:
    """Random walks of three legs; trades open and close at once, so that every kind of band is visited."""
    random = np.random.default_rng(seed)
    legs = [(A, B), (C, B), (A, C), (B, C)][:pair_count]
    pairs = [pair(f"P{i}", a, b, hedge_ratio=float(random.uniform(0.2, 2))) for i, (a, b) in enumerate(legs[:3])]
    windows = {s: [float(x) for x in 100 + random.normal(0, 1, 5)] for s in (A, B, C)}
    oracle = Oracle(pairs, {s: list(w) for s, w in windows.items()})
    generator = SignalGenerator(pairs, RULES, position_usd=500.0)
    for symbol in generator.symbols:
        generator.calculator.load(symbol, [(START_MS - (5 - i) * BAR_MS, x) for i, x in enumerate(windows[symbol])])
    given_signals: list[tuple[PairId, SignalType, int]] = []

    def held_of(signal: SignalType, p: PairConfig) -> HeldTrade:
        statistics = oracle.statistics(p)
        assert statistics is not None
        return HeldTrade(PairSide(signal), statistics, p.hedge_ratio, 0.0, 4.0, None)

    def act(pair_id: PairId, signal: SignalType) -> None:
        now, p = oracle.standing[pair_id], next(p for p in pairs if p.pair_id == pair_id)
        if signal.is_entry:
            oracle.standing[pair_id] = msgspec.structs.replace(now, held=held_of(signal, p))
        else:
            side = -1 if now.held and now.held.side is PairSide.SELL else 1
            sign = side if signal is SignalType.STOP else 0
            oracle.standing[pair_id] = msgspec.structs.replace(now, held=None, stopped_at_sign=sign)

    def engine(signal: TradingSignal) -> None:
        given_signals.append((signal.pair_id, signal.signal_type, signal.at_ms))
        slot = generator.calculator.slots[signal.pair_id]
        if signal.signal_type.is_entry:
            assert slot.statistics is not None
            generator.trade_opened(
                signal.pair_id,
                HeldTrade(PairSide(signal.signal_type), slot.statistics, slot.pair.hedge_ratio, 0.0, 4.0, None),
            )
        else:
            assert slot.held is not None
            side = -1 if slot.held.side is PairSide.SELL else 1
            generator.trade_closed(signal.pair_id, side if signal.signal_type is SignalType.STOP else 0)

    generator.register_signal_callback(engine)
    mids = {A: 100.0, B: 100.0, C: 100.0}
    now_ms = START_MS
    for _ in range(3):
        for symbol in (A, B, C):  # Everybody passes the boundary before anybody moves on: one order, one truth.
            oracle.tick(symbol, mids[symbol], now_ms, act)
            generator.update(symbol, Quote(mids[symbol], mids[symbol], 1.0, 1.0, now_ms, now_ms))
        for _ in range(120):
            now_ms += int(random.integers(1, 400))
            symbol = (A, B, C)[int(random.integers(0, 3))]
            mids[symbol] += float(random.normal(0, step))
            oracle.tick(symbol, mids[symbol], now_ms, act)
            generator.update(symbol, Quote(mids[symbol], mids[symbol], 1.0, 1.0, now_ms, now_ms))
        now_ms = (now_ms // BAR_MS + 1) * BAR_MS
        if len(generator.symbols) < 3 and not set(oracle.windows) <= set(oracle.mids):
            break
        # At the boundary the first leg to pass has closed its bar and the last has not: compare from the next bar on.
        for symbol in (A, B, C):
            for leg in generator.calculator._each_leg(symbol):
                generator.calculator._pass_time(leg, now_ms)
        oracle.close_bar()
    assert given_signals == oracle.given
