"""The user stream over raw websockets: payloads as captured, listen keys, and everything that goes wrong with streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import websockets
from paper_control import bearer
from scripted_market import ScriptedMarket
from waiting import eventually

from paper.options import CoreOptions, ExchangeOptions, StreamOptions
from paper.server import PaperExchange

BTC = "BTC/USDT:USDT"
KEY = {"X-MBX-APIKEY": "paper-key"}
ORDER_FIELDS = ["s", "c", "S", "o", "f", "q", "p", "ap", "sp", "x", "X", "i", "l", "z", "L", "n", "N", "T", "t", "b", "a", "m", "R", "wt", "ot", "ps", "cp", "rp", "pP", "si", "ss", "V", "pm", "gtd", "er"]  # fmt: skip


async def ask(exchange: PaperExchange, method: str, path: str, **body: Any) -> Any:
    url = exchange.rest_url + path
    headers = KEY | bearer(exchange.control_token)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, json=body or None) as reply,
    ):
        return await reply.json()


async def listen_key(exchange: PaperExchange) -> str:
    return str((await ask(exchange, "POST", "/fapi/v1/listenKey"))["listenKey"])


@pytest.fixture
async def stream(exchange: PaperExchange) -> AsyncIterator[Any]:
    url = f"{exchange.stream_url}/private/ws?listenKey={await listen_key(exchange)}"
    async with websockets.connect(url) as socket:
        await eventually(lambda: exchange.user_streams._connections)
        yield socket


async def read(socket: Any, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def test_a_market_order_is_told_as_captured(stream: Any, client: Any) -> None:
    await client.create_order(BTC, "market", "buy", 0.01, params={"clientOrderId": "told"})
    new, trade, account = await read(stream, 3)
    assert (new["e"], new["o"]["x"], new["o"]["X"]) == ("ORDER_TRADE_UPDATE", "NEW", "NEW")
    assert list(new["o"]) == ORDER_FIELDS == list(trade["o"])
    body = trade["o"]
    assert (body["x"], body["X"], body["c"], body["l"], body["z"]) == ("TRADE", "FILLED", "told", "0.01", "0.01")
    assert (body["L"], body["ap"], body["n"], body["N"], body["m"]) == (
        "82500.1",
        "82500.1",
        "0.4125005",
        "USDT",
        False,
    )
    assert account["e"] == "ACCOUNT_UPDATE"
    assert account["a"]["m"] == "ORDER"
    assert account["a"]["B"] == [{"a": "USDT", "wb": "9999.58749950", "cw": "9999.58749950", "bc": "0"}]
    (position,) = account["a"]["P"]
    assert (position["s"], position["pa"], position["ep"], position["mt"]) == ("BTCUSDT", "0.01", "82500.1", "cross")


async def test_the_remainder_of_a_market_order_expires_with_reason_9(
    stream: Any, client: Any, market: ScriptedMarket
) -> None:
    market.set_book("BTCUSDT", [(82499, 1)], [(82501, "0.004"), (82502, "0.003")])
    await client.create_order(BTC, "market", "buy", 0.01)
    events = await read(stream, 6)
    steps = [(event["o"]["x"], event["o"]["X"], event["o"]["er"]) for event in events if "o" in event]
    assert steps == [
        ("NEW", "NEW", "0"), ("TRADE", "PARTIALLY_FILLED", "0"), ("TRADE", "PARTIALLY_FILLED", "0"), ("EXPIRED", "EXPIRED", "9"),
    ]  # fmt: skip
    ids = [event["o"]["t"] for event in events if "o" in event and event["o"]["t"]]
    assert len(set(ids)) == 2


async def test_resting_orders_fill_as_makers_when_crossed(stream: Any, client: Any, market: ScriptedMarket) -> None:
    await client.create_order(BTC, "limit", "buy", 0.01, 82400)
    market.set_book("BTCUSDT", [(82300, 1)], [(82399, "0.006"), (82450, 1)])
    market.set_book("BTCUSDT", [(82300, 1)], [(82400, "0.5")])
    events = await read(stream, 5)
    fills = [event["o"] for event in events if "o" in event and event["o"]["x"] == "TRADE"]
    assert [(fill["L"], fill["l"], fill["m"], fill["X"]) for fill in fills] == [
        ("82400", "0.006", True, "PARTIALLY_FILLED"), ("82400", "0.004", True, "FILLED"),
    ]  # fmt: skip
    assert fills[0]["n"] == "0.09888"  # Maker fee.


async def test_funding_adl_liquidation_and_delisting_are_told(
    exchange: PaperExchange, stream: Any, client: Any, market: ScriptedMarket
) -> None:
    await client.create_order(BTC, "market", "buy", 0.02)
    await read(stream, 3)
    market.settle("BTCUSDT", "0.001")
    (funding,) = await read(stream, 1)
    assert (funding["a"]["m"], funding["a"]["S"], funding["a"]["P"]) == ("FUNDING_FEE", "BTCUSDT", [])
    assert funding["a"]["B"][0]["bc"] == "-1.65"
    await ask(exchange, "POST", "/paper/adl", symbol="BTCUSDT", fraction="0.5")
    new, calculated, account = await read(stream, 3)
    assert (new["o"]["c"], calculated["o"]["x"], calculated["o"]["X"]) == ("adl_autoclose", "CALCULATED", "FILLED")
    assert account["a"]["P"][0]["pa"] == "0.01"
    await ask(exchange, "POST", "/paper/position", symbol="ETHUSDT", quantity="-1")
    await read(stream, 3)
    await ask(exchange, "POST", "/paper/delist", symbol="BTCUSDT")
    new, *_ = await read(stream, 3)
    assert new["o"]["c"].startswith("settlement_autoclose-")
    await ask(exchange, "POST", "/paper/liquidate")
    new, _, _, cleared = await read(stream, 4)
    assert new["o"]["c"].startswith("autoclose-")
    assert cleared["a"]["m"] == "INSURANCE_CLEAR"


async def test_listen_keys_are_kept_extended_and_closed(exchange: PaperExchange) -> None:
    first = await listen_key(exchange)
    assert len(first) == 64
    assert await listen_key(exchange) == first
    assert (await ask(exchange, "PUT", "/fapi/v1/listenKey"))["listenKey"] == first
    assert await ask(exchange, "DELETE", "/fapi/v1/listenKey") == {}
    assert (await ask(exchange, "PUT", "/fapi/v1/listenKey"))["code"] == -1125
    assert await listen_key(exchange) != first


async def test_an_expired_key_is_announced_and_then_silent(exchange: PaperExchange, stream: Any, client: Any) -> None:
    await ask(exchange, "POST", "/paper/expire-listen-key")
    (expired,) = await read(stream, 1)
    assert expired["e"] == "listenKeyExpired"
    await client.create_order(BTC, "market", "buy", 0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.recv(), 0.3)
    await stream.ping()  # Still open.


async def test_a_key_expires_by_the_clock_and_connections_have_their_day(market: ScriptedMarket) -> None:
    options = ExchangeOptions(
        streams=StreamOptions(listen_key_life_seconds=0.3, ping_every_seconds=0.05, connection_life_seconds=1.0)
    )
    async with PaperExchange(market, options) as exchange:
        url = f"{exchange.stream_url}/private/stream?listenKey={await listen_key(exchange)}"
        async with websockets.connect(url, ping_interval=None) as socket:
            (wrapped,) = await read(socket, 1)
            assert wrapped["data"]["e"] == "listenKeyExpired"
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 10)


async def test_events_can_be_chosen_and_trade_lite_switched_on(market: ScriptedMarket) -> None:
    options = ExchangeOptions(core=CoreOptions(trade_lite=True))
    async with PaperExchange(market, options) as exchange:
        url = (
            f"{exchange.stream_url}/private/ws?listenKey={await listen_key(exchange)}&events=TRADE_LITE/ACCOUNT_UPDATE"
        )
        async with websockets.connect(url) as socket:
            await eventually(lambda: exchange.user_streams._connections)
            await ask(exchange, "POST", "/paper/position", symbol="ETHUSDT", quantity="1")
            assert [event["e"] for event in await read(socket, 2)] == ["TRADE_LITE", "ACCOUNT_UPDATE"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("user-duplicated", ["NEW", "NEW", "TRADE", "ACCOUNT_UPDATE"]),
        ("user-reordered", ["TRADE", "NEW", "ACCOUNT_UPDATE"]),
        ("user-delayed", ["TRADE", "ACCOUNT_UPDATE", "NEW"]),
    ],
)
async def test_user_events_can_be_disturbed(
    exchange: PaperExchange, stream: Any, client: Any, kind: str, expected: list[str]
) -> None:
    await ask(exchange, "POST", "/paper/faults", kind=kind, parameters={"delay_ms": 100})
    await client.create_order(BTC, "market", "buy", 0.01)
    events = await read(stream, len(expected))
    assert [event["o"]["x"] if "o" in event else event["e"] for event in events] == expected


async def test_garbage_freeze_and_drop(exchange: PaperExchange, stream: Any, client: Any) -> None:
    await ask(exchange, "POST", "/paper/faults", kind="user-garbage", parameters={"text": "{nonsense"})
    assert await asyncio.wait_for(stream.recv(), 10) == "{nonsense"
    await ask(exchange, "POST", "/paper/faults", kind="user-frozen")
    await client.create_order(BTC, "market", "buy", 0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.recv(), 0.2)
    await ask(exchange, "DELETE", "/paper/faults")
    await client.create_order(BTC, "market", "buy", 0.01)
    assert (await read(stream, 1))[0]["o"]["x"] == "NEW"
    await ask(exchange, "POST", "/paper/faults", kind="user-dropped")
    with pytest.raises(websockets.ConnectionClosedError):
        await read(stream, 3)
    assert stream.close_code == 1006


async def test_control_messages_are_answered_and_chatter_is_cut(stream: Any) -> None:
    await stream.send('{"method":"LIST_SUBSCRIPTIONS","id":3}')
    (reply,) = await read(stream, 1)
    assert (reply["id"], len(reply["result"])) == (3, 1)
    await stream.send("not json")
    assert "error" in (await read(stream, 1))[0]

    async def chatter() -> None:
        for _ in range(50):
            await stream.send('{"method":"SUBSCRIBE","params":[],"id":1}')
            await stream.recv()

    with pytest.raises(websockets.ConnectionClosed):
        await chatter()


async def test_a_liquidation_is_public(exchange: PaperExchange) -> None:
    async with websockets.connect(f"{exchange.stream_url}/market/ws/btcusdt@forceOrder") as socket:
        await eventually(lambda: exchange.public_streams.connections)
        await ask(exchange, "POST", "/paper/position", symbol="BTCUSDT", quantity="0.1")
        await ask(exchange, "POST", "/paper/liquidate")
        (event,) = await read(socket, 1)
    assert (event["e"], event["o"]["s"], event["o"]["S"], event["o"]["q"]) == ("forceOrder", "BTCUSDT", "SELL", "0.1")


async def test_public_streams_obey_the_board(exchange: PaperExchange, market: ScriptedMarket) -> None:
    async with websockets.connect(f"{exchange.stream_url}/public/ws/btcusdt@bookTicker") as socket:
        await eventually(lambda: exchange.public_streams.connections)
        market.set_book("BTCUSDT", [(82000, 1)], [(82001, 1)])
        assert (await read(socket, 1))[0]["b"] == "82000"
        await ask(exchange, "POST", "/paper/faults", kind="public-frozen")
        market.set_book("BTCUSDT", [(82002, 1)], [(82003, 1)])
        await ask(exchange, "DELETE", "/paper/faults")
        await ask(exchange, "POST", "/paper/faults", kind="public-garbage", parameters={"text": "<html>"})
        assert await asyncio.wait_for(socket.recv(), 10) == "<html>"
        await ask(exchange, "POST", "/paper/faults", kind="public-dropped")
        with pytest.raises(websockets.ConnectionClosedError):
            await read(socket, 1)
