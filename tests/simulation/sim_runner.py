"""One live runner, put together as `runner.components` does, on virtual time; several of them may live one after another."""

import asyncio
from collections.abc import Callable
from typing import Any

from sim_exchange import Exchange, Wire
from sim_journal import Disk, SimJournal
from sim_loop import VirtualClock
from sim_market import SimRules
from sim_stream import SimUserStream, Subscribers

from domain.decide import HeldTrade
from domain.events import Event
from domain.ladder import step_of
from domain.pairs import PairConfig
from domain.symbols import PairId, Symbol
from domain.trade_book import TradeBook
from runner import events
from runner.config import ExecutionSettings, RiskSettings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.connection import reply_timeout_seconds
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.errors import OutcomeUnknown, Refused, Unreachable
from runner.execution.account.sampler import EquitySampler
from runner.execution.context import Context
from runner.execution.signal_port import held_of
from runner.execution.wiring import Surroundings, wire
from runner.pairs.registry import PairsRegistry

RISK = RiskSettings(min_edge_ratio=0, gross_notional_usd_max=10**9, daily_loss_usd_max=10**9, leverage=3)
REQUEST_TIMEOUT_SECONDS = 3.0
RETRY_SECONDS = (0.3, 0.6, 1.2, 2.5, 5.0)
BALANCE_SECONDS = 10.0
DISCONNECT_SECONDS = 15.0


class StoryLog:
    """Satisfies `runner.execution.context.Log`."""

    def __init__(self, tell: Callable[[str, str, dict[str, Any]], None]) -> None:
        self._tell = tell
        self.dead = False

    def emit(self, event: Event, /, **facts: Any) -> None:
        if not self.dead:
            self._tell(event.severity.value, event.name, facts)


class SimSignals:
    """Satisfies `runner.execution.signal_port.SignalDesk`: what the signals believe of each pair."""

    def __init__(self) -> None:
        self.held: dict[PairId, HeldTrade] = {}
        self.busy: set[PairId] = set()

    def trade_opening(self, pair_id: PairId) -> None:
        self.busy.add(pair_id)

    def trade_opened(self, pair_id: PairId, held: HeldTrade) -> None:
        self.busy.discard(pair_id)
        self.held[pair_id] = held

    def trade_closing(self, pair_id: PairId) -> None:
        self.busy.add(pair_id)

    def trade_closed(self, pair_id: PairId, stopped_sign: int = 0) -> None:
        self.busy.discard(pair_id)
        self.held.pop(pair_id, None)

    def trade_failed(self, pair_id: PairId) -> None:
        self.busy.discard(pair_id)

    denied = trade_failed

    def not_judged(self, pair_id: PairId) -> None:
        """The story gives its signals when it likes."""


class SimRunner:
    """Built by its constructor from the journal alone; `main` lives until `stop` is set or the loop is killed."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        subscribers: Subscribers,
        disk: Disk,
        clock: VirtualClock,
        pairs: dict[PairId, PairConfig],
        execution: ExecutionSettings,
        tell: Callable[[str, str, dict[str, Any]], None],
        kill: Callable[[], None],
        on_leaving: Callable[[list[str]], None],
    ) -> None:
        self.exchange = exchange
        self.clock = clock
        self.pairs = pairs
        self.signals = SimSignals()
        self.log = StoryLog(tell)
        self.halted: list[str] = []
        self.stop = asyncio.Event()
        self.trading = False
        self.journal = SimJournal(disk, kill=kill, on_broken=lambda error: self.halt(f"journal: {error}"))
        self.book = TradeBook(execution.hedge_error_max)
        for entry in disk.replay():
            self.book.apply(entry)
        self.rules = SimRules(exchange.market)
        budget = Budget(clock)
        self.wire = Wire(exchange, budget, recv_window_ms=execution.recv_window_ms, on_leaving=on_leaving)
        self.context = Context(book=self.book, clock=clock, log=self.log, halt=self.halt)
        self.adapter = BinanceExchange(
            self.wire,
            self.rules,
            budget,
            request_timeout_seconds=REQUEST_TIMEOUT_SECONDS,
            reply_timeout_seconds=reply_timeout_seconds(execution),
            batch=execution.batch_orders,
            on_rules_doubted=self.context.notices.rules_doubted,
        )
        parts = wire(
            self.context,
            Surroundings(
                exchange=self.adapter,
                rules=self.rules,
                journal=self.journal,
                pairs=PairsRegistry(pairs.values()),
                signals=self.signals,
                quote_of=self.quote_of,
                execution=execution,
                risk=RISK,
                quote_age_ms_max=2000,
                dry_run=False,
            ),
        )
        self.store, self.gate, self.engine = parts.store, parts.gate, parts.engine
        # What the bot's monitors say of a healthy exchange: the story has other faults.
        self.gate.clock_problem = None
        self.gate.rules_doubted = frozenset()
        self.gate.set_up = {symbol: None for pair in pairs.values() for symbol in pair.symbols}
        self._sampler = EquitySampler(self.context, exchange=self.adapter, store=self.store, gate=self.gate)
        self.stream = SimUserStream(
            exchange,
            subscribers,
            self.rules.symbol_of,
            on_news=self.engine.on_news,
            on_gap=self.engine.on_gap,
            on_up=self._stream_is_up,
        )
        self._connected = asyncio.Event()
        self.context.notices.stream_silent.subscribe(self.stream.mistrust)

    def quote_of(self, symbol: Symbol) -> Any:
        return self.exchange.market.quote(symbol)

    def halt(self, reason: str) -> None:
        self.halted.append(reason)
        self.log.emit(events.HALTING, why=reason)
        self.stop.set()

    def _stream_is_up(self, is_up: bool) -> None:
        self.gate.user_stream_down = not is_up
        if is_up:
            self._connected.set()

    async def main(self) -> None:
        """As `TradingBot.start_monitoring` and `shutdown_gracefully` do."""
        beside = [asyncio.ensure_future(self._watch_clock()), asyncio.ensure_future(self._sample_balance())]
        starting = asyncio.ensure_future(self._start())
        try:
            stopping = asyncio.ensure_future(self.stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            await stopping
            self.trading = False
            await self.engine.disconnect(DISCONNECT_SECONDS)
        finally:
            for task in (starting, *beside):
                task.cancel()
            await asyncio.gather(starting, *beside, return_exceptions=True)

    async def _start(self) -> None:
        await self._first_answers()
        for trade in self.book.live_trades():
            self.signals.trade_opened(trade.pair_id, held_of(trade))
        self.stream.connect_soon()
        await self._connected.wait()
        await self.engine.connect()
        self.trading = True

    async def _first_answers(self) -> None:
        tries = 0
        while True:
            try:
                await self.adapter.synchronise_clock()
                await self._sampler.sample()
            except (OutcomeUnknown, Refused, Unreachable):
                await asyncio.sleep(step_of(RETRY_SECONDS, tries))
                tries += 1
            else:
                return

    async def _watch_clock(self) -> None:
        while True:
            await self.adapter.clock_is_off.wait()
            try:
                await self.adapter.synchronise_clock()
            except (OutcomeUnknown, Refused, Unreachable):
                await asyncio.sleep(1.0)

    async def _sample_balance(self) -> None:
        while True:
            await asyncio.sleep(BALANCE_SECONDS)
            try:
                await self._sampler.sample()
            except (OutcomeUnknown, Refused, Unreachable):
                continue

    def die(self) -> None:
        """Nothing of it reaches the world any more, last words included."""
        self.log.dead = True
        self.wire.dead = self.journal.dead = True
        self.stream.die()
