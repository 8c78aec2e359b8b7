"""The account beside the trades: equity, funding, fees, set-up, legs that others closed. Nothing here sends an order."""

import asyncio
from collections.abc import Callable, Collection
from decimal import Decimal

from domain.entries import EquitySampled, FundingPaid
from domain.errors import ConfigError, ExchangeError
from domain.orders import LegName
from domain.symbols import Symbol
from domain.trades import ZERO, TradeState
from runner.exchange.binance.account_setup import SetupProblem
from runner.exchange.binance.budget import Budget, Priority
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.binance.wire import Unreadable, decimal_of
from runner.execution.entry.gate import EntryGate
from runner.execution.orders.store import TradeStore

EQUITY_SECONDS = 10.0
FUNDING_SECONDS = 300.0
FUNDING_AFTER_EVENT_SECONDS = 3.0
SETUP_RETRY_SECONDS = 30.0
SETUP_VERIFY_SECONDS = 1_800.0
LOST_LEGS_SECONDS = 120.0
LOST_LEGS_STREAM_DOWN_SECONDS = 10.0
WEIGHT_ACCOUNT, WEIGHT_INCOME, WEIGHT_FEE, WEIGHT_SETUP = 5, 30, 20, 30


class AccountMonitor:
    """Keeps the slow facts fresh, within the request budget."""

    def __init__(
        self,
        *,
        exchange: BinanceExchange,
        rules: ContractRules,
        budget: Budget,
        records: TradeStore,
        switches: EntryGate,
        symbols: Callable[[], Collection[Symbol]],
        look_for_lost_legs: Callable[[], None],
        leverage: int,
        may_change: bool,
        funding_since_ms: int,
    ) -> None:
        self._exchange = exchange
        self._rules = rules
        self._budget = budget
        self._records = records
        self._switches = switches
        self._symbols = symbols
        self._look_for_lost_legs = look_for_lost_legs
        self._leverage = leverage
        self._may_change = may_change
        self._funding_since_ms = funding_since_ms
        self._funding_due = asyncio.Event()
        self.setup_retry_seconds = SETUP_RETRY_SECONDS

    def funding_settled(self) -> None:
        """The user stream says a settlement happened."""
        self._funding_due.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(EQUITY_SECONDS, WEIGHT_ACCOUNT, self.sample_equity), name="equity")
            group.create_task(self._set_up(), name="set-up")
            group.create_task(self._lost_legs(), name="lost-legs")
            group.create_task(self._fees(), name="fees")
            group.create_task(self._funding(), name="funding")

    async def _every(self, seconds: float, weight: int, work: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(seconds)
            if self._budget.wait_ms(Priority.ACCOUNT, weight) == 0:
                await self._try(work)

    async def _try(self, work: Callable[[], object]) -> bool:
        """A background read that fails is said once per try, and tried again at its next turn."""
        try:
            result = work()
            if asyncio.iscoroutine(result):
                await result
        except (ExchangeError, Unreadable, KeyError, TypeError, ValueError) as error:
            self._records.log.warning("background_read_failed", why=f"{type(error).__name__}: {error}"[:200])
            return False
        return True

    async def sample_equity(self) -> None:
        """Wallet and unrealised profit into the journal, free margin for the guards."""
        clock = self._records.clock
        asked_ms, asked_ns = clock.now_ms(), clock.monotonic_ns()
        balance = await self._exchange.balance()
        self._switches.balance = balance
        self._switches.balance_asked_ms, self._switches.balance_asked_ns = asked_ms, asked_ns
        self._records.note(
            EquitySampled(at_ms=clock.now_ms(), wallet_usd=balance.wallet_usd, unrealized_usd=balance.unrealized_usd)
        )

    # Margin type and leverage

    async def prepare(self, symbols: Collection[Symbol]) -> dict[Symbol, SetupProblem]:
        """Set these symbols up. Until the venue has confirmed it, they are not entered; a failure is tried again.

        Returns what could not be set. Raises: ConfigError (the account's modes), ExchangeError; the symbols stay closed then.
        """
        if not self._may_change:
            await self._exchange.prepare(sorted(symbols), self._leverage, may_change=False)
            return {}
        for symbol in symbols:
            self._switches.unprepared.setdefault(symbol, "margin type and leverage are not confirmed yet")
        return await self._confirm(symbols)

    async def _confirm(self, symbols: Collection[Symbol]) -> dict[Symbol, SetupProblem]:
        unprepared = self._switches.unprepared
        try:
            problems = dict(await self._exchange.prepare(sorted(symbols), self._leverage))
        except ConfigError as error:
            unprepared.update(dict.fromkeys(symbols, str(error)))
            raise
        for symbol in symbols:
            if symbol not in problems:
                unprepared.pop(symbol, None)
        for symbol, problem in problems.items():
            if unprepared.get(symbol) != problem.why:
                self._records.log.error("symbol_not_prepared", symbol=symbol, why=problem.why, code=problem.code)
            unprepared[symbol] = problem.why
        return problems

    def settings_changed(self, symbol: Symbol | None, leverage: int | None) -> None:
        """The user stream says that somebody changed a setting of the account; None: one that concerns every symbol."""
        if not self._may_change or (symbol is not None and leverage == self._leverage):
            return
        for changed in self._symbols() if symbol is None else {symbol} & set(self._symbols()):
            self._switches.unprepared.setdefault(changed, "the account's settings were changed by somebody else")

    async def _set_up(self) -> None:
        loop = asyncio.get_running_loop()
        verified = loop.time()
        while self._may_change:
            await asyncio.sleep(self.setup_retry_seconds)
            traded = set(self._symbols())
            # What is traded no more needs no set-up, and must not be asked for ever.
            for forgotten in self._switches.unprepared.keys() - traded:
                self._switches.unprepared.pop(forgotten)
            verify = loop.time() - verified > SETUP_VERIFY_SECONDS
            due = traded if verify else traded & self._switches.unprepared.keys()
            if due and self._budget.wait_ms(Priority.ACCOUNT, WEIGHT_SETUP) == 0:
                verified = loop.time() if verify else verified
                await self._confirm_again(due)

    async def _confirm_again(self, symbols: Collection[Symbol]) -> None:
        try:
            await self._confirm(symbols)
        except ConfigError as error:
            self._records.log.error("account_not_prepared", why=str(error))
        except ExchangeError as error:
            self._records.log.warning("background_read_failed", why=f"{type(error).__name__}: {error}"[:200])

    async def _lost_legs(self) -> None:
        """Legs that others closed are told by the user stream; this is for what it does not tell."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            await asyncio.sleep(1.0)
            pause = LOST_LEGS_STREAM_DOWN_SECONDS if self._switches.user_stream_down else LOST_LEGS_SECONDS
            if loop.time() - looked >= pause:
                looked = loop.time()
                self._look_for_lost_legs()

    async def _fees(self) -> None:
        """Each symbol's own taker fee, once, slowly: the default stands in until then."""
        while True:
            for symbol in list(self._symbols()):
                if not self._rules.has_fees(symbol) and self._budget.wait_ms(Priority.BACKGROUND, WEIGHT_FEE) == 0:
                    await self._try(lambda symbol=symbol: self._rules.load_fees(symbol))  # type: ignore[misc]
                    await asyncio.sleep(1.0)
            await asyncio.sleep(60.0)

    async def _funding(self) -> None:
        while True:
            if self._budget.wait_ms(Priority.BACKGROUND, WEIGHT_INCOME) == 0:
                await self._try(self.book_funding)
            try:
                async with asyncio.timeout(FUNDING_SECONDS):
                    await self._funding_due.wait()
                await asyncio.sleep(FUNDING_AFTER_EVENT_SECONDS)  # One settlement arrives as many events.
            except TimeoutError:
                pass
            self._funding_due.clear()

    async def book_funding(self) -> None:
        """Give every settlement since the last look to the trades that held the symbol, pro rata."""
        rows = await self._exchange.funding_payments(since_ms=self._funding_since_ms)
        for row in rows:
            symbol = self._rules.symbol_of(str(row["symbol"]))
            if symbol is None:
                continue
            at_ms = int(row["time"])
            for trade, amount in self._shares(symbol, at_ms, decimal_of(row["income"])):
                paid = FundingPaid(
                    at_ms=at_ms,
                    trade_id=None if trade is None else trade.trade_id,
                    symbol=symbol,
                    amount_usd=amount,
                    transaction_id=str(row["tranId"]),
                )
                if not self._records.book.knows_funding(paid.unique_key):
                    await self._records.establish(paid)
            self._funding_since_ms = max(self._funding_since_ms, at_ms)

    def _shares(self, symbol: Symbol, at_ms: int, amount: Decimal) -> list[tuple[TradeState | None, Decimal]]:
        """By signed holding, so that two pairs on opposite sides of one symbol pay and receive each their own."""
        holdings: list[tuple[TradeState, Decimal]] = []
        for trade in self._records.book.trades.values():
            alive = trade.plan.at_ms <= at_ms and (trade.ended_ms is None or trade.ended_ms >= at_ms)
            for leg in LegName:
                if alive and trade.symbol_of(leg) == symbol:
                    quantity = trade.entered[leg] * trade.plan.side.side_of(leg).sign
                    holdings.append((trade, quantity))
        net = sum((quantity for _, quantity in holdings), ZERO)
        if net == 0:
            return [(None, amount)]
        return [(trade, amount * quantity / net) for trade, quantity in holdings if quantity != 0]
