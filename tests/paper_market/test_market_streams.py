"""Public streams as raw websockets and as ccxt.pro see them."""

import asyncio
import json
import time
from collections.abc import Callable
from itertools import pairwise

import ccxt.pro
import pytest
import websockets
from bare_exchange import BareExchange, Serve
from websockets.asyncio.client import ClientConnection

from paper.markets import SyntheticMarket
from paper.stream_names import parse_stream


async def receive(socket: ClientConnection, seconds: float = 30.0) -> dict:
    return json.loads(await asyncio.wait_for(socket.recv(), seconds))


async def receive_until(socket: ClientConnection, wanted: Callable[[dict], bool], seconds: float = 30.0) -> dict:
    async with asyncio.timeout(seconds):
        while True:
            message = json.loads(await socket.recv())
            if wanted(message):
                return message


async def listen(socket: ClientConnection, seconds: float = 5.0) -> None:
    while True:
        await receive(socket, seconds)


async def nag(socket: ClientConnection) -> None:
    for number in range(40):
        await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
    await listen(socket)


async def ask(socket: ClientConnection, **request: object) -> dict:
    await socket.send(json.dumps(request))
    return await receive_until(socket, lambda message: "result" in message or "error" in message)


async def test_book_ticker_raw(exchange: BareExchange) -> None:
    """Mode 1: the bare payload, update ids rising, field names and order as documented."""
    async with websockets.connect(f"{exchange.stream_url}/public/ws/ethusdt@bookTicker") as socket:
        tickers = [await receive(socket) for _ in range(5)]
    assert list(tickers[0]) == ["e", "u", "E", "T", "s", "ps", "b", "B", "a", "A", "st"]
    assert {ticker["s"] for ticker in tickers} == {"ETHUSDT"}
    ids = [ticker["u"] for ticker in tickers]
    assert ids == sorted(set(ids))
    assert all(float(ticker["b"]) < float(ticker["a"]) for ticker in tickers)


async def test_combined_and_control_replies(exchange: BareExchange) -> None:
    """Payloads are wrapped, control replies never are."""
    url = f"{exchange.stream_url}/public/stream?streams=ethusdt@bookTicker/solusdt@bookTicker"
    async with websockets.connect(url) as socket:
        message = await receive(socket)
        assert set(message) == {"stream", "data"}
        assert await ask(socket, method="LIST_SUBSCRIPTIONS", id=3) == {
            "result": ["ethusdt@bookTicker", "solusdt@bookTicker"],
            "id": 3,
        }
        assert await ask(socket, method="UNSUBSCRIBE", params=["ethusdt@bookTicker"], id="x") == {
            "result": None,
            "id": "x",
        }
        assert await ask(socket, method="SET_PROPERTY", params=["combined", False], id=5) == {"result": None, "id": 5}
        assert (await receive(socket))["s"] == "SOLUSDT"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not json", 3),
        ("[]", 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@bookTicker","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":[1]}', 2),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":1}', 2),
    ],
)
async def test_bad_requests(exchange: BareExchange, text: str, code: int) -> None:
    async with websockets.connect(f"{exchange.stream_url}/public/ws") as socket:
        await socket.send(text)
        assert (await receive(socket))["error"]["code"] == code


@pytest.mark.parametrize("path", ["/public/ws", "/ws", "/public/stream", "/stream"])
async def test_wrong_route_is_acknowledged_and_silent(exchange: BareExchange, path: str) -> None:
    """aggTrade belongs to /market: subscribed elsewhere it is acknowledged and says nothing."""
    async with websockets.connect(exchange.stream_url + path) as socket:
        assert (await ask(socket, method="SUBSCRIBE", params=["btcusdt@aggTrade"], id=1))["result"] is None
        with pytest.raises(TimeoutError):
            await receive(socket, 0.6)
        await ask(socket, method="SUBSCRIBE", params=["btcusdt@bookTicker"], id=2)
        assert "BTCUSDT" in json.dumps(await receive(socket))


