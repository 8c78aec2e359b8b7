"""A contract's trading rules, and the one place where quantities and prices are rounded to them."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Protocol

import msgspec

from domain.orders import OrderType, Side
from domain.reasons import FilterCode, LeverageCode, Reason
from domain.symbols import Symbol


class OrderTerms(Protocol):
    """As much of an order as the filters look at; an OrderIntent has it."""

    @property
    def side(self) -> Side: ...
    @property
    def order_type(self) -> OrderType: ...
    @property
    def quantity(self) -> Decimal: ...
    @property
    def limit_price(self) -> Decimal | None: ...
    @property
    def reduce_only(self) -> bool: ...


class LeverageStep(msgspec.Struct, frozen=True, kw_only=True):
    """Largest notional (USD) that may be held at this leverage or above."""

    notional_cap_usd: Decimal
    leverage_max: int


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """The filters of one contract, in the exchange's own units."""

    symbol: Symbol
    tick: Decimal
    step: Decimal
    market_step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    market_quantity_min: Decimal
    market_quantity_max: Decimal
    notional_min_usd: Decimal
    percent_price_up: Decimal
    percent_price_down: Decimal
    is_trading: bool
    leverage_steps: tuple[LeverageStep, ...] = ()
    price_min: Decimal = Decimal(0)
    price_max: Decimal | None = None  # None: unbounded, as the exchange says with 0.
    delivery_ms: int | None = None  # When the exchange will settle it by force; None: no end has been announced.

    @property
    def may_enter(self) -> bool:
        """False for a contract that is halted, or whose end has been announced, however far off it is."""
        return self.is_trading and self.delivery_ms is None

    def quantity_step(self, order_type: OrderType) -> Decimal:
        """A market order must fit both lot filters; steps are powers of ten, so the larger one fits both."""
        return max(self.step, self.market_step) if order_type is OrderType.MARKET else self.step

    @property
    def closable_min(self) -> Decimal:
        """The smallest quantity that a market order can close: both lot filters, reduce-only or not."""
        return max(self.quantity_min, self.market_quantity_min)

    def any_part_closes(self, price: Decimal, *, reduce_only: bool) -> bool:
        """Whether every part that may fill of an order can be closed again by one market order.

        Executions come in multiples of LOT_SIZE's step. A reduce-only close is exempt from MIN_NOTIONAL, never from the lots.
        """
        fits_lots = self.step == self.quantity_step(OrderType.MARKET) and self.step >= self.closable_min
        return fits_lots and (reduce_only or self.step * price >= self.notional_min_usd)


def round_quantity(quantity: Decimal, step: Decimal) -> Decimal:
    """Down to the step: never trade more than was decided."""
    return (quantity / step).to_integral_value(ROUND_FLOOR) * step


def round_quantity_nearest(quantity: Decimal, step: Decimal) -> Decimal:
    """To the nearest step: for the leg that follows the other one."""
    return (quantity / step).to_integral_value(ROUND_HALF_EVEN) * step


def round_price_within(price: Decimal, tick: Decimal, side: Side) -> Decimal:
    """To the tick, never worse than the bound: a purchase's limit down, a sale's limit up."""
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    return (price / tick).to_integral_value(rounding) * tick


def order_problem(intent: OrderTerms, instrument: Instrument, reference_price: Decimal) -> Reason | None:
    """Why the exchange would refuse this order by its filters, or None. `reference_price` is the mark or mid."""
    is_market = intent.order_type is OrderType.MARKET
    step = instrument.quantity_step(intent.order_type)
    smallest = max(instrument.quantity_min, instrument.market_quantity_min) if is_market else instrument.quantity_min
    largest = min(instrument.quantity_max, instrument.market_quantity_max) if is_market else instrument.quantity_max
    quantity = intent.quantity
    if not quantity.is_finite() or quantity < smallest:
        return FilterCode.QUANTITY_TOO_SMALL.because(quantity=quantity, minimum=smallest)
    if quantity > largest:
        return FilterCode.QUANTITY_TOO_LARGE.because(quantity=quantity, maximum=largest)
    if quantity % step != 0:
        return FilterCode.QUANTITY_OFF_STEP.because(quantity=quantity, step=step)
    price = intent.limit_price
    if price is not None:
        if price <= 0 or price % instrument.tick != 0:
            return FilterCode.PRICE_OFF_TICK.because(price=price, tick=instrument.tick)
        lowest, highest = instrument.price_min, instrument.price_max
        if price < lowest or (highest is not None and price > highest):
            return FilterCode.PRICE_OUT_OF_RANGE.because(price=price, minimum=lowest, maximum=highest)
        up, down = instrument.percent_price_up, instrument.percent_price_down
        if intent.side is Side.BUY and price > reference_price * up:
            return FilterCode.PRICE_TOO_HIGH.because(price=price, factor=up, reference=reference_price)
        if intent.side is Side.SELL and price < reference_price * down:
            return FilterCode.PRICE_TOO_LOW.because(price=price, factor=down, reference=reference_price)
    notional = quantity * (reference_price if price is None else min(price, reference_price))
    if not intent.reduce_only and notional < instrument.notional_min_usd:
        return FilterCode.NOTIONAL_TOO_SMALL.because(notional=notional, minimum=instrument.notional_min_usd)
    return None


def leverage_problem(instrument: Instrument, notional_usd: Decimal, leverage: int) -> Reason | None:
    """Why a position of this notional may not be held at this leverage, or None."""
    allowed = [step.notional_cap_usd for step in instrument.leverage_steps if step.leverage_max >= leverage]
    if instrument.leverage_steps and not allowed:
        best = max(step.leverage_max for step in instrument.leverage_steps)
        return LeverageCode.NOT_OFFERED.because(leverage=leverage, best=best, symbol=instrument.symbol)
    if allowed and notional_usd > max(allowed):
        return LeverageCode.NOTIONAL_TOO_LARGE.because(notional=notional_usd, cap=max(allowed), leverage=leverage)
    return None
