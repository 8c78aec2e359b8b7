"""Rollbacks in a row freeze the pair, rollbacks of several pairs at once halt all entries; both outlive a restart, and end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from execution_rig import QuietLog
from trade_story import PAIR, Story

from domain.entries import FillSeen
from domain.orders import LegName, OrderStatus
from domain.pairs import TradeStatus
from domain.symbols import PairId, TradeId
from domain.trade_book import EVERY_PAIR, TradeBook
from runner.config import ExecutionSettings
from runner.execution.context import Context
from runner.execution.entry.freezing import Freezer
from runner.execution.orders.store import TradeStore
from storage.journal import Journal


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class Bench:
    """A journal with rollbacks in it, as the engine would write them."""

    def __init__(self, path: Path, settings: ExecutionSettings) -> None:
        self.clock, self.log = HandClock(), QuietLog()
        self.journal = Journal.open(path)
        self.book = TradeBook(0.02)
        for _, entry in self.journal.replay():
            self.book.apply(entry)
        context = Context(book=self.book, clock=self.clock, log=self.log, halt=lambda _why: None)
        self.store = TradeStore(context, self.journal)
        self.freezer = Freezer(context, self.store, settings)
        self.trades = len(self.book.trades)

    async def rolls_back(self, pair: str = PAIR, *, filled: bool = True) -> None:
        """One entry taken back: a leg filled and was closed, or nothing filled at all."""
        self.trades += 1
        trade = f"t{self.trades}-{self.clock.ms}"
        story = Story()
        story.begin(trade, PairId(pair), at_ms=self.clock.ms)
        if filled:
            name = story.order(LegName.A, trade=trade)
            story.fill(name, "1")
            story.advance(name, OrderStatus.FILLED, "1")
        story.trade(TradeStatus.ROLLED_BACK, trade, at_ms=self.clock.ms)
        for entry in story.timeline:
            if isinstance(entry, FillSeen):
                named = msgspec.structs.replace(entry.fill, exchange_trade_id=trade)
                await self.store.establish(msgspec.structs.replace(entry, fill=named))
            else:
                await self.store.establish(entry)
        await self.freezer.after_rollback(self.book.trades[TradeId(trade)])

    def frozen_ms(self, pair: str) -> int:
        return max(0, self.book.frozen_until_ms.get(PairId(pair), 0) - self.clock.ms)


@asynccontextmanager
async def bench(path: Path, settings: ExecutionSettings | None = None) -> AsyncIterator[Bench]:
    made = Bench(path, settings or ExecutionSettings())
    try:
        yield made
    finally:
        await made.journal.close()


async def test_three_rollbacks_in_a_row_freeze_the_pair(tmp_path: Path) -> None:
    async with bench(tmp_path / "j.sqlite") as it:
        for expected in (False, False, True):
            await it.rolls_back()
            assert (it.frozen_ms(PAIR) > 0) is expected
        assert it.frozen_ms(PAIR) == 900_000
        assert it.frozen_ms(EVERY_PAIR) == 0
        it.clock.ms += 900_001
        assert it.frozen_ms(PAIR) == 0, "a freeze ends by itself"


async def test_refusals_that_cost_nothing_freeze_later(tmp_path: Path) -> None:
    async with bench(tmp_path / "j.sqlite") as it:
        for _ in range(8):
            await it.rolls_back(filled=False)
        assert it.frozen_ms(PAIR) == 0
        await it.rolls_back(filled=False)
        assert it.frozen_ms(PAIR) > 0


async def test_rollbacks_long_apart_are_not_in_a_row(tmp_path: Path) -> None:
    async with bench(tmp_path / "j.sqlite") as it:
        for _ in range(5):
            await it.rolls_back()
            it.clock.ms += 500_000
        assert "pair_frozen" not in it.log.events()


@pytest.mark.parametrize(("pairs", "halted"), [(["A", "B", "C"], True), (["A", "B", "B"], False), (["A", "B"], False)])
async def test_several_pairs_at_once_halt_all_entries(tmp_path: Path, pairs: list[str], halted: bool) -> None:
    async with bench(tmp_path / "j.sqlite") as it:
        for pair in pairs:
            await it.rolls_back(pair)
            it.clock.ms += 60_000
        assert (it.frozen_ms(EVERY_PAIR) > 0) is halted
        assert ("entries_halted" in it.log.events()) is halted


async def test_a_restart_keeps_freezes_and_what_led_to_them(tmp_path: Path) -> None:
    async with bench(tmp_path / "j.sqlite") as it:
        await it.rolls_back()
        await it.rolls_back()
        at_ms = it.clock.ms
    async with bench(tmp_path / "j.sqlite") as again:
        again.clock.ms = at_ms + 1_000
        assert again.frozen_ms(PAIR) == 0
        await again.rolls_back()
        assert again.frozen_ms(PAIR) > 0


async def test_resume_ends_every_freeze_and_forgets_why(tmp_path: Path) -> None:
    async with bench(tmp_path / "j.sqlite") as it:
        for pair in ("A", "A", "A", "B", "C"):
            await it.rolls_back(pair)
        assert it.frozen_ms("A") > 0
        assert it.frozen_ms(EVERY_PAIR) > 0
        assert sorted(await it.freezer.unfreeze()) == sorted([PairId("A"), EVERY_PAIR])
        assert it.frozen_ms("A") == it.frozen_ms(EVERY_PAIR) == 0
        await it.rolls_back("A")
        assert it.frozen_ms("A") == it.frozen_ms(EVERY_PAIR) == 0, "counted from the end of the freeze on"
        at_ms = it.clock.ms
    async with bench(tmp_path / "j.sqlite") as again:
        again.clock.ms = at_ms
        assert again.frozen_ms("A") == again.frozen_ms(EVERY_PAIR) == 0
        assert await again.freezer.unfreeze() == []


async def test_a_halt_that_is_turned_off(tmp_path: Path) -> None:
    async with bench(tmp_path / "j.sqlite", ExecutionSettings(rollback_pairs_before_halt=0)) as it:
        for pair in ("A", "B", "C", "D"):
            await it.rolls_back(pair)
        assert it.frozen_ms(EVERY_PAIR) == 0
