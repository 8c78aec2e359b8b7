"""The real engine, journal and ccxt client against the paper exchange over real sockets; a test plays the signal generator."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from scripted_market import ScriptedMarket

from domain.decide import HeldTrade
from domain.events import MORE_FACTS, Event
from domain.pairs import PairConfig, SignalType, TradingSignal
from domain.quotes import Quote
from domain.symbols import PairId, Symbol
from domain.trade_book import TradeBook
from paper.faults import FaultSpec, Kind, Match, Parameters
from paper.server import PaperExchange
from runner.clock import SystemClock
from runner.components import watch_account
from runner.config import DataSettings, ExecutionSettings, RiskSettings, Settings
from runner.exchange.binance.connection import connect
from runner.exchange.binance.symbols import exchange_id
from runner.exchange.binance.user_stream import UserStream
from runner.exchange.errors import ExchangeError
from runner.exchange.priority import Priority, with_priority
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate
from runner.execution.wiring import Surroundings, wire
from runner.pairs.registry import PairsRegistry
from storage.journal import Journal

CAT, DOGE = Symbol("1000CAT/USDT:USDT"), Symbol("1MBABYDOGE/USDT:USDT")
BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")
PAIR = PairConfig(
    pair_id=PairId("CAT_DOGE"),
    leg_a=CAT,
    leg_b=DOGE,
    hedge_ratio=0.1,
    entry_z=2.0,
    exit_z=0.0,
    stop_z=4.0,
    half_life_bars=5,
    half_life_bar_seconds=60,
)


class QuietLog:
    """Keeps what was said, for the test to read."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def emit(self, event: Event, /, **facts: Any) -> None:
        given = {"pair_id", "trade_id", *event.facts}
        assert MORE_FACTS in given or facts.keys() <= given, f"{event.name} declares {event.facts}, not {sorted(facts)}"
        self.said.append((event.name, facts))

    def events(self) -> list[str]:
        return [event for event, _ in self.said]


