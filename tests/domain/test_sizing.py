"""Quantities of both legs: within the filters, hedged within tolerance, and the notional that is named does suffice."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.instruments import Instrument, order_problem, round_quantity
from domain.orders import LegName, OrderIntent, OrderType, Purpose, Side
from domain.sizing import CLOSE_MARGIN, Sized, TooLarge, TooSmall, size_pair
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId

D = Decimal


def instrument(name: str, **other: Any) -> Instrument:
    rules: dict[str, Any] = {
        "tick": D("0.01"), "step": D("0.001"), "market_step": D("0.001"), "quantity_min": D("0.001"), "quantity_max": D(10_000),
        "market_quantity_min": D("0.001"), "market_quantity_max": D(1_000), "notional_min_usd": D(5),
        "percent_price_up": D("1.05"), "percent_price_down": D("0.95"), "is_trading": True,
    }  # fmt: skip
    return Instrument(symbol=Symbol(f"{name}/USDT:USDT"), **(rules | other))


@st.composite
def contracts(draw: st.DrawFn, name: str) -> Instrument:
    """Steps are powers of ten; minima are multiples of the step, as the exchange lists them."""
    step = D(10) ** draw(st.integers(-3, 2))
    market_step = step * D(10) ** draw(st.integers(0, 1))
    return instrument(
        name,
        step=step,
        market_step=market_step,
        quantity_min=step * draw(st.sampled_from((1, 1, 1, 5, 20))),
        market_quantity_min=market_step * draw(st.sampled_from((1, 1, 1, 5, 20))),
        market_quantity_max=D(10**9),
        quantity_max=draw(st.sampled_from((D(1_000), D(100_000), D(10**9)))),
        notional_min_usd=D(draw(st.sampled_from((0, 5, 20, 50, 100)))),
    )


CASES = {
    "instrument_a": contracts("AAA"),
    "instrument_b": contracts("BBB"),
    "price_a": st.decimals("0.0001", "100000", places=4),
    "price_b": st.decimals("0.0001", "100000", places=4),
    "hedge_ratio": st.decimals("0.0001", "10000", places=4),
    "hedge_error_max": st.sampled_from((0.001, 0.01, 0.02, 0.1)),
    "exempt_a": st.booleans(),
    "exempt_b": st.booleans(),
}


def sizes(case: dict[str, Any], notional_usd: Decimal) -> Sized | TooSmall | TooLarge:
    return size_pair(notional_usd=notional_usd, **case)


@settings(deadline=None)
@given(st.fixed_dictionaries(CASES), st.decimals("1", "1000000", places=2))
def test_what_is_sized_can_be_traded_and_hedges(case: dict[str, Any], notional_usd: Decimal) -> None:
    sized = sizes(case, notional_usd)
    if not isinstance(sized, Sized):
        return
    for quantity, price, rules, exempt in (
        (sized.quantity_a, case["price_a"], case["instrument_a"], case["exempt_a"]),
        (sized.quantity_b, case["price_b"], case["instrument_b"], case["exempt_b"]),
    ):
        fallen = price if exempt else price / CLOSE_MARGIN
        assert order_problem(closing(quantity, rules, reduce_only=exempt), rules, fallen * D("1.0000001")) is None
        assert quantity % rules.step == 0
        assert quantity % rules.market_step == 0
        assert quantity >= max(rules.quantity_min, rules.market_quantity_min)
        assert quantity * price >= rules.notional_min_usd
    assert sized.quantity_b * case["price_b"] <= notional_usd, "never more than was decided"
    wanted = case["hedge_ratio"] * sized.quantity_b
    assert float(abs(sized.quantity_a - wanted) / wanted) == pytest.approx(sized.hedge_error)
    assert sized.hedge_error <= case["hedge_error_max"]


@settings(deadline=None, max_examples=150)
@given(st.fixed_dictionaries(CASES), st.decimals("1", "1000000", places=2))
def test_the_notional_that_is_named_suffices(case: dict[str, Any], notional_usd: Decimal) -> None:
    """The operator who types exactly what the denial said gets a size; so does one who rounds it up to cents."""
    short = sizes(case, notional_usd)
    if not isinstance(short, TooSmall):
        return
    for suffices in (short.notional_usd_min, short.notional_usd_min + D("0.01")):
        assert isinstance(sizes(case, suffices), Sized | TooLarge), short


@settings(deadline=None, max_examples=150)
@given(st.fixed_dictionaries(CASES), st.decimals("1", "1000000", places=2))
def test_what_is_too_large_says_what_would_do(case: dict[str, Any], notional_usd: Decimal) -> None:
    """At the notional that is named each leg is one order; whether it is large enough is another matter."""
    large = sizes(case, notional_usd)
    if not isinstance(large, TooLarge):
        return
    assert large.notional_usd_max < notional_usd
    if large.notional_usd_max > 0:
        assert isinstance(sizes(case, large.notional_usd_max), Sized | TooSmall), large


@settings(deadline=None, max_examples=300)
@given(st.fixed_dictionaries(CASES), st.decimals("1", "1000000", places=2), st.floats(0, 1))
def test_whatever_part_fills_can_be_closed_again(case: dict[str, Any], notional_usd: Decimal, share: float) -> None:
    """An order that may fill in parts leaves only parts that a market order may close; else it is all or nothing."""
    sized = sizes(case, notional_usd)
    if not isinstance(sized, Sized):
        return
    for quantity, price, rules, exempt, whole in (
        (sized.quantity_a, case["price_a"], case["instrument_a"], case["exempt_a"], sized.whole_a),
        (sized.quantity_b, case["price_b"], case["instrument_b"], case["exempt_b"], sized.whole_b),
    ):
        smallest = closing(rules.step, rules, reduce_only=exempt)
        part = closing(max(rules.step, round_quantity(quantity * D(share), rules.step)), rules, reduce_only=exempt)
        if whole:
            assert order_problem(smallest, rules, price) is not None, "no reason to ask for all or nothing"
        else:
            assert order_problem(smallest, rules, price) is None
            assert order_problem(part, rules, price) is None


def closing(quantity: Decimal, rules: Instrument, *, reduce_only: bool) -> OrderIntent:
    return OrderIntent(
        client_order_id=ClientOrderId("x"), trade_id=TradeId("t"), pair_id=PairId("p"), leg=LegName.A, purpose=Purpose.UNWIND,
        symbol=rules.symbol, side=Side.SELL, order_type=OrderType.MARKET, time_in_force=None, quantity=quantity,
        limit_price=None, reduce_only=reduce_only, attempt=0,
    )  # fmt: skip


def test_somebody_who_holds_the_other_way_asks_for_a_margin_and_for_all_or_nothing() -> None:
    """7 USD pass a minimum of 5 where the close is reduce-only; as a plain order it must pass after prices fell by a third."""
    alone = sizes(two(hedge_ratio=D("10")), D(7))
    assert isinstance(alone, Sized)
    assert not alone.whole_b
    shared = sizes(two(hedge_ratio=D("10"), exempt_b=False), D(7))
    assert isinstance(shared, TooSmall)
    assert "others hold the other way in BBB/USDT:USDT" in shared.why
    enough = sizes(two(hedge_ratio=D("10"), exempt_b=False), shared.notional_usd_min)
    assert isinstance(enough, Sized)
    assert (enough.whole_a, enough.whole_b) == (False, True)
    assert enough.quantity_b * 100 >= D("7.5")


def test_more_than_one_order_may_be_is_too_large() -> None:
    """10,000 is the most of one order: of b that is 1,000,000 USD, of a at two for one half as many b."""
    of_b = sizes(two(), D(1_001_000))
    assert isinstance(of_b, TooLarge)
    assert of_b.notional_usd_max == D(1_000_000)
    assert "leg b: 10010 BBB/USDT:USDT is above the maximum quantity 10000" in of_b.why
    of_a = sizes(two(hedge_ratio=D(2)), D(600_000))
    assert isinstance(of_a, TooLarge)
    assert of_a.notional_usd_max == D(500_000)


def test_a_leg_may_be_more_than_one_market_order_closes() -> None:
    """1000 is the most of one market order; a close is several orders then."""
    assert isinstance(sizes(two(), D(500_000)), Sized)


def two(**other: Any) -> dict[str, Any]:
    return {
        "instrument_a": instrument("AAA"), "instrument_b": instrument("BBB"), "price_a": D(10), "price_b": D(100),
        "hedge_ratio": D("0.5"), "hedge_error_max": 0.02, **other,
    }  # fmt: skip


def test_sizes_by_hand() -> None:
    """500 USD at 100 are 5 b; half of it are 2.5 a."""
    assert sizes(two(), D(500)) == Sized(quantity_a=D("2.5"), quantity_b=D(5), hedge_error=0.0)


# what differs -> words of the reason
SHORT: list[tuple[dict[str, Any], str, str]] = [
    ({}, "9.99", "leg a: 0.50 USD is below the minimum notional 5"),
    ({"hedge_ratio": D(50)}, "4.9", "leg b: 4.90 USD is below the minimum notional 5"),
    (
        {"instrument_b": instrument("BBB", quantity_min=D(2))},
        "150",
        "leg b: 1.5 BBB/USDT:USDT is below the minimum quantity 2",
    ),
    ({"instrument_a": instrument("AAA", market_quantity_min=D(9))}, "500", "below the minimum quantity 9"),
    (
        {"instrument_a": instrument("AAA", step=D(1), market_step=D(1))},
        "260",
        "leaves a hedge error of 23.08%, above 2.00%",
    ),
]


@pytest.mark.parametrize(("other", "notional", "words"), SHORT)
def test_what_is_too_small_says_why_and_what_would_do(other: dict[str, Any], notional: str, words: str) -> None:
    short = sizes(two(**other), D(notional))
    assert isinstance(short, TooSmall)
    assert words in short.why
    assert short.notional_usd_min > D(notional)
