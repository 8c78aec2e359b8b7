"""kill -9 of the live process in every phase of entries and exits, over and over: after each start the books are the exchange's."""

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from bot_books import Onlooker, assert_every_execution_is_booked_once, assert_within_budget, wait_until_settled
from bot_phases import HELD_OPEN_BY, RACES, Phase, phase_of
from bot_processes import (
    BUSY,
    EXECUTION,
    FAST,
    IDLE,
    LOOK_SECONDS,
    PAIRS,
    RISK,
    Exchange,
    Runner,
    end_what_is_left,
    exchange_process,
)

from domain.orders import OrderStatus, Purpose
from paper.faults import Kind

KILLS = int(os.environ.get("KILLS", "8"))
"""`make live-kills KILLS=100` asks for more."""
LANES = 2
"""Side by side, each an exchange, an account and a journal of its own."""
TRADED = PAIRS[:4]
AIM_SECONDS_MAX = 20.0
"""A race that is not won by then ends with whatever is under way."""
RACE_TRIES = 25
ARRIVE_SECONDS = 0.05
"""What a held process has written into a socket is with the exchange by then."""
SETTLED_SECONDS_MAX = 150.0
"""A used-up minute of requests may have to roll, and a contested death takes another."""
START_SECONDS_MAX = 1.0
"""A kill in a start comes at some moment of this long, and so does one that is not aimed."""
# What may happen to the first requests after the next start, besides.
AFTERWARDS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"kind": Kind.LOST_503.value, "match": {"method": "GET", "path": "/fapi/v1/order"}, "count": 2},
    {"kind": Kind.REFUSED_503.value, "match": {"method": "GET", "path": "/fapi/v3/positionRisk"}, "count": 2},
    {"kind": Kind.LOST_DROPPED.value, "match": {"method": "GET", "path": "/fapi/v1/openOrders"}},
    {"kind": Kind.EXECUTED_DROPPED.value, "match": {"client_order_id": r"-[ab][xu]\d"}},
    {"kind": Kind.LOST_408.value, "match": {"client_order_id": r"-[ab][xu]\d"}},
    {"kind": Kind.USER_REORDERED.value},
)


@dataclass
class Tally:
    """What one lane has seen."""

    phases: Counter[Phase] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    trades: int = 0
    executions: int = 0
    settled_seconds: list[float] = field(default_factory=list)
    start_seconds: list[float] = field(default_factory=list)


class Lane:
    """One account's life: trade, be struck in a phase, come back, agree with the exchange."""

    def __init__(self, exchange: Exchange, folder: Path, dice: random.Random) -> None:
        self.exchange = exchange
        self.dice = dice
        self.runner = Runner(folder, exchange.rest_url, risk=RISK, execution=EXECUTION)
        self.books = Onlooker(self.runner.journal)
        self.tally = Tally()
        self.away_seconds_max = 0.0
        self._trade(IDLE)
        self.runner.start_trading()

    def _trade(self, rules: dict[str, Any]) -> None:
        self.runner.trade_from([{**row, **rules} for row in TRADED])

    def strike(self, aim: Phase) -> None:
        """kill -9 in this phase, if it can be caught; start, wait for the end of it all, compare."""
        for fault in self.dice.choice(HELD_OPEN_BY[aim]):
            self.exchange.arm(fault)
        self._trade(BUSY)
        self.runner.tell("reload")
        struck = self._hold_in_start() if aim is Phase.STARTING else self._hold_in(aim)
        self.tally.phases[struck] += 1
        self._come_back()

    def _hold_in(self, aim: Phase) -> Phase:
        """Wait for the phase, then not one instruction more; the phase in which that was."""
        deadline = time.monotonic() + AIM_SECONDS_MAX
        tries = RACE_TRIES if aim in RACES else 1
        while True:
            self._wait_for(aim, deadline)
            self.runner.hold()
            time.sleep(ARRIVE_SECONDS)
            self.books.catch_up()
            phases = self._phases()
            tries -= 1
            if aim in phases or tries == 0 or time.monotonic() > deadline:
                break
            self.runner.let_go()
        self.runner.kill()
        return aim if aim in phases else min(phases, key=list(Phase).index, default=Phase.NOTHING)

    def _wait_for(self, aim: Phase, deadline: float) -> None:
        if aim is Phase.NOTHING:
            time.sleep(self.dice.uniform(0.0, START_SECONDS_MAX))
            return
        while not self._sees(aim) and time.monotonic() < deadline:
            if aim not in RACES:
                time.sleep(self.dice.uniform(0.0, LOOK_SECONDS))

    def _sees(self, aim: Phase) -> bool:
        moved = self.books.catch_up()
        if aim not in RACES:
            return aim in self._phases()
        purpose = Purpose.ENTRY if aim is Phase.ENTRY_UNSENT else Purpose.EXIT
        return moved and any(
            order.status is OrderStatus.INTENDED and order.intent.purpose is purpose
            for trade in self.books.book.live_trades()
            for order in trade.orders.values()
        )

    def _phases(self) -> set[Phase]:
        held, received = self.exchange.positions(), set(self.exchange.received())
        return {
            phase_of(trade, was_open=trade.trade_id in self.books.opened, received=received, held=held)
            for trade in self.books.book.live_trades()
        }

    def _hold_in_start(self) -> Phase:
        """Killed while it trades, and again while it starts: at any moment, but mostly once it has begun to ask the exchange."""
        self._hold_in(Phase.ENTRY_BOTH_LEGS)
        said = self.runner.said()
        self.runner.start()
        if self.dice.random() < 0.7:
            self.runner.wait_for(" starting ", SETTLED_SECONDS_MAX, said.count(" starting ") + 1)
        time.sleep(self.dice.uniform(0.0, START_SECONDS_MAX))
        self.runner.hold()
        self.books.catch_up()
        phases = self._phases()
        self.runner.kill()
        if self.runner.said().count(" trading ") == said.count(" trading "):
            return Phase.STARTING
        return min(phases, key=list(Phase).index, default=Phase.NOTHING)

    def _come_back(self) -> None:
        afterwards = self.dice.choice(AFTERWARDS)
        if afterwards is not None:
            self.exchange.arm(afterwards)
        self._trade(IDLE)
        began = time.monotonic()
        self.runner.start_trading(SETTLED_SECONDS_MAX)
        away_seconds = time.monotonic() - began
        self.tally.start_seconds.append(away_seconds)
        self.away_seconds_max = max(self.away_seconds_max, away_seconds)
        self.tally.settled_seconds.append(
            wait_until_settled(self.runner, self.exchange, self.books, SETTLED_SECONDS_MAX)
        )
        assert_within_budget(self.runner, away_seconds=self.away_seconds_max)
        self.exchange.disarm()

    def end(self) -> Tally:
        """Flatten, leave in order, count."""
        self.runner.tell("flatten")
        wait_until_settled(self.runner, self.exchange, self.books, SETTLED_SECONDS_MAX)
        assert self.exchange.positions() == {}
        self.tally.executions = assert_every_execution_is_booked_once(self.exchange, self.books)
        self.tally.trades = len(self.books.book.trades)
        self.tally.faults.update(self.exchange.struck())
        said = self.runner.said()
        assert self.runner.stop() == 0
        assert "order_not_in_journal" not in said
        assert "Traceback" not in said
        self.books.close()
        return self.tally


