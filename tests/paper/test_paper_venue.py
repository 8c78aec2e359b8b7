"""The pure core, driven without sockets: every refusal with its code, and the rules of matching and margin."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from scripted_market import ScriptedMarket

from paper.books import Books
from paper.core import ExchangeCore
from paper.errors import ApiError
from paper.options import CoreOptions
from paper.orders import Order, parse_order
from paper.portfolio import Portfolio

D = Decimal
NOW_MS = 1_790_000_000_000


class Desk:
    """A exchange over a scripted market, with one account, spoken to in request parameters."""

    def __init__(self, balance: str = "10000") -> None:
        self.market = ScriptedMarket()
        self.core = ExchangeCore(Books(self.market, CoreOptions()))
        self.me: Portfolio = self.core.books.open_account("k", "s", D(balance), NOW_MS)

    def send(self, now_ms: int = NOW_MS, fill_quantity_max: Decimal | None = None, **params: Any) -> Order:
        request = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"} | {
            name: str(value) for name, value in params.items()
        }
        if request["type"] == "LIMIT":
            request.setdefault("timeInForce", "GTC")
        return self.core.place(self.me, parse_order(request, now_ms), now_ms, fill_quantity_max=fill_quantity_max)

    def amount(self, symbol: str = "BTCUSDT", side: str = "BOTH") -> Decimal:
        return self.me.account.amount(symbol, side)


@pytest.fixture
def desk() -> Desk:
    return Desk()


LIMIT = {"type": "LIMIT", "quantity": "0.01", "price": "82000"}
# What is asked, and the code it is refused with.
REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({"symbol": ""}, -1102),
    ({"symbol": "NOPEUSDT", "quantity": "1"}, -1121),
    ({"side": "LONG", "quantity": "1"}, -1117),
    ({"type": "ICEBERG", "quantity": "1"}, -1116),
    ({"type": "STOP_MARKET", "quantity": "1"}, -4120),
    ({"type": "TRAILING_STOP_MARKET", "quantity": "1"}, -4120),
    ({}, -1102),
    ({"quantity": "abc"}, -1100),
    ({"quantity": "NaN"}, -1100),
    ({"quantity": "1e3"}, -1100),
    ({"quantity": "0"}, -4003),
    ({"quantity": "-1"}, -4003),
    ({"quantity": "0.0001"}, -1111),
    ({"quantity": "121"}, -4005),
    ({"symbol": "XRPUSDT", "quantity": "0.15"}, -1111),
    ({"quantity": "0.01", "timeInForce": "GTC"}, -1106),
    ({"quantity": "0.01", "price": "1"}, -1106),
    (LIMIT | {"timeInForce": "DAY"}, -1115),
    ({"type": "LIMIT", "quantity": "0.01"}, -1102),
    (LIMIT | {"price": "0"}, -4001),
    (LIMIT | {"price": "82000.05"}, -1111),
    (LIMIT | {"price": "1000001"}, -4002),
    (LIMIT | {"price": "0.0"}, -4001),
    (LIMIT | {"price": "86625.1"}, -4016),
    (LIMIT | {"side": "SELL", "price": "78374.9"}, -4024),
    ({"symbol": "1000CATUSDT", "quantity": "406"}, -4164),
    (LIMIT | {"quantity": "0.001", "price": "49000"}, -4164),
    ({"quantity": "0.01", "newClientOrderId": "x" * 37}, -4015),
    ({"quantity": "0.01", "newClientOrderId": "a b"}, -1100),
    ({"quantity": "0.01", "positionSide": "LONG"}, -4061),
    ({"quantity": "0.01", "positionSide": "UP"}, -4060),
    ({"quantity": "0.01", "reduceOnly": "maybe"}, -4062),
    ({"quantity": "0.01", "reduceOnly": "true"}, -2022),
    ({"quantity": "0.01", "newOrderRespType": "FULL"}, -1136),
    ({"quantity": "0.01", "priceMatch": "QUEUE"}, -5037),
    ({"quantity": "0.01", "selfTradePreventionMode": "ASK"}, -5039),
    (LIMIT | {"timeInForce": "GTD", "goodTillDate": str(NOW_MS + 1000)}, -5040),
    (LIMIT | {"timeInForce": "FOK"}, -5021),
    (LIMIT | {"timeInForce": "GTX", "price": "82500.1"}, -5022),
    ({"quantity": "2.9"}, -2019),
    ({"quantity": "40"}, -2027),
]  # fmt: skip


@pytest.mark.parametrize(("params", "code"), REFUSALS)
def test_refusals(desk: Desk, params: dict[str, Any], code: int) -> None:
    with pytest.raises(ApiError) as refusal:
        desk.send(**params)
    assert refusal.value.code == code
    assert not desk.me.orders
    assert desk.amount() == 0


def test_price_filters_know_tick_and_bounds(desk: Desk) -> None:
    listings: Any = desk.market.listings
    listings["BTCUSDT"] = replace(
        listings["BTCUSDT"], price_min=D("556.8"), tick=D("0.5"), step=D("0.002"), quantity_min=D("0.004")
    )
    for params, code in [
        (LIMIT | {"price": "82000.1"}, -4014),
        (LIMIT | {"price": "500"}, -4013),
        (LIMIT | {"quantity": "0.005"}, -4023),
        (LIMIT | {"quantity": "0.002"}, -4004),
    ]:
        with pytest.raises(ApiError) as refusal:
            desk.send(**params)
        assert refusal.value.code == code, params


def test_a_contract_that_does_not_trade_takes_no_orders(desk: Desk) -> None:
    desk.core.delist("BTCUSDT", "SETTLING", NOW_MS)
    with pytest.raises(ApiError, match="-4140"):
        desk.send(quantity="0.01")
    desk.core.delist("BTCUSDT", "CLOSE", NOW_MS)
    with pytest.raises(ApiError, match="-4141"):
        desk.send(quantity="0.01")


def test_a_client_id_is_unique_among_open_orders_only(desk: Desk) -> None:
    first = desk.send(**LIMIT, newClientOrderId="same")
    with pytest.raises(ApiError, match="-4116"):
        desk.send(**LIMIT, newClientOrderId="same")
    desk.core.cancel(desk.me, "BTCUSDT", None, "same", NOW_MS)
    second = desk.send(**LIMIT, newClientOrderId="same")
    assert desk.me.find("BTCUSDT", None, "same") is second is not first


def test_too_many_open_orders(desk: Desk) -> None:
    for _ in range(200):
        desk.send(**LIMIT | {"quantity": "0.001"})
    with pytest.raises(ApiError, match="-2025"):
        desk.send(**LIMIT | {"quantity": "0.001"})


def test_a_market_order_walks_the_depth_and_what_it_took_stays_taken(desk: Desk) -> None:
    desk.market.set_book("BTCUSDT", [(82499, 1)], [(82501, "0.004"), (82502, "0.003")])
    first = desk.send(quantity="0.005")
    assert (first.status, first.average_price) == ("FILLED", (D("82501") * 4 + D("82502")) / 5)
    second = desk.send(quantity="0.005")
    assert (second.status, second.filled, second.expiry_reason) == ("EXPIRED", D("0.002"), 9)
    assert desk.send(quantity="0.005").filled == 0
    desk.market.set_book("BTCUSDT", [(82499, 1)], [(82501, "0.004")])
    assert desk.send(quantity="0.001").status == "FILLED"


def test_a_market_order_stops_at_the_take_bound(desk: Desk) -> None:
    desk.market.set_book("BTCUSDT", [(82499, 1)], [(82501, "0.001"), (86626, 1)])
    order = desk.send(quantity="0.002")
    assert (order.status, order.filled) == ("EXPIRED", D("0.001"))


def test_a_market_order_needs_a_sane_counterparty(desk: Desk) -> None:
    desk.market.set_book("BTCUSDT", [(78000, 1)], [(86626, 1)])
    for side in ("BUY", "SELL"):
        with pytest.raises(ApiError, match="-4131"):
            desk.send(side=side, quantity="0.001")


@pytest.mark.parametrize(
    ("time_in_force", "status", "filled"), [("IOC", "EXPIRED", "0.004"), ("GTC", "PARTIALLY_FILLED", "0.004")]
)
def test_limit_orders_take_what_they_may(desk: Desk, time_in_force: str, status: str, filled: str) -> None:
    desk.market.set_book("BTCUSDT", [(82400, 1)], [(82450, "0.004"), (82502, 1)])
    order = desk.send(type="LIMIT", quantity="0.01", price="82500", timeInForce=time_in_force)
    assert (order.status, order.filled) == (status, D(filled))
    assert order.expiry_reason == (2 if time_in_force == "IOC" else 0)


def test_own_resting_orders_expire_instead_of_trading_with_oneself(desk: Desk) -> None:
    resting = desk.send(type="LIMIT", quantity="0.01", price="82499.9", timeInForce="GTX")
    taker = desk.send(side="SELL", quantity="0.01")
    assert (resting.status, resting.expiry_reason, taker.status) == ("EXPIRED_IN_MATCH", 1, "FILLED")


def test_reduce_only_orders_are_cut_refused_and_expired(desk: Desk) -> None:
    desk.send(quantity="0.01")
    resting = desk.send(side="SELL", type="LIMIT", quantity="0.01", price="83000", reduceOnly="true")
    with pytest.raises(ApiError, match="-4118"):
        desk.send(side="SELL", type="LIMIT", quantity="0.001", price="83000", reduceOnly="true")
    with pytest.raises(ApiError, match="-2022"):
        desk.send(side="BUY", quantity="0.001", reduceOnly="true")
    closing = desk.send(side="SELL", quantity="0.05", reduceOnly="true")
    assert (closing.status, closing.filled, desk.amount()) == ("FILLED", D("0.01"), 0)
    assert (resting.status, resting.expiry_reason) == ("EXPIRED", 4)


def test_a_reduce_only_limit_larger_than_the_position_stops_at_flat(desk: Desk) -> None:
    desk.send(quantity="0.01")
    order = desk.send(side="SELL", type="LIMIT", quantity="0.05", price="82000", reduceOnly="true")
    assert (order.status, order.expiry_reason, order.filled, desk.amount()) == ("EXPIRED", 4, D("0.01"), 0)


def test_hedge_closers_never_open_the_other_way(desk: Desk) -> None:
    desk.me.account.hedge_mode = True
    desk.send(quantity="0.02", positionSide="LONG")
    resting = desk.send(side="SELL", type="LIMIT", quantity="0.02", price="83000", positionSide="LONG")
    desk.send(side="SELL", quantity="0.015", positionSide="LONG")
    desk.core.on_book(desk.market.set_book("BTCUSDT", [(83100, 1)], [(83200, 1)]), NOW_MS)
    assert (resting.status, resting.expiry_reason, resting.filled) == ("EXPIRED", 4, D("0.005"))
    assert desk.amount(side="LONG") == 0


def test_hedge_mode_keeps_two_positions(desk: Desk) -> None:
    desk.me.account.hedge_mode = True
    desk.send(quantity="0.02", positionSide="LONG")
    desk.send(side="SELL", quantity="0.01", positionSide="SHORT")
    assert (desk.amount(side="LONG"), desk.amount(side="SHORT")) == (D("0.02"), D("-0.01"))
    for params, code in [
        ({"quantity": "0.01"}, -4061),
        ({"quantity": "0.01", "positionSide": "SHORT", "reduceOnly": "true"}, -1106),
        ({"side": "SELL", "quantity": "0.03", "positionSide": "LONG"}, -2022),
    ]:
        with pytest.raises(ApiError) as refusal:
            desk.send(**params)
        assert refusal.value.code == code


def test_amending_a_resting_order(desk: Desk) -> None:
    order = desk.send(**LIMIT)
    amend = desk.core.amend
    with pytest.raises(ApiError, match="-5027"):
        amend(desk.me, order, D("0.01"), D(82000), NOW_MS)
    amend(desk.me, order, D("0.02"), D("82500.1"), NOW_MS)
    assert (order.status, order.filled, desk.amount()) == ("FILLED", D("0.02"), D("0.02"))


def test_good_till_date_and_countdown_end_orders(desk: Desk) -> None:
    dated = desk.send(**LIMIT | {"timeInForce": "GTD", "goodTillDate": NOW_MS + 700_000})
    other = desk.send(**LIMIT | {"symbol": "ETHUSDT", "price": "2990"})
    desk.me.account.countdowns["ETHUSDT"] = NOW_MS + 1000
    desk.core.on_timer(NOW_MS + 999)
    assert dated.open
    assert other.open
    desk.core.on_timer(NOW_MS + 700_000)
    assert (dated.status, other.status) == ("EXPIRED", "CANCELED")


def test_a_losing_account_is_liquidated() -> None:
    desk = Desk("5000")
    desk.send(quantity="1")
    resting = desk.send(type="LIMIT", quantity="0.001", price="82000")
    desk.market.set_mark("BTCUSDT", "79000")
    desk.core.on_timer(NOW_MS)
    assert desk.amount() == D(1), "still above maintenance"
    desk.market.set_mark("BTCUSDT", "77500")
    desk.core.on_timer(NOW_MS)
    assert desk.amount() == 0
    assert (resting.status, resting.expiry_reason) == ("EXPIRED", 5)
    assert desk.me.account.wallet == 0
    assert desk.me.incomes[-1].kind == "INSURANCE_CLEAR"
    assert list(desk.me.orders.values())[-1].client_order_id.startswith("autoclose-")


def test_funding_is_paid_by_longs_and_received_by_shorts(desk: Desk) -> None:
    desk.send(quantity="0.1")
    desk.send(symbol="ETHUSDT", side="SELL", quantity="1")
    before = desk.me.account.wallet
    desk.core.on_funding(desk.market.settle("BTCUSDT", "0.0001"), NOW_MS)
    desk.core.on_funding(desk.market.settle("ETHUSDT", "0.0002"), NOW_MS)
    assert desk.me.account.wallet - before == D("-0.825") + D("0.6")
