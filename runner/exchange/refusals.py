"""Which answers prove that an order was NOT executed. Everything that is not in this table is UNKNOWN.

Source: the exchange's error documentation and, where it is vague, its own words ("execution status unknown"). A code is listed
only when it is decided before the matching engine could have accepted the order. HTTP 503 in its other forms, 408, an unparsable
body, a lost connection and every code nobody has listed are not proof.
"""

from collections.abc import Mapping
from types import MappingProxyType

# Decided by the gateway before the order exists. The HTTP status matters: the same code under a 5xx proves nothing.
_GATEWAY_400: dict[int | None, str] = {
    -1014: "unsupported order combination",
    -1015: "too many new orders",
    -1020: "unsupported operation",
    -1021: "timestamp outside recvWindow: not accepted",
    -1022: "bad signature",
    -1100: "illegal characters",
    -1101: "too many parameters",
    -1102: "mandatory parameter missing",
    -1103: "unknown parameter",
    -1104: "not all parameters read",
    -1105: "empty parameter",
    -1106: "parameter not required",
    -1111: "precision over the maximum",
    -1114: "timeInForce not required",
    -1115: "invalid timeInForce",
    -1116: "invalid order type",
    -1117: "invalid side",
    -1121: "invalid symbol",
    -1122: "invalid symbol status",
    -1128: "combination of parameters invalid",
    -1130: "parameter data invalid",
    -1131: "recvWindow too large",
    -1136: "invalid response type",
}
# Decided by the order service's own checks.
_ORDER_400: dict[int | None, str] = {
    -2010: "new order rejected",
    -2018: "balance insufficient",
    -2019: "margin insufficient",
    -2022: "reduce-only rejected",
    -2023: "account in liquidation",
    -2024: "position insufficient",
    -2025: "too many open orders",
    -2026: "type not supported with reduce-only",
    -2027: "position above the leverage's maximum",
    -2028: "leverage smaller than permitted",
    -4001: "price below zero",
    -4002: "price above maximum",
    -4003: "quantity not above zero",
    -4004: "quantity below minimum",
    -4005: "quantity above maximum",
    -4013: "price below minimum",
    -4014: "price off the tick",
    -4015: "client id too long",
    -4016: "limit price too high",
    -4023: "quantity off the step",
    -4024: "limit price too low",
    -4055: "amount must be positive",
    -4060: "invalid position side",
    -4061: "position side against the mode",
    -4062: "improper reduce-only",
    -4087: "reduce-only orders only",
    -4088: "no orders currently",
    -4109: "account inactive",
    -4118: "reduce-only failed",
    -4120: "type belongs to the algo service",
    -4131: "counterparty's price outside PERCENT_PRICE",
    -4140: "symbol not open for positions",
    -4141: "symbol is closed",
    -4164: "notional below minimum",
    -4192: "cooling-off period",
    -4400: "quantitative rules: reduce-only",
    -4401: "compliance: reduce-only",
    -5021: "FOK not fillable",
    -5022: "post-only would take",
    -5028: "timestamp outside the matching engine's recvWindow",
}
REFUSALS: frozenset[tuple[int, int | None]] = frozenset(
    {(400, code) for code in (*_GATEWAY_400, *_ORDER_400)}
    | {(401, -2014), (401, -2015), (400, -2014), (400, -2015), (401, -1002)}
    # The throttle in front of everything: documented as "the request was not processed".
    | {(429, None), (429, -1003), (429, -1015), (418, None), (418, -1003), (400, -1003)}
    | {(503, -1008)}
)

MEANINGS: Mapping[int | None, str] = MappingProxyType(
    {
        **_GATEWAY_400,
        **_ORDER_400,
        -1002: "not authorised",
        -1003: "too many requests: not processed",
        -1008: "overloaded, order not accepted",
        -2014: "bad API key",
        -2015: "API key, address or permission refused",
        None: "throttled or banned: not processed",
    }
)
"""In the exchange's sense, shortened; for people."""

# An element of a batch carries no status of its own; its request was answered with 200.
BATCH_ELEMENT_STATUS = 400


def is_refusal(http_status: int, code: int | None) -> bool:
    """True only when the pair is on the allow-list."""
    return (http_status, code) in REFUSALS
