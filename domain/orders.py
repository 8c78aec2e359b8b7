"""The life of one order: a table, and ids that are derived so that a replay asks for the same order."""

import hashlib
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import msgspec

from domain.errors import InvariantBroken
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId

CLIENT_ID_PREFIX = "tdm-"
DOLLARS = frozenset({"USDT", "USDC", "BUSD", "FDUSD", "USD", "BFUSD", "USD1"})
"""Coins that count as one US dollar."""
COIN_FEE_RATE = Decimal("0.0005")
"""Of the notional: an ordinary account's taker rate, which a fee paid in another coin (BNB, with a discount) does not exceed."""


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY

    @property
    def sign(self) -> int:
        """+1 for a purchase, −1 for a sale."""
        return 1 if self is Side.BUY else -1


class LegName(StrEnum):
    A = "a"
    B = "b"


class Purpose(StrEnum):
    ENTRY = "entry"
    EXIT = "exit"
    UNWIND = "unwind"  # Takes back what a failed entry or exit left over.


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class OrderStatus(StrEnum):
    INTENDED = "intended"  # In the journal; the request may or may not have left.
    UNKNOWN = "unknown"  # The request left and no proof of its fate exists.
    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"  # May hold fills.
    EXPIRED = "expired"  # May hold fills: an IOC's or a market order's remainder.
    REFUSED = "refused"
    DEAD = "dead"  # Proven never to have been accepted.


class OrderChange(StrEnum):
    """What the world may tell us about an order."""

    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"
    OUTCOME_UNKNOWN = "outcome_unknown"
    PROVEN_ABSENT = "proven_absent"
    NEVER_SENT = "never_sent"


_S = OrderStatus
_C = OrderChange

TERMINAL = frozenset({_S.FILLED, _S.CANCELLED, _S.EXPIRED, _S.REFUSED, _S.DEAD})


def _transitions() -> dict[tuple[OrderStatus, OrderChange], OrderStatus]:
    table: dict[tuple[OrderStatus, OrderChange], OrderStatus] = {
        (_S.INTENDED, _C.REFUSED): _S.REFUSED,
        (_S.INTENDED, _C.OUTCOME_UNKNOWN): _S.UNKNOWN,
        (_S.INTENDED, _C.PROVEN_ABSENT): _S.DEAD,  # Crashed before sending.
        (_S.INTENDED, _C.NEVER_SENT): _S.DEAD,
        (_S.UNKNOWN, _C.OUTCOME_UNKNOWN): _S.UNKNOWN,
        (_S.UNKNOWN, _C.PROVEN_ABSENT): _S.DEAD,
        (_S.UNKNOWN, _C.REFUSED): _S.REFUSED,  # An element of a batch whose reply came late.
        # A reply lost on its way back says nothing about an order we already saw working.
        (_S.OPEN, _C.OUTCOME_UNKNOWN): _S.OPEN,
        (_S.PARTIALLY_FILLED, _C.OUTCOME_UNKNOWN): _S.PARTIALLY_FILLED,
        (_S.OPEN, _C.ACCEPTED): _S.OPEN,  # Reported twice.
        (_S.PARTIALLY_FILLED, _C.ACCEPTED): _S.PARTIALLY_FILLED,  # The reply overtaken by the stream.
        (_S.PARTIALLY_FILLED, _C.PARTIALLY_FILLED): _S.PARTIALLY_FILLED,
        (_S.OPEN, _C.PARTIALLY_FILLED): _S.PARTIALLY_FILLED,
    }
    for before_acceptance in (_S.INTENDED, _S.UNKNOWN):
        table[before_acceptance, _C.ACCEPTED] = _S.OPEN
        table[before_acceptance, _C.PARTIALLY_FILLED] = _S.PARTIALLY_FILLED
    for alive in (_S.INTENDED, _S.UNKNOWN, _S.OPEN, _S.PARTIALLY_FILLED):
        table[alive, _C.FILLED] = _S.FILLED
        table[alive, _C.CANCELLED] = _S.CANCELLED
        table[alive, _C.EXPIRED] = _S.EXPIRED
    for ended in (_S.FILLED, _S.CANCELLED, _S.EXPIRED):
        # News of the past arrives late, twice and out of order; an ended order stays ended.
        for change in (_C.ACCEPTED, _C.PARTIALLY_FILLED, _C.OUTCOME_UNKNOWN):
            table[ended, change] = ended
    table[_S.FILLED, _C.FILLED] = _S.FILLED
    table[_S.CANCELLED, _C.CANCELLED] = _S.CANCELLED
    table[_S.EXPIRED, _C.EXPIRED] = _S.EXPIRED
    table[_S.CANCELLED, _C.EXPIRED] = _S.CANCELLED
    table[_S.EXPIRED, _C.CANCELLED] = _S.EXPIRED
    table[_S.CANCELLED, _C.FILLED] = _S.FILLED  # The fill raced our cancel; it is real.
    table[_S.EXPIRED, _C.FILLED] = _S.FILLED
    for believed_nothing in (_S.DEAD, _S.REFUSED):
        # The exchange is right, whatever we believed: a late order is absorbed, not denied.
        table[believed_nothing, _C.ACCEPTED] = _S.OPEN
        table[believed_nothing, _C.PARTIALLY_FILLED] = _S.PARTIALLY_FILLED
        table[believed_nothing, _C.FILLED] = _S.FILLED
        table[believed_nothing, _C.CANCELLED] = _S.CANCELLED
        table[believed_nothing, _C.EXPIRED] = _S.EXPIRED
        table[believed_nothing, _C.OUTCOME_UNKNOWN] = believed_nothing
    table[_S.DEAD, _C.PROVEN_ABSENT] = _S.DEAD
    table[_S.DEAD, _C.NEVER_SENT] = _S.DEAD
    table[_S.REFUSED, _C.REFUSED] = _S.REFUSED
    return table


