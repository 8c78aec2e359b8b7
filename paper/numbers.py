"""Decimals as the exchange prints and rounds them."""

from decimal import ROUND_DOWN, Decimal

ZERO = Decimal(0)
E8 = Decimal("0.00000001")


def q8(number: Decimal) -> Decimal:
    """Round to the eight decimals in which money is booked."""
    return number.quantize(E8)


def plain(number: Decimal) -> str:
    """Shortest plain notation: no exponent, no trailing zeros."""
    if not number:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed8(number: Decimal) -> str:
    """Eight decimals, as amounts of money are printed."""
    return format(number, ".8f")


def stepped(number: Decimal, step: Decimal) -> str:
    """As many decimals as the step has; zero stays "0"."""
    return format(number.quantize(step), "f") if number else "0"


def floor_to(number: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of the step."""
    return (number / step).to_integral_value(rounding=ROUND_DOWN) * step
