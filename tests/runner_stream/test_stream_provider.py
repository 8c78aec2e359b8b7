"""The provider against a real websockets server that drops, freezes, talks garbage and takes the wrong route."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from domain.quotes import Quote
from domain.symbols import Symbol
from runner.clock import SystemClock
from runner.config import STREAM_URL, STREAM_URL_DEMO, DataSettings, Settings
from runner.exchange.binance.market_stream.provider import BinanceWebSocketProvider
from runner.exchange.binance.market_stream.settings import FeedSettings, feed_settings
from runner.exchange.binance.symbols import exchange_id

A, B, C = (Symbol(f"{name}/USDT:USDT") for name in ("AAA", "BBB", "CCC"))


class FakeExchange:
    """A tiny bookTicker exchange; each connection is kept so that a test can mistreat it."""

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self.subscribed: dict[ServerConnection, set[str]] = {}
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.frozen: set[ServerConnection] = set()
        self.silent = False
        self.refuse_subscriptions = False
        self.update_id = 0
        self.url = ""

    async def handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.paths.append(socket.request.path)
        self.sockets.append(socket)
        self.subscribed[socket] = set()
        try:
            async for raw in socket:
                request = json.loads(raw)
                self.requests.append(request)
                if self.refuse_subscriptions:
                    await socket.send(json.dumps({"error": {"code": 2, "msg": "Invalid request"}, "id": request["id"]}))
                    continue
                names = {name.removesuffix("@bookTicker").upper() for name in request["params"]}
                if request["method"] == "SUBSCRIBE":
                    self.subscribed[socket] |= names
                else:
                    self.subscribed[socket] -= names
                await socket.send(json.dumps({"result": None, "id": request["id"]}))
        finally:
            self.sockets.remove(socket)

    async def push(self, symbol: Symbol, bid: float) -> None:
        """A quote to everybody who asked for it."""
        self.update_id += 1
        name = exchange_id(symbol)
        message = {
            "e": "bookTicker", "u": self.update_id, "s": name, "b": str(bid), "B": "1", "a": str(bid + 1), "A": "1",
            "T": 1_000 + self.update_id, "E": 1_000 + self.update_id,
        }  # fmt: skip
        for socket in list(self.sockets):
            if name in self.subscribed[socket] and socket not in self.frozen and not self.silent:
                with contextlib.suppress(ConnectionClosed):
                    await socket.send(json.dumps(message))


class Ear:
    """What the provider told us."""

    def __init__(self) -> None:
        self.quotes: list[tuple[Symbol, float]] = []
        self.stale: list[tuple[Symbol, bool]] = []
        self.interrupted: list[frozenset[Symbol]] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.failures: list[BaseException] = []

    def on_quote(self, symbol: Symbol, quote: Quote) -> None:
        self.quotes.append((symbol, quote.bid))

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.events]


async def until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (Conditions of many objects; no event to wait for.)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def rig(**changes: Any) -> AsyncIterator[tuple[FakeExchange, Ear, BinanceWebSocketProvider]]:
    adapter, ear = FakeExchange(), Ear()
    async with serve(adapter.handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings = FeedSettings(
            stream_url=f"ws://127.0.0.1:{port}",
            silence_seconds_max=30.0,
            requests_per_second_max=1000.0,
            backoff_seconds_min=0.02,
        )
        provider = BinanceWebSocketProvider(
            SystemClock(),
            replace(settings, **changes),
            on_quote=ear.on_quote,
            on_stale=lambda symbol, stale, _: ear.stale.append((symbol, stale)),
            on_interrupted=ear.interrupted.append,
            on_event=lambda event, facts: ear.events.append((event.name, facts)),
            on_failed=ear.failures.append,
        )
        try:
            yield adapter, ear, provider
        finally:
            await provider.close()


def all_asked(adapter: FakeExchange, *symbols: Symbol) -> Callable[[], bool]:
    names = {exchange_id(symbol) for symbol in symbols}
    return lambda: any(names <= adapter.subscribed[socket] for socket in adapter.sockets)


async def test_each_symbol_is_subscribed_once_on_the_public_route() -> None:
    async with rig(streams_per_request_max=2) as (adapter, ear, provider):
        await provider.watch_ticker([A, B, A, C])
        await until(all_asked(adapter, A, B, C))
        await adapter.push(A, 1.0)
        await adapter.push(C, 3.0)
        await until(lambda: len(ear.quotes) == 2)
        assert ear.quotes == [(A, 1.0), (C, 3.0)]
        assert adapter.paths == ["/public/ws"]
        assert [len(request["params"]) for request in adapter.requests] == [2, 1]
        assert provider.statistics.connections_open == 1


async def test_symbols_come_and_go_without_touching_the_others() -> None:
    async with rig(streams_per_connection_max=2) as (adapter, ear, provider):
        await provider.watch_ticker([A])
        await until(all_asked(adapter, A))
        await provider.watch_ticker([A, B, C])
        await until(all_asked(adapter, A, B))
        await until(all_asked(adapter, C))
        assert provider.statistics.connections == 2
        assert ear.interrupted == []
        await provider.unwatch_ticker([B, C])
        await until(lambda: len(adapter.sockets) == 1)
        await until(lambda: adapter.subscribed[adapter.sockets[0]] == {"AAAUSDT"})
        assert provider.symbols == {A}
        await adapter.push(A, 1.0)
        await until(lambda: ear.quotes == [(A, 1.0)])


async def test_a_dropped_connection_is_reopened_and_old_quotes_are_forgotten() -> None:
    async with rig() as (adapter, ear, provider):
        await provider.watch_ticker([A, B])
        await until(all_asked(adapter, A, B))
        adapter.update_id = 500
        await adapter.push(A, 1.0)
        await until(lambda: len(ear.quotes) == 1)
        adapter.sockets[0].transport.abort()
        await until(lambda: len(ear.interrupted) == 1)
        assert ear.interrupted == [frozenset({A, B})]
        await until(all_asked(adapter, A, B))
        adapter.update_id = 0  # The exchange was restarted: its numbers begin again.
        await adapter.push(A, 2.0)
        await until(lambda: ear.quotes[-1] == (A, 2.0))
        assert provider.statistics.reconnects == 1


async def test_a_frozen_socket_is_noticed_reported_once_and_replaced() -> None:
    async with rig(silence_seconds_max=0.4) as (adapter, ear, provider):
        await provider.watch_ticker([A])
        await until(all_asked(adapter, A))
        await adapter.push(A, 1.0)
        await until(lambda: len(ear.quotes) == 1)
        frozen = adapter.sockets[0]
        adapter.frozen.add(frozen)
        await until(lambda: any(socket is not frozen and adapter.subscribed[socket] for socket in adapter.sockets))
        assert "stream_lost" in ear.names

        async def keep_pushing() -> None:
            while True:
                await adapter.push(A, 2.0)
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            pushing = group.create_task(keep_pushing())
            await until(lambda: (A, 2.0) in ear.quotes)
            await until(lambda: not ear.stale or ear.stale[-1] == (A, False))
            pushing.cancel()
        assert ear.stale in ([], [(A, True), (A, False)])


async def test_a_symbol_that_goes_quiet_alone_is_stale_once_and_fresh_once() -> None:
    async with rig(silence_seconds_max=0.5) as (adapter, ear, provider):
        await provider.watch_ticker([A, B])
        await until(all_asked(adapter, A, B))
        await adapter.push(B, 1.0)
        async with asyncio.timeout(10):
            while (B, True) not in ear.stale:
                await adapter.push(A, 1.0)
                await asyncio.sleep(0.02)
            while (B, False) not in ear.stale:
                await adapter.push(A, 1.0)
                await adapter.push(B, 2.0)
                await asyncio.sleep(0.02)
        assert [item for item in ear.stale if item[0] == B] == [(B, True), (B, False)]
        assert ear.interrupted == []


async def test_a_route_that_acknowledges_and_stays_silent_is_noticed() -> None:
    async with rig(silence_seconds_max=0.2) as (adapter, ear, provider):
        adapter.silent = True
        await provider.watch_ticker([A])
        await until(lambda: "stream_lost" in ear.names)
        (facts,) = [facts for event, facts in ear.events if event == "stream_lost"][:1]
        assert "wrong route" in facts["why"]
        await until(lambda: ear.stale == [(A, True)])


async def test_garbage_is_counted_told_once_and_does_not_stop_the_quotes() -> None:
    async with rig() as (adapter, ear, provider):
        await provider.watch_ticker([A])
        await until(all_asked(adapter, A))
        for garbage in ("{", b"\xff\xfe", "[1,2]", '{"s":"AAAUSDT","u":9,"b":"-1","a":"1"}', "null", ""):
            await adapter.sockets[0].send(garbage)
        adapter.update_id = 10
        await adapter.push(A, 1.0)
        await until(lambda: ear.quotes == [(A, 1.0)])
        assert sum(provider.statistics.refused.values()) == 6
        assert ear.names.count("stream_message_invalid") == len(provider.statistics.refused)
        assert ear.failures == []


async def test_a_refused_subscription_is_told_with_its_symbols() -> None:
    async with rig() as (adapter, ear, provider):
        adapter.refuse_subscriptions = True
        await provider.watch_ticker([A])
        await until(lambda: "stream_subscription_refused" in ear.names)
        (facts,) = [facts for event, facts in ear.events if event == "stream_subscription_refused"]
        assert facts == {"why": "2: Invalid request", "symbols": [A]}


async def test_the_roll_over_has_no_gap_and_interrupts_nothing() -> None:
    async with rig(rollover_seconds=0.3, silence_seconds_max=1.0) as (adapter, ear, provider):
        await provider.watch_ticker([A, B])
        await until(all_asked(adapter, A, B))
        pushed = 0
        async with asyncio.timeout(20):
            while provider.statistics.rollovers < 3:
                pushed += 1
                await adapter.push(A, float(pushed))
                await asyncio.sleep(0.005)
        await adapter.push(A, float(pushed + 1))
        await until(lambda: ear.quotes[-1] == (A, float(pushed + 1)))
        assert [bid for _, bid in ear.quotes] == [float(n) for n in range(1, pushed + 2)], "each once, none missing"
        assert ear.interrupted == []
        assert provider.statistics.reconnects == 0
        await until(lambda: len(adapter.sockets) <= 2)


async def test_a_roll_over_into_silence_keeps_the_old_socket() -> None:
    async with rig(rollover_seconds=0.2, silence_seconds_max=0.5) as (adapter, ear, provider):
        await provider.watch_ticker([A])
        await until(all_asked(adapter, A))
        first = adapter.sockets[0]
        async with asyncio.timeout(20):
            while "stream_rollover_failed" not in ear.names:
                adapter.frozen = {socket for socket in adapter.sockets if socket is not first}
                await adapter.push(A, 1.0)
                await asyncio.sleep(0.01)
        assert first in adapter.sockets
        assert ear.interrupted == []


async def test_an_exchange_that_is_away_is_tried_again() -> None:
    async with rig() as (adapter, ear, provider):
        pass
    async with serve(adapter.handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
    settings = FeedSettings(stream_url=f"ws://127.0.0.1:{port}", backoff_seconds_min=0.01, backoff_seconds_max=0.05)
    ear = Ear()
    provider = BinanceWebSocketProvider(
        SystemClock(),
        settings,
        on_quote=ear.on_quote,
        on_stale=lambda *_: None,
        on_interrupted=ear.interrupted.append,
        on_event=lambda event, facts: ear.events.append((event.name, facts)),
        on_failed=ear.failures.append,
    )
    await provider.watch_ticker([A])
    await until(lambda: ear.names.count("stream_unreachable") >= 2)
    async with serve(adapter.handle, "127.0.0.1", port):
        await until(all_asked(adapter, A))
        await provider.close()
    assert ear.failures == []


async def test_a_callback_that_raises_is_reported_not_swallowed() -> None:
    async with rig() as (adapter, ear, provider):

        def broken(_symbol: Symbol, _quote: Quote) -> None:
            raise ZeroDivisionError

        provider._callbacks["on_quote"] = broken
        await provider.watch_ticker([A])
        await until(all_asked(adapter, A))
        await adapter.push(A, 1.0)
        await until(lambda: bool(ear.failures))
        assert isinstance(ear.failures[0], ZeroDivisionError)


def test_where_the_feed_is() -> None:
    live, paper = {"trading_mode": "live"}, {"trading_mode": "paper"}
    here = DataSettings(rest_url="http://127.0.0.1:1", stream_url="ws://127.0.0.1:2")
    assert feed_settings(Settings(**live)).url == f"{STREAM_URL}/public/ws"
    assert feed_settings(Settings(**live, data=DataSettings(use_testnet=True))).url == f"{STREAM_URL_DEMO}/public/ws"
    assert feed_settings(Settings(**live, data=here)).url == "ws://127.0.0.1:2/public/ws"
    assert feed_settings(Settings(**paper)).url == "ws://127.0.0.1:18080/public/ws", "paper money never asks Binance"
    elsewhere = DataSettings(rest_url="http://127.0.0.1:3")
    assert feed_settings(Settings(**paper, data=elsewhere)).url == "ws://127.0.0.1:3/public/ws"
