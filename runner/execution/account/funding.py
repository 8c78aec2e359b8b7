"""Funding settlements: read from the account's income, given to the trades that held the symbol."""

import asyncio
from decimal import Decimal

from domain.entries import FundingPaid
from domain.orders import LegName
from domain.symbols import Symbol
from domain.trades import ZERO, TradeState
from runner.exchange.port import Account, Reading
from runner.execution.account.background import attempt
from runner.execution.context import Context
from runner.execution.orders.store import TradeStore

FUNDING_SECONDS = 300.0
FUNDING_AFTER_EVENT_SECONDS = 3.0
"""One settlement arrives as many events."""


class FundingBooker:
    """Books every settlement once."""

    def __init__(
        self,
        context: Context,
        *,
        exchange: Account,
        store: TradeStore,
        since_ms: int,
    ) -> None:
        self._context, self._book, self._clock = context, context.book, context.clock
        self._exchange = exchange
        self._store = store
        self._since_ms = since_ms
        self._due = asyncio.Event()

    def settled(self) -> None:
        """The user stream says a settlement happened."""
        self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._exchange.has_room(Reading.FUNDING):
                await attempt(self._context, self.book)
            try:
                async with asyncio.timeout(FUNDING_SECONDS):
                    await self._due.wait()
                await self._clock.sleep(FUNDING_AFTER_EVENT_SECONDS)
            except TimeoutError:
                pass
            self._due.clear()

    async def book(self) -> None:
        """Give every settlement since the last look to the trades that held the symbol, pro rata. Raises: ExchangeError."""
        for payment in await self._exchange.funding_payments(since_ms=self._since_ms):
            for trade, amount in self._shares(payment.symbol, payment.at_ms, payment.amount_usd):
                paid = FundingPaid(
                    at_ms=payment.at_ms,
                    trade_id=None if trade is None else trade.trade_id,
                    symbol=payment.symbol,
                    amount_usd=amount,
                    transaction_id=payment.transaction_id,
                )
                if not self._book.knows_funding(paid.unique_key):
                    await self._store.establish(paid)
            self._since_ms = max(self._since_ms, payment.at_ms)

    def _shares(self, symbol: Symbol, at_ms: int, amount: Decimal) -> list[tuple[TradeState | None, Decimal]]:
        """By signed holding, so that two pairs on opposite sides of one symbol pay and receive each their own."""
        holdings: list[tuple[TradeState, Decimal]] = []
        for trade in self._book.trades.values():
            alive = trade.plan.at_ms <= at_ms and (trade.ended_ms is None or trade.ended_ms >= at_ms)
            for leg in LegName:
                if alive and trade.symbol_of(leg) == symbol:
                    quantity = trade.entered[leg] * trade.plan.side.side_of(leg).sign
                    holdings.append((trade, quantity))
        net = sum((quantity for _, quantity in holdings), ZERO)
        if net == 0:
            return [(None, amount)]
        return [(trade, amount * quantity / net) for trade, quantity in holdings if quantity != 0]
