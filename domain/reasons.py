"""Why not, as a value: a code to decide by, facts to keep, and one sentence for people. Nothing ever decides on the sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class ReasonCode(Enum):
    """Base of the families of reasons. A member is its stable code and the sentence that its facts fill."""

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence

    def because(self, **facts: Any) -> "Reason":
        """The reason with its facts."""
        return Reason(self, facts)


@dataclass(frozen=True, slots=True)
class Reason:
    """`str` gives the sentence."""

    code: ReasonCode
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        return self.code.sentence.format(**self.facts)


class FilterCode(ReasonCode):
    """Why the exchange would refuse an order by its contract's filters."""

    QUANTITY_TOO_SMALL = "quantity_too_small", "quantity {quantity} is below the minimum {minimum}"
    QUANTITY_TOO_LARGE = "quantity_too_large", "quantity {quantity} is above the maximum {maximum}"
    QUANTITY_OFF_STEP = "quantity_off_step", "quantity {quantity} is not a multiple of {step}"
    PRICE_OFF_TICK = "price_off_tick", "price {price} is not a positive multiple of the tick {tick}"
    PRICE_OUT_OF_RANGE = "price_out_of_range", "price {price} is outside {minimum} to {maximum}"
    PRICE_TOO_HIGH = "price_too_high", "price {price} is above {factor} times {reference}"
    PRICE_TOO_LOW = "price_too_low", "price {price} is below {factor} times {reference}"
    NOTIONAL_TOO_SMALL = "notional_too_small", "notional {notional:.2f} USD is below the minimum {minimum}"

    @property
    def is_too_small(self) -> bool:
        """A larger order of the kind would pass."""
        return self in {FilterCode.QUANTITY_TOO_SMALL, FilterCode.NOTIONAL_TOO_SMALL}


class LeverageCode(ReasonCode):
    """Why a position may not be held at our leverage."""

    NOT_OFFERED = "leverage_not_offered", "leverage {leverage} is above the {best} that {symbol} allows"
    NOTIONAL_TOO_LARGE = (
        "notional_too_large",
        "notional {notional:.2f} USD is above the {cap} that leverage {leverage} allows",
    )


class ClockCode(ReasonCode):
    """Why this machine's clock is not fit to trade by."""

    REFUSED = "refused", "refused: the exchange refused our timestamp and its clock has not been read since"
    UNKNOWN = "unknown", "unknown: the exchange's clock could not be read for an hour"
    SKEWED = "skewed", "skewed: this machine's clock is {skew_ms} ms {side} the exchange's; run NTP"


class SetUpCode(ReasonCode):
    """Why a symbol's margin type or leverage is not known to be what it must be."""

    NOT_CONFIRMED = "not_confirmed", "margin type and leverage are not confirmed yet"
    CHANGED_BY_OTHERS = "changed_by_others", "the account's settings were changed by somebody else"
    ACCOUNT_MODES = "account_modes", "{why}"
    NOT_SET = "not_set", "{why}"
