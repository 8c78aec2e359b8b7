"""Two legs that filled unequally: complete the short one, trim the long one, or take both back, whichever is expected to cost least.

Costs are in USD against both legs marked at mid, from now on; what was paid before is sunk:

- *spread*: half the bid-ask spread of what is traded now; without a quote, the slippage bound stands in for it.
- *fees*: the taker fee of what is traded now.
- *unhedged risk*: the expected adverse move of the unhedged part while it is being repaired, σ·√t/√(2π) a unit: the mean of the losing
  half of a driftless normal move. σ is a proxy, see `volatility`. An attempt that failed makes the next one look longer.
- *edge kept*: what the hedged trade that is left would still earn: reversion from the present mids to its exit, less the exit's
  fees, spreads and its share of funding. Nothing is kept by an unwind.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from domain.edge import executable_price
from domain.instruments import Instrument, order_problem, round_price_within, round_quantity_nearest
from domain.legs import HedgeGap, hedge_gap, reduce_only_is_safe
from domain.orders import LegName, OrderType, Side, TimeInForce
from domain.pairs import PairSide
from domain.quotes import Quote
from domain.reasons import FilterCode
from domain.refusals import Refusal, RefusalKind

BALANCINGS_MAX = 4
"""Completions and trims of one entry; a pair that will not balance is taken back."""
ANNUAL_VOLATILITY_MIN = 1.0
"""A floor of 100 % a year for the proxy: calm for a coin, and never zero."""
YEAR_SECONDS = 365.25 * 86_400
WINDOW_SECONDS = 3_600.0
"""Time over which `spread_std` was seen: sixty bars of a minute, the default look-back. Longer windows make the proxy cautious."""
ADVERSE_SHARE = 1 / math.sqrt(2 * math.pi)
MAY_BE_ASKED_AGAIN = frozenset({RefusalKind.CLOCK, RefusalKind.NOT_FILLABLE, RefusalKind.WOULD_TAKE})
"""Refusals of an entry that say nothing against the next one: a clock, or nobody on the other side. All others stay refused."""


class Action(StrEnum):
    COMPLETE = "complete"  # Trade what the short leg misses.
    TRIM = "trim"  # Take back what the long leg holds too much of.
    UNWIND = "unwind"  # Take everything back. Always possible: the closing saga never gives up.


BALANCINGS = frozenset({Action.COMPLETE, Action.TRIM})
"""What `BALANCINGS_MAX` counts, as the journal names them."""


class Obstacle(StrEnum):
    """Why an option cannot be taken."""

    OTHER_LEG_WORKING = "sibling_working"  # An order of this entry is not over.
    BUDGET = "budget"  # It would not fit into what may stand unhedged.
    ATTEMPTS = "attempts"
    REFUSED = "refused"  # For a reason that will not change: margin, leverage, permissions, rules.
    QUOTE_STALE = "quote_stale"
    SLIPPAGE = "slippage"  # The touch is beyond the bound that the decision set.
    BEYOND_STOP = "beyond_stop"
    BELOW_MINIMUM = "below_minimum"  # The order, or what would be left to close one day.
    FILTER = "filter"
    NOT_HEDGED = "not_hedged"  # Rounding leaves more than is tolerated.
    BLOCKED = "blocked"  # The exchange does not listen.
    NOT_TRADING = "not_trading"


class LegNow(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of an opening trade. Quantities in base units, unsigned; `side` opens it."""

    side: Side
    planned: Decimal
    held: Decimal
    decision_price: Decimal  # Executable at the decision: what the slippage bound is measured from.
    quote: Quote | None  # None: missing, or too old to open with.
    instrument: Instrument
    taker_fee_rate: float
    net_position: Decimal  # The account's signed position in the symbol, this leg included.
    is_over: bool = True
    refusals: dict[Action, Refusal] = {}  # What refused the newest order of this leg, by what it was meant to do.

    @property
    def mid(self) -> float:
        return self.quote.mid if self.quote is not None else float(self.decision_price)


