"""One story: a exchange, a disk, a script, and one runner after another until everything is at rest."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from sim_checks import check_flat, check_rest
from sim_exchange import Exchange
from sim_faults import Faults, Intensity
from sim_journal import Disk
from sim_loop import Ended, Timeline, VirtualClock, VirtualLoop
from sim_market import SimMarket
from sim_runner import SimRunner
from sim_stream import Subscribers

from domain.pairs import PairConfig, SignalType, TradeStatus, TradingSignal
from domain.symbols import PairId
from runner.config import ExecutionSettings

POLL_SECONDS = 0.5
TICK_SECONDS = 0.3
NIGHT_STEP_SECONDS = 20.0
"""Between looks at a market that nobody of ours has traded on for a minute."""
REST_SECONDS_MAX = 400.0
STEPS_MAX = 400_000
LONG_DOWNTIME = 0.02
"""How often a process stays dead for longer than the engine remembers ended trades."""
DOWNTIMES_SECONDS = (0.05, 0.5, 3.0, 20.0)
LONG_DOWNTIME_SECONDS = 25_000.0
BUGS = frozenset({"pair_failed", "invariant_broken"})
SPREADS = {SignalType.SELL: -3.0, SignalType.BUY: 3.0, SignalType.STOP: 5.0}


class Script(Protocol):
    """What happens in a story besides what the faults do."""

    calm_at: float

    def begin(self, world: "World") -> None: ...


@dataclass(slots=True)
class Crashes:
    """When the process dies: after so many callbacks, or at a commit, before (False) or after (True) it is durable."""

    steps: set[int] = field(default_factory=set)
    commits: set[tuple[int, bool]] = field(default_factory=set)


@dataclass(slots=True)
class Result:
    """What came of a story."""

    seed: int
    violations: list[str]
    story: list[tuple[float, str]]
    steps: int
    commits: int
    crashes: int
    restarts: int
    trades: int
    orders: int
    virtual_seconds: float
    faults: Counter[str]
    denials: Counter[str]


class World:
    """Everything that outlives a process."""

    def __init__(
        self,
        seed: int,
        script: Script,
        pairs: Sequence[PairConfig],
        *,
        execution: ExecutionSettings,
        intensity: Intensity | None = None,
        crashes: Crashes | None = None,
        volatility: float = 0.0,
        thin: bool = False,
        trace: bool = False,
        sabotage: Callable[[SimRunner], None] | None = None,
    ) -> None:
        self.seed = seed
        self.by_hand: dict[str, Decimal] = {}
        """What a person holds from the beginning; whatever happens to it, it only becomes less."""
        self.random = random.Random(f"{seed}-script")
        self.script = script
        self.pairs = {pair.pair_id: pair for pair in pairs}
        self.execution = execution
        self.crashes = crashes or Crashes()
        self.timeline = Timeline()
        self.clock = VirtualClock(self.timeline)
        self.faults = Faults(random.Random(f"{seed}-faults"), intensity)
        self.market = SimMarket(self.timeline, f"{seed}-market", volatility=volatility, thin=thin)
        self.exchange = Exchange(self.timeline, self.market, self.faults)
        self.subscribers = Subscribers(self.exchange)
        self.disk = Disk(self.timeline, random.Random(f"{seed}-disk"))
        self.disk.at_commit = self._dies_at_commit
        self.violations: list[str] = []
        self.story: list[tuple[float, str]] = []
        self.denials: Counter[str] = Counter()
        self.runner: SimRunner | None = None
        self.loop: VirtualLoop | None = None
        self.steps = 0
        self.journal_may_break = False
        self._trace = trace
        if trace:
            self.faults.tell = self.tell
        self._order = random.Random(f"{seed}-order")
        self._sabotage = sabotage
        self._signals = 0
        self._crashed = 0
        self._started = 0
        self._flattening = False
        self._polls = 0
        self._is_night = False
        self._quiet_polls = 0
        self.over = False

    # Telling

    def tell(self, text: str) -> None:
        if self._trace:
            self.story.append((self.timeline.now, text))

    def _log(self, level: str, event: str, facts: dict[str, Any]) -> None:
        if event in BUGS:
            self.violate(f"{event}: {facts}")
        if event == "denied":
            self.denials[facts.get("code", "")] += 1
        if self._trace:
            self.tell(f"  [{level}] {event} " + " ".join(f"{name}={fact}" for name, fact in facts.items()))

    def violate(self, what: str) -> None:
        self.violations.append(f"t={self.timeline.now:.3f}: {what}")
        self.tell(f"VIOLATION {what}")

    # Life of processes

    def run(self) -> Result:
        self.script.begin(self)
        self.timeline.at(self.script.calm_at, self._calm)
        self._tick()
        while not self.over and not self.violations:
            self._live_once()
            if not self.over and not self.violations:
                if self.random.random() < LONG_DOWNTIME:
                    self._sleep_long()
                else:
                    self.timeline.run_until(self.timeline.now + self.random.choice(DOWNTIMES_SECONDS))
        book_trades = {order.client_order_id.split("-")[1] for order in self.exchange.our_orders()}
        return Result(
            seed=self.seed,
            violations=self.violations,
            story=self.story,
            steps=self.steps,
            commits=self.disk.commits,
            crashes=self._crashed,
            restarts=self._started - 1,
            trades=len(book_trades),
            orders=len(self.exchange.our_orders()),
            virtual_seconds=self.timeline.now,
            faults=self.faults.counts,
            denials=self.denials,
        )

    def _sleep_long(self) -> None:
        until = self.timeline.now + LONG_DOWNTIME_SECONDS
        self.timeline.run_until(self.timeline.now + 60.0)  # What was on its way arrives, dead-man switches fire.
        self._is_night = True
        self.timeline.run_until(until - 60.0)
        self._is_night = False
        self.timeline.run_until(until)

    def _live_once(self) -> None:
        self._started += 1
        self.tell(f"process {self._started} starts")
        self.loop = loop = VirtualLoop(self.timeline, self._order, before_step=self._before_step)
        self.runner = runner = SimRunner(
            exchange=self.exchange,
            subscribers=self.subscribers,
            disk=self.disk,
            clock=self.clock,
            pairs=self.pairs,
            execution=self.execution,
            tell=self._log,
            kill=loop.kill,
            on_leaving=self._leaving,
        )
        if self._sabotage is not None:
            self._sabotage(runner)
        try:
            self._judge(loop.run(runner.main()), loop, runner)
        finally:
            runner.die()
            loop.mark_crashed()
            self.runner = self.loop = None

    def _judge(self, ended: Ended, loop: VirtualLoop, runner: SimRunner) -> None:
        self.tell(f"process {self._started} {ended.value}")
        if ended is Ended.KILLED:
            self._crashed += 1
        elif ended is not Ended.FINISHED:
            self.violate(f"the process is {ended.value}: {_tasks(runner)}")
        if self.steps > STEPS_MAX:
            self.violate(f"more than {STEPS_MAX} steps")
        for complaint in loop.complaints:
            self.violate(f"event loop: {complaint}")
        for reason in runner.halted:
            if not (self.journal_may_break and "journal" in reason.lower()):
                self.violate(f"halted: {reason}")

    def _before_step(self) -> bool:
        self.steps += 1
        return self.steps in self.crashes.steps or self.steps > STEPS_MAX

    def _dies_at_commit(self, number: int, durable: bool) -> bool:
        return (number, durable) in self.crashes.commits

    def _leaving(self, client_order_ids: list[str]) -> None:
        for client_order_id in client_order_ids:
            self.exchange.sent[client_order_id] = self.exchange.sent.get(client_order_id, 0) + 1
            if f"order:{client_order_id}" not in self.disk.keys:
                self.violate(f"{client_order_id} left before its intent was durable")
            if self.exchange.sent[client_order_id] > 1:
                self.violate(f"{client_order_id} was sent twice")
            self.tell(f"  -> {client_order_id} leaves")

    # What scripts do

    def signal(self, pair_id: PairId, signal_type: SignalType) -> None:
        """A signal whose statistics make its z true at the prices of the moment. Nobody hears it while no process trades."""
        runner = self.runner
        if runner is None or not runner.trading or runner.journal.dead:
            return
        pair = self.pairs[pair_id]
        self._signals += 1
        price_a, price_b = (self.market.quote(symbol).mid for symbol in pair.symbols)
        spread = price_b - pair.hedge_ratio * price_a
        std = price_b * 0.01
        z = SPREADS.get(signal_type, 0.0)
        self.tell(f"signal {signal_type} {pair_id}")
        runner.engine.submit(
            TradingSignal(
                signal_id=f"s{self._signals}",
                pair_id=pair_id,
                signal_type=signal_type,
                z_score=z,
                spread=spread,
                spread_mean=spread - z * std,
                spread_std=std,
                price_a=price_a,
                price_b=price_b,
                confidence=1.0,
                suggested_position_size=500.0,
                at_ms=self.clock.now_ms(),
            )
        )

    def flatten(self, pair_ids: Sequence[PairId]) -> None:
        if self.runner is not None and self.runner.trading and self.loop is not None:
            self.tell(f"flatten {list(pair_ids)}")
            self.loop.create_task(self.runner.engine.flatten(pair_ids, wait_seconds=0.0))

    def shut_down(self) -> None:
        if self.runner is not None:
            self.tell("asked to stop")
            self.runner.stop.set()

    def _tick(self) -> None:
        self.exchange.tick()
        self.timeline.after(NIGHT_STEP_SECONDS if self._is_night else TICK_SECONDS, self._tick)

    # The end

    def _calm(self) -> None:
        self.tell("the world is calm")
        self.faults.calm = True
        self.disk.full = False
        self.disk.stall_chance = 0.0
        self.market.off_band.clear()
        if self.runner is not None:
            self.runner.stream.drop()
        self.timeline.after(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        if self.violations:
            self._finish()
            return
        if self.runner is not None:  # While nobody lives, nobody can be late.
            self._polls += 1
        if self._polls * POLL_SECONDS > REST_SECONDS_MAX:
            self.violate(f"no rest within {REST_SECONDS_MAX:g} s of calm: {self._describe()}")
            self._finish()
            return
        self.timeline.after(NIGHT_STEP_SECONDS if self._is_night else POLL_SECONDS, self._poll)
        if not self._at_rest():
            self._quiet_polls = 0
            return
        self._quiet_polls += 1
        if self._quiet_polls < 3:  # Long enough for a delayed event to find it out of its rest.
            return
        check_rest(self)
        runner = self.runner
        assert runner is not None
        live = [trade.pair_id for trade in runner.book.live_trades()]
        if live and not self.violations:
            self.flatten(live)
            self._quiet_polls = 0
            return
        if not self.violations:
            check_flat(self)
        self._finish()

    def _at_rest(self) -> bool:
        runner = self.runner
        if runner is None or not runner.trading or self.exchange.in_the_air:
            return False
        if runner.engine.in_flight or not runner.stream.is_up:
            return False
        if runner.engine.has_to_check:
            # A question asked just before the calm may be lost with it. Until the engine has given it up and asked again it cannot
            # know what others did meanwhile, and nothing is at rest yet; that it asks, and in time, is demanded all the same.
            return False
        return all(trade.status is TradeStatus.OPEN and not trade.unsettled() for trade in runner.book.live_trades())

    def _describe(self) -> str:
        runner = self.runner
        if runner is None:
            return "no process"
        trades = [
            f"{trade.trade_id} {trade.status} held {[str(q) for q in trade.held.values()]}"
            f" unsettled {[order.intent.client_order_id + ' ' + order.status for order in trade.unsettled()]}"
            for trade in runner.book.live_trades()
        ]
        return f"tasks {_tasks(runner)}; trading {runner.trading}; in the air {self.exchange.in_the_air}; {trades}"

    def _finish(self) -> None:
        self.over = True
        if self.loop is not None and self.violations:
            self.loop.kill()
        self.shut_down()


def _tasks(runner: SimRunner) -> list[str]:
    return sorted(task.get_name() for task in runner.engine._tasks._tasks)


Deed = Callable[[World], None]
