"""Another list of pairs while the market goes on: what stays warm, what begins anew, and what an open trade does not notice."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from test_signals_generator import BAR_MS, PAIR_ID, START_MS, A, B, C, Rig, held, pair

import runner.pairs.watch as watching
from domain.errors import InvariantBroken
from domain.events import Event
from domain.pairs import PairConfig, PairSide, SignalType
from domain.spread import statistics_of
from domain.symbols import PairId, Symbol
from runner.clock import SystemClock
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from runner.pairs.file import PairRow, load_pairs, read_document, write_document
from runner.pairs.history import restore
from runner.pairs.registry import PairsRegistry

CA = PairId("CA")


def test_an_unchanged_pair_does_not_notice_a_reload() -> None:
    rig = Rig(pair(), pair("CA", C, A))
    rig.tick(A, 10.0)
    rig.tick(B, 9.5)
    slot = rig.generator.calculator.slots[PAIR_ID]
    closes = slot.leg_a.closes.copy(), slot.leg_b.closes.copy()
    before = slot.statistics, slot.closed_bar, slot.standing, slot.spread
    rig.generator.reconfigure([pair(), pair("CA", C, A, hedge_ratio=0.7)])
    assert rig.generator.calculator.slots[PAIR_ID] is slot
    assert (slot.statistics, slot.closed_bar, slot.standing, slot.spread) == before
    assert np.array_equal((slot.leg_a.closes, slot.leg_b.closes), closes)


def test_a_stop_and_the_repeat_time_outlive_a_reload() -> None:
    rig = Rig()
    rig.generator.trade_opened(PAIR_ID, held(PairSide.BUY))
    rig.generator.trade_closed(PAIR_ID, stopped_sign=1)
    rig.generator.reconfigure([pair(hedge_ratio=0.51)])
    rig.tick(A, 10.0)
    rig.tick(B, 12.6)
    assert rig.types == [], "after a stop the pair waits for its mean, whatever its hedge ratio is now"


def test_a_new_hedge_ratio_counts_at_once_when_both_legs_have_closed_the_same_bar() -> None:
    rig = Rig()
    rig.generator.reconfigure([pair(hedge_ratio=0.25)])
    slot = rig.generator.calculator.slots[PAIR_ID]
    assert slot.statistics == statistics_of(slot.leg_b.closes - 0.25 * slot.leg_a.closes)


def test_between_two_closes_a_new_hedge_ratio_has_no_statistics_rather_than_the_old_ones() -> None:
    """One leg has closed its bar, the other not yet: the old mean would make any spread of the new ratio a signal."""
    rig = Rig()
    rig.tick(A, 10.0)
    rig.tick(B, 10.0)
    rig.tick(A, 10.0, event_ms=START_MS + BAR_MS + 100)
    slot = rig.generator.calculator.slots[PAIR_ID]
    assert slot.leg_a.newest != slot.leg_b.newest
    rig.generator.reconfigure([pair(hedge_ratio=0.75)])  # The spread is 2.5 now: z by the old mean of 5 would be −2.5.
    assert slot.statistics is None
    rig.tick(A, 10.01, event_ms=START_MS + BAR_MS + 200)
    assert rig.types == []
    rig.tick(B, 10.0, event_ms=START_MS + BAR_MS + 300)
    assert slot.statistics == statistics_of(slot.leg_b.closes - 0.75 * slot.leg_a.closes)
    assert rig.types == []


def test_a_symbol_that_goes_from_one_pair_to_another_keeps_its_window() -> None:
    """A pair retired and another added in the same file: only what is new warms up."""
    rig = Rig()
    rig.tick(B, 10.0)
    rig.generator.reconfigure([pair("CB", C, B)])
    assert rig.generator.symbols == {B, C}
    slot = rig.generator.calculator.slots[PairId("CB")]
    assert slot.leg_b.is_whole
    assert slot.leg_b.mid == 10.0, "and its last quote"
    assert not slot.leg_a.is_whole
    assert slot.statistics is None, "the new leg warms up first"


def test_a_renamed_pair_is_warm_at_once() -> None:
    rig = Rig()
    rig.generator.reconfigure([pair("NEW")])
    assert rig.generator.calculator.slots[PairId("NEW")].statistics is not None
    rig.generator.reconfigure([])
    assert rig.generator.symbols == frozenset()


def test_an_open_trade_keeps_its_numbers_and_the_new_ones_count_for_the_next() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.generator.trade_opened(PAIR_ID, held(PairSide.BUY))
    rig.generator.reconfigure([pair(hedge_ratio=0.75, stop_z=3.0, enabled=False)])
    rig.tick(B, 8.6)  # 1.1 by the new ratio; 3.6 by the trade's own: beyond the mean of 5, time to leave.
    assert rig.types == [SignalType.EXIT]
    assert rig.signals[0].spread == pytest.approx(3.6)
    assert rig.signals[0].spread_mean == 5.0
    rig.generator.trade_closed(PAIR_ID)
    slot = rig.generator.calculator.slots[PAIR_ID]
    assert slot.hedge_ratio == 0.75
    assert slot.state_label == "closes only"


# The file, the watch over it, and a market that goes on meanwhile.


class Watched:
    """A generator behind a real pairs file. Only the exchange and the feed are stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pairs_config.json"
        self.write(0.5)
        self.settings = Settings.model_validate({"signal": {"lookback_bars": 5}})
        self.pairs = PairsRegistry(load_pairs(self.path, self.settings.signal))
        self.rig = Rig(*self.pairs)
        self.subscribed: list[frozenset[Symbol]] = []
        self.asked: list[list[Symbol]] = []
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.exchange_is_away = False

    def write(self, hedge_ratio: float, *more: PairRow) -> None:
        first = PairRow(pair_id="AB", leg_a="AAA/USDT", leg_b="BBB/USDT", hedge_ratio=hedge_ratio)
        write_document(self.path, [first, *more], generated_at="2026-11-25T00:00:00Z", run_id="r")

    def watch(self, seen: watching.FileSignature | None = None) -> watching.PairsWatch:
        parts: Any = SimpleNamespace(
            clock=SystemClock(), generator=self.rig.generator, watch_quotes=self._watch_quotes,
            connection=SimpleNamespace(rules=SimpleNamespace(load=self._load)),
            account=SimpleNamespace(set_up=SimpleNamespace(prepare=self._prepare)),
        )  # fmt: skip
        log: Any = SimpleNamespace(emit=self._emit)
        seen = seen or watching.signature_of(self.path)
        return watching.PairsWatch(self.path, self.settings, parts, self.pairs, log, seen=seen)

    async def _load(self, symbols: list[Symbol]) -> None:
        self.asked.append(symbols)
        if self.exchange_is_away:
            raise ExchangeError("away")
        await asyncio.sleep(0)

    async def _prepare(self, symbols: Iterable[Symbol]) -> dict[Symbol, Any]:
        return {}

    async def _watch_quotes(self) -> None:
        self.subscribed.append(self.rig.generator.symbols)

    def _emit(self, event: Event, **told: Any) -> None:
        self.said.append((event.name, told))

    async def until(self, event: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                for number, (said, told) in enumerate(self.said):
                    if said == event:
                        del self.said[number]
                        return told
                await asyncio.sleep(0.001)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    assert watching.LOOK_SECONDS <= 1.0, "a new file is taken up within two seconds"
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.005)
    return Watched(tmp_path)