class OpeningNow(msgspec.Struct, frozen=True, kw_only=True):
    """An entry whose orders are over, and the world round it."""

    side: PairSide
    legs: dict[LegName, LegNow]
    hedge_ratio: Decimal
    hedge_error_max: float
    spread_mean: float
    spread_std: float
    exit_z: float
    stop_z: float
    funding_usd: float  # Expected for the trade as planned.
    max_slippage_pct: float
    round_trip_seconds: float
    naked_notional_usd_seconds: float
    naked_notional_usd_seconds_max: float
    balancings: int = 0  # Completions and trims so far.
    blocked_ms: int = 0

    @property
    def gap(self) -> HedgeGap:
        return hedge_gap(self.legs[LegName.A].held, self.legs[LegName.B].held, self.hedge_ratio)

    @property
    def is_balanced(self) -> bool:
        """True when both legs hold something and hedge each other within tolerance."""
        return all(leg.held > 0 for leg in self.legs.values()) and self.gap.error <= self.hedge_error_max


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """USD. `total` is what the option is expected to cost, negative when it is expected to earn."""

    spread: float
    fees: float
    naked_risk: float
    edge_kept: float

    @property
    def total(self) -> float:
        return self.spread + self.fees + self.naked_risk - self.edge_kept


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One way out. An UNWIND names no order: the closing saga sizes its own."""

    action: Action
    cost: Cost
    obstacle: Obstacle | None = None
    detail: str = ""
    leg: LegName | None = None
    side: Side = Side.BUY
    order_type: OrderType = OrderType.MARKET
    quantity: Decimal = Decimal(0)
    limit_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    reduce_only: bool = False

    def as_facts(self) -> dict[str, Any]:
        """For the journal: plain values, USD to the hundredth of a cent."""
        facts: dict[str, Any] = {
            "total_usd": round(self.cost.total, 4),
            "spread_usd": round(self.cost.spread, 4),
            "fees_usd": round(self.cost.fees, 4),
            "naked_risk_usd": round(self.cost.naked_risk, 4),
            "edge_kept_usd": round(self.cost.edge_kept, 4),
        }
        if self.leg is not None:
            facts |= {"leg": str(self.leg), "quantity": str(self.quantity)}
        if self.limit_price is not None:
            facts["limit_price"] = str(self.limit_price)
        if self.obstacle is not None:
            facts |= {"obstacle": str(self.obstacle), "detail": self.detail}
        return facts


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The cheapest option that can be taken, and all of them."""

    chosen: Option
    options: tuple[Option, ...]

    def as_facts(self) -> dict[str, Any]:
        return {str(option.action): option.as_facts() for option in self.options}


def choose(now: OpeningNow) -> Choice:
    """Weigh the three ways out of an unequal opening. At least one leg must hold something."""
    options = (_unwind(now), _trim(now), _complete(now))
    # On a tie the one that leaves less behind, which comes first.
    return Choice(chosen=min((o for o in options if o.obstacle is None), key=lambda o: o.cost.total), options=options)


def relief_of(now: OpeningNow) -> Option:
    """The trim that hedges while an order of the short leg is still open: what its fate adds is dealt with later.

    With an obstacle (the short leg holds nothing, say) there is no such trim, and the long leg has to be closed.
    """
    certain = {name: msgspec.structs.replace(leg, is_over=True) for name, leg in now.legs.items()}
    return _trim(msgspec.structs.replace(now, legs=certain))


def volatility(leg: LegNow, spread_std: float, units_a_per_unit: float) -> float:
    """A leg's price volatility, USD a unit and √second: the largest of three proxies, for there is no tick history here.

    The bid-ask spread (volatility *per trade* is about the spread: Wyart, Bouchaud et al. 2008; assumed here: a trade a second);
    the pair's own wandering, on this leg alone (a random walk seen over T has a sample variance of σ²T/6); 100 % a year.
    """
    quoted = 0.0 if leg.quote is None else leg.quote.ask - leg.quote.bid
    wandering = spread_std / units_a_per_unit * math.sqrt(6 / WINDOW_SECONDS)
    return max(quoted, wandering, leg.mid * ANNUAL_VOLATILITY_MIN / math.sqrt(YEAR_SECONDS))


# Costs


def _half_spread(now: OpeningNow, leg: LegNow) -> float:
    if leg.quote is None:
        return leg.mid * now.max_slippage_pct
    return (leg.quote.ask - leg.quote.bid) / 2


def _traded(now: OpeningNow, quantities: dict[LegName, Decimal]) -> tuple[float, float]:
    """Spread and fees of trading these quantities at once."""
    spread = sum(float(q) * _half_spread(now, now.legs[leg]) for leg, q in quantities.items())
    fees = sum(float(q) * now.legs[leg].mid * now.legs[leg].taker_fee_rate for leg, q in quantities.items())
    return spread, fees