def live(folder: Path, seed: int, aims: list[Phase], given_up: Event) -> Tally:
    """One lane from its first start to its last; a failure ends the other one, too."""
    with exchange_process(*FAST, "--seed", str(seed)) as exchange:
        folder.mkdir()
        lane = Lane(exchange, folder, random.Random(seed))  # noqa: S311  (Reproducible, not secret.)
        try:
            for aim in aims:
                if not given_up.is_set():
                    lane.strike(aim)
            return lane.end()
        except BaseException:
            given_up.set()
            raise


def dealt(kills: int) -> list[list[Phase]]:
    """So many aims, every phase in turn, dealt to the lanes."""
    aims = list(HELD_OPEN_BY) * (kills // len(HELD_OPEN_BY) + 1)
    return [aims[lane:kills:LANES] for lane in range(LANES)]


@pytest.mark.slow
@pytest.mark.timeout(600 + 120 * KILLS)
def test_killed_in_every_phase_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    began = time.monotonic()
    given_up = Event()
    try:
        with ThreadPoolExecutor(LANES) as pool:
            lanes = [pool.submit(live, tmp_path / str(n), n + 1, aims, given_up) for n, aims in enumerate(dealt(KILLS))]
            tallies = [lane.result() for lane in lanes]
    finally:
        end_what_is_left()
    phases = sum((tally.phases for tally in tallies), Counter[Phase]())
    faults = sum((tally.faults for tally in tallies), Counter[str]())
    settled = sorted(seconds for tally in tallies for seconds in tally.settled_seconds)
    starts = sorted(seconds for tally in tallies for seconds in tally.start_seconds)
    print(  # noqa: T201  (What `make live-kills` is for.)
        f"\n{sum(phases.values())} kills of the live process: {', '.join(f'{n} {phase}' for phase, n in phases.most_common())};"
        f" {sum(tally.trades for tally in tallies)} trades, {sum(tally.executions for tally in tallies)} executions;"
        f" faults {dict(sorted(faults.items()))};"
        f" start {starts[len(starts) // 2]:.1f} s median, {starts[-1]:.1f} s at most; then all books equal after"
        f" {settled[len(settled) // 2]:.1f} s median, {settled[-1]:.1f} s at most;"
        f" 0 lost, 0 doubled, ledger = exchange = journal after each; {time.monotonic() - began:.0f} s"
    )
    assert sum(phases.values()) == KILLS
    aimed = {aim for aims in dealt(KILLS) for aim in aims} - {Phase.NOTHING}
    assert len(aimed - phases.keys()) <= len(aimed) // 3, f"never struck: {sorted(aimed - phases.keys())}"
