"""Which answers prove that an order was NOT executed. Everything that is not in this table is UNKNOWN.

A row is here only when it is decided before the matching engine could have accepted the order, and its source says so. The HTTP
status matters: the same code under a 5xx proves nothing. HTTP 503 in its other forms, 408, an unparsable body, a lost connection
and every code nobody has listed are not proof.

Two that Binance's general information calls failed are left out on purpose: the plain-text 503 "Service Unavailable", because
every proxy on the way says the same, and -1001 "Internal error", because its name in the error codes is DISCONNECTED. A wrong
*refused* doubles an order, a wrong *unknown* costs the seconds of a proof.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_LIMITS = "General info, limits: requests over the limit are not processed"
_RETURN_CODES = "General info, HTTP 503: throttled by system-level protection, a failure"
_TIMING = "General info, timing security: a request outside its window is not accepted"
_SERVER = "Error codes, 10xx: refused by the gateway"
_REQUEST = "Error codes, 11xx: a malformed request"
_PROCESSING = "Error codes, 20xx: refused by the order service"
_KEYS = "Error codes, 10xx and 20xx: not authorised"
_FILTERS = "Error codes, 40xx: filters and account rules"
_EXECUTION = "Error codes, 50xx: refused at the matching engine's door"


class Refusal(NamedTuple):
    """One kind of answer that is a definite no."""

    http_status: int
    code: int | None  # None: a body without one.
    meaning: str  # In the exchange's sense, shortened; for people.
    source: str  # Where Binance's documentation of USD-M futures says so.


# fmt: off
TABLE: tuple[Refusal, ...] = (
    # A throttle or a ban in front of everything.
    Refusal(429, None, "throttled or banned: not processed", _LIMITS),
    Refusal(418, None, "throttled or banned: not processed", _LIMITS),
    Refusal(400, -1003, "too many requests: not processed", _LIMITS),
    Refusal(418, -1003, "too many requests: not processed", _LIMITS),
    Refusal(429, -1003, "too many requests: not processed", _LIMITS),
    Refusal(400, -1015, "too many new orders", _LIMITS),
    Refusal(429, -1015, "too many new orders", _LIMITS),
    Refusal(503, -1008, "overloaded, order not accepted", _RETURN_CODES),
    # Who asks.
    Refusal(401, -1002, "not authorised", _KEYS),
    Refusal(400, -2014, "bad API key", _KEYS),
    Refusal(401, -2014, "bad API key", _KEYS),
    Refusal(400, -2015, "API key, address or permission refused", _KEYS),
    Refusal(401, -2015, "API key, address or permission refused", _KEYS),
    # The gateway, before the order exists.
    Refusal(400, -1014, "unsupported order combination", _SERVER),
    Refusal(400, -1020, "unsupported operation", _SERVER),
    Refusal(400, -1021, "timestamp outside recvWindow: not accepted", _TIMING),
    Refusal(400, -1022, "bad signature", _SERVER),
    Refusal(400, -1100, "illegal characters", _REQUEST),
    Refusal(400, -1101, "too many parameters", _REQUEST),
    Refusal(400, -1102, "mandatory parameter missing", _REQUEST),
    Refusal(400, -1103, "unknown parameter", _REQUEST),
    Refusal(400, -1104, "not all parameters read", _REQUEST),
    Refusal(400, -1105, "empty parameter", _REQUEST),
    Refusal(400, -1106, "parameter not required", _REQUEST),
    Refusal(400, -1111, "precision over the maximum", _REQUEST),
    Refusal(400, -1114, "timeInForce not required", _REQUEST),
    Refusal(400, -1115, "invalid timeInForce", _REQUEST),
    Refusal(400, -1116, "invalid order type", _REQUEST),
    Refusal(400, -1117, "invalid side", _REQUEST),
    Refusal(400, -1121, "invalid symbol", _REQUEST),
    Refusal(400, -1122, "invalid symbol status", _REQUEST),
    Refusal(400, -1128, "combination of parameters invalid", _REQUEST),
    Refusal(400, -1130, "parameter data invalid", _REQUEST),
    Refusal(400, -1131, "recvWindow too large", _REQUEST),
    Refusal(400, -1136, "invalid response type", _REQUEST),
    # The order service's own checks.
    Refusal(400, -2010, "new order rejected", _PROCESSING),
    Refusal(400, -2018, "balance insufficient", _PROCESSING),
    Refusal(400, -2019, "margin insufficient", _PROCESSING),
    Refusal(400, -2022, "reduce-only rejected", _PROCESSING),
    Refusal(400, -2023, "account in liquidation", _PROCESSING),
    Refusal(400, -2024, "position insufficient", _PROCESSING),
    Refusal(400, -2025, "too many open orders", _PROCESSING),
    Refusal(400, -2026, "type not supported with reduce-only", _PROCESSING),
    Refusal(400, -2027, "position above the leverage's maximum", _PROCESSING),
    Refusal(400, -2028, "leverage smaller than permitted", _PROCESSING),
    Refusal(400, -4001, "price below zero", _FILTERS),
    Refusal(400, -4002, "price above maximum", _FILTERS),
    Refusal(400, -4003, "quantity not above zero", _FILTERS),
    Refusal(400, -4004, "quantity below minimum", _FILTERS),
    Refusal(400, -4005, "quantity above maximum", _FILTERS),
    Refusal(400, -4013, "price below minimum", _FILTERS),
    Refusal(400, -4014, "price off the tick", _FILTERS),
    Refusal(400, -4015, "client id too long", _FILTERS),
    Refusal(400, -4016, "limit price too high", _FILTERS),
    Refusal(400, -4023, "quantity off the step", _FILTERS),
    Refusal(400, -4024, "limit price too low", _FILTERS),
    Refusal(400, -4055, "amount must be positive", _FILTERS),
    Refusal(400, -4060, "invalid position side", _FILTERS),
    Refusal(400, -4061, "position side against the mode", _FILTERS),
    Refusal(400, -4062, "improper reduce-only", _FILTERS),
    Refusal(400, -4087, "reduce-only orders only", _FILTERS),
    Refusal(400, -4088, "no orders currently", _FILTERS),
    Refusal(400, -4109, "account inactive", _FILTERS),
    Refusal(400, -4118, "reduce-only failed", _FILTERS),
    Refusal(400, -4120, "type belongs to the algo service", _FILTERS),
    Refusal(400, -4131, "counterparty's price outside PERCENT_PRICE", _FILTERS),
    Refusal(400, -4140, "symbol not open for positions", _FILTERS),
    Refusal(400, -4141, "symbol is closed", _FILTERS),
    Refusal(400, -4164, "notional below minimum", _FILTERS),
    Refusal(400, -4192, "cooling-off period", _FILTERS),
    Refusal(400, -4400, "quantitative rules: reduce-only", _FILTERS),
    Refusal(400, -4401, "compliance: reduce-only", _FILTERS),
    Refusal(400, -5021, "FOK not fillable", _EXECUTION),
    Refusal(400, -5022, "post-only would take", _EXECUTION),
    Refusal(400, -5028, "timestamp outside the matching engine's recvWindow", _TIMING),
)
# fmt: on
REFUSALS: frozenset[tuple[int, int | None]] = frozenset((row.http_status, row.code) for row in TABLE)
MEANINGS: Mapping[int | None, str] = MappingProxyType({row.code: row.meaning for row in TABLE})

# An element of a batch carries no status of its own; its request was answered with 200.
BATCH_ELEMENT_STATUS = 400


def is_refusal(http_status: int, code: int | None) -> bool:
    """True only when the pair is on the allow-list."""
    return (http_status, code) in REFUSALS