TRANSITIONS: Mapping[tuple[OrderStatus, OrderChange], OrderStatus] = MappingProxyType(_transitions())


def advance(status: OrderStatus, change: OrderChange) -> OrderStatus:
    """The status after the change. Raises: InvariantBroken for a gap in the table."""
    try:
        return TRANSITIONS[status, change]
    except KeyError:
        raise InvariantBroken(f"{change} cannot happen to an order that is {status}") from None


class OrderIntent(msgspec.Struct, frozen=True, kw_only=True):
    """One leg we mean to trade. Quantities in base units, prices in quote units."""

    client_order_id: ClientOrderId
    trade_id: TradeId
    pair_id: PairId
    leg: LegName
    purpose: Purpose
    symbol: Symbol
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce | None
    quantity: Decimal
    limit_price: Decimal | None
    reduce_only: bool
    attempt: int

    @property
    def rests(self) -> bool:
        """True when the exchange would keep it in the book until somebody takes it or it is cancelled."""
        return self.time_in_force in {TimeInForce.GTC, TimeInForce.GTX}


class OrderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange says of one order, from a reply, the user stream or a query."""

    client_order_id: ClientOrderId
    exchange_order_id: str
    symbol: Symbol
    change: OrderChange
    filled: Decimal
    average_price: Decimal | None  # The immediate reply often lacks it.
    at_ms: int


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution; (symbol, exchange_trade_id) is its identity."""

    symbol: Symbol
    exchange_trade_id: str
    exchange_order_id: str
    client_order_id: ClientOrderId
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    at_ms: int

    @property
    def fee_usd_at_most(self) -> Decimal:
        """What limits count: exact in dollars; a fee in another coin, whose price nobody here knows, as the taker rate."""
        if self.fee_asset in DOLLARS:
            return self.fee
        return self.quantity * self.price * COIN_FEE_RATE if self.fee > 0 else Decimal(0)


_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _BASE36[rest] + digits
    return digits or "0"


def trade_id_of(pair_id: PairId, decided_ms: int) -> TradeId:
    """Derived from the pair and the decision's time: the same decision always has the same id."""
    fingerprint = int.from_bytes(hashlib.sha256(pair_id.encode()).digest()[:4], "big")
    return TradeId(f"{_base36(decided_ms)}{_base36(fingerprint).rjust(7, '0')[:7]}")


_PURPOSE_LETTER = {Purpose.ENTRY: "e", Purpose.EXIT: "x", Purpose.UNWIND: "u"}
_PURPOSE_OF_LETTER = {letter: purpose for purpose, letter in _PURPOSE_LETTER.items()}
_OWN_ID = re.compile(re.escape(CLIENT_ID_PREFIX) + r"[0-9a-z]+-[ab]([exu])\d+")


def client_order_id_of(trade_id: TradeId, leg: LegName, purpose: Purpose, attempt: int) -> ClientOrderId:
    """Derived, at most 36 characters of the exchange's alphabet, and unique per attempt."""
    identity = ClientOrderId(f"{CLIENT_ID_PREFIX}{trade_id}-{leg}{_PURPOSE_LETTER[purpose]}{attempt}")
    if len(identity) > 36:
        raise InvariantBroken(f"client order id {identity} is longer than 36 characters")
    return identity


def purpose_of(client_order_id: str) -> Purpose | None:
    """What an order of ours was for, by its id; None for an id of somebody else."""
    found = _OWN_ID.fullmatch(client_order_id)
    return None if found is None else _PURPOSE_OF_LETTER[found[1]]


def is_ours(client_order_id: str) -> bool:
    """True when the id carries our prefix."""
    return client_order_id.startswith(CLIENT_ID_PREFIX)
