"""How much of each leg: leg b by notional, leg a by the hedge ratio, both rounded, and the hedge error that rounding left."""

from decimal import Decimal

import msgspec

from domain.instruments import Instrument, round_quantity, round_quantity_nearest
from domain.orders import OrderType


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """Quantities in base units; `hedge_error` is |qty_a − h·qty_b| / (h·qty_b)."""

    quantity_a: Decimal
    quantity_b: Decimal
    hedge_error: float


class TooSmall(msgspec.Struct, frozen=True, kw_only=True):
    """Rounding leaves nothing tradable, or too crooked a hedge; the notional that would do."""

    why: str
    notional_usd_min: Decimal


def size_pair(
    *,
    notional_usd: Decimal,
    hedge_ratio: Decimal,
    price_a: Decimal,
    price_b: Decimal,
    instrument_a: Instrument,
    instrument_b: Instrument,
    hedge_error_max: float,
) -> Sized | TooSmall:
    """qty_b = notional / price_b down to the step, qty_a = hedge_ratio · qty_b to the nearest step.

    Sized for market orders as well as limits, because what is opened by a limit may have to be closed by a market order.
    """
    step_a = instrument_a.quantity_step(OrderType.MARKET)
    step_b = instrument_b.quantity_step(OrderType.MARKET)
    quantity_b = round_quantity(notional_usd / price_b, step_b)
    quantity_a = round_quantity_nearest(hedge_ratio * quantity_b, step_a)
    smallest = smallest_notional_usd(
        hedge_ratio=hedge_ratio,
        price_a=price_a,
        price_b=price_b,
        instrument_a=instrument_a,
        instrument_b=instrument_b,
        hedge_error_max=hedge_error_max,
    )
    short = (
        _shortfall("leg a", quantity_a, price_a, instrument_a)
        or _shortfall("leg b", quantity_b, price_b, instrument_b)
    )  # fmt: skip
    if short is not None:
        return TooSmall(why=short, notional_usd_min=smallest)
    wanted_a = hedge_ratio * quantity_b
    error = float(abs(quantity_a - wanted_a) / wanted_a)
    if error > hedge_error_max:
        why = f"rounding leg a to {step_a} leaves a hedge error of {error:.2%}, above {hedge_error_max:.2%}"
        return TooSmall(why=why, notional_usd_min=smallest)
    return Sized(quantity_a=quantity_a, quantity_b=quantity_b, hedge_error=error)


def _quantity_min(instrument: Instrument) -> Decimal:
    return max(instrument.quantity_min, instrument.market_quantity_min)


def _shortfall(leg: str, quantity: Decimal, price: Decimal, instrument: Instrument) -> str | None:
    if quantity < _quantity_min(instrument):
        return f"{leg}: {quantity} {instrument.symbol} is below the minimum quantity {_quantity_min(instrument)}"
    if quantity * price < instrument.notional_min_usd:
        return f"{leg}: {quantity * price:.2f} USD is below the minimum notional {instrument.notional_min_usd}"
    return None


def smallest_notional_usd(
    *,
    hedge_ratio: Decimal,
    price_a: Decimal,
    price_b: Decimal,
    instrument_a: Instrument,
    instrument_b: Instrument,
    hedge_error_max: float,
) -> Decimal:
    """The notional of leg b at which both legs pass their minima and the rounding error is within tolerance for sure."""
    step_a = instrument_a.quantity_step(OrderType.MARKET)
    step_b = instrument_b.quantity_step(OrderType.MARKET)
    # Half a step of a is the worst rounding; it must not exceed the tolerated share of qty_a.
    quantity_a = max(
        _quantity_min(instrument_a),
        instrument_a.notional_min_usd / price_a,
        step_a / 2 / Decimal(str(hedge_error_max)),
    )
    quantity_b = max(
        (quantity_a + step_a) / hedge_ratio,
        _quantity_min(instrument_b),
        instrument_b.notional_min_usd / price_b,
    )
    return (quantity_b + step_b) * price_b
