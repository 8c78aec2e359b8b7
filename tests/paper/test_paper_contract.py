"""Unmodified ccxt makes every call of the reference sheet's section 1.6 and understands the answers."""

import asyncio
from typing import Any

import ccxt
import pytest
from ccxt_client import pro_client, rest_client
from scripted_market import ScriptedMarket
from waiting import eventually

from paper.options import CoreOptions, ExchangeOptions
from paper.server import PaperExchange

BTC = "BTC/USDT:USDT"
CAT = "1000CAT/USDT:USDT"


async def test_public_calls_work(client: Any) -> None:
    assert abs(await client.fetch_time() - client.milliseconds()) < 5000
    assert (await client.load_time_difference()) is not None
    assert BTC in client.markets
    assert client.markets["1MBABYDOGE/USDT:USDT"]["id"] == "1MBABYDOGEUSDT"
    book = await client.fetch_order_book(BTC, 5)
    assert book["bids"][0][0] == 82499.9
    assert (await client.fetch_bids_asks([BTC]))[BTC]["ask"] == 82500.1
    assert len(await client.fetch_ohlcv(BTC, "1m", limit=3)) == 3
    assert (await client.fetch_funding_rate(BTC))["fundingRate"] == 0.0001


async def test_funding_history_calls_work(client: Any, market: ScriptedMarket) -> None:
    await client.create_order(BTC, "market", "buy", 0.01)
    market.settle("BTCUSDT", "0.001")
    rows = await client.fetch_funding_history(BTC)
    assert [row["amount"] for row in rows] == [-0.825]
    assert (await client.fetch_funding_rate_history(BTC))[-1]["fundingRate"] == 0.001
    kinds = [row["info"]["incomeType"] for row in await client.fetch_ledger()]
    assert kinds == ["TRANSFER", "COMMISSION", "FUNDING_FEE"]


async def test_account_calls_work(client: Any) -> None:
    balance = await client.fetch_balance()
    assert balance["USDT"] == {"free": 10_000.0, "used": 0.0, "total": 10_000.0}
    assert await client.fetch_positions() == []
    assert (await client.fetch_position_mode())["hedged"] is False
    await client.set_position_mode(True)
    assert (await client.fetch_position_mode())["hedged"] is True
    with pytest.raises(ccxt.OperationRejected, match="-4059"):
        await client.set_position_mode(True)
    await client.set_position_mode(False)
    assert (await client.set_leverage(25, BTC))["leverage"] == 25
    with pytest.raises(ccxt.MarginModeAlreadySet):
        await client.set_margin_mode("cross", BTC)
    await client.set_margin_mode("isolated", BTC)
    assert (await client.fetch_leverages([BTC]))[BTC]["longLeverage"] == 25
    fee = await client.fetch_trading_fee(BTC)
    assert (fee["maker"], fee["taker"]) == (0.0002, 0.0005)


async def test_a_market_order_fills_and_shows_everywhere(client: Any) -> None:
    order = await client.create_order(BTC, "market", "buy", 0.01, params={"newClientOrderId": "my-1"})
    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.01, None)
    again = await client.fetch_order(None, BTC, {"origClientOrderId": "my-1"})
    assert (again["id"], again["average"], again["cost"]) == (order["id"], 82500.1, 825.001)
    assert (await client.fetch_order(order["id"], BTC))["clientOrderId"] == "my-1"
    (trade,) = await client.fetch_my_trades(BTC, params={"orderId": order["id"]})
    assert (trade["price"], trade["fee"]["cost"], trade["takerOrMaker"]) == (82500.1, 0.4125005, "taker")
    (position,) = await client.fetch_positions()
    assert (position["symbol"], position["contracts"], position["side"]) == (BTC, 0.01, "long")
    assert [row["id"] for row in await client.fetch_orders(BTC)] == [order["id"]]


