"""How the engine's parts are joined: the one place, for the live runner, the tests, the simulator and the benches alike.

Parts are made in the order in which they need each other. Where one must wake another that is made later, it does so through
`Notices`, to which the later one subscribes as it is made; nothing is set on a part once it is there.
"""

from dataclasses import dataclass

from domain.orders import Purpose
from runner.config import ExecutionSettings, RiskSettings
from runner.exchange.port import Exchange, Rules
from runner.execution.account.external_fills import AccountExecutions
from runner.execution.account.orphans import Orphans
from runner.execution.account.positions import AccountPositions
from runner.execution.context import Context
from runner.execution.engine import ExecutionEngine
from runner.execution.entry.completion import CompletionPlanner
from runner.execution.entry.freezing import Freezer
from runner.execution.entry.gate import EntryGate
from runner.execution.entry.post_only_entry import Tools
from runner.execution.entry.post_only_saga import PostOnlyEntrySaga
from runner.execution.entry.pre_trade_check import PreTradeCheck
from runner.execution.entry.saga import EntrySaga
from runner.execution.exit.saga import ExitSaga
from runner.execution.lifecycle import Lifecycle
from runner.execution.orders.inbox import Inbox
from runner.execution.orders.resolution import OrderResolution
from runner.execution.orders.store import Recall, TradeStore
from runner.execution.orders.tracker import OrderTracker
from runner.execution.signal_outcomes import Outcomes
from runner.execution.signal_port import Pairs, QuoteOf, SignalPort
from runner.execution.symbol_locks import SymbolLocks
from runner.execution.tasks import Tasks
from runner.ports import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the engine is put into: its ports, and what the operator set."""

    exchange: Exchange
    rules: Rules
    journal: Journal
    recall: Recall | None = None
    alone_since_ns: int | None = None
    """Since when nobody else sends for the account, by the monotonic clock; None: since now."""
    pairs: Pairs
    signals: SignalPort
    quote_of: QuoteOf
    execution: ExecutionSettings
    risk: RiskSettings
    quote_age_ms_max: int
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The engine with those of its parts that others use too."""

    context: Context
    store: TradeStore
    gate: EntryGate
    positions: AccountPositions
    freezer: Freezer
    pre_trade_check: PreTradeCheck
    engine: ExecutionEngine


def wire(context: Context, world: Surroundings) -> Execution:
    """Join the parts. Nothing runs yet."""
    exchange, rules, settings = world.exchange, world.rules, world.execution
    gate, locks, tasks = EntryGate(), SymbolLocks(), Tasks(context.halt)
    store = TradeStore(context, world.journal, world.recall, alone_since_ns=world.alone_since_ns)
    positions = AccountPositions(context, exchange, AccountExecutions(context, exchange, store))
    freezer = Freezer(context, store, settings)
    pre_trade_check = _pre_trade_check(context, world, gate, positions)
    tracker = _tracker(context, world, store, positions)
    exit_saga = ExitSaga(
        context,
        exchange=exchange,
        store=store,
        tracker=tracker,
        positions=positions,
        freezer=freezer,
        rules=rules,
        quote_of=world.quote_of,
        order_retries_max=settings.max_order_retries,
    )
    entry_saga = _entry_saga(context, world, store=store, tracker=tracker, exit_saga=exit_saga, positions=positions)
    tools = _tools(context, world, store, tracker, locks)
    post_only_saga = PostOnlyEntrySaga(entry_saga, tools)
    outcomes = Outcomes(context, store)
    lifecycle = Lifecycle(
        context,
        exchange=exchange,
        store=store,
        signals=world.signals,
        post_only_saga=post_only_saga,
        exit_saga=exit_saga,
        positions=positions,
        freezer=freezer,
        locks=locks,
        tasks=tasks,
        counters=outcomes.counters,
    )
    engine = ExecutionEngine(
        context,
        store=store,
        gate=gate,
        pairs=world.pairs,
        signals=world.signals,
        pre_trade_check=pre_trade_check,
        entry_saga=entry_saga,
        post_only_saga=post_only_saga,
        lifecycle=lifecycle,
        inbox=Inbox(context, store, gate, on_external_fill=lifecycle.external_fill),
        orphans=Orphans(context, exchange, store),
        outcomes=outcomes,
        locks=locks,
        tasks=tasks,
        recv_window_ms=settings.recv_window_ms,
        dry_run=world.dry_run,
    )
    return Execution(
        context=context,
        store=store,
        gate=gate,
        positions=positions,
        freezer=freezer,
        pre_trade_check=pre_trade_check,
        engine=engine,
    )


def _tracker(context: Context, world: Surroundings, store: TradeStore, positions: AccountPositions) -> OrderTracker:
    resolution = OrderResolution(
        context,
        world.exchange,
        positions,
        recv_window_ms=world.execution.recv_window_ms,
        alone_since_ns=store.alone_since_ns,
    )
    return OrderTracker(
        context, world.exchange, store, resolution, order_timeout_seconds=world.execution.order_timeout_seconds
    )


def _entry_saga(
    context: Context,
    world: Surroundings,
    *,
    store: TradeStore,
    tracker: OrderTracker,
    exit_saga: ExitSaga,
    positions: AccountPositions,
) -> EntrySaga:
    planner = CompletionPlanner(
        context,
        rules=world.rules,
        quote_of=world.quote_of,
        blocked_ms=lambda: world.exchange.orders_blocked_ms(Purpose.UNWIND),
        settings=world.execution,
        quote_age_ms_max=world.quote_age_ms_max,
        external_of=positions.external,
    )
    return EntrySaga(
        context,
        exchange=world.exchange,
        store=store,
        tracker=tracker,
        exit_saga=exit_saga,
        planner=planner,
        rules=world.rules,
        naked_notional_usd_seconds_max=world.execution.naked_notional_usd_seconds_max,
    )


def _pre_trade_check(
    context: Context, world: Surroundings, gate: EntryGate, positions: AccountPositions
) -> PreTradeCheck:
    return PreTradeCheck(
        context,
        rules=world.rules,
        exchange=world.exchange,
        quote_of=world.quote_of,
        external_of=positions.external,
        gate=gate,
        execution=world.execution,
        risk=world.risk,
        quote_age_ms_max=world.quote_age_ms_max,
        dry_run=world.dry_run,
    )


def _tools(
    context: Context, world: Surroundings, store: TradeStore, tracker: OrderTracker, locks: SymbolLocks
) -> Tools:
    return Tools(
        context=context,
        exchange=world.exchange,
        store=store,
        tracker=tracker,
        rules=world.rules,
        quote_of=world.quote_of,
        locks=locks,
        settings=world.execution,
    )
