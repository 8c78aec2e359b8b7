"""What the rest of the runner knows of an exchange. No word of any particular one; adapters satisfy these by shape.

Orders and the account: `Exchange`, `Account`, `Rules`, `ContractSource`, `TimeSource` with `ExchangeClock`.
Market data: `KlineSource`, `QuoteFeed`. Streams: `AccountEvents`, `ContractHints`.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
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


@dataclass(frozen=True, slots=True)
class UserNews:
    """One event of the account's own stream: the order as it now stands, and the execution that changed it, if one did."""

    report: OrderReport
    fill: Fill | None
    is_reduce_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPayment:
    """One settlement of one symbol. Negative: paid. Positive: received."""

    symbol: Symbol
    amount_usd: Decimal
    at_ms: int
    transaction_id: str


class Reading(StrEnum):
    """What is read beside the trading, when the request budget has room for it."""

    BALANCE = "balance"
    SETTINGS = "settings"
    FEES = "fees"
    FUNDING = "funding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """USD figures of the account."""

    wallet_usd: Decimal
    unrealized_usd: Decimal
    available_usd: Decimal


class Exchange(Protocol):
    """Orders, executions and positions. Every call is bounded by its own time-out."""

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
        """Let the exchange cancel every open order of the symbol, whoever made it, unless armed again in time; 0 disarms.

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

    def is_forced(self, client_order_id: str) -> bool:
        """True for the id of an order that the exchange made itself: liquidation, auto-deleveraging, delisting."""
        ...

    def clock_offset_ms(self) -> int:
        """The exchange's clock less ours, as last measured."""
        ...

    def blocked_ms(self) -> int:
        """How long the exchange's ban lasts, in which nothing may be requested; 0 when there is none."""
        ...

    def orders_blocked_ms(self, purpose: Purpose) -> int:
        """How long an order of this purpose would not be sent: a ban, the order rate, the budget's reserve; 0 when free."""
        ...


class Rules(Protocol):
    """What the exchange has said about its contracts."""

    def knows(self, symbol: Symbol) -> bool:
        """False for a contract that was never listed while we looked: there is no instrument of it."""
        ...

    def instrument(self, symbol: Symbol) -> Instrument: ...

    def funding(self, symbol: Symbol) -> FundingTerms: ...

    def taker_fee_rate(self, symbol: Symbol) -> float: ...

    def maker_fee_rate(self, symbol: Symbol) -> float: ...


class ContractSource(Rules, Protocol):
    """The same, and how it is read."""

    unreadable: frozenset[Symbol]
    """Listed, but their present rules could not be read: the older ones may be wrong."""

    async def load(self, symbols: Collection[Symbol], *, held: Collection[Symbol] = ()) -> None:
        """Read the rules of every contract. `held`: contracts that we hold, which may be listed no more.

        Raises: ConfigError for a symbol that is not listed; ExchangeError, and then the older ones still stand.
        """
        ...

    async def load_funding(self) -> None:
        """Predicted rates and intervals of every contract. Raises: ExchangeError."""
        ...

    async def load_fees(self, symbol: Symbol) -> None:
        """The account's own fees for one symbol. Raises: ExchangeError."""
        ...

    def has_fees(self, symbol: Symbol) -> bool:
        """The account's own fees of this symbol are known."""
        ...


class Account(Protocol):
    """What is read and set beside the trading."""

    def has_room(self, reading: Reading) -> bool:
        """True while the request budget lets this reading leave without touching what trading may need."""
        ...

    async def balance(self) -> Balance:
        """Raises: OutcomeUnknown, Unreachable."""
        ...

    async def funding_payments(self, *, since_ms: int) -> Sequence[FundingPayment]:
        """Settlements since then, ascending. Raises: OutcomeUnknown, Unreachable."""
        ...

    async def prepare(
        self, symbols: Sequence[Symbol], leverage: int, *, may_change: bool = True
    ) -> Mapping[Symbol, SetupProblem]:
        """Set margin type and leverage; the symbols that could not be set, and why. Without `may_change` nothing is sent.

        Raises: ConfigError when the account as a whole cannot be traded; ExchangeError.
        """
        ...


class ExchangeClock(Protocol):
    """The exchange's time, as last measured and carried on since."""

    def now_ms(self) -> int:
        """What the exchange's clock shows now, Unix milliseconds."""
        ...

    def skew_ms(self) -> int:
        """How far this machine's wall clock is ahead of the exchange's; negative when it is behind."""
        ...

    def jumped_ms(self) -> int:
        """How far the wall clock has moved against the monotonic one since the last measurement."""
        ...

    def age_seconds(self) -> float | None:
        """Since the last measurement; None before the first."""
        ...


class TimeSource(Protocol):
    """How the exchange's clock is measured."""

    clock_is_off: asyncio.Event
    """Set when the exchange refused a timestamp of ours; cleared by the next measurement."""

    async def synchronise_clock(self) -> None:
        """Raises: ExchangeError."""
        ...

    def blocked_ms(self) -> int:
        """As `Exchange.blocked_ms`."""
        ...


class KlineSource(Protocol):
    """Where closes come from."""

    async def klines(
        self, symbol: Symbol, *, interval: str, limit: int, end_ms: int | None = None
    ) -> Sequence[tuple[int, float]]:
        """(open time in ms, close), ascending; the last one may still be open. Raises: ExchangeError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedCounters:
    """Of a quote feed, since its start."""

    connections: int
    connections_open: int
    symbols: int
    symbols_stale: int
    messages: int
    reconnects: int
    rollovers: int
    refused: Mapping[str, int]
    ignored: Mapping[str, int]


class QuoteFeed(Protocol):
    """Best bids and offers, pushed to whom the feed was made with."""

    @property
    def symbols(self) -> frozenset[Symbol]:
        """What is subscribed."""
        ...

    @property
    def statistics(self) -> FeedCounters: ...

    async def watch_ticker(self, symbols: Sequence[Symbol]) -> None:
        """Watch these, too."""
        ...

    async def unwatch_ticker(self, symbols: Collection[Symbol]) -> None: ...

    async def close(self) -> None: ...


class AccountEvents(Protocol):
    """The account's own stream, calling whom it was made with. A fast path, never the only one."""

    connected: asyncio.Event

    async def run(self) -> None:
        """Connect, listen, connect again, until cancelled."""
        ...

    def mistrust(self) -> None:
        """The socket is open and silent although there was news: drop it."""
        ...


class ContractHints(Protocol):
    """News that the contracts' rules may have changed."""

    async def run(self) -> None:
        """Until cancelled."""
        ...
