"""Two legs that filled unequally: which way out is taken, what it costs, and what is never recommended."""

import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.completion import (
    BALANCINGS_MAX,
    Action,
    LegNow,
    Obstacle,
    OpeningNow,
    Option,
    choose,
    exempt_from_notional,
    relief_of,
    volatility,
)
from domain.instruments import Instrument, order_problem
from domain.legs import hedge_gap
from domain.orders import LegName, OrderType, Side, TimeInForce
from domain.pairs import PairSide
from domain.quotes import Quote
from domain.refusals import Refusal, RefusalKind
from domain.symbols import Symbol

D = Decimal
A, B = LegName.A, LegName.B
COMPLETE, TRIM, UNWIND = Action.COMPLETE, Action.TRIM, Action.UNWIND


def instrument(**other: Any) -> Instrument:
    rules: dict[str, Any] = {
        "tick": D("0.001"), "step": D("0.1"), "market_step": D("0.1"), "quantity_min": D("0.1"), "quantity_max": D(10_000),
        "market_quantity_min": D("0.1"), "market_quantity_max": D(10_000), "notional_min_usd": D(5),
        "percent_price_up": D("1.05"), "percent_price_down": D("0.95"), "is_trading": True,
    }  # fmt: skip
    return Instrument(symbol=Symbol("AAA/USDT:USDT"), **(rules | other))


def quote(bid: float, ask: float) -> Quote:
    return Quote(bid, ask, 1e6, 1e6, 0, 0)


def leg(name: LegName, held: str, **other: Any) -> LegNow:
    """Sell 50 a at 10, buy 100 b at 5: 500 USD each, quotes a cent wide."""
    price, planned, side = (D(10), D(50), Side.SELL) if name is A else (D(5), D(100), Side.BUY)
    touch = quote(10.0, 10.01) if name is A else quote(4.99, 5.0)
    facts: dict[str, Any] = {
        "side": side, "planned": planned, "held": D(held), "decision_price": price, "quote": touch,
        "instrument": instrument(), "taker_fee_rate": 0.0005, "net_position": D(held) * side.sign,
    }  # fmt: skip
    return LegNow(**(facts | other))


def opening(
    held_a: str, held_b: str, a: dict[str, Any] | None = None, b: dict[str, Any] | None = None, **other: Any
) -> OpeningNow:
    """The pair's spread is b − 0.5·a, about −0.01; it is expected to rise by three times 0.05."""
    facts: dict[str, Any] = {
        "side": PairSide.SELL, "legs": {A: leg(A, held_a, **(a or {})), B: leg(B, held_b, **(b or {}))},
        "hedge_ratio": D("0.5"), "hedge_error_max": 0.02, "spread_mean": 0.14, "spread_std": 0.05, "exit_z": 0.0,
        "stop_z": 4.0, "funding_usd": 0.1, "max_slippage_pct": 0.001, "round_trip_seconds": 0.2,
        "naked_notional_usd_seconds": 50.0, "naked_notional_usd_seconds_max": 10_000.0,
    }  # fmt: skip
    return OpeningNow(**(facts | other))


def option(now: OpeningNow, action: Action) -> Option:
    return next(each for each in choose(now).options if each.action is action)


def refused(kind: RefusalKind) -> dict[str, Any]:
    return {"refusals": {COMPLETE: Refusal(kind=kind, code="-1")}}


