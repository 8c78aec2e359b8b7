"""The parts of a live runner and how they are joined: the one place that knows them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from domain.entries import PairFrozen, SpreadSampled
from domain.pairs import PairConfig
from domain.symbols import PairId, Symbol
from domain.trade_book import TradeBook
from runner.config import ExecutionSettings, Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import Client, make_client
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.binance.contract_stream import ContractStream
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.binance.market_stream.provider import BinanceWebSocketProvider
from runner.exchange.binance.market_stream.settings import feed_settings
from runner.exchange.binance.user_stream import UserStream
from runner.execution.account.monitor import AccountMonitor
from runner.execution.engine import ExecutionEngine
from runner.execution.entry.gate import EntryGate
from runner.execution.entry.pre_trade_check import PreTradeCheck
from runner.execution.orders.store import TradeStore
from runner.execution.venue.clock import ClockMonitor
from runner.execution.venue.contracts import ContractMonitor
from runner.logs import Log
from runner.ports import Clock
from runner.signals.generator import SignalGenerator
from runner.signals.warmup import WindowMonitor
from storage.journal import Journal

QUIET_STREAM_EVENTS = frozenset({"user_stream_up", "user_stream_rolled_over"})
PAIR_FAILED_FREEZE_MS = 86_400_000
REPLY_MARGIN_SECONDS = 1.0


def reply_timeout_seconds(execution: ExecutionSettings) -> float:
    """How long an order's reply is waited for: once its window has passed, a look-up knows more than patience."""
    return min(execution.order_timeout_seconds, execution.recv_window_ms / 1000 + REPLY_MARGIN_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Everything between the configuration and the sockets."""

    client: Client
    budget: Budget
    rules: ContractRules
    exchange: BinanceExchange
    records: TradeStore
    journal: Journal
    switches: EntryGate
    engine: ExecutionEngine
    generator: SignalGenerator
    provider: BinanceWebSocketProvider
    user_stream: UserStream
    watcher: AccountMonitor
    contracts: ContractMonitor
    contract_stream: ContractStream
    clock_watcher: ClockMonitor
    windows: WindowMonitor

    async def watch_quotes(self) -> None:
        """Subscribe what the generator wants, drop what it no longer wants."""
        wanted = self.generator.symbols
        await self.provider.watch_ticker(sorted(wanted))
        await self.provider.unwatch_ticker(self.provider.symbols - wanted)

    async def close(self) -> None:
        """Every socket; the journal is the bot's."""
        await self.provider.close()
        await self.client.close()


def build(
    settings: Settings,
    *,
    clock: Clock,
    journal: Journal,
    book: TradeBook,
    log: Log,
    pairs: dict[PairId, PairConfig],
    halt: Callable[[str], None],
    alone_since_ns: int,
) -> Components:
    """Join the parts. Nothing connects yet. Since `alone_since_ns`, by the monotonic clock, nobody else sends for the account."""
    budget = Budget(clock)
    client = make_client(settings, budget)
    timeout_seconds = settings.data.request_timeout_seconds
    rules = ContractRules(
        client,
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
    )
    records = TradeStore(journal, book, clock, log, journal.recall, alone_since_ns=alone_since_ns)
    switches = EntryGate()

    def tell(level: str, event: str, facts: Mapping[str, Any]) -> None:
        log.at(level, event, **facts)

    def pair_failed(pair_id: PairId, error: Exception) -> None:
        log.error("pair_failed", pair_id=pair_id, why=f"{type(error).__name__}: {error}"[:500])
        now_ms = clock.now_ms()
        records.note(
            PairFrozen(at_ms=now_ms, pair_id=pair_id, until_ms=now_ms + PAIR_FAILED_FREEZE_MS, reason="signal failed")
        )
        engine.abandon(pair_id)

    def sampled(sample: SpreadSampled) -> None:
        # The generator knows market time only, which a replay runs in another year: the ledger has one clock.
        records.note(msgspec.structs.replace(sample, at_ms=clock.now_ms()))

    generator = SignalGenerator(
        pairs.values(),
        settings.signal,
        position_usd=float(settings.risk.pair_notional_usd),
        on_sample=sampled,
        on_pair_failed=pair_failed,
    )
    assessor = PreTradeCheck(
        book=book,
        rules=rules,
        exchange=exchange,
        clock=clock,
        quote_of=generator.quote_of,
        switches=switches,
        execution=settings.execution,
        risk=settings.risk,
        quote_age_ms_max=settings.data.quote_age_ms_max,
        dry_run=settings.dry_run,
    )
    engine = ExecutionEngine(
        exchange=exchange,
        records=records,
        rules=rules,
        assessor=assessor,
        switches=switches,
        pairs=pairs,
        desk=generator,
        settings=settings.execution,
        quote_of=generator.quote_of,
        halt=halt,
        dry_run=settings.dry_run,
    )
    watcher = AccountMonitor(
        exchange=exchange,
        rules=rules,
        budget=budget,
        records=records,
        switches=switches,
        symbols=lambda: generator.symbols,
        look_for_lost_legs=engine.look_for_lost_legs,
        leverage=settings.risk.leverage,
        may_change=not settings.dry_run,
        funding_since_ms=book.funding_owed_since_ms(clock.now_ms()),
    )
    contracts = ContractMonitor(
        rules=rules,
        records=records,
        switches=switches,
        venue_clock=budget.venue_clock,
        symbols=lambda: generator.symbols,
        close=engine.abandon,
        delivery_lead_ms=round(settings.execution.delivery_lead_hours * 3_600_000),
    )
    exchange.on_rules_doubted = contracts.doubt
    rules.on_rate_limits = budget.limits_are
    contract_stream = ContractStream(settings.exchange_stream_url, rules.symbol_of, contracts.hint)
    clock_watcher = ClockMonitor(
        exchange=exchange,
        venue_clock=budget.venue_clock,
        records=records,
        switches=switches,
        skew_ms_max=settings.data.clock_skew_ms_max,
    )

    def user_stream_event(event: str, facts: Mapping[str, Any]) -> None:
        if event == "user_stream_up":
            switches.user_stream_down = False
        elif event == "user_stream_down":
            switches.user_stream_down = True
        log.at("info" if event in QUIET_STREAM_EVENTS else "warning", event, **facts)

    user_stream = UserStream(
        client,
        settings.exchange_stream_url,
        rules.symbol_of,
        on_news=engine.on_news,
        on_gap=engine.on_gap,
        on_funding=watcher.funding_settled,
        on_settings=watcher.settings_changed,
        on_event=user_stream_event,
        request_timeout_seconds=timeout_seconds,
    )
    records.on_stream_silent = user_stream.mistrust

    def stale(symbol: Symbol, is_stale: bool, age_seconds: float | None) -> None:
        generator.mark_stale(symbol, stale=is_stale)
        age = None if age_seconds is None else round(age_seconds, 1)
        log.at(
            "warning" if is_stale else "info",
            "quotes_stale" if is_stale else "quotes_fresh",
            symbol=symbol,
            age_seconds=age,
        )

    provider = BinanceWebSocketProvider(
        feed_settings(settings),
        on_quote=generator.update,
        on_stale=stale,
        on_interrupted=generator.interrupt,
        on_event=tell,
        on_failed=lambda error: halt(f"quotes: {error!r}"),
    )
    windows = WindowMonitor(generator, exchange, bar_seconds=settings.signal.bar_seconds, clock=clock, on_event=tell)
    return Components(
        client=client,
        budget=budget,
        rules=rules,
        exchange=exchange,
        records=records,
        journal=journal,
        switches=switches,
        engine=engine,
        generator=generator,
        provider=provider,
        user_stream=user_stream,
        watcher=watcher,
        contracts=contracts,
        contract_stream=contract_stream,
        clock_watcher=clock_watcher,
        windows=windows,
    )
