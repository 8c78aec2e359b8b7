"""One account with its orders, trades and income, indexed for the questions clients ask."""

from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal

from paper.account import Account, AccountPosition, Income, Trade
from paper.numbers import ZERO
from paper.orders import Order

ORDERS_KEPT_MAX = 100_000
ROWS_KEPT_MAX = 200_000


class Portfolio:
    """Memory of one account. Final orders, trades and income are kept up to a bound, oldest forgotten first."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.orders: dict[int, Order] = {}
        self.open: dict[int, Order] = {}
        self.latest: dict[str, int] = {}  # Client id to the latest order that carried it.
        self.trades: deque[Trade] = deque(maxlen=ROWS_KEPT_MAX)
        self.incomes: deque[Income] = deque(maxlen=ROWS_KEPT_MAX)

    def remember(self, order: Order) -> None:
        """Add a new order, forgetting the oldest final ones beyond the bound."""
        self.orders[order.order_id] = order
        self.latest[order.client_order_id] = order.order_id
        if order.open:
            self.open[order.order_id] = order
        if len(self.orders) > ORDERS_KEPT_MAX:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = next((order for order in self.orders.values() if not order.open), None)
        if oldest is not None:
            del self.orders[oldest.order_id]
            if self.latest.get(oldest.client_order_id) == oldest.order_id:
                del self.latest[oldest.client_order_id]

    def find(self, symbol: str, order_id: int | None, client_order_id: str | None) -> Order | None:
        """An order by exchange id, else the latest one with the client id."""
        if order_id is None:
            order_id = self.latest.get(client_order_id or "")
        order = None if order_id is None else self.orders.get(order_id)
        return order if order is not None and order.symbol == symbol else None

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Orders that can still trade, oldest first."""
        return [order for order in self.open.values() if symbol is None or order.symbol == symbol]

    def has_open_client_id(self, client_order_id: str) -> bool:
        """Whether an open order carries this id."""
        return self.latest.get(client_order_id, 0) in self.open

    def held(self, symbol: str | None = None) -> Iterator[AccountPosition]:
        """Positions that are not flat."""
        for position in self.account.positions.values():
            if position.amount and (symbol is None or position.symbol == symbol):
                yield position

    def symbols_in_use(self) -> set[str]:
        """Symbols with a position or an open order."""
        return {position.symbol for position in self.held()} | {order.symbol for order in self.open.values()}

    def resting_notional(self, symbol: str, side: str, position_side: str) -> Decimal:
        """What open, position-increasing orders of one side would cost."""
        return sum(
            (
                order.remaining * order.price
                for order in self.open.values()
                if order.symbol == symbol
                and order.side == side
                and order.position_side == position_side
                and not order.reduce_only
            ),
            ZERO,
        )

    def reducing_orders(self, symbol: str, position_side: str) -> list[Order]:
        """Open orders that may only reduce this position."""
        return [
            order
            for order in self.open.values()
            if order.symbol == symbol and order.reduces and order.position_side == position_side
        ]

    def load(self, orders: Iterable[Order], trades: Iterable[Trade], incomes: Iterable[Income]) -> None:
        """Fill an empty portfolio from storage, oldest first."""
        for order in orders:
            self.remember(order)
        self.trades.extend(trades)
        self.incomes.extend(incomes)
