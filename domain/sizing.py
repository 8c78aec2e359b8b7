"""How much of each leg: leg b by notional, leg a by the hedge ratio, both rounded, and the hedge error that rounding left.

What an entry opens must be closable however little of it fills. A close may be reduce-only, and is then exempt from MIN_NOTIONAL
(never from the lot filters), unless somebody else holds the other way in the same symbol: another pair, or a person. Then

- a part of an order may be too small to be closed again, so the leg is filled *whole* or not at all (FOK);
- the whole of it must pass MIN_NOTIONAL as a plain order on the day it is closed, after prices have fallen: `CLOSE_MARGIN`.
"""

import functools
from decimal import Decimal

import msgspec

from domain.instruments import Instrument, round_quantity, round_quantity_nearest
from domain.orders import OrderType

CLOSE_MARGIN = Decimal("1.5")
"""Times MIN_NOTIONAL, where the close will be a plain order: prices may fall by a third until then."""


class Sized(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Quantities in base units; `hedge_error` is |qty_a − h·qty_b| / (h·qty_b)."""

    quantity_a: Decimal
    quantity_b: Decimal
    hedge_error: float
    whole_a: bool = False  # A part of it might be too small to be closed again: all or nothing.
    whole_b: bool = False


class TooSmall(msgspec.Struct, frozen=True, kw_only=True):
    """Rounding leaves nothing tradable, or too large a hedge error; the notional that would do."""

    why: str
    notional_usd_min: Decimal


class TooLarge(msgspec.Struct, frozen=True, kw_only=True):
    """A leg would be more than one entry order may be; the notional that would do. (A close may be several orders.)"""

    why: str
    notional_usd_max: Decimal


def size_pair(
    *,
    notional_usd: Decimal,
    hedge_ratio: Decimal,
    price_a: Decimal,
    price_b: Decimal,
    instrument_a: Instrument,
    instrument_b: Instrument,
    hedge_error_max: float,
    exempt_a: bool = True,
    exempt_b: bool = True,
) -> Sized | TooSmall | TooLarge:
    """qty_b = notional / price_b down to the step, qty_a = hedge_ratio · qty_b to the nearest step.

    Sized for market orders as well as limits, because what is opened by a limit may have to be closed by a market order. `exempt`:
    the close of this leg will be reduce-only, because nobody else holds the other way.
    """
    step_a = instrument_a.quantity_step(OrderType.MARKET)
    step_b = instrument_b.quantity_step(OrderType.MARKET)
    quantity_b = round_quantity(notional_usd / price_b, step_b)
    quantity_a = round_quantity_nearest(hedge_ratio * quantity_b, step_a)
    smallest = functools.partial(
        smallest_notional_usd,
        hedge_ratio=hedge_ratio,
        price_a=price_a,
        price_b=price_b,
        instrument_a=instrument_a,
        instrument_b=instrument_b,
        hedge_error_max=hedge_error_max,
        exempt_a=exempt_a,
        exempt_b=exempt_b,
    )
    short = (
        _shortfall("leg a", quantity_a, price_a, instrument_a, exempt=exempt_a)
        or _shortfall("leg b", quantity_b, price_b, instrument_b, exempt=exempt_b)
    )  # fmt: skip
    if short is not None:
        return TooSmall(why=short, notional_usd_min=smallest())
    excess = _excess("leg a", quantity_a, instrument_a) or _excess("leg b", quantity_b, instrument_b)
    if excess is not None:
        quantity_b_max = min(instrument_b.quantity_max, instrument_a.quantity_max / hedge_ratio)
        return TooLarge(why=excess, notional_usd_max=round_quantity(quantity_b_max, step_b) * price_b)
    wanted_a = hedge_ratio * quantity_b
    error = float(abs(quantity_a - wanted_a) / wanted_a)
    if error > hedge_error_max:
        why = f"rounding leg a to {step_a} leaves a hedge error of {error:.2%}, above {hedge_error_max:.2%}"
        return TooSmall(why=why, notional_usd_min=smallest())
    return Sized(
        quantity_a=quantity_a,
        quantity_b=quantity_b,
        hedge_error=error,
        whole_a=not instrument_a.any_part_closes(price_a, reduce_only=exempt_a),
        whole_b=not instrument_b.any_part_closes(price_b, reduce_only=exempt_b),
    )


def _notional_min_usd(instrument: Instrument, *, exempt: bool) -> Decimal:
    return instrument.notional_min_usd * (1 if exempt else CLOSE_MARGIN)


def _shortfall(leg: str, quantity: Decimal, price: Decimal, instrument: Instrument, *, exempt: bool) -> str | None:
    if quantity < instrument.closable_min:
        return f"{leg}: {quantity} {instrument.symbol} is below the minimum quantity {instrument.closable_min}"
    if quantity * price < instrument.notional_min_usd:
        return f"{leg}: {quantity * price:.2f} USD is below the minimum notional {instrument.notional_min_usd}"
    if quantity * price < _notional_min_usd(instrument, exempt=exempt):
        return (
            f"{leg}: {quantity * price:.2f} USD is below {CLOSE_MARGIN} times the minimum notional"
            f" {instrument.notional_min_usd}: others hold the other way in {instrument.symbol}, so its close is no reduce-only order"
        )
    return None


def _excess(leg: str, quantity: Decimal, instrument: Instrument) -> str | None:
    if quantity <= instrument.quantity_max:
        return None
    return f"{leg}: {quantity} {instrument.symbol} is above the maximum quantity {instrument.quantity_max}"


def smallest_notional_usd(
    *,
    hedge_ratio: Decimal,
    price_a: Decimal,
    price_b: Decimal,
    instrument_a: Instrument,
    instrument_b: Instrument,
    hedge_error_max: float,
    exempt_a: bool = True,
    exempt_b: bool = True,
) -> Decimal:
    """The notional of leg b at which both legs pass their minima and the rounding error is within tolerance for sure."""
    step_a = instrument_a.quantity_step(OrderType.MARKET)
    step_b = instrument_b.quantity_step(OrderType.MARKET)
    # Half a step of a is the worst rounding; it must not exceed the tolerated share of qty_a.
    quantity_a = max(
        instrument_a.closable_min,
        _notional_min_usd(instrument_a, exempt=exempt_a) / price_a,
        step_a / 2 / Decimal(str(hedge_error_max)),
    )
    quantity_b = max(
        (quantity_a + step_a) / hedge_ratio,
        instrument_b.closable_min,
        _notional_min_usd(instrument_b, exempt=exempt_b) / price_b,
    )
    return (quantity_b + step_b) * price_b
