"""The seam between a market (where prices come from) and the exchange (who matches orders against them).

Two clocks run here on purpose. *Server time* is the wall clock: signatures, order and trade times obey it. *Market time*
stamps books, klines and funding; a replay runs it at a hundred times the speed without making one signed request look stale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol, runtime_checkable

Level = tuple[Decimal, Decimal]
"""Price in the quote asset, quantity in the base asset."""


NO_DELIVERY_MS = 4_133_404_800_000
"""What the exchange says of a perpetual: never, in its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageBracket:
    """One step of the maintenance margin ladder: notionals in (floor, cap] in USD."""

    notional_floor: Decimal
    notional_cap: Decimal
    leverage_max: int
    maintenance_margin_rate: Decimal
    cumulative: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One perpetual contract and the rules its orders must obey (exchangeInfo's row, typed)."""

    symbol: str  # Binance id: "1000CATUSDT".
    base_asset: str
    quote_asset: str
    tick: Decimal
    step: Decimal
    price_min: Decimal
    price_max: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    market_quantity_max: Decimal
    notional_min: Decimal
    percent_price_up: Decimal
    percent_price_down: Decimal
    market_take_bound: Decimal
    price_precision: int
    quantity_precision: int
    open_orders_max: int
    onboard_ms: int
    funding_interval_hours: int
    status: str  # TRADING, SETTLING, CLOSE, ...
    brackets: tuple[LeverageBracket, ...]
    sectors: tuple[str, ...] = ()  # `underlyingSubType`.
    delivery_ms: int = NO_DELIVERY_MS  # Wall clock; changed when a delisting is announced.


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The whole book we are willing to match against: best level first, bounded depth."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    update_id: int  # Strictly increasing per symbol.
    event_ms: int  # Market time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Mark and index price with the funding that comes next."""

    symbol: str
    mark_price: Decimal
    index_price: Decimal
    funding_rate: Decimal  # Predicted for the coming settlement.
    next_funding_ms: int  # Market time.
    event_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kline:
    """One bar, open time first, prices as the exchange prints them."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_ms: int
    quote_volume: Decimal
    trades: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSettlement:
    """One settled funding rate."""

    symbol: str
    rate: Decimal
    settled_ms: int  # Market time.
    mark_price: Decimal


class Market(Protocol):
    """Where prices come from. The exchange asks, the market answers from memory; only `run` awaits."""

    @property
    def listings(self) -> Mapping[str, Listing]:
        """Every contract by symbol. A delisting replaces the row with another status."""
        ...

    def now_ms(self) -> int:
        """Market time in Unix milliseconds."""
        ...

    def book(self, symbol: str) -> Book:
        """The newest book. Raises: KeyError for an unknown symbol."""
        ...

    def mark(self, symbol: str) -> Mark:
        """Mark price and predicted funding. Raises: KeyError for an unknown symbol."""
        ...

    def klines(
        self, symbol: str, interval_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        """Ascending bars as Binance selects them; the last row is the still-open bar when the window reaches now."""
        ...

    def fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        """Settled funding rates, ascending."""
        ...

    def set_status(self, symbol: str, status: str, delivery_ms: int | None = None) -> None:
        """Change a contract's status (delisting, halt), and its announced end if one is given."""
        ...

    async def run(self, on_book: Callable[[Book], None], on_funding: Callable[[FundingSettlement], None]) -> None:
        """Move the market until cancelled, handing over each new book and each funding settlement as it happens."""
        ...

    def snapshot(self) -> bytes:
        """What a restart needs to go on at today's prices (may be empty)."""
        ...


@runtime_checkable
class PlayedByHand(Protocol):
    """A market that can be told how far to go; whether it will is its own affair."""

    def play_until(self, at_ms: int) -> None:
        """Everything up to and including this moment of market time. Raises: ValueError."""
        ...


def with_status(listing: Listing, status: str, delivery_ms: int | None) -> Listing:
    """The listing as `Market.set_status` leaves it."""
    return replace(listing, status=status, delivery_ms=listing.delivery_ms if delivery_ms is None else delivery_ms)
