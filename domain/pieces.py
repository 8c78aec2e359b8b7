"""How large the next closing order is, and whether it may carry the reduce-only flag.

The exchange knows one net position a symbol; several of our trades and a person may share it. Closing what *this* trade holds
may reduce the net position, open it the other way, or both. Reduce-only is the safe form, and exempt from the minimum
notional; where it cannot be had the order is plain, and must pass every filter.
"""

from decimal import ROUND_CEILING, Decimal

import msgspec

from domain.escalation import Escalation, Remedy
from domain.instruments import Instrument, round_quantity
from domain.orders import OrderType

ZERO = Decimal(0)


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One order to come. `adds`: it enlarges what we hold, so that the rest becomes large enough to be closed."""

    quantity: Decimal
    order_type: OrderType
    reduce_only: bool
    adds: bool = False


def is_dust(held: Decimal, instrument: Instrument) -> bool:
    """True for a holding below one lot step: no order can name it. It comes about only when the exchange coarsens a step."""
    return held != 0 and abs(held) < instrument.step


def next_piece(
    *,
    held: Decimal,
    net: Decimal,
    instrument: Instrument,
    price: Decimal | None,
    state: Escalation,
) -> Piece:
    """The next order towards zero. Sent again and again, with `held` and `net` as they become, the sum of all is `held`.

    `held` is this trade's signed holding (not dust), `net` the account's signed position, `price` the lower of mark and touch
    (None: no quote, so no notional can be judged). Reduce-only up to the net position, plain for the rest, in this order and
    never at once, because the exchange may match two orders in either order; one plain order when the two parts would not pass
    the filters; when not even that passes, a small addition first.
    """
    order_type = OrderType.LIMIT if state.ladder_step or _only_limits_fit(held, instrument) else OrderType.MARKET
    lot = _Lot(instrument, order_type, price, state)
    wanted = abs(held)
    reducible = ZERO if state.is_plain or (net > 0) != (held > 0) else abs(net)
    if reducible >= wanted:
        quantity = lot.cut(wanted, lot.smallest)
        if quantity:
            return Piece(quantity=quantity, order_type=order_type, reduce_only=True)
    elif reducible > 0:
        quantity = lot.rounded(reducible)
        if quantity >= lot.smallest and lot.passes(wanted - quantity):
            return Piece(quantity=lot.cut(quantity, lot.smallest), order_type=order_type, reduce_only=True)
        if state.remedy is Remedy.REDUCE and quantity >= lot.smallest:
            return Piece(quantity=lot.cut(quantity, lot.smallest), order_type=order_type, reduce_only=True)
    if lot.passes(wanted):
        quantity = lot.cut(wanted, lot.smallest_plain)
        return Piece(quantity=quantity, order_type=order_type, reduce_only=False)
    return Piece(quantity=lot.smallest_plain, order_type=order_type, reduce_only=False, adds=True)


def _only_limits_fit(held: Decimal, instrument: Instrument) -> bool:
    """What is left is finer than the market order's step, but not than the limit order's."""
    return abs(held) < instrument.quantity_step(OrderType.MARKET)


class _Lot:
    """The quantities that one order of this type may have."""

    def __init__(self, instrument: Instrument, order_type: OrderType, price: Decimal | None, state: Escalation) -> None:
        is_market = order_type is OrderType.MARKET
        self.step = instrument.quantity_step(order_type)
        smallest = (
            max(instrument.quantity_min, instrument.market_quantity_min) if is_market else instrument.quantity_min
        )
        self.smallest = self._up(max(smallest, self.step))
        largest = min(instrument.quantity_max, instrument.market_quantity_max) if is_market else instrument.quantity_max
        if state.quantity_max is not None:
            largest = min(largest, state.quantity_max)
        self.largest = max(self.rounded(largest), self.smallest)
        # Refused as too small: our minimum is outdated, or the mark has moved.
        notional_min = instrument.notional_min_usd * 2**state.enlargements
        self.smallest_plain = self.smallest
        if price is not None:
            self.smallest_plain = max(self.smallest, self._up(notional_min / price))
        # Refused for our rounding although the rules are fresh: a coarser one fits every finer step.
        self._coarse = self.step * 10 ** max(0, state.roundings - 1)

    def _up(self, quantity: Decimal) -> Decimal:
        return (quantity / self.step).to_integral_value(ROUND_CEILING) * self.step

    def rounded(self, quantity: Decimal) -> Decimal:
        return round_quantity(quantity, self.step)

    def passes(self, quantity: Decimal) -> bool:
        """Whether so much can be closed by plain orders."""
        return self.rounded(quantity) >= self.smallest_plain

    def cut(self, wanted: Decimal, smallest: Decimal) -> Decimal:
        """At most the largest order and at least `smallest`, leaving nothing or at least `smallest`; 0 when that cannot be."""
        whole = self.rounded(wanted)
        if whole < smallest:
            return ZERO
        quantity = min(whole, max(self.largest, smallest))
        if 0 < whole - quantity < smallest and whole - smallest >= smallest:
            quantity = whole - smallest
        coarse = round_quantity(quantity, self._coarse)
        return coarse if coarse >= smallest else quantity
