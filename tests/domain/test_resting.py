"""Which leg rests, how much of the other is taken, and what is done next."""

from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.edge import FundingTerms, Resting, edge_of
from domain.guards import ASKED_ONCE, GUARDS
from domain.instruments import Instrument
from domain.legs import hedge_gap
from domain.orders import LegName, Side
from domain.pairs import PairSide
from domain.quotes import Quote
from domain.resting import (
    STEPS,
    RestingState,
    Step,
    Wish,
    joined_price,
    less_liquid_leg,
    quantity_to_take,
    smallest_order,
    taking_cost,
    touch_is_away,
)
from domain.spread import SpreadMoments
from domain.symbols import Symbol

D = Decimal
A, B = LegName.A, LegName.B


def quote(bid: float, ask: float, size: float = 1e6) -> Quote:
    return Quote(bid, ask, size, size, 0, 0)


def contract(step: str = "1", notional_min: str = "5", quantity_min: str | None = None) -> Instrument:
    return Instrument(
        symbol=Symbol("X/USDT:USDT"), tick=D("0.01"), step=D(step), market_step=D(step), quantity_min=D(quantity_min or step),
        quantity_max=D(10**9), market_quantity_min=D(step), market_quantity_max=D(10**9), notional_min_usd=D(notional_min),
        percent_price_up=D("1.05"), percent_price_down=D("0.95"), is_trading=True,
    )  # fmt: skip


# The table


def test_every_standing_and_wish_has_a_step() -> None:
    assert set(STEPS) == set(product(RestingState, Wish))


def test_a_new_order_is_placed_only_where_none_can_be_alive() -> None:
    assert {standing for (standing, _), step in STEPS.items() if step is Step.PLACE} == {RestingState.NONE}


def test_what_should_end_is_withdrawn_before_it_is_finished() -> None:
    """Only for a hedge that failed does somebody else take over an order that may be alive, and concludes it."""
    finished = {pair for pair, step in STEPS.items() if step is Step.FINISH}
    assert {wish for standing, wish in finished if standing is not RestingState.NONE} == {Wish.YIELD}


def test_an_order_of_unknown_fate_is_never_left_alone() -> None:
    assert {STEPS[RestingState.UNKNOWN, wish] for wish in Wish} == {Step.WITHDRAW, Step.FINISH}


# Which leg

# quote of a, quote of b, quantity a, quantity b -> the leg that rests
LEGS = [
    (quote(99.9, 100.1), quote(199.99, 200.01), 1, 1, A),  # Ten basis points against half of one.
    (quote(99.99, 100.01), quote(199.9, 200.1), 1, 1, B),
    (quote(99.9, 100.1, 100), quote(99.9, 100.1, 10), 50, 50, B),  # Alike, but b's touch is eaten five times.
    (quote(99.95, 100.05, 1), quote(99.9, 100.1, 1000), 10, 10, A),  # Half the spread, ten touches.
    (quote(99.9, 100.1, 10), quote(99.9, 100.1, 20), 1, 1, A),  # Alike and deep enough: less money at the touch.
    (quote(99.9, 100.1, 0), quote(98, 102, 1000), 1, 1, A),  # Nothing at the touch at all.
]


@pytest.mark.parametrize(("quote_a", "quote_b", "quantity_a", "quantity_b", "leg"), LEGS)
def test_the_less_liquid_leg(quote_a: Quote, quote_b: Quote, quantity_a: int, quantity_b: int, leg: LegName) -> None:
    quantities = {A: D(quantity_a), B: D(quantity_b)}
    for side in PairSide:
        assert less_liquid_leg(side, {A: quote_a, B: quote_b}, quantities) is leg


def test_what_we_would_take_counts_not_the_other_side() -> None:
    thin_ask = Quote(99.9, 100.1, 1000.0, 1.0, 0, 0)
    assert taking_cost(thin_ask, Side.BUY, D(10)) == pytest.approx(0.01)
    assert taking_cost(thin_ask, Side.SELL, D(10)) == pytest.approx(0.001)


def test_it_joins_its_own_side_of_the_book() -> None:
    book = quote(99.98, 100.02)
    assert joined_price(book, Side.BUY, D("0.01")) == D("99.98")
    assert joined_price(book, Side.SELL, D("0.01")) == D("100.02")


def test_the_touch_is_away_when_others_are_before_us() -> None:
    book = quote(99.98, 100.02)
    assert [touch_is_away(D(price), book, Side.BUY) for price in ("99.97", "99.98", "99.99")] == [True, False, False]
    assert [touch_is_away(D(price), book, Side.SELL) for price in ("100.03", "100.02", "100.01")] == [
        True,
        False,
        False,
    ]


# How much


def to_take(filled_a: object, filled_b: object = 0, **other: Any) -> Decimal:
    """A rests: 1000 a against 100 b planned (ratio 10); b costs 10 USD, so nothing below 0.5 b is an order."""
    facts: dict[str, Any] = {
        "resting": A,
        "filled": {A: D(str(filled_a)), B: D(str(filled_b))},
        "planned": {A: D(1000), B: D(100)},
        "hedge_ratio": D(10),
        "instrument": contract("0.1"),
        "smallest": D("0.5"),
        "more_may_come": True,
    }
    return quantity_to_take(**(facts | other))


