"""Entering by an order that rests: which leg, at what price, how much of the other leg to take, and what to do next.

The less liquid leg rests, because there the spread that a taker pays is the wider one and the fee saved comes on top; the other leg
is taken as the first one fills, because it can be.
"""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from types import MappingProxyType

from domain.instruments import Instrument, round_price_within, round_quantity, round_quantity_nearest
from domain.orders import LegName, OrderType, Side
from domain.pairs import PairSide
from domain.quotes import Quote

ZERO = Decimal(0)


class RestingState(StrEnum):
    """The order that rests, or should."""

    NONE = "none"  # None is alive: not placed yet, refused, withdrawn, or filled.
    WORKING = "working"
    UNKNOWN = "unknown"
    BUSY = "busy"  # A request about it is on its way.


class Wish(StrEnum):
    """What we want of it."""

    REST = "rest"
    MOVE = "move"  # The touch has moved away.
    END = "end"  # No more of it; what has filled is still hedged here.
    YIELD = "yield"  # The hedge failed: whoever settles the trade must decide, at once.


class Step(StrEnum):
    PLACE = "place"
    WATCH = "watch"
    WITHDRAW = "withdraw"  # Cancel until it is proven over: two orders are never alive.
    FINISH = "finish"


class Ending(StrEnum):
    """Why the resting ended, unless a guard objected."""

    FILLED = "filled"
    EXIT_WAITS = "exit_waits"
    WAITED = "waited"
    DEAD_MAN_LAPSED = "dead_man_lapsed"
    NAKED_BUDGET = "naked_budget"
    CHASES = "chases"
    REMAINDER = "remainder"  # What is left is too small for an order, or nobody quotes.
    REFUSED = "refused"
    LOST = "lost"
    CANCELLED_BY_OTHERS = "cancelled_by_others"  # The dead-man switch, or a person.
    HEDGE_SLOW = "hedge_slow"
    HEDGE_UNKNOWN = "hedge_unknown"
    HEDGE_REFUSED = "hedge_refused"
    HEDGE_SHORT = "hedge_short"
    HEDGE_UNPRICED = "hedge_unpriced"


_S = RestingState
_W = Wish

# fmt: off
STEPS: Mapping[tuple[RestingState, Wish], Step] = MappingProxyType({
    (_S.NONE,    _W.REST):  Step.PLACE,
    (_S.NONE,    _W.MOVE):  Step.PLACE,
    (_S.NONE,    _W.END):   Step.FINISH,
    (_S.NONE,    _W.YIELD): Step.FINISH,
    (_S.WORKING, _W.REST):  Step.WATCH,
    (_S.WORKING, _W.MOVE):  Step.WITHDRAW,
    (_S.WORKING, _W.END):   Step.WITHDRAW,
    (_S.WORKING, _W.YIELD): Step.FINISH,    # Settling concludes every order, and a resting one is concluded by withdrawing it.
    (_S.UNKNOWN, _W.REST):  Step.WITHDRAW,  # It may rest where nobody watches it.
    (_S.UNKNOWN, _W.MOVE):  Step.WITHDRAW,
    (_S.UNKNOWN, _W.END):   Step.WITHDRAW,
    (_S.UNKNOWN, _W.YIELD): Step.FINISH,
    (_S.BUSY,    _W.REST):  Step.WATCH,
    (_S.BUSY,    _W.MOVE):  Step.WATCH,
    (_S.BUSY,    _W.END):   Step.WATCH,
    (_S.BUSY,    _W.YIELD): Step.WATCH,
})
# fmt: on


def taking_cost(quote: Quote, side: Side, quantity: Decimal) -> float:
    """What taking the quantity costs, as a share of its value: half the spread, and half again for each further touch it eats.

    An assumption in place of a depth that bookTicker does not report: behind the touch the book is as thin as in it, and a level is
    half a spread away from the next.
    """
    at_touch = quote.ask_quantity if side is Side.BUY else quote.bid_quantity
    touches = max(1.0, float(quantity) / at_touch) if at_touch > 0 else float("inf")
    return (quote.ask - quote.bid) / 2 / quote.mid * touches


def less_liquid_leg(side: PairSide, quotes: Mapping[LegName, Quote], quantities: Mapping[LegName, Decimal]) -> LegName:
    """The leg that is dearer to take, relative to its value; of two alike, the one with less money at the touch."""

    def dearness(leg: LegName) -> tuple[float, float]:
        quote, order_side = quotes[leg], side.side_of(leg)
        at_touch = quote.ask_quantity if order_side is Side.BUY else quote.bid_quantity
        return (taking_cost(quote, order_side, quantities[leg]), -at_touch * quote.mid)

    return max(LegName, key=dearness)


def joined_price(quote: Quote, side: Side, tick: Decimal) -> Decimal:
    """The touch on our own side of the book: nobody is overtaken, and nothing is taken."""
    return round_price_within(Decimal(str(quote.bid if side is Side.BUY else quote.ask)), tick, side)


def touch_is_away(limit_price: Decimal, quote: Quote, side: Side) -> bool:
    """True when others bid more, or offer for less, than our order does."""
    return side.sign * (Decimal(str(quote.bid if side is Side.BUY else quote.ask)) - limit_price) > 0


def smallest_order(instrument: Instrument, price: Decimal) -> Decimal:
    """The least quantity of a limit order at that price which passes both minima, on the step."""
    least = max(instrument.quantity_min, instrument.notional_min_usd / price)
    return (least / instrument.step).to_integral_value(ROUND_CEILING) * instrument.step


def quantity_to_take(
    *,
    resting: LegName,
    filled: Mapping[LegName, Decimal],
    planned: Mapping[LegName, Decimal],
    hedge_ratio: Decimal,
    instrument: Instrument,
    smallest: Decimal,
    more_may_come: bool,
) -> Decimal:
    """How much of the leg that is taken hedges what the resting one has filled; 0 when it is too little for an order.

    `instrument` and `smallest` are of the leg that is taken. Never beyond its plan. While more may come, a rest of the plan that
    would be too small for an order of its own is not left over: this order is made smaller, or waits.
    """
    taken = LegName.B if resting is LegName.A else LegName.A
    step = instrument.quantity_step(OrderType.LIMIT)
    if filled[resting] >= planned[resting]:
        target = planned[taken]
    else:
        exact = filled[resting] / hedge_ratio if resting is LegName.A else filled[resting] * hedge_ratio
        target = round_quantity(exact, step) if more_may_come else round_quantity_nearest(exact, step)
        target = min(target, planned[taken])
    wanted = target - filled[taken]
    rest = planned[taken] - target
    if more_may_come and ZERO < rest < smallest:
        wanted -= round_quantity(smallest - rest, step)
    return wanted if wanted >= smallest else ZERO