REFUSED_MARGIN = refused(RefusalKind.INSUFFICIENT_MARGIN)
# story | what both legs hold and how the world is | what is chosen, its leg and quantity | why completing or trimming is not, if so
STORIES: list[tuple[str, OpeningNow, Action, LegName | None, str, Obstacle | None]] = [
    ("leg b refused for margin: at once", opening("50", "0", b=REFUSED_MARGIN), UNWIND, None, "0", Obstacle.REFUSED),
    ("leg b refused for leverage", opening("50", "0", b=refused(RefusalKind.POSITION_LIMIT)), UNWIND, None, "0", Obstacle.REFUSED),
    ("leg b refused by our clock", opening("50", "0", b=refused(RefusalKind.CLOCK)), COMPLETE, B, "100", None),
    ("leg b found no counterparty", opening("50", "0", b=refused(RefusalKind.NOT_FILLABLE)), COMPLETE, B, "100", None),
    ("leg b would have taken", opening("50", "0", b=refused(RefusalKind.WOULD_TAKE)), COMPLETE, B, "100", None),
    ("leg b refused for a reason nobody listed", opening("50", "0", b=refused(RefusalKind.UNLISTED)), UNWIND, None, "0", Obstacle.REFUSED),
    ("leg b expired: it moved three ticks away, and is still cheap", opening("50", "0", b={"quote": quote(4.993, 5.003)}), COMPLETE, B, "100", None),
    ("leg b expired: it moved thirty ticks away, beyond the bound", opening("50", "0", b={"quote": quote(5.02, 5.03)}), UNWIND, None, "0", Obstacle.SLIPPAGE),
    ("leg a expired", opening("0", "100"), COMPLETE, A, "50.0", None),
    ("leg b 95 %", opening("50", "95"), COMPLETE, B, "5.0", None),
    ("leg b 60 %", opening("50", "60"), COMPLETE, B, "40.0", None),
    ("leg b 1 %", opening("50", "1"), COMPLETE, B, "99.0", None),
    ("leg a 95 %", opening("47.5", "100"), COMPLETE, A, "2.5", None),
    ("leg a 60 %", opening("30", "100"), COMPLETE, A, "20.0", None),
    ("leg a 1 %", opening("0.5", "100"), COMPLETE, A, "49.5", None),
    ("both partial: up to the fuller one, not to the plan", opening("30", "40"), COMPLETE, B, "20.0", None),
    ("both partial, the other way round", opening("10", "60"), COMPLETE, A, "20.0", None),
    ("95 %, and the price is gone: the excess goes back", opening("50", "95", b={"quote": quote(5.02, 5.03)}), TRIM, A, "2.5", Obstacle.SLIPPAGE),
    ("60 %, and leg b is refused", opening("50", "60", b=REFUSED_MARGIN), TRIM, A, "20.0", Obstacle.REFUSED),
    ("1 %, and leg b is refused: what a trim left could not be closed", opening("50", "0.5", b=REFUSED_MARGIN), UNWIND, None, "0", Obstacle.REFUSED),
    ("the missing 4 USD are below the minimum", opening("50", "97", b={"instrument": instrument(notional_min_usd=D(20))}), TRIM, A, "1.5", Obstacle.BELOW_MINIMUM),
    ("nothing left to earn", opening("50", "95", spread_mean=-0.01), UNWIND, None, "0", None),
    ("the spread ran to the stop meanwhile", opening("50", "60", spread_mean=0.2), UNWIND, None, "0", Obstacle.BEYOND_STOP),
    ("no fresh quote of the leg that is missing", opening("50", "60", b={"quote": None}), TRIM, A, "20.0", Obstacle.QUOTE_STALE),
    ("no fresh quote of the other leg", opening("50", "60", a={"quote": None}), TRIM, A, "20.0", Obstacle.QUOTE_STALE),
    ("a ban", opening("50", "60", blocked_ms=800), TRIM, A, "20.0", Obstacle.BLOCKED),
    ("a halt", opening("50", "60", b={"instrument": instrument(is_trading=False)}), TRIM, A, "20.0", Obstacle.NOT_TRADING),
    ("the budget is nearly spent", opening("50", "60", naked_notional_usd_seconds=9_999.0), TRIM, A, "20.0", Obstacle.BUDGET),
    ("an order is not over", opening("50", "60", b={"is_over": False}), UNWIND, None, "0", Obstacle.OTHER_LEG_WORKING),
    ("it was tried often enough", opening("50", "60", balancings=BALANCINGS_MAX), UNWIND, None, "0", Obstacle.ATTEMPTS),
]  # fmt: skip


@pytest.mark.parametrize(("now", "action", "leg_name", "quantity", "obstacle"), [row[1:] for row in STORIES], ids=[row[0] for row in STORIES])  # fmt: skip
def test_stories(
    now: OpeningNow, action: Action, leg_name: LegName | None, quantity: str, obstacle: Obstacle | None
) -> None:
    choice = choose(now)
    assert choice.chosen.action is action, choice.as_facts()
    assert choice.chosen.leg is leg_name
    assert choice.chosen.quantity == D(quantity)
    assert option(now, COMPLETE).obstacle is obstacle


