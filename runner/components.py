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
from domain.units import HOUR_MS
from runner import events
from runner.config import Settings
from runner.events import EventCallback
from runner.exchange.chosen import connect, kind_of_code
from runner.exchange.connection import Connection
from runner.exchange.port import AccountEvents, ContractHints, QuoteFeed
from runner.execution.account.funding import FundingBooker
from runner.execution.account.monitor import AccountMonitor
from runner.execution.account.sampler import EquitySampler, FeeReader
from runner.execution.account.set_up import AccountSetUp
from runner.execution.context import Context
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


def empty_book(settings: Settings) -> TradeBook:
    """A trade book that can read what older releases wrote of this exchange's refusals."""
    return TradeBook(settings.execution.hedge_error_max, kind_of_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Everything between the configuration and the sockets."""

    settings: Settings
    clock: Clock
    book: TradeBook
    journal: Journal
    connection: Connection
    execution: Execution
    generator: SignalGenerator
    windows: WindowMonitor
    provider: QuoteFeed
    user_stream: AccountEvents
    account: AccountMonitor
    contracts: ContractMonitor
    contract_stream: ContractHints
    clock_monitor: ClockMonitor

    async def watch_quotes(self) -> None:
        """Subscribe what the generator wants, drop what it no longer wants."""
        wanted = self.generator.symbols
        await self.provider.watch_ticker(sorted(wanted))
        await self.provider.unwatch_ticker(self.provider.symbols - wanted)

    async def close(self) -> None:
        """Every socket; the journal is the bot's."""
        await self.provider.close()
        await self.connection.close()


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
    connection = connect(settings, clock, context.notices.rules_doubted)
    torn = asyncio.Event()
    generator = _generator(settings, context, journal, pairs, on_torn=torn.set)
    execution = wire(
        context,
        Surroundings(
            exchange=connection.exchange,
            rules=connection.rules,
            journal=journal,
            recall=journal.recall,
            alone_since_ns=alone_since_ns,
            pairs=pairs,
            signals=generator,
            quote_of=generator.quote_of,
            execution=settings.execution,
            risk=settings.risk,
            quote_age_ms_max=settings.data.quote_age_ms_max,
            dry_run=settings.dry_run,
        ),
    )
    account = watch_account(settings, connection, execution, symbols=lambda: generator.symbols)
    contracts = _contracts(settings, connection, execution, generator)
    return Components(
        settings=settings,
        clock=clock,
        book=book,
        journal=journal,
        connection=connection,
        execution=execution,
        generator=generator,
        windows=WindowMonitor(
            generator,
            connection.exchange,
            clock=clock,
            wanted=torn,
            on_event=_logged(log),
        ),
        provider=_quotes(connection, log, generator, halt),
        user_stream=_account_events(connection, execution, account, log),
        account=account,
        contracts=contracts,
        contract_stream=connection.contract_hints(contracts.hint),
        clock_monitor=ClockMonitor(
            context,
            exchange=connection.exchange,
            exchange_clock=connection.exchange_clock,
            gate=execution.gate,
            skew_ms_max=settings.data.clock_skew_ms_max,
        ),
    )


def watch_account(
    settings: Settings, connection: Connection, execution: Execution, *, symbols: Callable[[], frozenset[Symbol]]
) -> AccountMonitor:
    """What keeps balance, fees, funding and set-up of these symbols fresh."""
    context, exchange, rules = execution.context, connection.exchange, connection.rules
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


def _contracts(
    settings: Settings, connection: Connection, execution: Execution, generator: SignalGenerator
) -> ContractMonitor:
    return ContractMonitor(
        execution.context,
        rules=connection.rules,
        gate=execution.gate,
        exchange_clock=connection.exchange_clock,
        symbols=lambda: generator.symbols,
        close=execution.engine.abandon,
        delivery_lead_ms=round(settings.execution.delivery_lead_hours * HOUR_MS),
    )


def _account_events(connection: Connection, execution: Execution, account: AccountMonitor, log: Log) -> AccountEvents:
    gate = execution.gate

    def changed(event: Event, facts: Mapping[str, Any]) -> None:
        if event is events.USER_STREAM_UP:
            gate.user_stream_down = False
        elif event is events.USER_STREAM_DOWN:
            gate.user_stream_down = True
        log.emit(event, **facts)

    stream = connection.account_events(
        on_news=execution.engine.on_news,
        on_gap=execution.engine.on_gap,
        on_funding=account.funding.settled,
        on_settings=account.set_up.settings_changed,
        on_event=changed,
    )
    execution.context.notices.stream_silent.subscribe(stream.mistrust)
    return stream


def _quotes(connection: Connection, log: Log, generator: SignalGenerator, halt: Callable[[str], None]) -> QuoteFeed:
    def stale(symbol: Symbol, is_stale: bool, age_seconds: float | None) -> None:
        generator.mark_stale(symbol, stale=is_stale)
        age = None if age_seconds is None else round(age_seconds, 1)
        log.emit(events.QUOTES_STALE if is_stale else events.QUOTES_FRESH, symbol=symbol, age_seconds=age)

    return connection.quotes(
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
