"""The execution engine: signals in, hedged or flat pair trades out.

Serialised per symbol from decision to both-legs-terminal; pairs that share no symbol run in parallel; unwinds go before exits,
exits before background checks; entries never wait: an entry that would have to is denied.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from domain.errors import DuplicateEntry, JournalBroken
from domain.guards import DenialCode, Denied, review, still_stands
from domain.orders import LegName
from domain.pairs import EXIT_REASON_OF, ExitReason, PairConfig, SignalOutcome, SignalType, TradeStatus, TradingSignal
from domain.symbols import ClientOrderId, PairId
from domain.trades import OrderState, TradeState
from runner import events, metrics
from runner.exchange.port import UserNews
from runner.execution.account.orphans import Orphans
from runner.execution.context import Context
from runner.execution.entry.dead_man_switch import DeadManSwitchNotArmed
from runner.execution.entry.gate import EntryGate
from runner.execution.entry.post_only_entry import Objection
from runner.execution.entry.post_only_saga import NoLongerWanted, PostOnlyEntrySaga
from runner.execution.entry.pre_trade_check import PreTradeCheck, RestingLeg
from runner.execution.entry.saga import EntrySaga, Opened
from runner.execution.lifecycle import FORGET_AFTER_MS, TAKE_UP_SECONDS, Lifecycle
from runner.execution.orders.inbox import Inbox
from runner.execution.orders.store import TradeStore
from runner.execution.signal_outcomes import Outcomes
from runner.execution.signal_port import Outcome, Pairs, SignalPort, held_of
from runner.execution.symbol_locks import SymbolLocks
from runner.execution.tasks import Tasks

__all__ = ["FORGET_AFTER_MS", "ExecutionEngine"]

RECOVERY_SECONDS = 10.0
"""Beyond the exchange's window: what look-ups may take at start before other pairs need not wait for them any more."""
RECOVERY_LOOK_SECONDS = 0.05
CLOSABLE = frozenset({TradeStatus.OPENING, TradeStatus.OPEN})