def test_costs_by_hand() -> None:
    """a 50 held, b 60 of 100. Half a cent a unit of spread, 5 bp of fee; leg b will be 40 more, or leg a 20 less."""
    now = opening("50", "60")
    completing, trimming, unwinding = (option(now, action).cost for action in (COMPLETE, TRIM, UNWIND))
    assert completing.spread == pytest.approx(40 * 0.005)
    assert completing.fees == pytest.approx(40 * 4.995 * 0.0005)
    assert trimming.spread == pytest.approx(20 * 0.005)
    assert trimming.fees == pytest.approx(20 * 10.005 * 0.0005)
    assert unwinding.spread == pytest.approx(110 * 0.005)
    assert unwinding.fees == pytest.approx((50 * 10.005 + 60 * 4.995) * 0.0005)
    # 20 a stand alone; a moves 1 cent (its spread) or 0.05 / 0.5 · √(6 / 3600) = 0.41 cent a √second.
    risk = 20 * 0.01 * math.sqrt(0.2) / math.sqrt(2 * math.pi)
    assert completing.naked_risk == trimming.naked_risk == unwinding.naked_risk == pytest.approx(risk)
    # From −0.0075 at mids to 0.14, for 100 b; less spreads, fees and funding of the way out.
    exit_cost = 150 * 0.005 + (50 * 10.005 + 100 * 4.995) * 0.0005 + 0.1
    assert completing.edge_kept == pytest.approx(100 * 0.1475 - exit_cost)
    assert trimming.edge_kept == pytest.approx(0.6 * (100 * 0.1475 - exit_cost))
    assert unwinding.edge_kept == 0.0
    assert completing.total == completing.spread + completing.fees + completing.naked_risk - completing.edge_kept


def test_volatility_is_the_largest_of_three_proxies() -> None:
    calm = leg(A, "50", quote=quote(10.0, 10.0 + 1e-9))
    assert volatility(calm, 1e-9, 0.5) == pytest.approx(10 / math.sqrt(365.25 * 86_400))
    assert volatility(calm, 0.3, 0.5) == pytest.approx(0.6 * math.sqrt(6 / 3600))
    assert volatility(leg(A, "50", quote=quote(9.0, 11.0)), 0.3, 0.5) == 2.0


def test_a_failed_completion_makes_the_next_one_look_longer() -> None:
    risks = [option(opening("50", "60", balancings=n), COMPLETE).cost.naked_risk for n in range(3)]
    assert risks[1] == pytest.approx(risks[0] * math.sqrt(2))
    assert risks[2] == pytest.approx(risks[0] * math.sqrt(3))


def test_the_completion_keeps_the_bound_of_the_decision() -> None:
    """0.1 % of 5.00 and of 10.00, whatever the quotes are now; to the tick, never beyond."""
    buys = option(opening("50", "60"), COMPLETE)
    assert (buys.limit_price, buys.time_in_force, buys.side) == (D("5.005"), TimeInForce.IOC, Side.BUY)
    sells = option(opening("30", "100"), COMPLETE)
    assert (sells.limit_price, sells.side) == (D("9.990"), Side.SELL)


# others' signed position | side of our leg | may any part be closed reduce-only
EXEMPT = [("0", Side.BUY, True), ("5", Side.BUY, True), ("-5", Side.BUY, False), ("5", Side.SELL, False)]


@pytest.mark.parametrize(("others", "side", "exempt"), EXEMPT)
def test_the_exemption_holds_unless_somebody_holds_the_other_way(others: str, side: Side, exempt: bool) -> None:
    assert exempt_from_notional(D(others), side) is exempt


def test_what_could_not_be_closed_in_part_is_bought_whole_or_not_at_all() -> None:
    """Somebody else is short b: a part of 2 USD could not be sold back reduce-only, nor as a plain order."""
    shared = option(opening("50", "0", b={"net_position": D(-300)}), COMPLETE)
    assert shared.time_in_force is TimeInForce.FOK
    assert option(opening("50", "0", b={"net_position": D(300)}), COMPLETE).time_in_force is TimeInForce.IOC
    lots = option(opening("50", "0", b={"instrument": instrument(market_quantity_min=D(1))}), COMPLETE)
    assert lots.time_in_force is TimeInForce.FOK