@pytest.mark.parametrize(
    ("route", "stream", "event"),
    [
        ("public", "btcusdt@depth5", "depthUpdate"),
        ("public", "btcusdt@depth20@100ms", "depthUpdate"),
        ("public", "btcusdt@depth@100ms", "depthUpdate"),
        ("public", "btcusdt@trade", "trade"),
        ("market", "btcusdt@aggTrade", "aggTrade"),
        ("market", "btcusdt@markPrice@1s", "markPriceUpdate"),
        ("market", "btcusdt@kline_1m", "kline"),
        ("market", "btcusdt_perpetual@continuousKline_1m", "continuous_kline"),
        ("market", "btcusdt@miniTicker", "24hrMiniTicker"),
        ("market", "btcusdt@ticker", "24hrTicker"),
    ],
)
async def test_every_stream_speaks(exchange: BareExchange, route: str, stream: str, event: str) -> None:
    async with websockets.connect(f"{exchange.stream_url}/{route}/ws/{stream}") as socket:
        assert (await receive(socket))["e"] == event


@pytest.mark.parametrize("stream", ["!markPrice@arr@1s", "!ticker@arr", "!miniTicker@arr"])
async def test_all_market_arrays_carry_coin_margined_rows(exchange: BareExchange, stream: str) -> None:
    async with websockets.connect(f"{exchange.stream_url}/market/ws/{stream}") as socket:
        rows = json.loads(await asyncio.wait_for(socket.recv(), 5))
    assert {row["st"] for row in rows} == {1, 2}
    assert {row["s"] for row in rows if row["st"] == 1} == set(exchange.market.listings)


async def test_all_books_are_polluted(exchange: BareExchange) -> None:
    async with websockets.connect(f"{exchange.stream_url}/public/ws/!bookTicker") as socket:
        rows = [await receive(socket) for _ in range(len(exchange.market.listings) + 2)]
    assert {row["s"] for row in rows if row["st"] == 2} == {"BTCUSD_PERP", "ETHUSD_PERP"}


async def test_depth_events_chain(exchange: BareExchange) -> None:
    """pu equals the previous u, and U follows it."""
    async with websockets.connect(f"{exchange.stream_url}/public/ws/btcusdt@depth@100ms") as socket:
        events = [await receive(socket) for _ in range(4)]
    for before, after in pairwise(events):
        assert after["pu"] == before["u"]
        assert after["U"] == before["u"] + 1


async def test_kline_closes_once(serving: Serve) -> None:
    """At sixty times the speed every minute's bar is final exactly once, and equals what REST says."""
    async with (
        serving(SyntheticMarket(seed=1, speed=60.0, history_days=1)) as exchange,
        websockets.connect(f"{exchange.stream_url}/market/ws/btcusdt@kline_1m") as socket,
    ):
        closed = []
        while len(closed) < 3:
            bar = (await receive(socket))["k"]
            if bar["x"]:
                closed.append(bar)
        opens = [bar["t"] for bar in closed]
        assert [opens[0], opens[0] + 60_000, opens[0] + 120_000] == opens
        rows = exchange.market.klines("BTCUSDT", 60_000, start_ms=opens[0], end_ms=opens[-1], limit=3)
        assert [(bar["o"], bar["h"], bar["l"], bar["c"]) for bar in closed] == [
            (f"{row.open:f}", f"{row.high:f}", f"{row.low:f}", f"{row.close:f}") for row in rows
        ]


async def test_status_change_is_announced(exchange: BareExchange) -> None:
    async with websockets.connect(f"{exchange.stream_url}/market/ws/!contractInfo") as socket:
        exchange.market.set_status("WIFUSDT", "SETTLING")
        event = await receive(socket)
        exchange.market.set_status("WIFUSDT", "TRADING")
    assert (event["s"], event["cs"]) == ("WIFUSDT", "SETTLING")