class ExecutionEngine:
    """Owns every order of this account. `halt` is called when going on would be unsafe for all pairs."""

    def __init__(
        self,
        context: Context,
        *,
        store: TradeStore,
        gate: EntryGate,
        pairs: Pairs,
        signals: SignalPort,
        pre_trade_check: PreTradeCheck,
        entry_saga: EntrySaga,
        post_only_saga: PostOnlyEntrySaga,
        lifecycle: Lifecycle,
        inbox: Inbox,
        orphans: Orphans,
        outcomes: Outcomes,
        locks: SymbolLocks,
        tasks: Tasks,
        recv_window_ms: int,
        dry_run: bool,
    ) -> None:
        self._book, self._clock, self._log, self._halt = context.book, context.clock, context.log, context.halt
        self._store = store
        self._gate = gate
        self._pairs = pairs
        self._signals = signals
        self._pre_trade_check = pre_trade_check
        self._entry_saga = entry_saga
        self._post_only_saga = post_only_saga
        self._lifecycle = lifecycle
        self._inbox = inbox
        self._orphans = orphans
        self._outcomes = outcomes
        self.counters = outcomes.counters
        self._locks = locks
        self._tasks = tasks
        self._recovery_seconds = recv_window_ms / 1000 + RECOVERY_SECONDS
        self._dry_run = dry_run
        context.notices.pair_failed.subscribe(self.abandon)
        self._not_judged: set[PairId] = set()  # Pairs whose entries came while nothing could be entered yet.

    # Life

    async def connect(self) -> None:
        """Take up every trade the journal left unfinished, then accept signals. There is no other way to start.

        Returns once the exchange has reported its resting orders and positions. Trades left in flight are resolved beside the first
        signals: their symbols are locked until then, exits of other pairs go on, entries wait (`RECOVERING`).
        """
        self._tasks.spawn(self._inbox.run(), "inbox")
        book = self._book
        report = self._lifecycle.report
        for trade in list(book.live_trades()):
            report(self._signals.trade_opening, trade.pair_id)
        orphans = await self._orphans.survey(may_cancel=not self._dry_run)
        for trade in list(book.live_trades()):
            if trade.status is TradeStatus.OPEN and not trade.unsettled() and trade.is_hedged:
                report(self._signals.trade_opened, trade.pair_id, held_of(trade))
            else:
                self._lifecycle.take_up(trade)
        for trade in list(book.late_trades()):
            self._lifecycle.late_news(trade.trade_id)
        self._gate.unexplained_orders |= orphans
        self._tasks.spawn(self._lifecycle.watch(), "watch")
        self._lifecycle.check_soon()
        unresolved = [order for trade in book.live_trades() for order in trade.unsettled()]
        if unresolved:
            self._tasks.spawn(self._let_entries_in(unresolved), "recovering")
        else:
            self._gate.recovering = False

    async def _let_entries_in(self, unresolved: Sequence[OrderState]) -> None:
        """Entries of all pairs wait until every order without an end has one, or for as long as a proof of death takes.

        What is undecided even then keeps its own symbols locked; that alone is no reason to keep the others out.
        """
        seconds = self._recovery_seconds
        while seconds > 0 and not all(order.is_settled for order in unresolved):
            await self._clock.sleep(RECOVERY_LOOK_SECONDS)
            seconds -= RECOVERY_LOOK_SECONDS
        left = sorted({order.intent.pair_id for order in unresolved if not order.is_settled})
        if left:
            self._log.emit(events.RECOVERY_INCOMPLETE, pairs=left)
        self._gate.recovering = False
        for pair_id in sorted(self._not_judged - self._book.open_by_pair.keys()):
            self._lifecycle.report(self._signals.not_judged, pair_id)
        self._not_judged.clear()

    async def disconnect(self, grace_seconds: float, *, flatten: bool = False) -> None:
        """Bring trades in flight to hedged or flat within the grace; what is left is taken up at the next start.

        With `flatten` open trades are closed too, those included that only became open while we waited.
        """
        self._gate.paused_because = "shutting down"
        deadline_ns = self._clock.monotonic_ns() + int(grace_seconds * 1e9)
        while True:
            if flatten and not self._store.broken:
                open_pairs = [t.pair_id for t in self._book.live_trades() if t.status is TradeStatus.OPEN]
                await self.flatten(open_pairs, wait_seconds=0.0)
            in_flight = self._tasks.in_flight
            if not in_flight:
                break
            _, unfinished = await asyncio.wait(
                in_flight, timeout=max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9)
            )
            if unfinished:
                for task in unfinished:
                    self._log.emit(events.SHUTDOWN_INCOMPLETE, task=task.get_name())
                break
        await self._tasks.cancel()

    @property
    def in_flight(self) -> int:
        """How many things are on their way to an end."""
        return len(self._tasks.in_flight)

    @property
    def has_to_check(self) -> bool:
        """The account has still to be compared with our books: the exchange has not said what it holds."""
        return self._lifecycle.has_to_check

    # News of the world

    def on_news(self, news: UserNews) -> None:
        self._inbox.put(news)

    def on_gap(self, why: str) -> None:
        """Events may have been missed: whoever is being driven looks for itself; resting trades are checked here."""
        self._log.emit(events.USER_STREAM_GAP, why=why)
        self._lifecycle.check_soon()

    async def explain_orders(self) -> frozenset[ClientOrderId]:
        """Look anew for resting orders under our prefix that no intent explains; entries go on when there are none.

        Nothing is cancelled. Raises: OutcomeUnknown, Unreachable; then entries stay stopped.
        """
        if self._gate.unexplained_orders:
            left = {report.client_order_id for report in await self._orphans.resting()}
            self._gate.unexplained_orders.clear()
            self._gate.unexplained_orders |= left
        return frozenset(self._gate.unexplained_orders)

    def look_for_lost_legs(self) -> None:
        """Compare what our trades hold with the account, unless that is being done."""
        self._lifecycle.check_soon()

    # Signals

    def submit(self, signal: TradingSignal) -> None:
        """Take a signal without waiting; its outcome goes to the ledger."""
        self._tasks.spawn(self.execute_signal(signal), f"{signal.signal_type}-{signal.pair_id}")

    async def execute_signal(self, signal: TradingSignal) -> Outcome:
        """Act on one signal. Never raises but for cancellation: a pair that fails is halted, the others go on."""
        self._outcomes.received(signal)
        try:
            if signal.signal_type.is_entry:
                return await self._enter(signal)
            return await self._exit(signal)
        except JournalBroken as error:
            self._halt(f"journal broken: {error}")
            return Outcome(executed=False, denial=DenialCode.JOURNAL_BROKEN)
        except Exception as error:  # noqa: BLE001  (Top of a task: journal, halt the pair, let the others go on.)
            await self._lifecycle.halt_pair(signal.pair_id, error)
            self._outcomes.resolve(signal, SignalOutcome.FAILED, DenialCode.INTERNAL, {"why": type(error).__name__})
            trade = self._book.open_by_pair.get(signal.pair_id)
            if trade is not None and trade.status is TradeStatus.OPENING:  # Its tracker is what failed.
                self._lifecycle.take_up(trade, after_seconds=TAKE_UP_SECONDS[0])
            return Outcome(executed=False, denial=DenialCode.INTERNAL)

    async def _enter(self, signal: TradingSignal) -> Outcome:
        pair = self._pairs.get(signal.pair_id)
        if pair is None:
            return self._deny(signal, Denied(DenialCode.PAIR_CLOSE_ONLY, {"why": "no longer configured"}))
        present = self._book.open_by_pair.get(signal.pair_id)
        if present is not None:
            return self._deny(signal, Denied(DenialCode.PAIR_BUSY, {"why": f"its trade is {present.status}"}))
        with self._locks.hold_now(pair.symbols) as held:
            if not held:
                return self._deny(signal, Denied(DenialCode.SYMBOL_BUSY, {}))
            snapshot = self._pre_trade_check.snapshot(signal, pair, journal_broken=self._store.broken)
            verdict = review(snapshot, self._pre_trade_check.limits)
            if isinstance(verdict, Denied):
                return self._deny(signal, verdict)
            plan, intents = self._pre_trade_check.plan(verdict, pair)
            with self._gate.capital.reserve(pair.pair_id, snapshot.order_notional_usd):
                self._lifecycle.report(self._signals.trade_opening, pair.pair_id)
                try:
                    if verdict.edge.resting_leg is None:
                        opened = await self._entry_saga.open(plan, intents)
                    else:
                        opened = await self._post_only_saga.open(plan, intents, self._objection_to(signal, pair))
                except NoLongerWanted as why:
                    return self._deny(signal, Denied(why.code, {"why": "changed before anything was placed"}))
                except DeadManSwitchNotArmed as why:
                    return self._deny(signal, Denied(DenialCode.DEAD_MAN, {"why": str(why)}))
                except DuplicateEntry:
                    return self._deny(signal, Denied(DenialCode.DUPLICATE, {"trade_id": plan.trade_id}))
        trade = self._book.trades[plan.trade_id]
        if not opened.hedged:
            return self._rolled_back(signal, trade, opened)
        self.counters.executed += 1
        self._outcomes.resolve(signal, SignalOutcome.EXECUTED, None, {}, trade.trade_id)
        self._log.emit(
            events.TRADE_OPENED,
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            side=str(plan.side),
            quantity_a=str(trade.held[LegName.A]),
            quantity_b=str(trade.held[LegName.B]),
            z=round(plan.entry_z, 3),
            expected_edge_usd=str(round(plan.expected_edge_usd, 4)),
            naked_seconds=trade.naked_seconds(),
        )
        self._lifecycle.report(self._signals.trade_opened, trade.pair_id, held_of(trade))
        return Outcome(executed=True)

    def _objection_to(self, signal: TradingSignal, pair: PairConfig) -> Objection:
        """What the guards say of an approved entry, asked again and again while a leg of it rests."""

        def objection(rests: RestingLeg) -> DenialCode | None:
            now = self._pre_trade_check.snapshot(signal, pair, journal_broken=self._store.broken, rests=rests)
            denied = still_stands(now, self._pre_trade_check.limits)
            if denied is None and now.edge is not None and now.edge.resting_leg is None:
                return (
                    DenialCode.SIZE_TOO_SMALL
                )  # Others hold the other way since: a part of it could not be closed again.
            return None if denied is None else denied.code

        return objection

    def _rolled_back(self, signal: TradingSignal, trade: TradeState, opened: Opened) -> Outcome:
        if opened.unfilled:
            facts: dict[str, Any] = {"ended": opened.unfilled.value}
            self._outcomes.resolve(signal, SignalOutcome.FAILED, DenialCode.NOT_FILLED, facts, trade.trade_id)
            self._lifecycle.report(self._signals.trade_failed, trade.pair_id)
            self._lifecycle.finish_later(trade)
            return Outcome(executed=False, denial=DenialCode.NOT_FILLED)
        self.counters.rolled_back += 1
        if trade.status.is_over:
            metrics.observe_naked(trade)
        code = DenialCode.EXCHANGE_REFUSED if opened.refusal else DenialCode.ROLLED_BACK
        facts = {"refusal": opened.refusal, "cost_usd": str(-trade.net_pnl_usd)}
        self._outcomes.resolve(signal, SignalOutcome.FAILED, code, facts, trade.trade_id)
        self._log.emit(
            events.TRADE_ROLLED_BACK,
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            naked_seconds=trade.naked_seconds(),
            **facts,
        )
        self._lifecycle.report(self._signals.trade_failed, trade.pair_id)
        self._lifecycle.finish_later(trade)
        return Outcome(executed=False, denial=code)

    def _deny(self, signal: TradingSignal, denied: Denied) -> Outcome:
        if signal.pair_id not in self._book.open_by_pair:
            self._lifecycle.report(self._signals.denied, signal.pair_id)
        if denied.code is DenialCode.RECOVERING:
            self._not_judged.add(signal.pair_id)
        return self._outcomes.deny(signal, denied)

    # Exits

    async def _exit(self, signal: TradingSignal) -> Outcome:
        """Close the pair's trade. While it is still opening the exit waits for the locks and acts on what comes of it."""
        trade = self._book.open_by_pair.get(signal.pair_id)
        if trade is None:
            return self._deny(signal, Denied(DenialCode.PAIR_BUSY, {"why": "no open trade to close"}))
        if trade.status not in CLOSABLE:
            return self._deny(signal, Denied(DenialCode.PAIR_BUSY, {"why": f"its trade is {trade.status} already"}))
        if not await self._lifecycle.close(trade, EXIT_REASON_OF[signal.signal_type], signal.z_score):
            return self._deny(signal, Denied(DenialCode.PAIR_BUSY, {"why": f"its trade is {trade.status} already"}))
        self._outcomes.resolve(signal, SignalOutcome.EXECUTED, None, {}, trade.trade_id)
        return Outcome(executed=True)

    async def flatten(self, pair_ids: Sequence[PairId], *, wait_seconds: float) -> dict[str, str]:
        """Close trades on the operator's word, those that are opening as soon as they are open; says what became of each
        pair within the time given."""
        results: dict[str, str] = {}
        closing: dict[PairId, asyncio.Task[bool]] = {}
        for pair_id in pair_ids:
            trade = self._book.open_by_pair.get(pair_id)
            if trade is None:
                results[pair_id] = "nothing open"
                continue
            if trade.status not in CLOSABLE:
                results[pair_id] = f"already {trade.status}"
                continue
            results[pair_id] = "closing"
            work = self._lifecycle.close(trade, ExitReason.FLATTENED, None)
            closing[pair_id] = self._tasks.spawn(work, f"{SignalType.FLATTEN}-{pair_id}")
        if closing and wait_seconds > 0:
            done, _ = await asyncio.wait(closing.values(), timeout=wait_seconds)
            open_still = self._book.open_by_pair
            results |= {pair: "closed" for pair, task in closing.items() if task in done and pair not in open_still}
        return results

    def abandon(self, pair_id: PairId, reason: ExitReason = ExitReason.FLATTENED) -> None:
        """Close an open trade whatever its signals say: its pair cannot judge its own exits, or its contract ends."""
        trade = self._book.open_by_pair.get(pair_id)
        if trade is not None and trade.status in CLOSABLE:
            work = self._lifecycle.close(trade, reason, None)
            self._tasks.spawn(work, f"abandon-{pair_id}")
