"""What happens to a trade besides being opened: closed, resumed after a restart, re-opened by a late execution, left with one leg.

Whatever fails here in a way nobody foresaw freezes the pair, alerts, and is tried again: a trade is never left without a tracker.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from domain.errors import InvariantBroken, JournalBroken
from domain.ladder import step_of
from domain.orders import Fill
from domain.pairs import ExitReason, PairSide, TradeStatus
from domain.symbols import PairId, Symbol, TradeId
from domain.trades import TradeState
from runner import events, metrics
from runner.exchange.port import Exchange
from runner.execution.account.positions import PERSISTS_SECONDS, AccountPositions
from runner.execution.asking import answered
from runner.execution.context import Context
from runner.execution.entry.freezing import HALTED_MS, Freezer
from runner.execution.entry.post_only_saga import PostOnlyEntrySaga
from runner.execution.exit.saga import ExitSaga
from runner.execution.orders.store import TradeStore
from runner.execution.signal_outcomes import Counters
from runner.execution.signal_port import SignalPort, held_of
from runner.execution.symbol_locks import SymbolLocks, Urgency
from runner.execution.tasks import Tasks

FORGET_AFTER_MS = 6 * 3600 * 1000
TAKE_UP_SECONDS = (5.0, 15.0, 60.0, 300.0)
"""Pauses before a trade is taken up again whose tracker failed; the last one repeats for ever."""
CHECK_SECONDS = 60.0
"""Between looks at the account's positions that nobody asked for."""
LOOK_AGAIN_SECONDS = PERSISTS_SECONDS + 1.0
LONE_LEG = frozenset({ExitReason.ROLLED_BACK, ExitReason.OTHER_LEG_LOST})


