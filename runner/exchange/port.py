"""What the rest of the runner knows of an exchange. No word of any particular one; adapters satisfy these by shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from domain.edge import FundingTerms
from domain.instruments import Instrument
from domain.orders import Fill, OrderIntent, OrderReport, Purpose
from domain.refusals import Refusal
from domain.symbols import ClientOrderId, Symbol
from runner.exchange.errors import OutcomeUnknown, Refused, Unreachable

Answer = OrderReport | Refused | OutcomeUnknown | Unreachable
"""What became of one order of a request. Refused and Unreachable: it did not happen. OutcomeUnknown: look it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The account's signed holding in one symbol, whoever made it."""

    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal


@dataclass(frozen=True, slots=True)
class SetupProblem:
    """Why a symbol may not be entered: its margin or leverage is not what we count with."""

    why: str
    refusal: Refusal | None = None  # The last one, if one explains it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """USD figures of the account."""

    wallet_usd: Decimal
    unrealized_usd: Decimal
    available_usd: Decimal


class Exchange(Protocol):
    """The private half of the venue. Every call is bounded by its own time-out."""

    async def place(self, intents: Sequence[OrderIntent]) -> Sequence[Answer]:
        """Send one or two orders in one request; an answer for each, in order. Never raises an ExchangeError."""
        ...

    async def look_up(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | None:
        """None only if the exchange said that there is no such order; a failed look-up is not an absence.

        Raises: OutcomeUnknown, Unreachable.
        """
        ...

    async def owner_of(self, symbol: Symbol, exchange_order_id: str) -> ClientOrderId | None:
        """The client id that an order of this account carries; None and errors as in `look_up`."""
        ...

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | None:
        """None when the exchange knows no such working order. Raises: OutcomeUnknown, Unreachable."""
        ...

    async def arm_dead_man(self, symbol: Symbol, countdown_ms: int) -> None:
        """Let the venue cancel every open order of the symbol, whoever made it, unless asked again in time; 0 disarms.

        Raises: Refused, OutcomeUnknown, Unreachable.
        """
        ...

    async def fills(self, symbol: Symbol, *, since_ms: int, exchange_order_id: str | None = None) -> Sequence[Fill]:
        """The account's own executions. Raises: OutcomeUnknown, Unreachable."""
        ...

    async def open_orders(self) -> Sequence[OrderReport]:
        """Every resting order of the account in a listed perpetual. Raises: OutcomeUnknown, Unreachable."""
        ...

    async def positions(self) -> Mapping[Symbol, Position]:
        """Every position that is not zero. Raises: OutcomeUnknown, Unreachable."""
        ...

    async def balance(self) -> Balance:
        """Raises: OutcomeUnknown, Unreachable."""
        ...

    def clock_offset_ms(self) -> int:
        """The venue's clock less ours, as last measured."""
        ...

    def blocked_ms(self) -> int:
        """How long the venue's ban lasts, in which nothing may be asked; 0 when it listens."""
        ...

    def orders_blocked_ms(self, purpose: Purpose) -> int:
        """How long an order of this purpose would not be sent: a ban, the order rate, the budget's reserve; 0 when free."""
        ...


class Rules(Protocol):
    """What the venue has said about its contracts."""

    def knows(self, symbol: Symbol) -> bool:
        """False for a contract that was never listed while we looked: there is no instrument of it."""
        ...

    def instrument(self, symbol: Symbol) -> Instrument: ...

    def funding(self, symbol: Symbol) -> FundingTerms: ...

    def taker_fee_rate(self, symbol: Symbol) -> float: ...

    def maker_fee_rate(self, symbol: Symbol) -> float: ...
