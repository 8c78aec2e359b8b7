"""The gate: signatures over the exact text, the receive window, keys, budgets, unknown paths."""

import time
from typing import Any

import aiohttp
import pytest
from scripted_market import ScriptedMarket
from yarl import URL

from paper.errors import ApiError
from paper.limits import weight_of
from paper.options import ExchangeOptions, LimitOptions
from paper.server import PaperExchange
from paper.signing import check_signature, check_window, sign, signed_text

SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
PAYLOAD = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943"
)
SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def test_the_documented_vector() -> None:
    assert sign(SECRET, PAYLOAD) == SIGNATURE
    check_signature(SECRET, f"{PAYLOAD}&signature={SIGNATURE}", "")
    check_signature(SECRET, "", f"{PAYLOAD}&signature={SIGNATURE.upper()}")


def test_query_and_body_are_joined_without_a_separator() -> None:
    text, signature = signed_text("symbol=BTCUSDT&side=BUY", "quantity=1&timestamp=5&signature=abc")
    assert (text, signature) == ("symbol=BTCUSDT&side=BUYquantity=1&timestamp=5", "abc")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -1102),
        ({"timestamp": ""}, -1102),
        ({"timestamp": "x"}, -1102),
        ({"timestamp": "994999"}, -1021),
        ({"timestamp": "995000"}, None),
        ({"timestamp": "1000999"}, None),
        ({"timestamp": "1001000"}, -1021),
        ({"timestamp": "989999", "recvWindow": "10000"}, -1021),
        ({"timestamp": "990000", "recvWindow": "10000"}, None),
        ({"timestamp": "1000000", "recvWindow": "60001"}, -1131),
        ({"timestamp": "1000000", "recvWindow": "-1"}, -1130),
    ],
)
def test_the_window(params: dict[str, str], code: int | None) -> None:
    if code is None:
        check_window(params, 1_000_000)
        return
    with pytest.raises(ApiError) as refusal:
        check_window(params, 1_000_000)
    assert refusal.value.code == code


async def request(exchange: PaperExchange, method: str, path: str, **headers: str) -> tuple[int, Any, Any]:
    url = URL(exchange.rest_url + path, encoded=True)  # As it stands: no second quoting.
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as reply:
        return reply.status, await reply.json(), reply.headers


def signed_query(text: str = "", *, secret: str = "paper-secret") -> str:  # noqa: S107
    query = f"{text}&timestamp={time.time_ns() // 1_000_000}".lstrip("&")
    return f"{query}&signature={sign(secret, query)}"


async def test_keys_and_signatures_are_checked(exchange: PaperExchange) -> None:
    path = "/fapi/v3/balance?"
    key = {"X-MBX-APIKEY": "paper-key"}
    assert (await request(exchange, "GET", path + signed_query()))[:2] == (
        401, {"code": -2014, "msg": "API-key format invalid."},
    )  # fmt: skip
    status, body, _ = await request(exchange, "GET", path + signed_query(), **{"X-MBX-APIKEY": "stranger"})
    assert (status, body["code"]) == (401, -2015)
    status, body, _ = await request(exchange, "GET", path + signed_query(secret="wrong"), **key)
    assert (status, body["code"]) == (400, -1022)
    status, body, _ = await request(exchange, "GET", path + "timestamp=1", **key)
    assert (status, body["code"]) == (400, -1021)
    assert (await request(exchange, "GET", path + signed_query(), **key))[0] == 200


async def test_the_signed_text_is_the_encoded_one(exchange: PaperExchange) -> None:
    """An id with a slash and a colon, percent-encoded by the client, verifies as it was sent."""
    for encoded in ("a%2Fb%3Ac", "a/b:c", "a%2fb%3ac"):
        query = signed_query(f"symbol=BTCUSDT&origClientOrderId={encoded}")
        status, body, _ = await request(exchange, "GET", f"/fapi/v1/order?{query}", **{"X-MBX-APIKEY": "paper-key"})
        assert (status, body["code"]) == (400, -2013)


async def test_unknown_paths_speak_binance(exchange: PaperExchange) -> None:
    status, body, _ = await request(exchange, "GET", "/fapi/v1/nothing")
    assert (status, body["code"]) == (404, -5000)


@pytest.mark.parametrize(
    ("method", "path", "params", "weight"),
    [
        ("GET", "/fapi/v1/klines", {"limit": "99"}, 1),
        ("GET", "/fapi/v1/klines", {"limit": "100"}, 2),
        ("GET", "/fapi/v1/klines", {}, 5),
        ("GET", "/fapi/v1/klines", {"limit": "1500"}, 10),
        ("GET", "/fapi/v1/depth", {"limit": "50"}, 2),
        ("GET", "/fapi/v1/depth", {"limit": "1000"}, 20),
        ("GET", "/fapi/v1/openOrders", {}, 40),
        ("DELETE", "/fapi/v1/allOpenOrders", {"symbol": "BTCUSDT"}, 1),
        ("POST", "/fapi/v1/order", {}, 0),
        ("POST", "/fapi/v1/positionSide/dual", {}, 1),
        ("GET", "/fapi/v1/positionSide/dual", {}, 30),
        ("GET", "/fapi/v1/income", {}, 30),
        ("GET", "/fapi/v1/time", {}, 1),
    ],
)
def test_weights(method: str, path: str, params: dict[str, str], weight: int) -> None:
    assert weight_of(method, path, params) == weight


async def test_too_much_weight_is_429_and_insisting_is_418(market: ScriptedMarket) -> None:
    options = ExchangeOptions(limits=LimitOptions(weight_per_minute_max=5, ignored_refusals_max=3, ban_seconds=60))
    async with PaperExchange(market, options) as exchange:
        # A minute may end under our feet, so look at what comes, not at how many.
        seen = [await request(exchange, "GET", "/fapi/v1/time") for _ in range(24)]
    statuses = [status for status, _, _ in seen]
    assert statuses[:5] == [200] * 5
    assert sorted(set(statuses)) == [200, 418, 429]
    assert statuses[-1] == 418
    refused = next(row for row in seen if row[0] == 429)
    assert refused[1] == {"code": -1003, "msg": "Too many requests; current limit is 5 requests per minute."}
    assert 1 <= int(refused[2]["Retry-After"]) <= 60
    assert "banned until" in seen[-1][1]["msg"]


async def test_too_many_orders_are_refused(market: ScriptedMarket) -> None:
    options = ExchangeOptions(limits=LimitOptions(orders_per_10s_max=0, orders_per_minute_max=1))
    async with PaperExchange(market, options) as exchange:
        codes = []
        for _ in range(4):
            query = signed_query("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.001")
            _, body, _ = await request(exchange, "POST", f"/fapi/v1/order?{query}", **{"X-MBX-APIKEY": "paper-key"})
            codes.append(body.get("code"))
    assert codes[0] is None
    assert codes[-1] == -1015
