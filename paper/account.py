"""An account's nouns: wallet, positions, trades, income, and the exact arithmetic of a fill."""

from decimal import Decimal

import msgspec

from paper.numbers import ZERO, q8

LEVERAGE_DEFAULT = 20


class AccountPosition(msgspec.Struct, kw_only=True):
    """A signed amount and what it cost. The entry price is cost/amount, so no rounding ever loses money."""

    symbol: str
    side: str  # BOTH, LONG or SHORT.
    amount: Decimal = ZERO
    cost: Decimal = ZERO  # Signed like the amount, in the quote asset.
    realized: Decimal = ZERO  # Before fees, accumulated.
    updated_ms: int = 0

    @property
    def entry_price(self) -> Decimal:
        """Average entry price; zero when flat."""
        return q8(self.cost / self.amount) if self.amount else ZERO

    def unrealized(self, mark_price: Decimal) -> Decimal:
        """Profit if closed at the mark price."""
        return self.amount * mark_price - self.cost

    def apply(self, signed_quantity: Decimal, price: Decimal) -> Decimal:
        """Book a fill and return the profit it realised (before fees)."""
        realized = ZERO
        opening = signed_quantity
        if self.amount and (self.amount > 0) != (signed_quantity > 0):
            closing = signed_quantity if abs(signed_quantity) <= abs(self.amount) else -self.amount
            opening = signed_quantity - closing
            whole = closing == -self.amount
            cost_removed = self.cost if whole else q8(self.cost * -closing / self.amount)
            realized = -closing * price - cost_removed
            self.amount += closing
            self.cost -= cost_removed
        self.amount += opening
        self.cost += opening * price
        self.realized += realized
        return realized


class Account(msgspec.Struct, kw_only=True):
    """Everything of one API key that is not an order, a trade or an income row."""

    key: str
    secret: str
    wallet: Decimal
    deposited: Decimal
    created_ms: int
    updated_ms: int
    hedge_mode: bool = False
    multi_assets: bool = False
    reduce_only: bool = False
    positions: dict[str, AccountPosition] = msgspec.field(default_factory=dict)
    leverages: dict[str, int] = msgspec.field(default_factory=dict)
    isolated: set[str] = msgspec.field(default_factory=set)
    countdowns: dict[str, int] = msgspec.field(default_factory=dict)  # Symbol to server time of the cancel.
    listen_key: str | None = None
    listen_key_expires_ms: int = 0

    def position(self, symbol: str, side: str = "BOTH") -> AccountPosition:
        """The position, created flat when it was never touched."""
        key = f"{symbol}:{side}"
        position = self.positions.get(key)
        if position is None:
            position = self.positions[key] = AccountPosition(symbol=symbol, side=side)
        return position

    def amount(self, symbol: str, side: str = "BOTH") -> Decimal:
        """Signed position size; zero when never touched."""
        position = self.positions.get(f"{symbol}:{side}")
        return ZERO if position is None else position.amount


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of one order."""

    trade_id: int
    order_id: int
    account_key: str
    symbol: str
    side: str
    position_side: str
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realized: Decimal
    maker: bool
    time_ms: int


class Income(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the account's money history."""

    transaction_id: int
    account_key: str
    symbol: str
    kind: str
    amount: Decimal
    info: str
    trade_id: str
    time_ms: int