def _naked_risk(now: OpeningNow, rounds: int) -> float:
    gap = now.gap
    name, quantity = (LegName.A, gap.excess_a) if gap.excess_a > 0 else (LegName.B, gap.excess_b)
    units = float(now.hedge_ratio) if name is LegName.A else 1.0
    deviation = volatility(now.legs[name], now.spread_std, units) * math.sqrt(rounds * now.round_trip_seconds)
    return float(quantity) * deviation * ADVERSE_SHARE


def _edge_kept(now: OpeningNow, held: dict[LegName, Decimal]) -> float:
    """What a hedged trade of this size would still earn, entered for nothing at the present mids."""
    a, b = now.legs[LegName.A], now.legs[LegName.B]
    sells = now.side is PairSide.SELL
    target = now.spread_mean + (-now.exit_z if sells else now.exit_z) * now.spread_std
    spread = b.mid - float(now.hedge_ratio) * a.mid
    gain = (target - spread if sells else spread - target) * float(held[LegName.B])
    half_spreads, fees = _traded(now, held)
    return gain - half_spreads - fees - now.funding_usd * float(held[LegName.B] / b.planned)


# Options


def _unwind(now: OpeningNow) -> Option:
    spread, fees = _traded(now, {name: leg.held for name, leg in now.legs.items()})
    return Option(
        action=Action.UNWIND,
        cost=Cost(spread=spread, fees=fees, naked_risk=_naked_risk(now, 1), edge_kept=0.0),
    )


def _trim(now: OpeningNow) -> Option:
    gap = now.gap
    name, excess = (LegName.A, gap.excess_a) if gap.excess_a > 0 else (LegName.B, gap.excess_b)
    leg = now.legs[name]
    side = leg.side.opposite
    quantity = round_quantity_nearest(excess, leg.instrument.quantity_step(OrderType.MARKET))
    left = {other: each.held for other, each in now.legs.items()} | {name: leg.held - quantity}
    spread, fees = _traded(now, {name: quantity})
    option = Option(
        action=Action.TRIM,
        cost=Cost(spread=spread, fees=fees, naked_risk=_naked_risk(now, 1), edge_kept=_edge_kept(now, left)),
        leg=name,
        side=side,
        quantity=quantity,
        reduce_only=reduce_only_is_safe(leg.net_position, quantity * side.sign),
    )
    return _judged(now, option, left)


def _complete(now: OpeningNow) -> Option:
    gap = now.gap
    name, missing = (LegName.B, -gap.excess_b) if gap.excess_a > 0 else (LegName.A, -gap.excess_a)
    leg = now.legs[name]
    # What is held afterwards must be closable by a market order: that step, not the limit order's, shapes the sum.
    wanted = round_quantity_nearest(leg.held + missing, leg.instrument.quantity_step(OrderType.MARKET))
    quantity = max(
        Decimal(0), min(wanted, leg.planned) - leg.held
    )  # None when rounding, or the plan, leaves nothing to add.
    held = {other: each.held for other, each in now.legs.items()} | {name: leg.held + quantity}
    spread, fees = _traded(now, {name: quantity})
    bound = leg.decision_price * (1 + Decimal(str(now.max_slippage_pct)) * leg.side.sign)
    others = leg.net_position - leg.held * leg.side.sign
    parts_close = leg.instrument.any_part_closes(leg.decision_price, reduce_only=exempt_from_notional(others, leg.side))
    option = Option(
        action=Action.COMPLETE,
        # Each time it failed, one more round trip is expected of it.
        cost=Cost(
            spread=spread,
            fees=fees,
            naked_risk=_naked_risk(now, 1 + now.balancings),
            edge_kept=_edge_kept(now, held),
        ),
        leg=name,
        side=leg.side,
        order_type=OrderType.LIMIT,
        quantity=quantity,
        limit_price=round_price_within(bound, leg.instrument.tick, leg.side),
        time_in_force=TimeInForce.IOC if parts_close else TimeInForce.FOK,
    )
    return _judged(now, option, held)


def exempt_from_notional(others: Decimal, side: Side) -> bool:
    """Whether closing any part of an order on this side will be reduce-only: nobody else holds the other way.

    `others` is the account's signed position without this leg: other pairs', or a person's.
    """
    return others * side.sign >= 0


