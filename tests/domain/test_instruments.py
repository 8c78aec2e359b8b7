"""Rounding, and the filters that would refuse an order, one by one."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.instruments import (
    Instrument,
    LeverageStep,
    leverage_problem,
    order_problem,
    round_price_within,
    round_quantity,
    round_quantity_nearest,
)
from domain.orders import LegName, OrderIntent, OrderType, Purpose, Side, TimeInForce
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId

D = Decimal
STEPS = st.integers(-7, 2).map(lambda power: D(10) ** power)
NUMBERS = st.decimals("0", "1000000", places=6)

INSTRUMENT = Instrument(
    symbol=Symbol("XRP/USDT:USDT"), tick=D("0.0001"), step=D("0.1"), market_step=D(1), quantity_min=D("0.1"), quantity_max=D(1000),
    market_quantity_min=D(2), market_quantity_max=D(400), notional_min_usd=D(5), percent_price_up=D("1.05"),
    percent_price_down=D("0.95"), is_trading=True,
    leverage_steps=(
        LeverageStep(notional_cap_usd=D(1_000), leverage_max=50),
        LeverageStep(notional_cap_usd=D(20_000), leverage_max=20),
        LeverageStep(notional_cap_usd=D(300_000), leverage_max=5),
    ),
)  # fmt: skip


@given(NUMBERS, STEPS)
def test_a_quantity_is_rounded_down_to_a_multiple(quantity: Decimal, step: Decimal) -> None:
    rounded = round_quantity(quantity, step)
    assert rounded % step == 0
    assert 0 <= quantity - rounded < step
    assert round_quantity(rounded, step) == rounded


@given(NUMBERS, STEPS)
def test_the_following_leg_is_rounded_to_the_nearest(quantity: Decimal, step: Decimal) -> None:
    rounded = round_quantity_nearest(quantity, step)
    assert rounded % step == 0
    assert abs(quantity - rounded) <= step / 2


@given(NUMBERS, STEPS, st.sampled_from(Side))
def test_a_price_is_never_worse_than_its_bound(price: Decimal, tick: Decimal, side: Side) -> None:
    rounded = round_price_within(price, tick, side)
    assert rounded % tick == 0
    assert abs(rounded - price) < tick
    assert rounded <= price if side is Side.BUY else rounded >= price


def limit(**other: Any) -> OrderIntent:
    intent = OrderIntent(
        client_order_id=ClientOrderId("tdm-1"), trade_id=TradeId("1"), pair_id=PairId("P"), leg=LegName.A, purpose=Purpose.ENTRY,
        symbol=INSTRUMENT.symbol, side=Side.BUY, order_type=OrderType.LIMIT, time_in_force=TimeInForce.IOC, quantity=D("20.5"),
        limit_price=D("0.5"), reduce_only=False, attempt=0,
    )  # fmt: skip
    return msgspec.structs.replace(intent, **other)


def market(**other: Any) -> OrderIntent:
    return limit(
        **({"order_type": OrderType.MARKET, "time_in_force": None, "limit_price": None, "quantity": D(20)} | other)
    )


# The mark is 0.5. order -> words of the objection, or None
ORDERS: list[tuple[OrderIntent, str | None]] = [
    (limit(), None),
    (limit(quantity=D("0.0")), "below the minimum 0.1"),
    (limit(quantity=D("NaN")), "below the minimum"),
    (limit(quantity=D("Infinity")), "below the minimum"),
    (limit(quantity=D(-5)), "below the minimum"),
    (limit(quantity=D("20.55")), "not a multiple of 0.1"),
    (limit(quantity=D("1000.1")), "above the maximum 1000"),
    (limit(quantity=D(1000)), None),
    (limit(limit_price=D("0.50005")), "multiple of the tick"),
    (limit(limit_price=D(0)), "positive multiple"),
    (limit(limit_price=D("0.525")), None),
    (limit(limit_price=D("0.5251")), "above 1.05 times"),
    (limit(limit_price=D("0.4"), quantity=D(20)), None),  # A purchase may be as low as it likes.
    (limit(side=Side.SELL, limit_price=D("0.475")), None),
    (limit(side=Side.SELL, limit_price=D("0.4749")), "below 0.95 times"),
    (limit(side=Side.SELL, limit_price=D("0.9")), None),
    (limit(quantity=D("9.9")), "notional 4.95 USD is below the minimum 5"),
    (limit(quantity=D(10), limit_price=D("0.4999")), "below the minimum 5"),  # The lower of limit and mark counts.
    (limit(quantity=D("9.9"), reduce_only=True), None),
    (market(), None),
    (market(quantity=D(1)), "below the minimum 2"),
    (market(quantity=D("20.5")), "not a multiple of 1"),
    (market(quantity=D(401)), "above the maximum 400"),
    (market(quantity=D(9)), "notional 4.50 USD"),
    (market(quantity=D(9), reduce_only=True), None),
]


@pytest.mark.parametrize(("order", "words"), ORDERS)
def test_filters(order: OrderIntent, words: str | None) -> None:
    problem = order_problem(order, INSTRUMENT, D("0.5"))
    if words is None:
        assert problem is None
    else:
        assert problem is not None
        assert words in str(problem)


# leverage, notional -> words of the objection, or None
LEVERAGES: list[tuple[int, str, str | None]] = [
    (50, "1000", None),
    (50, "1000.01", "above the 1000 that leverage 50 allows"),
    (20, "1000.01", None),
    (21, "1000.01", "above the 1000"),  # 21 belongs to the bracket of 50.
    (5, "300000", None),
    (1, "300001", "above the 300000"),
    (51, "1", "leverage 51 is above the 50 that XRP/USDT:USDT allows"),
]


@pytest.mark.parametrize(("leverage", "notional", "words"), LEVERAGES)
def test_brackets(leverage: int, notional: str, words: str | None) -> None:
    problem = leverage_problem(INSTRUMENT, D(notional), leverage)
    if words is None:
        assert problem is None
    else:
        assert problem is not None
        assert words in str(problem)


def test_a_contract_without_brackets_objects_to_nothing() -> None:
    assert leverage_problem(msgspec.structs.replace(INSTRUMENT, leverage_steps=()), D(10**9), 125) is None


def test_a_market_order_fits_both_lot_filters() -> None:
    assert INSTRUMENT.quantity_step(OrderType.LIMIT) == D("0.1")
    assert INSTRUMENT.quantity_step(OrderType.MARKET) == D(1)
