"""The exchange's books: accounts, their fills and money, ids from counters, and what must be stored and published."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from paper import events
from paper.account import Account, AccountPosition, Income, Trade
from paper.errors import ApiError
from paper.market import Market
from paper.numbers import ZERO, q8
from paper.options import CoreOptions
from paper.orders import Order
from paper.portfolio import Portfolio

FIRST_ORDER_ID = 8_389_765_000
FIRST_TRADE_ID = 501_234_000
FIRST_TRANSACTION_ID = 9_689_322_000


class Counters(msgspec.Struct, kw_only=True):
    """The last ids given out."""

    order_id: int = FIRST_ORDER_ID
    trade_id: int = FIRST_TRADE_ID
    transaction_id: int = FIRST_TRANSACTION_ID
    listen_keys: int = 0


class Changes:
    """What a transaction must store: the latest of each touched row."""

    __slots__ = ("accounts", "incomes", "orders", "trades")

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.orders: dict[int, Order] = {}
        self.trades: list[Trade] = []
        self.incomes: list[Income] = []

    def __bool__(self) -> bool:
        return bool(self.accounts or self.orders or self.trades or self.incomes)


class Books:
    """All accounts. Every change of money or of a position passes through here, and only here."""

    def __init__(self, market: Market, options: CoreOptions, counters: Counters | None = None) -> None:
        self.market = market
        self.options = options
        self.counters = counters or Counters()
        self.portfolios: dict[str, Portfolio] = {}
        self.resting: dict[str, dict[int, Order]] = {}
        self.changes = Changes()
        self.outbox: list[tuple[str, events.Event]] = []
        self.liquidations: list[Order] = []  # For the public forceOrder stream.

    def open_account(self, key: str, secret: str, balance_usdt: Decimal, now_ms: int) -> Portfolio:
        """Create an account. Raises: VenueError -4000 when the key is taken."""
        if key in self.portfolios:
            raise ApiError(-4000, f"Account '{key}' exists already.")
        account = Account(
            key=key,
            secret=secret,
            wallet=balance_usdt,
            deposited=balance_usdt,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        portfolio = self.portfolios[key] = Portfolio(account)
        self.touch(portfolio, now_ms)
        if balance_usdt:
            self.book_income(portfolio, "TRANSFER", "", balance_usdt, now_ms, info="TRANSFER", to_wallet=False)
        return portfolio

    def restore(self, portfolio: Portfolio) -> None:
        """Take over an account from storage."""
        self.portfolios[portfolio.account.key] = portfolio
        for order in portfolio.open.values():
            self.resting.setdefault(order.symbol, {})[order.order_id] = order

    def touch(self, portfolio: Portfolio, now_ms: int) -> None:
        """Mark an account as changed."""
        portfolio.account.updated_ms = now_ms
        self.changes.accounts[portfolio.account.key] = portfolio.account

    def drain_changes(self) -> Changes:
        """What happened since the last call, to be stored in one transaction."""
        changes, self.changes = self.changes, Changes()
        return changes

    def drain_outbox(self) -> list[tuple[str, events.Event]]:
        """User events since the last call, in order, by account."""
        outbox, self.outbox = self.outbox, []
        return outbox

    def drain_liquidations(self) -> list[Order]:
        """Liquidation orders since the last call."""
        liquidations, self.liquidations = self.liquidations, []
        return liquidations

    def publish(self, portfolio: Portfolio, event: events.Event) -> None:
        """Queue a user event."""
        self.outbox.append((portfolio.account.key, event))

    def next_order_id(self) -> int:
        """A fresh order id."""
        self.counters.order_id += 1
        return self.counters.order_id

    def new_listen_key(self, key: str) -> str:
        """A fresh 64-character listen key."""
        self.counters.listen_keys += 1
        return hashlib.sha256(f"{key}:{self.counters.listen_keys}".encode()).hexdigest()

    def book_income(
        self,
        portfolio: Portfolio,
        kind: str,
        symbol: str,
        amount: Decimal,
        now_ms: int,
        *,
        info: str,
        trade_id: str = "",
        to_wallet: bool = True,
    ) -> None:
        """Move money into (or out of) the wallet and write the row that says why."""
        self.counters.transaction_id += 1
        income = Income(
            transaction_id=self.counters.transaction_id,
            account_key=portfolio.account.key,
            symbol=symbol,
            kind=kind,
            amount=amount,
            info=info,
            trade_id=trade_id,
            time_ms=now_ms,
        )
        portfolio.incomes.append(income)
        self.changes.incomes.append(income)
        if to_wallet:
            portfolio.account.wallet += amount
        self.touch(portfolio, now_ms)

    def admit(self, portfolio: Portfolio, order: Order, now_ms: int) -> None:
        """Take a new order into the books and tell its owner."""
        portfolio.remember(order)
        self.resting.setdefault(order.symbol, {})[order.order_id] = order
        self.changes.orders[order.order_id] = order
        self.publish(portfolio, events.order_trade_update(order, "NEW", now_ms))

    def fill(
        self,
        portfolio: Portfolio,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        now_ms: int,
        *,
        maker: bool,
        fee_rate: Decimal | None = None,
        execution: str = "TRADE",
        reason: str = "ORDER",
    ) -> Trade:
        """Book one execution: order, position, fee, realised profit, and both user events."""
        if fee_rate is None:
            fee_rate = self.options.maker_fee_rate if maker else self.options.taker_fee_rate
        commission = q8(price * quantity * fee_rate)
        position = portfolio.account.position(order.symbol, order.position_side)
        realized = position.apply(quantity * order.sign, price)
        position.updated_ms = now_ms
        order.filled += quantity
        order.quote_filled += price * quantity
        order.updated_ms = now_ms
        order.status = "PARTIALLY_FILLED" if order.remaining else "FILLED"
        self.counters.trade_id += 1
        trade = Trade(
            trade_id=self.counters.trade_id,
            order_id=order.order_id,
            account_key=portfolio.account.key,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            price=price,
            quantity=quantity,
            commission=commission,
            realized=realized,
            maker=maker,
            time_ms=now_ms,
        )
        portfolio.trades.append(trade)
        self.changes.trades.append(trade)
        self.changes.orders[order.order_id] = order
        trade_id = str(trade.trade_id)
        if commission:
            self.book_income(
                portfolio, "COMMISSION", order.symbol, -commission, now_ms, info=trade_id, trade_id=trade_id
            )
        if realized:
            self.book_income(
                portfolio, "REALIZED_PNL", order.symbol, realized, now_ms, info=trade_id, trade_id=trade_id
            )
        self.touch(portfolio, now_ms)
        if not order.open:
            self.forget_resting(portfolio, order)
        self.publish(portfolio, events.order_trade_update(order, execution, now_ms, trade))
        if self.options.trade_lite and execution == "TRADE":
            self.publish(portfolio, events.trade_lite(order, trade, now_ms))
        self.publish_position(portfolio, position, reason, now_ms)
        self._drop_stale_reduce_only(portfolio, position, now_ms)
        return trade

    def publish_position(self, portfolio: Portfolio, position: AccountPosition, reason: str, now_ms: int) -> None:
        """ACCOUNT_UPDATE for the wallet and one position."""
        mark_price = self.market.mark(position.symbol).mark_price
        row = (position, mark_price, self.break_even(position))
        self.publish(portfolio, events.account_update(portfolio.account, reason, now_ms, positions=(row,)))

    def break_even(self, position: AccountPosition) -> Decimal:
        """The entry price with the taker fee on top of it."""
        if not position.amount:
            return ZERO
        sign = 1 if position.amount > 0 else -1
        return q8(position.entry_price * (1 + sign * self.options.taker_fee_rate))

    def end(self, portfolio: Portfolio, order: Order, status: str, now_ms: int, *, expiry_reason: int = 0) -> None:
        """Take an order out of the books: CANCELED, EXPIRED or EXPIRED_IN_MATCH."""
        order.status = status
        order.expiry_reason = expiry_reason
        order.updated_ms = now_ms
        self.changes.orders[order.order_id] = order
        self.forget_resting(portfolio, order)
        execution = "CANCELED" if status == "CANCELED" else "EXPIRED"
        self.publish(portfolio, events.order_trade_update(order, execution, now_ms))

    def forget_resting(self, portfolio: Portfolio, order: Order) -> None:
        """The order can no longer trade."""
        portfolio.open.pop(order.order_id, None)
        rows = self.resting.get(order.symbol)
        if rows is not None:
            rows.pop(order.order_id, None)

    def _drop_stale_reduce_only(self, portfolio: Portfolio, position: AccountPosition, now_ms: int) -> None:
        """Resting reduce-only orders expire once there is nothing left for them to reduce."""
        if not portfolio.open:
            return
        for order in portfolio.reducing_orders(position.symbol, position.side):
            if position.amount * order.sign >= 0:
                self.end(portfolio, order, "EXPIRED", now_ms, expiry_reason=4)

    def totals(self) -> Mapping[str, int]:
        """Sizes, for the control endpoint."""
        return {
            "accounts": len(self.portfolios),
            "open_orders": sum(len(portfolio.open) for portfolio in self.portfolios.values()),
            "orders": sum(len(portfolio.orders) for portfolio in self.portfolios.values()),
            "trades": sum(len(portfolio.trades) for portfolio in self.portfolios.values()),
        }