class RecordingSignals:
    """Satisfies `runner.execution.signal_port.SignalDesk`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.held: dict[PairId, HeldTrade] = {}

    def trade_opening(self, pair_id: PairId) -> None:
        self.told.append("opening")

    def trade_opened(self, pair_id: PairId, held: HeldTrade) -> None:
        self.told.append("opened")
        self.held[pair_id] = held

    def trade_closing(self, pair_id: PairId) -> None:
        self.told.append("closing")

    def trade_closed(self, pair_id: PairId, stopped_sign: int) -> None:
        self.told.append(f"closed {stopped_sign}")
        self.held.pop(pair_id, None)

    def trade_failed(self, pair_id: PairId) -> None:
        self.told.append("failed")

    def denied(self, pair_id: PairId) -> None:
        self.told.append("denied")

    def not_judged(self, pair_id: PairId) -> None:
        self.told.append("not judged")


class Rig:
    """One running engine."""

    def __init__(self, market: ScriptedMarket, exchange: PaperExchange, journal_path: Path, **execution: Any) -> None:
        self.market, self.paper, self.journal_path = market, exchange, journal_path
        self.settings = Settings(
            binance_api_key="paper-key",
            binance_api_secret="paper-secret",
            data=DataSettings(rest_url=exchange.rest_url, stream_url=exchange.stream_url, request_timeout_seconds=2),
            execution=ExecutionSettings(**({"recv_window_ms": 1_000, "order_timeout_seconds": 1} | execution)),
            risk=RiskSettings(min_edge_ratio=0),
        )
        self.clock = SystemClock()
        self.log = QuietLog()
        self.signals = RecordingSignals()
        self.pairs = PairsRegistry([PAIR])
        self.halted: list[str] = []
        self.serial = 0

    async def start(self) -> None:
        settings = self.settings
        self.journal = Journal.open(self.journal_path)
        self.book = TradeBook(settings.execution.hedge_error_max)
        for _, entry in self.journal.replay():
            self.book.apply(entry)
        self.context = Context(book=self.book, clock=self.clock, log=self.log, halt=self.halted.append)
        binance = connect(settings, self.clock, self.context.notices.rules_doubted)
        self.budget, self.client, self.rules, self.adapter = (
            binance.budget,
            binance.client,
            binance.rules,
            binance.exchange,
        )
        self.execution = wire(
            self.context,
            Surroundings(
                exchange=self.adapter,
                rules=self.rules,
                journal=self.journal,
                recall=self.journal.recall,
                pairs=self.pairs,
                signals=self.signals,
                quote_of=self.quote,
                execution=settings.execution,
                risk=settings.risk,
                quote_age_ms_max=2000,
                dry_run=False,
            ),
        )
        self.store, self.gate, self.engine = self.execution.store, self.execution.gate, self.execution.engine
        self.gate.user_stream_down = False
        self.account = watch_account(settings, binance, self.execution, symbols=lambda: frozenset(PAIR.symbols))
        with with_priority(Priority.UNWIND):  # Restarts many times a minute from one address.
            await self._prepare()
        open_what_nobody_watches(self.gate)
        self.stream = UserStream(
            self.clock,
            self.client,
            self.paper.stream_url,
            self.rules.symbol_of,
            on_news=self.engine.on_news,
            on_gap=self.engine.on_gap,
            on_funding=self.account.funding.settled,
            on_event=lambda event, facts: self.log.emit(event, **facts),
            request_timeout_seconds=2,
        )
        self.stream_task = asyncio.create_task(self.stream.run())
        await asyncio.wait_for(self.stream.connected.wait(), 70)  # A used-up minute of requests must roll first.
        await self.engine.connect()

    async def _prepare(self) -> None:
        """As the bot does, again when the exchange did not take it: on a loaded machine a request may be older than its window."""
        for attempt in range(10):
            try:
                await self.rules.load([PAIR.leg_a, PAIR.leg_b])
                await self.account.set_up.prepare(PAIR.symbols)
                await self.account.sampler.sample()
            except ExchangeError:
                if attempt == 9:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    def configure(self, *pairs: PairConfig) -> None:
        """From now on these pairs; their symbols count as set up, as a reload does it."""
        self.pairs.replace(pairs)
        self.gate.set_up |= {symbol: None for pair in pairs for symbol in pair.symbols}

    async def stop(self) -> None:
        await self.engine.disconnect(5)
        self.stream_task.cancel()
        await asyncio.gather(self.stream_task, return_exceptions=True)
        await self.client.close()
        await self.journal.close()

    def quote(self, symbol: Symbol) -> Quote | None:
        book = self.market.book(exchange_id(symbol))
        (bid, bid_quantity), (ask, ask_quantity) = book.bids[0], book.asks[0]
        return Quote(
            float(bid), float(ask), float(bid_quantity), float(ask_quantity), book.event_ms, time.monotonic_ns()
        )

    def signal(self, signal_type: SignalType, pair: PairConfig = PAIR) -> TradingSignal:
        """A signal whose statistics make its z true at today's prices."""
        self.serial += 1
        a, b = self.quote(pair.leg_a), self.quote(pair.leg_b)
        assert a is not None
        assert b is not None
        spread = b.mid - pair.hedge_ratio * a.mid
        std = b.mid * 0.01
        z = {SignalType.SELL: -3.0, SignalType.BUY: 3.0}.get(signal_type, 0.0)
        return TradingSignal(
            signal_id=f"s{self.serial}-{time.time_ns()}",
            pair_id=pair.pair_id,
            signal_type=signal_type,
            z_score=z,
            spread=spread,
            spread_mean=spread - z * std,
            spread_std=std,
            price_a=a.mid,
            price_b=b.mid,
            confidence=1.0,
            suggested_position_size=500.0,
            at_ms=book_ms(self),
        )

    def fault(
        self, kind: str, *, count: int | None = 1, parameters: dict[str, Any] | None = None, **match: Any
    ) -> None:
        self.paper.board.add(
            FaultSpec(
                kind=Kind(kind),
                count=count,
                match=Match(**match),
                parameters=msgspec.convert(parameters or {}, Parameters),
            )
        )

    def at_exchange(self) -> dict[str, Decimal]:
        """What the exchange really holds for the account."""
        portfolio = self.paper.desk.books.portfolios["paper-key"]
        return {position.symbol: position.amount for position in portfolio.held() if position.amount != 0}

    def believed(self) -> dict[str, Decimal]:
        return {exchange_id(symbol): quantity for symbol, quantity in self.book.positions().items()}


def open_what_nobody_watches(gate: EntryGate) -> None:
    """What the bot's clock and contract monitors say of a healthy exchange."""
    gate.clock_problem = None
    gate.rules_doubted = frozenset()


def book_ms(rig: Rig) -> int:
    return rig.market.now_ms()


@asynccontextmanager
async def running(tmp_path: Path, **execution: Any) -> AsyncIterator[Rig]:
    """An exchange and an engine, stopped in order."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        rig = Rig(market, exchange, tmp_path / "journal.sqlite", **execution)
        await rig.start()
        try:
            yield rig
        finally:
            await rig.stop()


def deep_market() -> ScriptedMarket:
    """Books in which 500 USD trade at the touch."""
    market = ScriptedMarket()
    for symbol, bid, ask in (("1000CATUSDT", "0.012299", "0.012301"), ("1MBABYDOGEUSDT", "0.0023276", "0.0023278")):
        market.set_book(symbol, [(bid, 10_000_000)], [(ask, 10_000_000)])
    return market


async def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for something that must come true; fail when it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (The condition is about another party's state.)
            await asyncio.sleep(0.01)