NEW = PairRow(pair_id="CB", leg_a="CCC/USDT", leg_b="BBB/USDT", hedge_ratio=2.0)


async def test_a_new_file_is_taken_up_while_the_market_goes_on_and_no_tick_and_no_window_is_lost(
    watched: Watched,
) -> None:
    task = asyncio.create_task(watched.watch().run())
    slot = watched.rig.generator.calculator.slots[PAIR_ID]
    statistics = slot.statistics
    ticks = 0

    async def market() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            mid = 10.0 + 0.001 * (ticks % 7)
            watched.rig.tick(A, mid)
            assert slot.leg_a.mid == mid, "this very tick"
            await asyncio.sleep(0)

    going = asyncio.create_task(market())
    try:
        watched.write(0.5, NEW)
        assert await watched.until("pairs_reloaded") == {"added": ["CB"], "removed": [], "changed": []}
        assert watched.rig.generator.calculator.slots[PAIR_ID] is slot
        assert slot.statistics == statistics
        assert watched.asked == [[C]], "rules only of what is new"
        assert watched.subscribed[-1] == {A, B, C}
        watched.write(0.6)
        assert await watched.until("pairs_reloaded") == {"added": [], "removed": ["CB"], "changed": ["AB"]}
        assert slot.pair.hedge_ratio == 0.6
        assert watched.subscribed[-1] == {A, B}
        restore(watched.path, 1, watched.settings.signal, restored_at="2026-11-25T01:00:00Z")
        assert await watched.until("pairs_reloaded") == {"added": [], "removed": [], "changed": ["AB"]}
        assert (slot.pair.hedge_ratio, slot.statistics) == (0.5, statistics)
        assert read_document(watched.path).version == 4
    finally:
        for one in (task, going):
            one.cancel()
        results = await asyncio.gather(task, going, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert ticks > 0


async def test_a_file_that_changed_between_reading_and_watching_is_not_missed(watched: Watched) -> None:
    seen = watching.signature_of(watched.path)
    watched.write(0.7)
    task = asyncio.create_task(watched.watch(seen).run())
    assert (await watched.until("pairs_reloaded"))["changed"] == ["AB"]
    task.cancel()


async def test_a_bad_file_changes_nothing_and_an_exchange_that_is_away_is_waited_for(watched: Watched) -> None:
    task = asyncio.create_task(watched.watch().run())
    before = list(watched.pairs)
    raw = watched.path.read_bytes()
    watched.path.write_text(json.dumps({"pairs": [{"pair_id": "AB"}]}))
    assert "leg_a" in (await watched.until("pairs_file_invalid"))["why"]
    assert list(watched.pairs) == before
    watched.exchange_is_away = True
    watched.path.write_bytes(raw)
    watched.write(0.5, NEW)
    await watched.until("pairs_reload_deferred")
    assert list(watched.pairs) == before
    assert watched.rig.generator.symbols == {A, B}
    watched.exchange_is_away = False
    await watched.until("pairs_reloaded")
    assert {pair.pair_id for pair in watched.pairs} == {PAIR_ID, PairId("CB")}
    task.cancel()


def test_the_watch_hands_on_what_is_configured(watched: Watched) -> None:
    (one,) = watched.pairs
    assert isinstance(one, PairConfig)
    assert msgspec.structs.asdict(one)["entry_z"] == watched.settings.signal.entry_threshold


def test_hot_reload_keeps_windows_and_forgets_what_is_gone() -> None:
    rig = Rig(pair(), pair("CA", C, B))
    before = rig.generator.calculator.slots[PAIR_ID].statistics
    rig.generator.reconfigure([pair()])
    assert rig.generator.symbols == {A, B}
    assert rig.generator.calculator.slots[PAIR_ID].statistics == before
    rig.generator.reconfigure([pair(hedge_ratio=0.25)])
    after = rig.generator.calculator.slots[PAIR_ID].statistics
    assert after is not None
    assert after.mean == pytest.approx(7.5), "a new hedge ratio needs no refetch"


def test_a_removed_pair_with_a_trade_closes_only() -> None:
    rig = Rig()
    rig.tick(A, 10.0)
    rig.generator.trade_opened(PAIR_ID, held(PairSide.BUY))
    rig.generator.reconfigure([])
    rig.tick(B, 9.0)
    assert rig.types == [SignalType.EXIT]
    rig.generator.trade_closed(PAIR_ID)
    assert rig.generator.symbols == frozenset()
    with pytest.raises(InvariantBroken):
        rig.generator.z_score_of(PAIR_ID)


def test_a_disabled_pair_never_opens_until_it_is_enabled() -> None:
    rig = Rig(pair(enabled=False))
    rig.tick(A, 10.0)
    rig.tick(B, 12.5)
    assert rig.types == []
    rig.generator.reconfigure([pair()])
    rig.tick(B, 12.5)
    assert rig.types == [SignalType.BUY]


def test_a_pair_given_other_legs_while_it_trades_changes_when_it_is_flat() -> None:
    rig = Rig()
    rig.generator.trade_opened(PAIR_ID, held())
    rig.generator.reconfigure([pair("AB", A, C)])
    assert rig.generator.symbols == {A, B}
    rig.generator.trade_closed(PAIR_ID)
    assert rig.generator.symbols == {A, C}


def test_a_trade_of_a_pair_that_is_no_longer_configured_is_adopted() -> None:
    rig = Rig()
    rig.generator.adopt(pair("OLD", C, B), held(PairSide.BUY))
    rig.tick(C, 10.0)
    rig.tick(B, 9.0)
    assert SignalType.EXIT in rig.types
    rig.generator.trade_closed(PairId("OLD"))
    assert rig.generator.symbols == {A, B}