# Obstacles


def _judged(now: OpeningNow, option: Option, held: dict[LegName, Decimal]) -> Option:
    """The option with the first thing that stands in its way. `held` is what it would leave."""
    found = next(_obstacles(now, option, held), None)
    if found is None:
        return option
    return msgspec.structs.replace(option, obstacle=found[0], detail=found[1])


def _obstacles(now: OpeningNow, option: Option, held: dict[LegName, Decimal]) -> Iterator[tuple[Obstacle, str]]:
    assert option.leg is not None
    leg = now.legs[option.leg]
    if not all(each.is_over for each in now.legs.values()):
        yield Obstacle.OTHER_LEG_WORKING, "an order of this entry is not over"
    if now.balancings >= BALANCINGS_MAX:
        yield Obstacle.ATTEMPTS, f"{now.balancings} attempts did not balance it"
    refusal = leg.refusals.get(option.action)
    if refusal is not None and refusal.kind not in MAY_BE_ASKED_AGAIN:
        yield Obstacle.REFUSED, f"{option.leg} was refused ({refusal.kind}, {refusal.code})"
    if _beyond_stop(now):
        yield Obstacle.BEYOND_STOP, "the spread is at the stop"
    if option.action is Action.COMPLETE:
        yield from _obstacles_of_completing(now, option, leg)
    if option.quantity <= 0:
        yield Obstacle.BELOW_MINIMUM, "less than a step"
    problem = order_problem(option, leg.instrument, Decimal(str(leg.mid)))
    if problem is not None:
        is_too_small = isinstance(problem.code, FilterCode) and problem.code.is_too_small
        yield Obstacle.BELOW_MINIMUM if is_too_small else Obstacle.FILTER, str(problem)
    yield from _obstacles_of_what_is_left(now, held)


def _obstacles_of_completing(now: OpeningNow, option: Option, leg: LegNow) -> Iterator[tuple[Obstacle, str]]:
    if now.blocked_ms > 0:
        yield Obstacle.BLOCKED, f"for {now.blocked_ms} ms"
    if not leg.instrument.is_trading:
        yield Obstacle.NOT_TRADING, leg.instrument.symbol
    naked = max(now.gap.excess_a, Decimal(0)) * now.legs[LegName.A].decision_price
    naked += max(now.gap.excess_b, Decimal(0)) * now.legs[LegName.B].decision_price
    needed = float(naked) * now.round_trip_seconds * (1 + now.balancings)
    if now.naked_notional_usd_seconds + needed > now.naked_notional_usd_seconds_max:
        spent = f"{now.naked_notional_usd_seconds:.1f} + {needed:.1f}"
        yield Obstacle.BUDGET, f"{spent} of {now.naked_notional_usd_seconds_max:g} USD s"
    if leg.quote is None or any(each.quote is None for each in now.legs.values()):
        yield Obstacle.QUOTE_STALE, "no fresh quote of both legs"
        return
    assert option.limit_price is not None
    touch = Decimal(str(executable_price(leg.quote, leg.side)))
    if (touch - option.limit_price) * leg.side.sign > 0:
        yield Obstacle.SLIPPAGE, f"touch {touch}, bound {option.limit_price}"


def _obstacles_of_what_is_left(now: OpeningNow, held: dict[LegName, Decimal]) -> Iterator[tuple[Obstacle, str]]:
    """The trade that an option leaves must be hedged, and each leg must be one that can be closed one day."""
    for name, quantity in held.items():
        leg = now.legs[name]
        smallest = max(leg.instrument.closable_min, leg.instrument.notional_min_usd / Decimal(str(leg.mid)))
        if quantity < smallest:
            yield Obstacle.BELOW_MINIMUM, f"leaves {quantity} of leg {name}, and {smallest:.8g} can be closed for sure"
    error = hedge_gap(held[LegName.A], held[LegName.B], now.hedge_ratio).error
    if error > now.hedge_error_max:
        yield Obstacle.NOT_HEDGED, f"leaves a hedge error of {error:.2%}"


def _beyond_stop(now: OpeningNow) -> bool:
    spread = now.legs[LegName.B].mid - float(now.hedge_ratio) * now.legs[LegName.A].mid
    z = (spread - now.spread_mean) / now.spread_std
    return (-z if now.side is PairSide.SELL else z) >= now.stop_z
