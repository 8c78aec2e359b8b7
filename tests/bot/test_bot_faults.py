"""Every fault of the paper exchange in the middle of trading, against the live process: a story for each, judged from outside."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bot_books import Onlooker, assert_every_execution_is_booked_once, assert_within_budget, wait_until_settled
from bot_processes import (
    BUSY,
    EXECUTION,
    FAST,
    IDLE,
    PAIRS,
    RISK,
    Exchange,
    Runner,
    end_what_is_left,
    exchange_process,
    symbols_of,
    wait_for,
)
from bot_stories import WAVES, Ends, Story

from domain.pairs import TradeStatus
from domain.trades import TradeState
from paper.faults import Kind

STRUCK_SECONDS_MAX = 60.0
SETTLED_SECONDS_MAX = 90.0
"""A proof of death takes some three seconds; the rest is for a machine that does much else."""
KILLED, RESTING = "killed", "resting"


def test_every_kind_of_fault_has_a_story() -> None:
    told = {story.kind for stories in WAVES.values() for story in stories}
    assert set(Kind) - told == set()


class Stage:
    """One exchange and one live process, through all waves."""

    def __init__(self, exchange: Exchange, folder: Path) -> None:
        self.exchange = exchange
        self.runner = Runner(folder, exchange.rest_url, risk=RISK, execution=EXECUTION)
        self.books = Onlooker(self.runner.journal)
        self.away_seconds = 0.0
        self.rest()
        self.runner.start_trading()

    def trade(self, count: int) -> None:
        """Let the first pairs enter whenever their spread is anywhere but at its mean."""
        self.runner.trade_from([{**row, **(BUSY if n < count else IDLE)} for n, row in enumerate(PAIRS)])

    def rest(self) -> None:
        """Nobody enters any more; what is open is closed as soon as its spread is at its mean."""
        self.runner.trade_from([{**row, **IDLE} for row in PAIRS])

    def play(self, stories: Sequence[Story], *, killed: bool) -> None:
        """Arm, trade until every fault has struck, and see what became of it."""
        seen = len(self.exchange.received())
        waiting: dict[int, Story] = {}  # By the number of the fault that must be hit.
        own: dict[int, dict[str, Any]] = {}
        for story, row in zip(stories, PAIRS, strict=False):
            symbols = symbols_of(row)
            for fault in story.others(symbols):
                number = self.exchange.arm(fault)
            if story.strikes_by_itself:
                own[number] = story.own(symbols)
            else:
                number = self.exchange.arm(story.own(symbols))
            waiting[number] = story
        self.trade(len(stories))
        self.runner.tell("reload")

        def all_struck() -> bool:
            hits = self.exchange.hits()
            for number in [number for number in waiting if hits[number]]:
                del waiting[number]
                if number in own:
                    self.exchange.arm(own[number])
            return not waiting and all_sent()

        def all_sent() -> bool:
            """An event of the user stream may have been another pair's."""
            self.books.catch_up()
            received = self.exchange.received()[seen:]
            return all(
                self._struck(story, row["pair_id"], received) for story, row in zip(stories, PAIRS, strict=False)
            )

        wait_for(all_struck, STRUCK_SECONDS_MAX, lambda: f"{list(waiting.values())}:\n{self.runner.said()[-3000:]}")
        if killed:
            self._die_and_come_back()
        self.rest()
        self.runner.tell("reload")
        wait_for(self._at_rest, SETTLED_SECONDS_MAX, lambda: f"{self.books.unfinished()}\n{self.runner.said()[-3000:]}")
        self.runner.tell("flatten")  # The next wave begins with nothing.
        wait_until_settled(self.runner, self.exchange, self.books, SETTLED_SECONDS_MAX)
        self.exchange.disarm()
        assert_within_budget(self.runner, away_seconds=self.away_seconds)
        received = self.exchange.received()[seen:]
        for story, row in zip(stories, PAIRS, strict=False):
            assert_ended_as(story, self._struck(story, row["pair_id"], received), self.books.opened)

    def _at_rest(self) -> bool:
        self.books.catch_up()
        return not self.books.unfinished()

    def _die_and_come_back(self) -> None:
        began = time.monotonic()
        self.runner.kill()
        self.rest()
        self.runner.start_trading()
        self.away_seconds = time.monotonic() - began

    def _struck(self, story: Story, pair_id: str, received: list[str]) -> TradeState | None:
        """The trade of the first order that arrived with what the fault waited for."""
        orders = self.books.book.orders
        ours = [name for name in received if name in orders and orders[name].intent.pair_id == pair_id]
        first = next((name for name in ours if re.search(story.during.value, name)), None)
        return None if first is None else self.books.book.trades[orders[first].intent.trade_id]


def assert_ended_as(story: Story, trade: TradeState | None, opened: set[str]) -> None:
    assert trade is not None, story
    assert trade.status in {TradeStatus.CLOSED, TradeStatus.ROLLED_BACK, TradeStatus.OPEN}, story
    if story.ends is Ends.OPENED:
        assert trade.trade_id in opened, story
    elif story.ends is Ends.NEVER_WAS:
        assert not any(trade.entered.values()), story


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with exchange_process(*FAST) as exchange:
        try:
            made = Stage(exchange, tmp_path_factory.mktemp("stage"))
            yield made
            made.books.close()
        finally:
            end_what_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("wave", WAVES)
def test_struck_in_the_middle_every_pair_ends_hedged_or_flat(stage: Stage, wave: str) -> None:
    if wave == RESTING:
        assert stage.runner.stop() == 0
        stage.runner.configure(risk=RISK, execution={**EXECUTION, "use_limit_orders": True})
        stage.runner.start_trading()
    stage.play(WAVES[wave], killed=wave == KILLED)


@pytest.mark.slow
def test_nothing_was_lost_or_doubled_on_the_way(stage: Stage) -> None:
    """After all waves: every execution of the account is booked, once."""
    assert assert_every_execution_is_booked_once(stage.exchange, stage.books) > 4 * len(WAVES)
    assert "Traceback" not in stage.runner.said()
    assert stage.runner.stop() == 0
