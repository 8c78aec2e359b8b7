"""The contracts' rules, kept true: read again regularly, on the exchange's hint, and at once when a refusal contradicts them.

A contract that is halted, or whose end has been announced, is close-only at once; a trade in it is closed before the end.
"""

import asyncio
from collections.abc import Callable, Collection

from domain.errors import ConfigError
from domain.ladder import step_of
from domain.pairs import ExitReason, TradeStatus
from domain.symbols import PairId, Symbol
from domain.units import HOUR_MS
from runner import events
from runner.exchange.errors import ExchangeError
from runner.exchange.port import ContractSource, ExchangeClock
from runner.exchange.priority import Priority, with_priority
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate

RULES_SECONDS = 300.0
AGAIN_SECONDS = 2.0
"""Between two readings, however many refusals ask for one."""
AFTER_FAILURE_SECONDS = (2.0, 5.0, 10.0, 30.0)


class ContractMonitor:
    """Refreshes the rules and tells what has changed for the symbols that we trade."""

    def __init__(
        self,
        context: Context,
        *,
        rules: ContractSource,
        gate: EntryGate,
        exchange_clock: ExchangeClock,
        symbols: Callable[[], Collection[Symbol]],
        close: Callable[[PairId, ExitReason], None],
        delivery_lead_ms: int,
    ) -> None:
        self._rules = rules
        self._book, self._clock, self._log = context.book, context.clock, context.log
        self._gate = gate
        self._exchange_clock = exchange_clock
        self._symbols = symbols
        self._close = close
        self._delivery_lead_ms = delivery_lead_ms
        self._doubted: dict[Symbol, str] = {}
        self._due = asyncio.Event()
        self._close_only: set[Symbol] = set()
        self.refreshes = 0
        context.notices.rules_doubted.subscribe(self.doubt)

    def doubt(self, symbol: Symbol, code: str) -> None:
        """The exchange refused what the rules as we know them allow: no entries in this symbol until they are read again."""
        if symbol not in self._doubted:
            self._log.emit(events.RULES_DOUBTED, symbol=symbol, code=code)
        self._doubted[symbol] = code
        if self._gate.rules_doubted is not None:
            self._gate.rules_doubted |= {symbol}
        self._due.set()

    def hint(self) -> None:
        """The exchange says that some contract has changed, or may have: read the rules now."""
        self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            pause = step_of(AFTER_FAILURE_SECONDS, failures - 1) if failures else RULES_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self.refresh()
                failures = 0
            except (ExchangeError, ConfigError) as error:
                failures += 1
                self._log.emit(events.BACKGROUND_READ_FAILED, why=f"{type(error).__name__}: {error}"[:200])
            await self._clock.sleep(AGAIN_SECONDS)

    async def refresh(self) -> None:
        """Read filters, statuses, brackets and predicted funding. Raises: ExchangeError; what is known still stands then."""
        asked_for = dict(self._doubted)
        before = {symbol: self._rules.instrument(symbol) for symbol in self._known()}
        with with_priority(Priority.PROOF if asked_for else Priority.BACKGROUND):
            await self._rules.load(())
        self.refreshes += 1
        changed = sorted(symbol for symbol, known in before.items() if self._rules.instrument(symbol) != known)
        unreadable = self._rules.unreadable
        for symbol in asked_for:
            if symbol not in unreadable:
                self._doubted.pop(symbol, None)
        if asked_for or changed:
            self._log.emit(events.RULES_REFRESHED, doubted=sorted(asked_for), changed=changed)
        self.judge()
        await self._rules.load_funding()

    def _known(self) -> list[Symbol]:
        held = {symbol for trade in self._book.live_trades() for symbol in trade.symbols}
        return sorted(symbol for symbol in held | set(self._symbols()) if self._rules.knows(symbol))

    def judge(self) -> None:
        """Say what has become close-only, and close what would not be closed in time."""
        self._gate.rules_doubted = frozenset(self._doubted) | (self._rules.unreadable & set(self._known()))
        now_close_only = {symbol for symbol in self._known() if not self._rules.instrument(symbol).may_enter}
        for symbol in sorted(now_close_only - self._close_only):
            instrument = self._rules.instrument(symbol)
            self._log.emit(
                events.CONTRACT_CLOSE_ONLY,
                symbol=symbol,
                is_trading=instrument.is_trading,
                delivery_ms=instrument.delivery_ms,
            )
        for symbol in sorted(self._close_only - now_close_only):
            self._log.emit(events.CONTRACT_REOPENED, symbol=symbol)
        self._close_only = now_close_only
        exchange_ms = self._exchange_clock.now_ms()
        for trade in list(self._book.live_trades()):
            if trade.status is not TradeStatus.OPEN:
                continue
            if gone := [symbol for symbol in trade.symbols if not self._rules.knows(symbol)]:
                # One leg can be neither priced nor closed, and was perhaps settled: the other one stands alone.
                self._log.emit(events.CONTRACT_NOT_LISTED, pair_id=trade.pair_id, trade_id=trade.trade_id, symbols=gone)
                self._close(trade.pair_id, ExitReason.DELISTED)
                continue
            ends = [self._rules.instrument(symbol).delivery_ms for symbol in trade.symbols]
            soonest = min((end for end in ends if end is not None), default=None)
            if soonest is not None and soonest - exchange_ms <= self._delivery_lead_ms:
                self._log.emit(
                    events.CLOSING_BEFORE_DELIVERY,
                    pair_id=trade.pair_id,
                    trade_id=trade.trade_id,
                    delivery_in_hours=round((soonest - exchange_ms) / HOUR_MS, 2),
                )
                self._close(trade.pair_id, ExitReason.DELISTED)
