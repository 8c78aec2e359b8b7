"""The parts of a live runner and how they are joined: the one place that knows them all."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from domain.entries import PairFrozen, SpreadSampled
from domain.events import Event
from domain.symbols import PairId, Symbol
from domain.trade_book import TradeBook
from runner import events
from runner.config import ExecutionSettings, Settings
from runner.events import EventCallback
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import Client, make_client
from runner.exchange.binance.codes import kind_of_code
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.binance.contract_stream import ContractStream
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.binance.market_stream.provider import BinanceWebSocketProvider
from runner.exchange.binance.market_stream.settings import feed_settings
from runner.exchange.binance.user_stream import UserStream
from runner.execution.account.funding import FundingBooker
from runner.execution.account.monitor import AccountMonitor
from runner.execution.account.sampler import EquitySampler, FeeReader
from runner.execution.account.set_up import AccountSetUp
from runner.execution.context import Context, Notices
from runner.execution.entry.freezing import HALTED_MS
from runner.execution.venue.clock import ClockMonitor
from runner.execution.venue.contracts import ContractMonitor
from runner.execution.wiring import Execution, Surroundings, wire
from runner.logs import Log
from runner.pairs.registry import PairsRegistry
from runner.ports import Clock
from runner.signals.generator import SignalGenerator
from runner.signals.warmup import WindowMonitor
from storage.journal import Journal

REPLY_MARGIN_SECONDS = 1.0


def empty_book(settings: Settings) -> TradeBook:
    """A trade book that can read what older releases wrote of this exchange's refusals."""
    return TradeBook(settings.execution.hedge_error_max, kind_of_code)


