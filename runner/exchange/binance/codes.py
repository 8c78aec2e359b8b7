"""All that is known of Binance's error codes: a row a (HTTP status, code). Everything else in the program is derived from it.

A row is *definite* only when the answer is given before the matching engine could have accepted the order, and its source says
so. The HTTP status matters: the same code under a 5xx proves nothing. HTTP 503 in its other forms, 408, an unparsable body, a lost
connection and every code nobody has listed are not proof. A wrong *definite* doubles an order; a wrong *not* costs the seconds of
a look-up, after which the kind still says what to change in the next order.

Not definite on purpose: the plain-text 503 "Service Unavailable", because every proxy on the way says the same; -1001 "Internal
error", because its name in the error codes is DISCONNECTED; and -1013, which the futures' error codes name INVALID_MESSAGE and do
not explain (that it "didn't reach the matching engine" is said in the documentation of spot alone).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from domain.refusals import ADVICE, RefusalKind

_LIMITS = "General info, limits: requests over the limit are not processed"
_RETURN_CODES = "General info, HTTP 503: throttled by system-level protection, a failure"
_TIMING = "General info, timing security: a request outside its window is not accepted"
_SERVER = "Error codes, 10xx: refused by the gateway"
_REQUEST = "Error codes, 11xx: a malformed request"
_PROCESSING = "Error codes, 20xx: refused by the order service"
_KEYS = "Error codes, 10xx and 20xx: not authorised"
_FILTERS = "Error codes, 40xx: filters and account rules"
_EXECUTION = "Error codes, 50xx: refused at the matching engine's door"
_UNKNOWN = "Error codes, 10xx: execution status unknown"
_SEEN = "seen by others (python-binance #1155), in no documentation of futures"

ORDER_NOT_FOUND = -2013  # Of a query.
UNKNOWN_ORDER_SENT = -2011  # Of a cancel.
TOO_MANY_NEW_ORDERS = -1015
TOO_MANY_REQUESTS = -1003


class Row(NamedTuple):
    """One answer."""

    http_status: int
    code: int | None  # None: a body without one.
    kind: RefusalKind
    meaning: str  # In the exchange's sense, shortened; for people.
    source: str  # Where Binance's documentation of USD-M futures says so.
    is_definite: bool = True  # Proof that the request was not executed.
    doubts_rules: bool = False  # Our own checks would have spared us, had we known the contract's present rules.
    what_to_do: str = ""  # For a person; "" where the kind says it all.

    @property
    def advice(self) -> str:
        """What a person should do."""
        return self.what_to_do or ADVICE[self.kind]


_K = RefusalKind
_SIGN = "sign the exchange's agreement for this kind of contract, or remove its pairs"
_REGION = "the exchange does not offer this in the account's region; remove the pair"
_COOLING = "the account's owner ordered a cooling-off period; wait for its end"
_FUND = "transfer money into the futures wallet"
_LOCKED = "unlock the account's API keys at the exchange"

# fmt: off
TABLE: tuple[Row, ...] = (
    # A throttle or a ban in front of everything.
    Row(429, None, _K.THROTTLED, "throttled or banned: not processed", _LIMITS),
    Row(418, None, _K.THROTTLED, "throttled or banned: not processed", _LIMITS),
    Row(400, TOO_MANY_REQUESTS, _K.THROTTLED, "too many requests: not processed", _LIMITS),
    Row(418, TOO_MANY_REQUESTS, _K.THROTTLED, "too many requests: not processed", _LIMITS),
    Row(429, TOO_MANY_REQUESTS, _K.THROTTLED, "too many requests: not processed", _LIMITS),
    Row(400, TOO_MANY_NEW_ORDERS, _K.THROTTLED, "too many new orders", _LIMITS),
    Row(429, TOO_MANY_NEW_ORDERS, _K.THROTTLED, "too many new orders", _LIMITS),
    Row(503, -1008, _K.THROTTLED, "overloaded, order not accepted", _RETURN_CODES),
    # Who asks.
    Row(401, -1002, _K.KEY, "not authorised", _KEYS),
    Row(400, -2008, _K.KEY, "unknown API key", _SEEN, is_definite=False),
    Row(400, -2014, _K.KEY, "bad API key", _KEYS),
    Row(401, -2014, _K.KEY, "bad API key", _KEYS),
    Row(400, -2015, _K.KEY, "API key, address or permission refused", _KEYS),
    Row(401, -2015, _K.KEY, "API key, address or permission refused", _KEYS),
    Row(400, -2017, _K.KEY, "API keys are locked", _KEYS, what_to_do=_LOCKED),
    Row(401, -2017, _K.KEY, "API keys are locked", _KEYS, what_to_do=_LOCKED),
    # The gateway, before the order exists.
    Row(400, -1014, _K.UNSUPPORTED_TYPE, "unsupported order combination", _SERVER),
    Row(400, -1020, _K.MALFORMED, "unsupported operation", _SERVER),
    Row(400, -1021, _K.CLOCK, "timestamp outside recvWindow: not accepted", _TIMING),
    Row(400, -1022, _K.KEY, "bad signature", _SERVER),
    Row(400, -1100, _K.MALFORMED, "illegal characters", _REQUEST),
    Row(400, -1101, _K.MALFORMED, "too many parameters", _REQUEST),
    Row(400, -1102, _K.MALFORMED, "mandatory parameter missing", _REQUEST),
    Row(400, -1103, _K.MALFORMED, "unknown parameter", _REQUEST),
    Row(400, -1104, _K.MALFORMED, "not all parameters read", _REQUEST),
    Row(400, -1105, _K.MALFORMED, "empty parameter", _REQUEST),
    Row(400, -1106, _K.MALFORMED, "parameter not required", _REQUEST),
    Row(400, -1111, _K.OFF_STEP, "precision over the maximum", _REQUEST, doubts_rules=True),
    Row(400, -1114, _K.MALFORMED, "timeInForce not required", _REQUEST),
    Row(400, -1115, _K.MALFORMED, "invalid timeInForce", _REQUEST),
    Row(400, -1116, _K.UNSUPPORTED_TYPE, "invalid order type", _REQUEST),
    Row(400, -1117, _K.MALFORMED, "invalid side", _REQUEST),
    Row(400, -1121, _K.NOT_TRADING, "invalid symbol", _REQUEST, doubts_rules=True),
    Row(400, -1122, _K.NOT_TRADING, "invalid symbol status", _REQUEST, doubts_rules=True),
    Row(400, -1128, _K.MALFORMED, "combination of parameters invalid", _REQUEST),
    Row(400, -1130, _K.MALFORMED, "parameter data invalid", _REQUEST),
    Row(400, -1131, _K.MALFORMED, "recvWindow too large", _REQUEST),
    Row(400, -1136, _K.MALFORMED, "invalid response type", _REQUEST),
    # The order service's own checks.
    Row(400, -2010, _K.REJECTED, "new order rejected", _PROCESSING),
    Row(400, -2018, _K.INSUFFICIENT_MARGIN, "balance insufficient", _PROCESSING),
    Row(400, -2019, _K.INSUFFICIENT_MARGIN, "margin insufficient", _PROCESSING),
    Row(400, -2020, _K.NOT_FILLABLE, "unable to fill", _PROCESSING),
    Row(400, -2022, _K.REDUCE_ONLY_REJECTED, "reduce-only rejected", _PROCESSING),
    Row(400, -2023, _K.LIQUIDATION, "account in liquidation", _PROCESSING),
    Row(400, -2024, _K.REDUCE_ONLY_REJECTED, "position insufficient", _PROCESSING),
    Row(400, -2025, _K.TOO_MANY_OPEN_ORDERS, "too many open orders", _PROCESSING),
    Row(400, -2026, _K.REDUCE_ONLY_REJECTED, "type not supported with reduce-only", _PROCESSING),
    Row(400, -2027, _K.POSITION_LIMIT, "position above the leverage's maximum", _PROCESSING, doubts_rules=True),
    Row(400, -2028, _K.INSUFFICIENT_MARGIN, "leverage smaller than permitted", _PROCESSING),
    Row(400, -4001, _K.PRICE_BAND, "price below zero", _FILTERS),
    Row(400, -4002, _K.PRICE_BAND, "price above maximum", _FILTERS),
    Row(400, -4003, _K.OFF_STEP, "quantity not above zero", _FILTERS, doubts_rules=True),
    Row(400, -4004, _K.TOO_SMALL, "quantity below minimum", _FILTERS, doubts_rules=True),
    Row(400, -4005, _K.TOO_LARGE, "quantity above maximum", _FILTERS, doubts_rules=True),
    Row(400, -4013, _K.PRICE_BAND, "price below minimum", _FILTERS),
    Row(400, -4014, _K.OFF_TICK, "price off the tick", _FILTERS, doubts_rules=True),
    Row(400, -4015, _K.MALFORMED, "client id too long", _FILTERS),
    Row(400, -4016, _K.PRICE_BAND, "limit price too high", _FILTERS),
    Row(400, -4023, _K.OFF_STEP, "quantity off the step", _FILTERS, doubts_rules=True),
    Row(400, -4024, _K.PRICE_BAND, "limit price too low", _FILTERS),
    Row(400, -4050, _K.INSUFFICIENT_MARGIN, "cross balance insufficient", _FILTERS),
    Row(400, -4055, _K.MALFORMED, "amount must be positive", _FILTERS),
    Row(400, -4060, _K.MALFORMED, "invalid position side", _FILTERS),
    Row(400, -4061, _K.ACCOUNT_MODE, "position side against the mode", _FILTERS),
    Row(400, -4062, _K.REDUCE_ONLY_REJECTED, "improper reduce-only", _FILTERS),
    Row(400, -4087, _K.REDUCE_ONLY_REQUIRED, "reduce-only orders only", _FILTERS),
    Row(400, -4088, _K.NOT_PERMITTED, "no orders currently", _FILTERS),
    Row(400, -4109, _K.NOT_PERMITTED, "account inactive", _FILTERS, what_to_do=_FUND),
    Row(400, -4118, _K.REDUCE_ONLY_REJECTED, "reduce-only failed", _FILTERS),
    Row(400, -4120, _K.MALFORMED, "type belongs to the algo service", _FILTERS),
    Row(400, -4131, _K.NO_PRICE_IN_BAND, "counterparty's price outside PERCENT_PRICE", _FILTERS),
    Row(400, -4140, _K.REDUCE_ONLY_REQUIRED, "symbol not open for positions", _FILTERS, doubts_rules=True),
    Row(400, -4141, _K.NOT_TRADING, "symbol is closed", _FILTERS, doubts_rules=True),
    Row(400, -4164, _K.TOO_SMALL, "notional below minimum", _FILTERS, doubts_rules=True),
    Row(400, -4192, _K.NOT_PERMITTED, "cooling-off period", _FILTERS, what_to_do=_COOLING),
    Row(400, -4400, _K.REDUCE_ONLY_REQUIRED, "quantitative rules: reduce-only", _FILTERS),
    Row(400, -4401, _K.REDUCE_ONLY_REQUIRED, "large-position rule: reduce-only", _FILTERS),
    Row(400, -4402, _K.NOT_PERMITTED, "not available in this region", _FILTERS, what_to_do=_REGION),
    Row(400, -4411, _K.NOT_PERMITTED, "agreement not signed", "freqtrade #12900: every order until signed", what_to_do=_SIGN),
    Row(400, -5021, _K.NOT_FILLABLE, "FOK not fillable", _EXECUTION),
    Row(400, -5022, _K.WOULD_TAKE, "post-only would take", _EXECUTION),
    Row(400, -5028, _K.CLOCK, "timestamp outside the matching engine's recvWindow", _TIMING),
    # No proof. Of orders:
    Row(400, -1000, _K.UNAVAILABLE, "unknown error", _UNKNOWN, is_definite=False),
    Row(503, -1000, _K.UNAVAILABLE, "unknown error", _UNKNOWN, is_definite=False),
    Row(400, -1001, _K.UNAVAILABLE, "internal error, disconnected", _UNKNOWN, is_definite=False),
    Row(503, -1001, _K.UNAVAILABLE, "internal error, disconnected", _UNKNOWN, is_definite=False),
    Row(400, -1006, _K.UNAVAILABLE, "unexpected response from the message bus", _UNKNOWN, is_definite=False),
    Row(400, -1007, _K.UNAVAILABLE, "time-out in the backend", _UNKNOWN, is_definite=False),
    Row(408, -1007, _K.UNAVAILABLE, "time-out in the backend", _UNKNOWN, is_definite=False),
    Row(400, -1013, _K.FILTER, "invalid message", "Error codes, 10xx: not explained", is_definite=False, doubts_rules=True),
    Row(400, -1016, _K.UNAVAILABLE, "service shutting down", _UNKNOWN, is_definite=False),
    Row(400, -4116, _K.DUPLICATE_ID, "duplicate client id: an order of that name exists", _FILTERS, is_definite=False),
    # And of what is no order.
    Row(400, -1125, _K.SESSION_EXPIRED, "unknown listen key", _REQUEST, is_definite=False),
    Row(400, UNKNOWN_ORDER_SENT, _K.NO_SUCH_ORDER, "cancel: no such working order", _PROCESSING, is_definite=False),
    Row(400, ORDER_NOT_FOUND, _K.NO_SUCH_ORDER, "query: no such order", _PROCESSING, is_definite=False),
    Row(400, -4028, _K.LEVERAGE_INVALID, "leverage not valid", _FILTERS, is_definite=False, doubts_rules=True),
    Row(400, -4046, _K.NO_CHANGE, "margin type is set already", _FILTERS, is_definite=False),
    Row(400, -4047, _K.HAS_ORDERS, "margin type: open orders", _FILTERS, is_definite=False),
    Row(400, -4048, _K.HAS_POSITION, "margin type: a position", _FILTERS, is_definite=False),
    Row(400, -4059, _K.NO_CHANGE, "position mode is set already", _FILTERS, is_definite=False),
)
# fmt: on
REFUSALS: frozenset[tuple[int, int | None]] = frozenset((row.http_status, row.code) for row in TABLE if row.is_definite)
"""Definite: the request was not executed."""
KINDS: Mapping[tuple[int, int | None], RefusalKind] = MappingProxyType(
    {(row.http_status, row.code): row.kind for row in TABLE}
)
RULES_DOUBTED: frozenset[int] = frozenset(row.code for row in TABLE if row.doubts_rules and row.code is not None)

# An element of a batch carries no status of its own; its request was answered with 200.
BATCH_ELEMENT_STATUS = 400


def is_refusal(http_status: int, code: int | None) -> bool:
    """True only when the pair is on the allow-list."""
    return (http_status, code) in REFUSALS


def kind_of(http_status: int, code: int | None) -> RefusalKind | None:
    """What the answer is about, whether it is proof or not; None when it names no code that can be believed."""
    listed = KINDS.get((http_status, code))
    if listed is not None:
        return listed
    return None if code is None or http_status >= 500 else kind_of_code(code)


def kind_of_code(code: int | str) -> RefusalKind:
    """The kind of a code whose HTTP status is not known, such as one in an old journal."""
    return next((kind for (_, listed), kind in KINDS.items() if str(listed) == str(code)), RefusalKind.UNLISTED)