async def test_pings_and_lifetime(serving: Serve) -> None:
    """The server pings, and closes every connection at the end of its life."""
    async with (
        serving(SyntheticMarket(seed=1, history_days=1), ping_seconds=0.1, lifetime_seconds=0.8) as exchange,
        websockets.connect(f"{exchange.stream_url}/public/ws") as socket,
    ):
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await receive(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


async def test_too_many_messages(exchange: BareExchange) -> None:
    async with websockets.connect(f"{exchange.stream_url}/public/ws") as socket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await nag(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_too_many_streams(exchange: BareExchange) -> None:
    async with websockets.connect(f"{exchange.stream_url}/public/ws") as socket:
        many = [f"x{number}@bookTicker" for number in range(1_025)]
        assert (await ask(socket, method="SUBSCRIBE", params=many, id=1))["error"]["code"] == 2
        assert (await ask(socket, method="SUBSCRIBE", params=many[:-1], id=2))["result"] is None


async def test_frozen_garbage_drop(exchange: BareExchange) -> None:
    """The three stream faults: silence on an open socket, a garbled frame, an abrupt end."""
    async with websockets.connect(f"{exchange.stream_url}/public/ws/btcusdt@bookTicker") as socket:
        await receive(socket)
        exchange.faults.freeze(None)
        with pytest.raises(TimeoutError):
            await listen(socket, 0.5)
        exchange.faults.unfreeze()
        await receive(socket)
        exchange.faults.fire("garbage", '{"e":"garb')
        async with asyncio.timeout(30):
            while await socket.recv() != '{"e":"garb':
                pass
        exchange.faults.fire("drop")
        with pytest.raises(websockets.ConnectionClosedError):
            await listen(socket)


async def test_a_listener_that_does_not_read_is_dropped(serving: Serve) -> None:
    """It must neither hold up the market nor another listener."""
    market = SyntheticMarket(seed=1, ticks_per_second=40.0, history_days=1)
    async with serving(market, buffer_bytes_max=20_000) as exchange:
        names = [f"{symbol.lower()}@bookTicker" for symbol in market.listings]
        path = f"/public/ws/{'/'.join(names)}"
        reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port, limit=1_024)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reader.readline()
        async with websockets.connect(f"{exchange.stream_url}/public/ws/btcusdt@bookTicker") as socket:
            await receive(socket)
            assert exchange.streams.connections == 2
            deadline = time.monotonic() + 60
            payload = b"x" * 100_000
            while exchange.streams.connections == 2 and time.monotonic() < deadline:
                exchange.faults.fire("garbage", payload.decode())
                while len(await asyncio.wait_for(socket.recv(), 5)) != len(payload):
                    pass
            assert exchange.streams.connections == 1
        writer.close()


async def test_ccxt_pro_watches(exchange: BareExchange) -> None:
    """Unmodified ccxt.pro, only its URLs replaced."""
    client = ccxt.pro.binanceusdm({"options": {"fetchCurrencies": False}})
    api = client.urls["api"]
    for key, url in list(api.items()):
        if isinstance(url, str):
            api[key] = exchange.rest_url + "/" + url.split("://", 1)[1].split("/", 1)[1]
    for key, url in list(api["ws"].items()):
        if isinstance(url, str):
            api["ws"][key] = exchange.stream_url + "/ws"
    try:
        markets = await client.load_markets()
        assert len(markets) == len(exchange.market.listings)
        assert markets["1MBABYDOGE/USDT:USDT"]["precision"]["price"] == pytest.approx(1e-7)
        async with asyncio.timeout(20):
            tickers = await client.watch_bids_asks(["1000CAT/USDT:USDT", "1MBABYDOGE/USDT:USDT"])
            assert set(tickers) <= {"1000CAT/USDT:USDT", "1MBABYDOGE/USDT:USDT"}
            mark = await client.watch_mark_price("ETH/USDT:USDT")
            assert mark["markPrice"] > 0
            rows = await client.fetch_ohlcv("ETH/USDT:USDT", "1h", limit=1_000)
            assert len(rows) == 1_000
            funding = await client.fetch_funding_rate_history("ETH/USDT:USDT", limit=5)
            assert len(funding) == 5
            assert (await client.fetch_funding_rate("ETH/USDT:USDT"))["fundingRate"] is not None
            assert len((await client.fetch_order_book("ETH/USDT:USDT", 10))["bids"]) == 10
            assert len(await client.fetch_bids_asks()) == len(markets)
            assert (await client.fetch_ticker("ETH/USDT:USDT"))["last"] > 0
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("btcusdt@bookTicker", ("bookTicker", "public", None)),
        ("!bookTicker", ("bookTicker", "public", 5_000)),
        ("btcusdt@depth", ("depth", "public", 250)),
        ("btcusdt@depth10@500ms", ("partialDepth", "public", 500)),
        ("btcusdt@markPrice", ("markPrice", "market", 3_000)),
        ("!markPrice@arr@1s", ("markPrice", "market", 1_000)),
        ("btcusdt@kline_1M", ("kline", "market", 250)),
        ("!contractInfo", ("contractInfo", "market", None)),
        ("btcusdt@kline_1s", None),
        ("btcusdt@bookTicker@100ms", None),
        ("!ticker@arr@1s", None),
        ("btcusdt@nonsense", None),
        ("0", None),
    ],
)
def test_stream_names(name: str, expected: tuple | None) -> None:
    stream = parse_stream(name)
    assert (stream and (stream.kind, stream.route, stream.period_ms)) == expected