async def test_limit_orders_rest_amend_and_cancel(client: Any) -> None:
    order = await client.create_order(BTC, "limit", "buy", 0.01, 82000)
    assert order["status"] == "open"
    assert [row["id"] for row in await client.fetch_open_orders()] == [order["id"]]
    edited = await client.edit_order(order["id"], BTC, "limit", "buy", 0.02, 82100)
    assert (edited["amount"], edited["price"]) == (0.02, 82100)
    cancelled = await client.cancel_order(order["id"], BTC)
    assert cancelled["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await client.cancel_order(order["id"], BTC)
    await client.create_order(BTC, "limit", "buy", 0.01, 82000)
    await client.cancel_all_orders(BTC)
    assert await client.fetch_open_orders(BTC) == []
    assert await client.fetch_open_orders(BTC, params={"trigger": True}) == []


async def test_a_batch_judges_each_order_for_itself(client: Any) -> None:
    orders = await client.create_orders([
        {"symbol": BTC, "type": "market", "side": "buy", "amount": 0.01, "price": None, "params": {"clientOrderId": "a"}},
        {"symbol": BTC, "type": "market", "side": "sell", "amount": 0.05, "price": None, "params": {"reduceOnly": True}},
        {"symbol": CAT, "type": "market", "side": "buy", "amount": 1, "price": None, "params": {"clientOrderId": "c"}},
    ])  # fmt: skip
    assert sorted(str(order["status"]) for order in orders) == ["closed", "closed", "rejected"]
    raw = await client.fapiPrivatePostBatchOrders({
        "batchOrders": [
            {"symbol": "1000CATUSDT", "side": "BUY", "type": "MARKET", "quantity": 1},
            {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": 0.001, "newClientOrderId": "b"},
        ]
    })  # fmt: skip
    assert int(raw[0]["code"]) == -4164
    assert raw[1]["clientOrderId"] == "b"


async def test_raw_private_calls_answer(client: Any) -> None:
    await client.create_order(BTC, "market", "buy", 0.01)
    assert (await client.fapiPrivateV2GetAccount())["canTrade"] is True
    assert (await client.fapiPrivateV2GetBalance())[0]["asset"] == "USDT"
    assert (await client.fapiPrivateV3GetBalance())[0]["asset"] == "USDT"
    assert len(await client.fapiPrivateV2GetPositionRisk()) == 5
    assert len(await client.fapiPrivateGetPositionRisk({"symbol": "BTCUSDT"})) == 1
    assert (await client.fapiPrivateGetMultiAssetsMargin())["multiAssetsMargin"] is False
    assert (await client.fapiPrivateGetAccountConfig())["dualSidePosition"] is False
    assert [row["count"] for row in await client.fapiPrivateGetRateLimitOrder()] == [1, 1]
    with pytest.raises(ccxt.OrderNotFound):
        await client.fapiPrivateGetOpenOrder({"symbol": "BTCUSDT", "origClientOrderId": "nobody"})
    assert client.last_response_headers["x-mbx-used-weight-1m"].isdigit()


async def test_order_counts_are_in_the_headers(client: Any) -> None:
    await client.create_order(BTC, "market", "buy", 0.01)
    headers = {name.lower(): text for name, text in client.last_response_headers.items()}
    assert (headers["x-mbx-order-count-10s"], headers["x-mbx-order-count-1m"]) == ("1", "1")


async def test_the_dead_man_switch_cancels(client: Any) -> None:
    await client.create_order(BTC, "limit", "buy", 0.01, 82000)
    reply = await client.fapiPrivatePostCountdownCancelAll({"symbol": "BTCUSDT", "countdownTime": 50})
    assert reply == {"symbol": "BTCUSDT", "countdownTime": "50"}

    async def nothing_open() -> bool:
        return not await client.fetch_open_orders(BTC)

    await eventually(nothing_open)


async def test_ccxt_pro_sees_its_orders(exchange: PaperExchange) -> None:
    client = pro_client(exchange.rest_url, exchange.stream_url)
    try:
        await client.load_markets()
        watching = asyncio.create_task(client.watch_orders(BTC))
        await eventually(lambda: exchange.user_streams._connections)
        await client.create_order(BTC, "limit", "buy", 0.01, 82000, {"clientOrderId": "seen"})
        async with asyncio.timeout(10):
            (order,) = await watching
        assert (order["clientOrderId"], order["status"]) == ("seen", "open")
    finally:
        await client.close()


async def test_the_older_reply_form_carries_the_average_price(market: ScriptedMarket) -> None:
    options = ExchangeOptions(core=CoreOptions(replies_carry_average_price=True))
    async with PaperExchange(market, options) as exchange:
        client = rest_client(exchange.rest_url, exchange.stream_url)
        try:
            order = await client.create_order(BTC, "market", "buy", 0.01)
            assert (order["average"], order["cost"]) == (82500.1, 825.001)
        finally:
            await client.close()