# filled a, filled b, more may come -> b to take
AMOUNTS = [
    (0, 0, True, "0"),
    (4, 0, True, "0"),  # 0.4 b: too small for an order, it adds up.
    (5, 0, True, "0.5"),
    (506, 0, True, "50.6"),
    (507.9, 50.6, True, "0"),
    (1000, 50.6, True, "49.4"),  # All of it: the plan, whatever rounding said.
    (1000, 100, True, "0"),
    (997, 0, True, "99.5"),  # 0.3 b would be left over: this order leaves 0.5.
    (997, 99.5, True, "0"),
    (997, 99.5, False, "0"),  # And 0.2 stays too small: the hedge tolerance has to bear it.
    (997, 99, False, "0.7"),
    (999.6, 0, False, "100"),  # The last one rounds to the nearest.
    (4, 0, False, "0"),
]


@pytest.mark.parametrize(("filled_a", "filled_b", "more", "expected"), AMOUNTS)
def test_what_hedges_the_fills(filled_a: object, filled_b: object, more: bool, expected: str) -> None:
    assert to_take(filled_a, filled_b, more_may_come=more) == D(expected)


def test_the_other_way_round() -> None:
    """B rests: 100 b call for 1000 a."""
    facts = {"resting": B, "filled": {A: D(0), B: D(25)}, "instrument": contract("1"), "smallest": D(5)}
    assert to_take(0, **facts) == D(250)


STEP = st.sampled_from(["0.001", "0.1", "1", "10"])


@given(
    step=STEP,
    notional_min=st.sampled_from(["5", "20", "50"]),
    price=st.decimals("0.01", "1000", places=2),
    planned=st.integers(2, 5000),
    ratio=st.decimals("0.01", "50", places=2),
    pieces=st.lists(st.floats(0.001, 1), min_size=1, max_size=8),
)
def test_hedging_in_pieces_never_overshoots_and_never_asks_for_what_is_refused(
    *, step: str, notional_min: str, price: Decimal, planned: int, ratio: Decimal, pieces: list[float]
) -> None:
    """Each order passes the filters, the sum stays within the plan, and within one smallest order of what has filled."""
    instrument = contract(step, notional_min)
    planned_b = planned * instrument.step
    smallest = smallest_order(instrument, price)
    plan = {A: ratio * planned_b, B: planned_b}
    filled = {A: D(0), B: D(0)}
    for piece in pieces:
        filled[A] = min(plan[A], filled[A] + plan[A] * D(str(round(piece, 6))))
        quantity = quantity_to_take(
            resting=A, filled=filled, planned=plan, hedge_ratio=ratio, instrument=instrument, smallest=smallest, more_may_come=True
        )  # fmt: skip
        assert quantity == 0 or quantity >= smallest
        assert quantity * price >= instrument.notional_min_usd or quantity == 0
        assert quantity % instrument.step == 0
        filled[B] += quantity
        assert filled[B] <= plan[B]
        assert filled[B] <= filled[A] / ratio + instrument.step
        assert filled[A] / ratio - filled[B] < 2 * smallest + instrument.step
    if filled[A] == plan[A] and planned_b >= 2 * smallest:
        assert hedge_gap(filled[A], filled[B], ratio).error == 0, "a rest that is too small is never left over"


# The money


def test_a_leg_that_rests_pays_its_own_price_and_the_makers_fee() -> None:
    """By hand: sell 10 a resting at 100.1 instead of taking 99.9; its fee 0.02 % instead of 0.05 % of 1000."""
    facts: dict[str, Any] = {
        "side": PairSide.SELL, "hedge_ratio": 0.5, "statistics": SpreadMoments(155.0, 2.0), "exit_z": 0.5,
        "quote_a": quote(99.9, 100.1), "quote_b": quote(199.5, 200.5), "quantity_a": D(10), "quantity_b": D(5),
        "taker_fee_rate": 0.0005, "funding_a": FundingTerms(0.0), "funding_b": FundingTerms(0.0), "half_life_hours": 4.0,
    }  # fmt: skip
    taken = edge_of(**facts)
    rested = edge_of(**facts, resting=Resting(leg=A, price=100.1, maker_fee_rate=0.0002))
    assert rested.fees == pytest.approx(taken.fees - 0.3)
    assert rested.reversion == pytest.approx(taken.reversion + 0.5 * 0.2 * 5)
    assert rested.executable_z < taken.executable_z
    assert rested.as_facts()["resting_leg"] == "a"
    assert "resting_leg" not in taken.as_facts()
    rested_b = edge_of(**facts, resting=Resting(leg=B, price=199.5, maker_fee_rate=-0.0001))
    assert rested_b.fees == pytest.approx(taken.fees - 0.6)
    assert rested_b.reversion == pytest.approx(taken.reversion + 1.0 * 5)


def test_guards_that_are_asked_once_are_guards() -> None:
    assert {code for code, _ in GUARDS} >= ASKED_ONCE