def test_a_trim_that_is_not_reduce_only_needs_the_notional() -> None:
    """The excess of 2.5 a is 25 USD: fine; somebody is long 49 a, so that the net is short 1 only; and the minimum is 30."""
    other = {"net_position": D(-1), "instrument": instrument(notional_min_usd=D(30))}
    trim = option(opening("50", "95", a=other), TRIM)
    assert not trim.reduce_only
    assert trim.obstacle is Obstacle.BELOW_MINIMUM
    alone = option(opening("50", "95", a={"instrument": instrument(notional_min_usd=D(30))}), TRIM)
    assert alone.reduce_only
    assert alone.obstacle is None


def test_relief_does_not_wait_for_the_other_leg() -> None:
    now = opening("50", "60", b={"is_over": False})
    assert (relief_of(now).obstacle, relief_of(now).leg, relief_of(now).quantity) == (None, A, D("20.0"))
    assert relief_of(opening("50", "0", b={"is_over": False})).obstacle is Obstacle.BELOW_MINIMUM


# Properties


@st.composite
def contracts(draw: st.DrawFn) -> Instrument:
    step = D(10) ** draw(st.integers(-2, 1))
    market_step = step * D(10) ** draw(st.integers(0, 1))
    return instrument(
        step=step,
        market_step=market_step,
        quantity_min=step * draw(st.integers(1, 5)),
        market_quantity_min=market_step * draw(st.integers(1, 5)),
        market_quantity_max=draw(st.sampled_from((D(1_000), D(100_000)))),
        notional_min_usd=D(draw(st.sampled_from((0, 5, 20, 100)))),
        tick=D(10) ** draw(st.integers(-4, 0)),
    )