def reply_timeout_seconds(execution: ExecutionSettings) -> float:
    """How long an order's reply is waited for: once its window has passed, a look-up knows more than patience."""
    return min(execution.order_timeout_seconds, execution.recv_window_ms / 1000 + REPLY_MARGIN_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binance:
    """The account's road to the exchange."""

    budget: Budget
    client: Client
    rules: ContractRules
    exchange: BinanceExchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Everything between the configuration and the sockets."""

    settings: Settings
    clock: Clock
    book: TradeBook
    journal: Journal
    binance: Binance
    execution: Execution
    generator: SignalGenerator
    windows: WindowMonitor
    provider: BinanceWebSocketProvider
    user_stream: UserStream
    account: AccountMonitor
    contracts: ContractMonitor
    contract_stream: ContractStream
    clock_monitor: ClockMonitor

    async def watch_quotes(self) -> None:
        """Subscribe what the generator wants, drop what it no longer wants."""
        wanted = self.generator.symbols
        await self.provider.watch_ticker(sorted(wanted))
        await self.provider.unwatch_ticker(self.provider.symbols - wanted)

    async def close(self) -> None:
        """Every socket; the journal is the bot's."""
        await self.provider.close()
        await self.binance.client.close()


def build(
    settings: Settings,
    *,
    clock: Clock,
    journal: Journal,
    book: TradeBook,
    log: Log,
    pairs: PairsRegistry,
    halt: Callable[[str], None],
    alone_since_ns: int,
) -> Components:
    """Join the parts. Nothing connects yet. Since `alone_since_ns`, by the monotonic clock, nobody else sends for the account."""
    context = Context(book=book, clock=clock, log=log, halt=halt)
    binance = connect_binance(settings, clock, context.notices)
    torn = asyncio.Event()
    generator = _generator(settings, context, journal, pairs, on_torn=torn.set)
    execution = wire(
        context,
        Surroundings(
            exchange=binance.exchange,
            rules=binance.rules,
            journal=journal,
            recall=journal.recall,
            alone_since_ns=alone_since_ns,
            pairs=pairs,
            desk=generator,
            quote_of=generator.quote_of,
            execution=settings.execution,
            risk=settings.risk,
            quote_age_ms_max=settings.data.quote_age_ms_max,
            dry_run=settings.dry_run,
        ),
    )
    account = watch_account(settings, binance, execution, symbols=lambda: generator.symbols)
    contracts = ContractMonitor(
        context,
        rules=binance.rules,
        gate=execution.gate,
        exchange_clock=binance.budget.exchange_clock,
        symbols=lambda: generator.symbols,
        close=execution.engine.abandon,
        delivery_lead_ms=round(settings.execution.delivery_lead_hours * 3_600_000),
    )
    stream_url, symbol_of = settings.exchange_stream_url, binance.rules.symbol_of
    return Components(
        settings=settings,
        clock=clock,
        book=book,
        journal=journal,
        binance=binance,
        execution=execution,
        generator=generator,
        windows=WindowMonitor(
            generator,
            binance.exchange,
            clock=clock,
            wanted=torn,
            on_event=_logged(log),
        ),
        provider=_provider(settings, clock, log, generator, halt),
        user_stream=_user_stream(settings, binance, execution, account, log),
        account=account,
        contracts=contracts,
        contract_stream=ContractStream(clock, stream_url, symbol_of, contracts.hint),
        clock_monitor=ClockMonitor(
            context,
            exchange=binance.exchange,
            exchange_clock=binance.budget.exchange_clock,
            gate=execution.gate,
            skew_ms_max=settings.data.clock_skew_ms_max,
        ),
    )


def connect_binance(settings: Settings, clock: Clock, notices: Notices) -> Binance:
    """Client, request budget, contract rules and the private half of the exchange."""
    budget = Budget(clock)
    client = make_client(settings, budget)
    timeout_seconds = settings.data.request_timeout_seconds
    rules = ContractRules(
        client,
        budget,
        timeout_seconds=timeout_seconds,
        taker_fee_bps=settings.risk.taker_fee_bps,
        maker_fee_bps=settings.risk.maker_fee_bps,
    )
    exchange = BinanceExchange(
        client,
        rules,
        budget,
        request_timeout_seconds=timeout_seconds,
        reply_timeout_seconds=reply_timeout_seconds(settings.execution),
        batch=settings.execution.batch_orders,
        on_rules_doubted=notices.rules_doubted,
    )
    return Binance(budget=budget, client=client, rules=rules, exchange=exchange)


def watch_account(
    settings: Settings, binance: Binance, execution: Execution, *, symbols: Callable[[], frozenset[Symbol]]
) -> AccountMonitor:
    """What keeps balance, fees, funding and set-up of these symbols fresh."""
    context, exchange, rules = execution.context, binance.exchange, binance.rules
    return AccountMonitor(
        context,
        sampler=EquitySampler(context, exchange=exchange, store=execution.store, gate=execution.gate),
        fees=FeeReader(context, exchange=exchange, rules=rules, symbols=symbols),
        funding=FundingBooker(
            context,
            exchange=exchange,
            store=execution.store,
            since_ms=context.book.funding_owed_since_ms(context.clock.now_ms()),
        ),
        set_up=AccountSetUp(
            context,
            exchange=exchange,
            gate=execution.gate,
            symbols=symbols,
            leverage=settings.risk.leverage,
            may_change=not settings.dry_run,
        ),
        gate=execution.gate,
        look_for_lost_legs=execution.engine.look_for_lost_legs,
    )


def _generator(
    settings: Settings, context: Context, journal: Journal, pairs: PairsRegistry, *, on_torn: Callable[[], None]
) -> SignalGenerator:
    def pair_failed(pair_id: PairId, error: Exception) -> None:
        context.log.emit(events.PAIR_FAILED, pair_id=pair_id, why=f"{type(error).__name__}: {error}"[:500])
        now_ms = context.clock.now_ms()
        journal.note(PairFrozen(at_ms=now_ms, pair_id=pair_id, until_ms=now_ms + HALTED_MS, reason="signal failed"))
        context.notices.pair_failed(pair_id)

    def sampled(sample: SpreadSampled) -> None:
        # The generator knows market time only, which a replay runs in another year: the ledger has one clock.
        journal.note(msgspec.structs.replace(sample, at_ms=context.clock.now_ms()))

    return SignalGenerator(
        pairs,
        settings.signal,
        position_usd=float(settings.risk.pair_notional_usd),
        on_sample=sampled,
        on_pair_failed=pair_failed,
        on_torn=on_torn,
    )


def _user_stream(
    settings: Settings, binance: Binance, execution: Execution, account: AccountMonitor, log: Log
) -> UserStream:
    gate = execution.gate

    def changed(event: Event, facts: Mapping[str, Any]) -> None:
        if event is events.USER_STREAM_UP:
            gate.user_stream_down = False
        elif event is events.USER_STREAM_DOWN:
            gate.user_stream_down = True
        log.emit(event, **facts)

    stream = UserStream(
        execution.context.clock,
        binance.client,
        settings.exchange_stream_url,
        binance.rules.symbol_of,
        on_news=execution.engine.on_news,
        on_gap=execution.engine.on_gap,
        on_funding=account.funding.settled,
        on_settings=account.set_up.settings_changed,
        on_event=changed,
        request_timeout_seconds=settings.data.request_timeout_seconds,
    )
    execution.context.notices.stream_silent.subscribe(stream.mistrust)
    return stream


def _provider(
    settings: Settings, clock: Clock, log: Log, generator: SignalGenerator, halt: Callable[[str], None]
) -> BinanceWebSocketProvider:
    def stale(symbol: Symbol, is_stale: bool, age_seconds: float | None) -> None:
        generator.mark_stale(symbol, stale=is_stale)
        age = None if age_seconds is None else round(age_seconds, 1)
        log.emit(events.QUOTES_STALE if is_stale else events.QUOTES_FRESH, symbol=symbol, age_seconds=age)

    return BinanceWebSocketProvider(
        clock,
        feed_settings(settings),
        on_quote=generator.update,
        on_stale=stale,
        on_interrupted=generator.interrupt,
        on_event=_logged(log),
        on_failed=lambda error: halt(f"quotes: {error!r}"),
    )


def _logged(log: Log) -> EventCallback:
    def report(event: Event, facts: Mapping[str, Any]) -> None:
        log.emit(event, **facts)

    return report
