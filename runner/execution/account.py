"""The account beside the trades: equity, funding, rules, clock. Background reads only; nothing here sends an order."""

import asyncio
from collections.abc import Callable, Collection
from decimal import Decimal

from domain.entries import EquitySampled, FundingPaid
from domain.errors import ExchangeError
from domain.orders import LegName
from domain.symbols import Symbol
from domain.trades import ZERO, TradeState
from runner.exchange.budget import Budget
from runner.exchange.rules import ContractRules
from runner.exchange.venue import BinanceExchange
from runner.exchange.wire import Unreadable, decimal_of
from runner.execution.records import Records
from runner.execution.situation import Switches

EQUITY_SECONDS = 10.0
FUNDING_SECONDS = 300.0
FUNDING_AFTER_EVENT_SECONDS = 3.0
RULES_SECONDS = 900.0
CLOCK_SECONDS = 600.0
WEIGHT_ACCOUNT, WEIGHT_INCOME, WEIGHT_RULES, WEIGHT_FEE = 5, 30, 12, 20


class AccountWatcher:
    """Keeps the slow facts fresh, within the request budget."""

    def __init__(
        self,
        *,
        exchange: BinanceExchange,
        rules: ContractRules,
        budget: Budget,
        records: Records,
        switches: Switches,
        symbols: Callable[[], Collection[Symbol]],
        funding_since_ms: int,
    ) -> None:
        self._exchange = exchange
        self._rules = rules
        self._budget = budget
        self._records = records
        self._switches = switches
        self._symbols = symbols
        self._funding_since_ms = funding_since_ms
        self._funding_due = asyncio.Event()

    def funding_settled(self) -> None:
        """The user stream says a settlement happened."""
        self._funding_due.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(EQUITY_SECONDS, WEIGHT_ACCOUNT, self.sample_equity), name="equity")
            group.create_task(self._every(RULES_SECONDS, WEIGHT_RULES, self.refresh_rules), name="rules")
            group.create_task(self._every(CLOCK_SECONDS, 1, self._exchange.synchronise_clock), name="clock")
            group.create_task(self._when_clock_is_off(), name="clock-off")
            group.create_task(self._fees(), name="fees")
            group.create_task(self._funding(), name="funding")

    async def _every(self, seconds: float, weight: int, work: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(seconds)
            if self._budget.allows_background_read(weight):
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
        balance = await self._exchange.balance()
        self._switches.balance = balance
        self._records.note(
            EquitySampled(
                at_ms=self._records.clock.now_ms(),
                wallet_usd=balance.wallet_usd,
                unrealized_usd=balance.unrealized_usd,
            )
        )

    async def refresh_rules(self) -> None:
        """Filters, statuses, predicted funding."""
        await self._rules.load(())
        await self._rules.load_funding()

    async def _when_clock_is_off(self) -> None:
        while True:
            await self._exchange.clock_is_off.wait()
            self._records.log.warning("clock_is_off")
            if not await self._try(self._exchange.synchronise_clock):
                await asyncio.sleep(1.0)

    async def _fees(self) -> None:
        """Each symbol's own taker fee, once, slowly: the default stands in until then."""
        while True:
            for symbol in list(self._symbols()):
                if not self._rules.has_fees(symbol) and self._budget.allows_background_read(WEIGHT_FEE):
                    await self._try(lambda symbol=symbol: self._rules.load_fees(symbol))  # type: ignore[misc]
                    await asyncio.sleep(1.0)
            await asyncio.sleep(60.0)

    async def _funding(self) -> None:
        while True:
            if self._budget.allows_background_read(WEIGHT_INCOME):
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
