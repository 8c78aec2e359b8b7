"""The execution engine: signals in, hedged or flat pair trades out.

Serialised per symbol from decision to both-legs-terminal; pairs that share no symbol run in parallel; exits wait their turn,
entries never do: an entry that would have to wait is denied.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from domain.errors import DuplicateEntry, InvariantBroken, JournalBroken
from domain.guards import DenialCode, Denied, review
from domain.orders import LegName
from domain.pairs import EXIT_REASON_OF, ExitReason, PairSide, SignalOutcome, SignalType, TradeStatus, TradingSignal
from domain.symbols import PairId, Symbol, TradeId
from domain.trades import TradeState
from runner import metrics
from runner.config import ExecutionSettings
from runner.exchange.user_stream import UserNews
from runner.execution.closing import Closer, round_pause_seconds
from runner.execution.desk import Outcome, Pairs, SignalDesk, held_of
from runner.execution.freezing import HALTED_MS, freeze
from runner.execution.inbox import Inbox
from runner.execution.opening import Opener
from runner.execution.order_driver import OrderDriver
from runner.execution.outcomes import Outcomes
from runner.execution.records import Records
from runner.execution.recovery import Recovery
from runner.execution.situation import Assessor, Switches
from runner.execution.symbol_locks import SymbolLocks
from runner.ports import Exchange, Rules

FORGET_AFTER_MS = 6 * 3600 * 1000


class ExecutionEngine:
    """Owns every order of this account. `halt` is called when going on would be unsafe for all pairs."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        records: Records,
        rules: Rules,
        assessor: Assessor,
        switches: Switches,
        pairs: Pairs,
        desk: SignalDesk,
        settings: ExecutionSettings,
        quote_of: Callable[[Symbol], Any],
        halt: Callable[[str], None],
        dry_run: bool = False,
    ) -> None:
        self._dry_run = dry_run
        self._records = records
        self._assessor = assessor
        self._switches = switches
        self._pairs = pairs
        self._desk = desk
        self._settings = settings
        self._halt = halt
        self._locks = SymbolLocks()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._resuming: set[TradeId] = set()
        driver = OrderDriver(
            exchange,
            records,
            recv_window_ms=settings.recv_window_ms,
            order_timeout_seconds=settings.order_timeout_seconds,
        )
        self._driver = driver
        self._closer = Closer(
            exchange=exchange,
            records=records,
            driver=driver,
            rules=rules,
            quote_of=quote_of,
            settings=settings,
        )
        self._opener = Opener(
            exchange=exchange,
            records=records,
            driver=driver,
            closer=self._closer,
            rules=rules,
            hedge_error_max=settings.hedge_error_max,
        )
        self._outcomes = Outcomes(records)
        self.counters = self._outcomes.counters
        self._inbox = Inbox(records, switches, on_lost_leg=self._leg_lost, halt=halt)
        self._recovery = Recovery(exchange, records, switches)
        records.on_late_news = self._late_news

    # Life

    async def connect(self) -> None:
        """Take up every trade the journal left unfinished, then accept signals. There is no other way to start.

        Returns once the venue has told its resting orders and positions. Trades left in flight are resolved beside the first
        signals: their pairs are busy and their symbols locked until then.
        """
        self._spawn(self._inbox.run(), "inbox")
        book = self._records.book
        for trade in list(book.live_trades()):
            self._tell(self._desk.trade_opening, trade.pair_id)
        orphans = await self._recovery.survey(may_cancel=not self._dry_run)
        for trade in list(book.live_trades()):
            if trade.status is TradeStatus.OPEN and not trade.unsettled():
                self._tell(self._desk.trade_opened, trade.pair_id, held_of(trade))
            else:
                self._spawn(self._resume(trade), f"resume-{trade.trade_id}")
        self._switches.foreign_orders = orphans
        self._switches.recovering = False
        self._spawn(self._check_lost_legs(), "check-after-start")

    async def disconnect(self, grace_seconds: float, *, flatten: bool = False) -> None:
        """Bring trades in flight to hedged or flat within the grace; what is left is taken up at the next start.

        With `flatten` open trades are closed too, those included that only became open while we waited.
        """
        self._switches.paused_because = "shutting down"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_seconds
        while True:
            if flatten and not self._records.broken:
                open_pairs = [t.pair_id for t in self._records.book.live_trades() if t.status is TradeStatus.OPEN]
                await self.flatten(open_pairs, wait_seconds=0.0)
            driving = {task for task in self._tasks if task.get_name() != "inbox"}
            if not driving:
                break
            _, unfinished = await asyncio.wait(driving, timeout=max(0.0, deadline - loop.time()))
            if unfinished:
                for task in unfinished:
                    self._records.log.warning("left_in_flight", task=task.get_name())
                break
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        return sum(1 for task in self._tasks if task.get_name() != "inbox")

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """A task that died of something nobody foresaw must not be mourned in silence."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._halt(f"{task.get_name()}: {task.exception()!r}")

    # News of the world

    def on_news(self, news: UserNews) -> None:
        self._inbox.put(news)

    def on_gap(self, why: str) -> None:
        """Events may have been missed: whoever is being driven looks for itself; resting trades are checked here."""
        self._records.log.info("user_stream_gap", why=why)
        if not self._switches.recovering:
            self._spawn(self._check_lost_legs(), "check-after-gap")

    def _late_news(self, trade_id: TradeId) -> None:
        """An order changed that nobody was waiting for: a late fill re-opens what we believed was over, or hedged."""
        trade = self._records.book.trades.get(trade_id)
        if trade is None or trade_id in self._resuming:
            return
        unhedged = trade.status is TradeStatus.OPEN and not trade.is_hedged
        if unhedged or (trade.status.is_over and not trade.is_flat):
            self._records.log.error("late_fill", pair_id=trade.pair_id, trade_id=trade_id)
            self._spawn(self._close(trade, ExitReason.ROLLED_BACK, None), f"late-{trade_id}")

    def _leg_lost(self, trade: TradeState) -> None:
        """The exchange closed one leg (ADL, liquidation, delisting): close its sibling."""
        self._records.log.error("sibling_lost", pair_id=trade.pair_id, trade_id=trade.trade_id)
        self._spawn(self._close(trade, ExitReason.SIBLING_LOST, None), f"sibling-{trade.trade_id}")

    async def _check_lost_legs(self) -> None:
        """Look for legs that others closed while nobody listened."""
        differs = await self._recovery.symbols_that_differ()
        for trade in list(self._records.book.live_trades()):
            if trade.status is not TradeStatus.OPEN or differs.isdisjoint(trade.symbols):
                continue
            async with self._locks.hold(trade.symbols):
                lost = [await self._closer.adopt_foreign_exits(trade, leg) for leg in LegName if trade.held[leg] != 0]
            if any(lost):
                self._leg_lost(trade)

    # Signals

    def submit(self, signal: TradingSignal) -> None:
        """Take a signal without waiting; its outcome goes to the ledger."""
        self._spawn(self.execute_signal(signal), f"{signal.signal_type}-{signal.pair_id}")

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
            await self._halt_pair(signal.pair_id, error)
            self._outcomes.resolve(signal, SignalOutcome.FAILED, DenialCode.INTERNAL, {"why": type(error).__name__})
            return Outcome(executed=False, denial=DenialCode.INTERNAL)

    async def _enter(self, signal: TradingSignal) -> Outcome:
        pair = self._pairs.get(signal.pair_id)
        if pair is None:
            return self._deny(signal, Denied(DenialCode.PAIR_CLOSE_ONLY, {"why": "no longer configured"}))
        if self._locks.busy(pair.symbols):
            return self._deny(signal, Denied(DenialCode.SYMBOL_BUSY, {}))
        async with self._locks.hold(pair.symbols):  # Free locks: this does not wait.
            situation = self._assessor.situation(signal, pair, journal_broken=self._records.broken)
            verdict = review(situation, self._assessor.limits)
            if isinstance(verdict, Denied):
                return self._deny(signal, verdict)
            plan, intents = self._assessor.plan(verdict, pair)
            self._switches.reserved[pair.pair_id] = situation.order_notional_usd
            self._tell(self._desk.trade_opening, pair.pair_id)
            try:
                opened = await self._opener.open(plan, intents)
            except DuplicateEntry:
                return self._deny(signal, Denied(DenialCode.DUPLICATE, {"trade_id": plan.trade_id}))
            finally:
                self._switches.reserved.pop(pair.pair_id, None)
        trade = self._records.book.trades[plan.trade_id]
        if not opened.hedged:
            return await self._rolled_back(signal, trade, opened.refusal)
        self.counters.executed += 1
        self._outcomes.resolve(signal, SignalOutcome.EXECUTED, None, {}, trade.trade_id)
        self._records.log.info(
            "trade_opened",
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            side=str(plan.side),
            quantity_a=str(trade.held[LegName.A]),
            quantity_b=str(trade.held[LegName.B]),
            z=round(plan.entry_z, 3),
            expected_edge_usd=str(round(plan.expected_edge_usd, 4)),
            naked_seconds=trade.naked_seconds(),
        )
        self._tell(self._desk.trade_opened, trade.pair_id, held_of(trade))
        return Outcome(executed=True)

    async def _rolled_back(self, signal: TradingSignal, trade: TradeState, refusal: str) -> Outcome:
        self.counters.rolled_back += 1
        if trade.status.is_over:
            metrics.observe_naked(trade)
        code = DenialCode.EXCHANGE_REFUSED if refusal else DenialCode.ROLLED_BACK
        facts = {"refusal": refusal, "cost_usd": str(-trade.net_pnl_usd)}
        self._outcomes.resolve(signal, SignalOutcome.FAILED, code, facts, trade.trade_id)
        self._records.log.warning(
            "trade_rolled_back",
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            naked_seconds=trade.naked_seconds(),
            **facts,
        )
        self._tell(self._desk.trade_failed, trade.pair_id)
        self._finish_later(trade)
        return Outcome(executed=False, denial=code)

    def _deny(self, signal: TradingSignal, denied: Denied) -> Outcome:
        if signal.pair_id not in self._records.book.open_by_pair:
            self._tell(self._desk.denied, signal.pair_id)
        return self._outcomes.deny(signal, denied)

    # Exits

    async def _exit(self, signal: TradingSignal) -> Outcome:
        trade = self._records.book.open_by_pair.get(signal.pair_id)
        if trade is None or trade.status is not TradeStatus.OPEN:
            return self._deny(signal, Denied(DenialCode.PAIR_BUSY, {"why": "no open trade to close"}))
        await self._close(trade, EXIT_REASON_OF[signal.signal_type], signal.z_score)
        self._outcomes.resolve(signal, SignalOutcome.EXECUTED, None, {}, trade.trade_id)
        return Outcome(executed=True)

    async def flatten(self, pair_ids: Sequence[PairId], *, wait_seconds: float) -> dict[str, str]:
        """Close open trades on the operator's word; says what became of each pair within the time given."""
        told: dict[str, str] = {}
        closing: dict[PairId, asyncio.Task[None]] = {}
        for pair_id in pair_ids:
            trade = self._records.book.open_by_pair.get(pair_id)
            if trade is None:
                told[pair_id] = "nothing open"
                continue
            if trade.status is not TradeStatus.OPEN:
                told[pair_id] = f"already {trade.status}"
                continue
            told[pair_id] = "closing"
            work = self._close(trade, ExitReason.FLATTENED, None)
            closing[pair_id] = self._spawn(work, f"{SignalType.FLATTEN}-{pair_id}")
        if closing and wait_seconds > 0:
            done, _ = await asyncio.wait(closing.values(), timeout=wait_seconds)
            open_still = self._records.book.open_by_pair
            told |= {pair: "closed" for pair, task in closing.items() if task in done and pair not in open_still}
        return told

    def abandon(self, pair_id: PairId) -> None:
        """A pair that can no longer judge its own exits is closed, not left to luck."""
        trade = self._records.book.open_by_pair.get(pair_id)
        if trade is not None and trade.status is TradeStatus.OPEN:
            self._spawn(self._close(trade, ExitReason.FLATTENED, None), f"abandon-{pair_id}")

    async def _close(self, trade: TradeState, reason: ExitReason, exit_z: float | None) -> None:
        """One exit from lock to flat. Failing here halts the pair, never the others."""
        self._tell(self._desk.trade_closing, trade.pair_id)
        try:
            rounds = 0
            while True:
                async with self._locks.hold(trade.symbols):
                    if trade.status.is_over and trade.is_flat:
                        self._tell(self._desk.trade_failed, trade.pair_id)  # Closed by whoever held the lock before.
                        return
                    await self._closer.close(trade, reason=reason, exit_z=exit_z)
                    status = TradeStatus.ROLLED_BACK if reason is ExitReason.ROLLED_BACK else TradeStatus.CLOSED
                    if await self._closer.finish(trade, status=status, reason=reason, exit_z=exit_z):
                        break
                # Not flat, or not verified: others may use the symbols until the next round.
                rounds += 1
                await self._records.clock.sleep(round_pause_seconds(rounds))
        except JournalBroken as error:
            self._halt(f"journal broken: {error}")
            return
        except Exception as error:  # noqa: BLE001  (Top of a task.)
            await self._halt_pair(trade.pair_id, error)
            return
        self.counters.closed += 1
        metrics.observe_naked(trade)
        self._records.log.info(
            "trade_closed",
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            reason=str(reason),
            net_pnl_usd=str(round(trade.net_pnl_usd, 4)),
            fees_usd=str(round(trade.fees_usd, 4)),
            naked_seconds=trade.naked_seconds(),
        )
        stopped = (-1 if trade.plan.side is PairSide.SELL else 1) if reason is ExitReason.STOPPED else 0
        present = self._records.book.open_by_pair.get(trade.pair_id)
        if present is not None and present.status is TradeStatus.OPEN:
            # What closed was an older trade that a late fill had re-opened; the signals are about the present one.
            self._tell(self._desk.trade_opened, trade.pair_id, held_of(present))
        else:
            self._tell(self._desk.trade_closed, trade.pair_id, stopped)
        now_ms = self._records.clock.now_ms()
        self._records.book.forget_ended_before(now_ms - FORGET_AFTER_MS)

    def _finish_later(self, trade: TradeState) -> None:
        """A rollback that could not be verified flat within its bound goes on by itself, the symbols free meanwhile."""
        if not trade.status.is_over:
            self._spawn(self._close(trade, ExitReason.ROLLED_BACK, None), f"rollback-{trade.trade_id}")

    async def _resume(self, trade: TradeState) -> None:
        """One trade that the last process left in the middle."""
        self._resuming.add(trade.trade_id)
        try:
            if trade.status is TradeStatus.OPENING:
                async with self._locks.hold(trade.symbols):
                    opened = await self._opener.settle(trade)
                self._records.log.info("resumed", pair_id=trade.pair_id, trade_id=trade.trade_id, hedged=opened.hedged)
                if opened.hedged:
                    self._tell(self._desk.trade_opened, trade.pair_id, held_of(trade))
                else:
                    self._tell(self._desk.trade_closed, trade.pair_id, 0)  # The signals had taken it for an open one.
                    self._finish_later(trade)
                return
            if trade.status is TradeStatus.OPEN:
                self._records.drive(trade.trade_id)
                await self._driver.conclude(trade.unsettled())
                self._records.release(trade.trade_id)
                if trade.is_hedged:
                    self._tell(self._desk.trade_opened, trade.pair_id, held_of(trade))
                    return
        except JournalBroken as error:
            self._halt(f"journal broken: {error}")
            return
        except Exception as error:  # noqa: BLE001  (Top of a task.)
            await self._halt_pair(trade.pair_id, error)
            return
        finally:
            self._resuming.discard(trade.trade_id)
        await self._close(trade, trade.exit_reason or ExitReason.ROLLED_BACK, trade.exit_z)

    async def _halt_pair(self, pair_id: PairId, error: Exception) -> None:
        """A bug or a world we do not model: this pair stops, a human is paged, everything it holds stays known."""
        kind = "invariant_broken" if isinstance(error, InvariantBroken) else "pair_failed"
        self._records.log.error(kind, pair_id=pair_id, why=f"{type(error).__name__}: {error}"[:500])
        self._tell(self._desk.trade_failed, pair_id)
        try:
            await freeze(self._records, pair_id, for_ms=HALTED_MS, reason=type(error).__name__)
        except JournalBroken as broken:
            self._halt(f"journal broken: {broken}")

    def _tell(self, what: Callable[..., None], *facts: Any) -> None:
        """A pair that the desk has dropped must not keep a leg of it from being closed."""
        try:
            what(*facts)
        except InvariantBroken as error:
            self._records.log.warning("not_on_the_desk", why=str(error))