@st.composite
def openings(draw: st.DrawFn) -> OpeningNow:
    """Any two holdings within the plan, any quotes near the decision, anybody else in the same symbols."""
    ratio = draw(st.decimals("0.01", "100", places=2))
    side = draw(st.sampled_from(PairSide))
    legs = {}
    planned_b = D(draw(st.integers(1, 2_000)))
    for name in LegName:
        rules = draw(contracts())
        price = draw(st.decimals("0.5", "500", places=1))
        step = rules.step
        planned = max(step, (planned_b if name is B else ratio * planned_b) // step * step)
        held = step * draw(st.integers(0, int(planned / step)) | st.sampled_from((0, int(planned / step))))
        drift, width = draw(st.floats(-0.002, 0.002)), draw(st.floats(0, 0.002))
        bid = float(price) * (1 + drift)
        order_side = side.side_of(name)
        others = draw(st.sampled_from((D(0), D(0), D(-500), D(500))))
        legs[name] = LegNow(
            side=order_side, planned=planned, held=held, decision_price=price, instrument=rules,
            quote=draw(st.sampled_from((None, quote(bid, bid * (1 + width)), quote(bid, bid * (1 + width))))),
            taker_fee_rate=draw(st.floats(0, 0.001)), net_position=held * order_side.sign + others,
        )  # fmt: skip
    assume(any(each.held > 0 for each in legs.values()))
    return OpeningNow(
        side=side, legs=legs, hedge_ratio=ratio, hedge_error_max=draw(st.sampled_from((0.001, 0.02, 0.1))),
        spread_mean=draw(st.floats(-50, 50)), spread_std=draw(st.floats(0.01, 20)), exit_z=0.0,
        stop_z=draw(st.sampled_from((4.0, 1e9))), funding_usd=draw(st.floats(-1, 1)), max_slippage_pct=0.001,
        round_trip_seconds=draw(st.floats(0.001, 5)), naked_notional_usd_seconds=draw(st.floats(0, 12_000)),
        naked_notional_usd_seconds_max=10_000.0, balancings=draw(st.integers(0, 5)),
    )  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(openings())
def test_what_is_recommended_is_accepted_hedges_and_can_be_closed(now: OpeningNow) -> None:
    choice = choose(now)
    chosen = choice.chosen
    assert chosen.obstacle is None
    assert chosen.cost.total == min(each.cost.total for each in choice.options if each.obstacle is None)
    assert {each.action for each in choice.options} == set(Action)
    if chosen.leg is None:
        assert chosen.action is UNWIND
        return
    traded = now.legs[chosen.leg]
    assert order_problem(chosen, traded.instrument, D(str(traded.mid))) is None
    sign = 1 if chosen.action is COMPLETE else -1
    after = {name: each.held for name, each in now.legs.items()}
    after[chosen.leg] += sign * chosen.quantity
    assert after[chosen.leg] <= max(traded.planned, traded.held), "completing never exceeds the plan"
    assert hedge_gap(after[A], after[B], now.hedge_ratio).error <= now.hedge_error_max
    for name, quantity in after.items():
        rules = now.legs[name].instrument
        assert quantity >= rules.closable_min
        assert float(quantity) * now.legs[name].mid >= float(rules.notional_min_usd) * (1 - 1e-9)
    if chosen.action is COMPLETE:
        assert chosen.limit_price is not None
        slipped = (chosen.limit_price / traded.decision_price - 1) * traded.side.sign
        assert slipped <= D("0.001")
        assert now.naked_notional_usd_seconds <= now.naked_notional_usd_seconds_max


@settings(deadline=None, max_examples=80)
@given(openings(), st.floats(0, 0.01), st.sampled_from(LegName))
def test_no_option_gets_cheaper_when_fees_rise(now: OpeningNow, more: float, name: LegName) -> None:
    dearer_leg = msgspec.structs.replace(now.legs[name], taker_fee_rate=now.legs[name].taker_fee_rate + more)
    dearer = msgspec.structs.replace(now, legs=now.legs | {name: dearer_leg})
    for action in Action:
        assert option(dearer, action).cost.total >= option(now, action).cost.total - 1e-9


def test_a_coarse_step_leaves_nothing_to_add() -> None:
    """10 are held, 20 are wanted, and a market order closes hundreds alone: adding minus ten would sell what was just bought."""
    completing = option(opening("10", "40", a={"instrument": instrument(market_step=D(100))}), COMPLETE)
    assert (completing.quantity, completing.cost.fees, completing.obstacle is None) == (0, 0, False)


@settings(deadline=None, max_examples=200)
@given(openings())
def test_no_option_is_of_less_than_nothing(now: OpeningNow) -> None:
    """A leg that rounding, or its plan, leaves nothing to add to: no order, and no fee that is earned."""
    for action in Action:
        each = option(now, action)
        assert each.quantity >= 0
        assert each.cost.fees >= 0


@settings(deadline=None, max_examples=80)
@given(openings(), st.floats(0, 0.01), st.sampled_from(LegName))
def test_no_option_gets_cheaper_when_a_spread_widens(now: OpeningNow, more: float, name: LegName) -> None:
    """Round the same mid, so that only the width differs."""
    present = now.legs[name].quote
    assume(present is not None)
    assert present is not None
    wider = quote(present.bid - more * present.mid, present.ask + more * present.mid)
    legs = now.legs | {name: msgspec.structs.replace(now.legs[name], quote=wider)}
    for action in Action:
        before = option(now, action)
        if before.quantity < 0:
            continue  # Not an order at all.
        assert option(msgspec.structs.replace(now, legs=legs), action).cost.total >= before.cost.total - 1e-6


@settings(deadline=None, max_examples=80)
@given(openings())
def test_facts_are_plain_values_for_the_journal(now: OpeningNow) -> None:
    facts = choose(now).as_facts()
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
    assert set(facts) == {"complete", "trim", "unwind"}


@settings(deadline=None, max_examples=80)
@given(openings())
def test_completing_opens_and_trimming_closes(now: OpeningNow) -> None:
    for each in choose(now).options:
        if each.leg is not None and each.quantity > 0:
            opens = now.legs[each.leg].side
            assert each.side is (opens if each.action is COMPLETE else opens.opposite)
            assert each.order_type is (OrderType.LIMIT if each.action is COMPLETE else OrderType.MARKET)
