"""Why an exchange said no, in words that are no exchange's own. Each adapter has a table from its codes to these.

A kind, once written to a journal by a release, is never renamed or removed: old rows are read for ever.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec


class RefusalKind(StrEnum):
    """What a refusal is about."""

    # The order against the account.
    INSUFFICIENT_MARGIN = "insufficient_margin"
    POSITION_LIMIT = "position_limit"  # The position would be larger than its leverage allows.
    REDUCE_ONLY_REJECTED = "reduce_only_rejected"  # It would not reduce, or may not be reduce-only.
    REDUCE_ONLY_REQUIRED = "reduce_only_required"  # Only what reduces the position is let through.
    TOO_MANY_OPEN_ORDERS = "too_many_open_orders"
    LIQUIDATION = "liquidation"  # The exchange is closing the account's positions itself.
    ACCOUNT_MODE = "account_mode"  # Somebody changed how the account holds its positions.
    NOT_PERMITTED = "not_permitted"  # This account may not trade (this): a person has to arrange it.
    # The order against the contract's rules.
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    OFF_TICK = "off_tick"
    OFF_STEP = "off_step"
    FILTER = "filter"  # One of the contract's rules; the exchange did not say which.
    PRICE_BAND = "price_band"  # Our limit is outside the band.
    NO_PRICE_IN_BAND = "no_price_in_band"  # The best price of the other side is.
    NOT_TRADING = "not_trading"
    UNSUPPORTED_TYPE = "unsupported_type"
    # The order against the book.
    WOULD_TAKE = "would_take"  # Post-only, and somebody stood there.
    NOT_FILLABLE = "not_fillable"  # Fill-or-kill, and nobody did.
    REJECTED = "rejected"  # No reason given.
    # The request.
    MALFORMED = "malformed"  # A bug of ours.
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"  # The exchange's own failure. Never proof of anything.
    CLOCK = "clock"
    KEY = "key"
    # Answers to other requests than orders.
    NO_SUCH_ORDER = "no_such_order"
    DUPLICATE_ID = "duplicate_id"
    LEVERAGE_INVALID = "leverage_invalid"
    NO_CHANGE = "no_change"
    HAS_ORDERS = "has_orders"
    HAS_POSITION = "has_position"
    SESSION_EXPIRED = "session_expired"  # The account's event stream has to be opened anew.

    UNLISTED = "unlisted"  # A code that the adapter's table does not have.


_K = RefusalKind

# fmt: off
ADVICE: Mapping[RefusalKind, str] = MappingProxyType({
    _K.INSUFFICIENT_MARGIN: "deposit, or lower `risk.pair_notional_usd`",
    _K.POSITION_LIMIT: "lower `risk.leverage` or the size of the pairs",
    _K.REDUCE_ONLY_REJECTED: "none; look for orders and positions that are not Tandem's in this contract",
    _K.REDUCE_ONLY_REQUIRED: "read the exchange's notice to the account; nothing new can be opened meanwhile",
    _K.TOO_MANY_OPEN_ORDERS: "cancel resting orders that are not Tandem's",
    _K.LIQUIDATION: "deposit; the exchange is closing positions",
    _K.ACCOUNT_MODE: "switch the account back to one-way mode",
    _K.NOT_PERMITTED: "read the exchange's notice to the account",
    _K.TOO_LARGE: "none; the order is split",
    _K.TOO_SMALL: "none; the rules are read again",
    _K.OFF_TICK: "none; the rules are read again",
    _K.OFF_STEP: "none; the rules are read again",
    _K.FILTER: "none; the rules are read again",
    _K.PRICE_BAND: "none; the limit is moved",
    _K.NO_PRICE_IN_BAND: "none; the market has run away from its own index",
    _K.NOT_TRADING: "see the exchange's announcements for this contract",
    _K.UNSUPPORTED_TYPE: "none; the other order type is tried",
    _K.WOULD_TAKE: "none",
    _K.NOT_FILLABLE: "none",
    _K.REJECTED: "read the message beside it",
    _K.MALFORMED: "report it: a request of ours is wrong",
    _K.THROTTLED: "look for other programs that use this address or key",
    _K.UNAVAILABLE: "none; see the exchange's status page if it lasts",
    _K.CLOCK: "check the machine's time synchronisation",
    _K.KEY: "check key, secret, permissions and allowed addresses",
    _K.NO_SUCH_ORDER: "none",
    _K.DUPLICATE_ID: "none; the order is looked up",
    _K.LEVERAGE_INVALID: "lower `risk.leverage`",
    _K.NO_CHANGE: "none",
    _K.HAS_ORDERS: "cancel the contract's resting orders, then start again",
    _K.HAS_POSITION: "close what is held in the contract, then start again",
    _K.SESSION_EXPIRED: "none; the stream is opened anew",
    _K.UNLISTED: "read the message beside it, and report the code",
})
# fmt: on
"""What a person should do, when the exchange's table has nothing more exact."""

CodeReader = Callable[[str], RefusalKind]
"""The kind that an exchange's code stands for."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal, as the journal keeps it. Decisions rest on the kind; code and message are for people."""

    kind: RefusalKind
    code: str = ""  # As the exchange writes it.
    message: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.message}".strip()


def unlisted(_code: str) -> RefusalKind:
    """For a reader that knows no exchange's codes."""
    return RefusalKind.UNLISTED


def refusal_of_text(text: str, kind_of_code: CodeReader) -> Refusal:
    """What a journal row of before RefusalKind says: "<code> <message>"."""
    code, _, message = text.partition(" ")
    return Refusal(kind=kind_of_code(code), code=code, message=message)