class Lifecycle:
    """Brings trades to where they belong: hedged, or flat."""

    def __init__(
        self,
        context: Context,
        *,
        exchange: Exchange,
        store: TradeStore,
        signals: SignalPort,
        post_only_saga: PostOnlyEntrySaga,
        exit_saga: ExitSaga,
        positions: AccountPositions,
        freezer: Freezer,
        locks: SymbolLocks,
        tasks: Tasks,
        counters: Counters,
    ) -> None:
        self._context = context
        self._book, self._clock, self._log, self._halt = context.book, context.clock, context.log, context.halt
        self._exchange = exchange
        self._store = store
        self._signals = signals
        self._post_only_saga = post_only_saga
        self._exit_saga = exit_saga
        self._positions = positions
        self._freezer = freezer
        self._locks = locks
        self._tasks = tasks
        self._counters = counters
        context.notices.trade_changed.subscribe(self.late_news)
        context.notices.leg_lost.subscribe(self.leg_lost)
        self._resuming: set[TradeId] = set()
        self._check_wanted = asyncio.Event()
        self._surveying = False
        self._unexplained: dict[Symbol, Decimal] = {}
        self._checking: set[Symbol] = set()

    # Closing

    async def close(self, trade: TradeState, reason: ExitReason, exit_z: float | None) -> bool:
        """One exit from lock to flat. False: somebody else had brought it to its end. Never raises but for cancellation."""
        failures = 0
        while True:
            try:
                closed = await self._close(trade, reason, exit_z)
            except JournalBroken as error:
                self._halt(f"journal broken: {error}")
                return False
            except Exception as error:  # noqa: BLE001  (Top of a task: journal, freeze the pair, try again.)
                await self.halt_pair(trade.pair_id, error)
            else:
                break
            if self._store.broken:
                return False
            await self._clock.sleep(_take_up_seconds(failures))
            failures += 1
        if closed:
            self._report_closed(trade, reason)
        return closed

    async def _close(self, trade: TradeState, reason: ExitReason, exit_z: float | None) -> bool:
        was_opening = trade.status is TradeStatus.OPENING
        if not was_opening:
            self.report(self._signals.trade_closing, trade.pair_id)
        rounds = 0
        while True:
            urgency = Urgency.UNWIND if reason in LONE_LEG or not trade.is_hedged else Urgency.EXIT
            async with self._locks.hold(trade.symbols, urgency):
                if trade.status.is_over and trade.is_flat:
                    self.report(self._signals.trade_failed, trade.pair_id)  # Closed by whoever held the locks before.
                    return False
                if was_opening:  # It came to be open, and the signal generator heard so, while we waited.
                    self.report(self._signals.trade_closing, trade.pair_id)
                await self._exit_saga.close(trade, reason=reason, exit_z=exit_z)
                status = TradeStatus.ROLLED_BACK if reason is ExitReason.ROLLED_BACK else TradeStatus.CLOSED
                if await self._exit_saga.finish(trade, status=status, reason=reason, exit_z=exit_z):
                    return True
            # Not flat, or not verified: others may use the symbols until the next round.
            rounds += 1
            await self._clock.sleep(self._exit_saga.round_pause_seconds(rounds))

    def _report_closed(self, trade: TradeState, reason: ExitReason) -> None:
        self._counters.closed += 1
        metrics.observe_naked(trade)
        self._log.emit(
            events.TRADE_CLOSED,
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            reason=str(reason),
            net_pnl_usd=str(round(trade.net_pnl_usd, 4)),
            fees_usd=str(round(trade.fees_usd, 4)),
            naked_seconds=trade.naked_seconds(),
        )
        stopped = (-1 if trade.plan.side is PairSide.SELL else 1) if reason is ExitReason.STOPPED else 0
        present = self._book.open_by_pair.get(trade.pair_id)
        if present is not None and present.status is TradeStatus.OPEN:
            # What closed was an older trade that a late fill had re-opened; the signals are about the present one.
            self.report(self._signals.trade_opened, trade.pair_id, held_of(present))
        else:
            self.report(self._signals.trade_closed, trade.pair_id, stopped)
        now_ms = self._clock.now_ms()
        self._book.forget_ended_before(now_ms - FORGET_AFTER_MS)

    def finish_later(self, trade: TradeState) -> None:
        """A rollback that could not be verified flat within its bound goes on by itself, the symbols free meanwhile."""
        if not trade.status.is_over:
            self._tasks.spawn(self.close(trade, ExitReason.ROLLED_BACK, None), f"rollback-{trade.trade_id}")

    # Resuming

    def take_up(self, trade: TradeState, *, after_seconds: float = 0.0) -> None:
        """Somebody must drive it: the last process left it in the middle, or its tracker failed."""
        if trade.trade_id in self._resuming:
            return
        self._resuming.add(trade.trade_id)
        self._tasks.spawn(self._resume(trade, after_seconds), f"resume-{trade.trade_id}")

    async def _resume(self, trade: TradeState, after_seconds: float) -> None:
        try:
            await self._clock.sleep(after_seconds)
            if await self._settled(trade):
                await self.close(trade, trade.exit_reason or ExitReason.ROLLED_BACK, trade.exit_z)
        finally:
            self._resuming.discard(trade.trade_id)
        self.late_news(trade.trade_id)  # What came while it ended has woken nobody.

    async def _settled(self, trade: TradeState) -> bool:
        """True when it still has to be closed. Never raises but for cancellation."""
        failures = 0
        while not self._store.broken:
            try:
                return await self._settle(trade)
            except JournalBroken as error:
                self._halt(f"journal broken: {error}")
                return False
            except Exception as error:  # noqa: BLE001  (Top of a task: journal, freeze the pair, try again.)
                await self.halt_pair(trade.pair_id, error)
            await self._clock.sleep(_take_up_seconds(failures))
            failures += 1
        return False

    async def _settle(self, trade: TradeState) -> bool:
        """True when it still has to be closed."""
        async with self._locks.hold(trade.symbols, Urgency.UNWIND):
            if trade.status is TradeStatus.OPENING:
                opened = await self._post_only_saga.settle(trade)
                self._log.emit(
                    events.TRADE_RECOVERED, pair_id=trade.pair_id, trade_id=trade.trade_id, hedged=opened.hedged
                )
                if not opened.hedged:
                    self.report(
                        self._signals.trade_closed, trade.pair_id, 0
                    )  # The signals had taken it for an open one.
                    return not trade.status.is_over
            else:
                self._store.drive(trade.trade_id)
                await self._exit_saga.conclude(trade)
                self._store.release(trade.trade_id)
        if trade.status.is_over:
            return not trade.is_flat
        if trade.status is not TradeStatus.OPEN or not trade.is_hedged:
            return True
        self.report(self._signals.trade_opened, trade.pair_id, held_of(trade))
        return False

    # News that nobody waited for

    def late_news(self, trade_id: TradeId) -> None:
        """An order changed that nobody was driving: a late fill re-opens what we believed was over, or hedged."""
        trade = self._book.trades.get(trade_id)
        if trade is None or trade_id in self._resuming or self._store.is_driven(trade_id):
            return
        is_reported = bool(trade.unsettled())
        unhedged = trade.status is TradeStatus.OPEN and not trade.is_hedged
        if not (is_reported or unhedged or (trade.status.is_over and not trade.is_flat)):
            return
        self._log.emit(events.LATE_FILL, pair_id=trade.pair_id, trade_id=trade_id)
        if trade.status.is_over or trade.status is TradeStatus.OPEN:
            self.take_up(trade)

    def leg_lost(self, trade: TradeState) -> None:
        """The exchange closed one leg (ADL, liquidation, delisting): close the other one."""
        self._log.emit(events.OTHER_LEG_CLOSED_EXTERNALLY, pair_id=trade.pair_id, trade_id=trade.trade_id)
        self._tasks.spawn(self.close(trade, ExitReason.OTHER_LEG_LOST, None), f"other-leg-{trade.trade_id}")

    async def watch(self) -> None:
        """Compare the account with our books: when asked, and from time to time. Until cancelled."""
        seconds = LOOK_AGAIN_SECONDS  # What could not be told at start, an answer that persists does.
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._check_wanted.wait()
            seconds = LOOK_AGAIN_SECONDS if self._check_wanted.is_set() else CHECK_SECONDS
            self._check_wanted.clear()
            self._surveying = True
            doubtful = await answered(self._context, self._exchange, self._positions.survey)
            self._surveying = False
            if self._positions.has_to_learn:
                seconds = LOOK_AGAIN_SECONDS
            for symbol in sorted(doubtful):
                if symbol not in self._checking:  # Else it waits for a trade, and will look when that lets go.
                    self._checking.add(symbol)
                    self._tasks.spawn(self._check(symbol), f"check-{symbol}")

    def check_soon(self) -> None:
        """Somebody may have moved our positions while nobody listened."""
        self._check_wanted.set()

    @property
    def has_to_check(self) -> bool:
        """A comparison was asked for, and the exchange has not answered it yet."""
        return self._check_wanted.is_set() or self._surveying

    async def _check(self, symbol: Symbol) -> None:
        """Look for orders that came true after all, and for legs that others closed. By symbol: none waits for another's trade."""
        try:
            async with self._locks.hold([symbol], Urgency.CHECK):
                self._checking.discard(symbol)
                finding = await self._positions.check([symbol])
            self._log_unexplained(finding.differences)
        except JournalBroken as error:
            self._halt(f"journal broken: {error}")
        finally:
            self._checking.discard(symbol)

    def _log_unexplained(self, differences: Mapping[Symbol, Decimal]) -> None:
        """Of trades that rest; once for each difference."""
        for symbol, difference in differences.items():
            if self._unexplained.get(symbol) != difference:
                self._unexplained[symbol] = difference
                self._log.emit(events.POSITION_UNEXPLAINED, differences={symbol: str(difference)})

    def external_fill(self, fill: Fill) -> None:
        """An execution of the exchange's own order, or of a execution's: it may have closed what one of our trades holds."""
        if self._positions.concerns_us(fill):
            self._tasks.spawn(self._absorb(fill), f"absorb-{fill.symbol}-{fill.exchange_trade_id}")

    async def _absorb(self, fill: Fill) -> None:
        try:
            async with self._locks.hold([fill.symbol], Urgency.CHECK):
                await self._positions.absorb(fill)
        except JournalBroken as error:
            self._halt(f"journal broken: {error}")

    # What nobody foresaw

    async def halt_pair(self, pair_id: PairId, error: Exception) -> None:
        """A bug or a world we do not model: this pair stops, a person is alerted, everything it holds stays known."""
        kind = events.INVARIANT_BROKEN if isinstance(error, InvariantBroken) else events.PAIR_FAILED
        self._log.emit(kind, pair_id=pair_id, why=f"{type(error).__name__}: {error}"[:500])
        self.report(self._signals.trade_failed, pair_id)
        try:
            await self._freezer.freeze(pair_id, for_ms=HALTED_MS, reason=type(error).__name__)
        except JournalBroken as broken:
            self._halt(f"journal broken: {broken}")

    def report(self, what: Callable[..., None], *facts: Any) -> None:
        """A pair that the signal generator has dropped must not keep a leg of it from being closed."""
        try:
            what(*facts)
        except InvariantBroken as error:
            self._log.emit(events.PAIR_NOT_TRACKED, why=str(error))


def _take_up_seconds(failures: int) -> float:
    return step_of(TAKE_UP_SECONDS, failures)
