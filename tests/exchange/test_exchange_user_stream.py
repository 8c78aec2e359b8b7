"""The account's event stream over real sockets: what happened is told, and what may have been missed is announced."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from exchange_rig import XRP, Adapter, D, adapted, fault, order
from scripted_market import ScriptedMarket
from waiting import eventually

from domain.orders import OrderChange, OrderReport, Side
from domain.symbols import Symbol
from paper.options import ExchangeOptions, StreamOptions
from paper.server import PaperExchange
from runner.exchange.binance.user_stream import UserStream
from runner.exchange.port import UserNews


class Listener:
    """Keeps what the stream tells."""

    def __init__(self, rig: Adapter, stream_url: str, **times: float) -> None:
        self.news: list[UserNews] = []
        self.gaps: list[str] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.settings: list[tuple[Symbol | None, int | None]] = []
        self.fundings = 0
        self.stream = UserStream(
            rig.clock,
            rig.client,
            stream_url,
            rig.rules.symbol_of,
            on_news=self.news.append,
            on_gap=self.gaps.append,
            on_funding=self._funding,
            on_event=lambda event, facts: self.events.append((event.name, facts)),
            on_settings=lambda symbol, leverage: self.settings.append((symbol, leverage)),
            request_timeout_seconds=1.5,
            **times,
        )

    def _funding(self) -> None:
        self.fundings += 1

    def heard(self, event: str) -> int:
        return sum(1 for name, _ in self.events if name == event)


@asynccontextmanager
async def listening(
    streams: StreamOptions | None = None, **times: float
) -> AsyncIterator[tuple[PaperExchange, Adapter, Listener]]:
    options = ExchangeOptions(streams=streams or StreamOptions(), timer_seconds=0.05)
    async with PaperExchange(ScriptedMarket(), options) as exchange, adapted(exchange.rest_url) as rig:
        listener = Listener(rig, exchange.stream_url, **times)
        task = asyncio.create_task(listener.stream.run())
        try:
            await asyncio.wait_for(listener.stream.connected.wait(), 10)
            yield exchange, rig, listener
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_an_order_and_its_execution_are_told() -> None:
    async with listening() as (_, rig, listener):
        await rig.adapter.place([order("tdm-1", reduce_only=False)])
        await eventually(lambda: any(news.fill for news in listener.news))
        last = listener.news[-1]
        assert last.report.client_order_id == "tdm-1"
        assert last.report.symbol == XRP
        assert last.report.change is OrderChange.FILLED
        assert last.report.filled == D(20)
        assert last.fill is not None
        assert (last.fill.side, last.fill.quantity, last.fill.price) == (Side.BUY, D(20), D("0.5001"))
        (queried,) = await rig.adapter.fills(XRP, since_ms=0)
        assert queried.exchange_trade_id == last.fill.exchange_trade_id, "one execution, one identity, whoever tells it"
        assert (queried.fee, queried.fee_asset) == (last.fill.fee, last.fill.fee_asset)
        assert not last.is_reduce_only


async def test_every_connection_begins_with_a_gap() -> None:
    """Nobody knows what was said before: whoever listens must ask."""
    async with listening() as (exchange, rig, listener):
        assert listener.gaps == ["user stream connected"]
        fault(exchange, "user-dropped")
        await eventually(lambda: len(listener.gaps) == 2)
        assert listener.heard("user_stream_down") == 1
        assert listener.heard("user_stream_up") == 2
        await rig.adapter.place([order("tdm-2")])
        await eventually(lambda: listener.news)


async def test_an_expired_key_is_replaced() -> None:
    """The exchange leaves the socket open and silent; the event of the expiry must be enough."""
    streams = StreamOptions(listen_key_life_seconds=1.0)
    async with listening(streams, keep_alive_seconds=3600) as (_, rig, listener):
        await eventually(lambda: listener.heard("user_stream_up") == 2)
        assert ("user_stream_down", {"why": "listenKey expired"}) in listener.events
        assert len(listener.gaps) == 2
        await rig.adapter.place([order("tdm-3")])
        await eventually(lambda: listener.news)


async def test_a_key_kept_alive_does_not_expire() -> None:
    streams = StreamOptions(listen_key_life_seconds=1.5)
    async with listening(streams, keep_alive_seconds=0.2) as (_, _, listener):
        await asyncio.sleep(3)
        assert listener.heard("user_stream_down") == 0


async def test_a_key_that_is_gone_ends_the_session() -> None:
    """Its expiry was not heard; the next keep-alive says -1125."""
    async with listening(keep_alive_seconds=0.5) as (exchange, _, listener):
        fault(exchange, "user-frozen", parameters={"duration_ms": 800})
        exchange.user_streams.expire_key("paper-key", exchange.clock.now_ms())
        await eventually(lambda: listener.heard("user_stream_up") == 2)


async def test_a_frozen_socket_is_dropped_when_it_is_mistrusted() -> None:
    async with listening() as (exchange, rig, listener):
        fault(exchange, "user-frozen", parameters={"duration_ms": 500})
        await rig.adapter.place([order("tdm-4")])
        listener.stream.mistrust()
        await eventually(lambda: listener.heard("user_stream_up") == 2)
        assert listener.heard("user_stream_silent") == 1
        assert len(listener.gaps) == 2


@pytest.mark.parametrize(
    "text", ["", "{", '"text"', "[]", "null", '{"e":"ORDER_TRADE_UPDATE"}', '{"e":"ORDER_TRADE_UPDATE","o":{"s":"XRPUSDT"}}',
             '{"e":"ORDER_TRADE_UPDATE","o":{"s":"XRPUSDT","c":"x","i":1,"X":"SHINY"}}', '{"e":"ACCOUNT_UPDATE","a":7}']
)  # fmt: skip
async def test_what_cannot_be_read_is_a_gap(text: str) -> None:
    async with listening() as (exchange, rig, listener):
        fault(exchange, "user-garbage", parameters={"text": text})
        await eventually(lambda: "unreadable event" in listener.gaps)
        assert listener.stream.unreadable == 1
        await rig.adapter.place([order("tdm-5")])
        await eventually(lambda: listener.news)
        assert listener.heard("user_stream_down") == 0, "one bad event costs no connection"


async def test_a_session_rolls_over_without_a_gap() -> None:
    """Orders fill all the time while sockets are renewed: nothing is missed, and nobody hears that the stream was down."""
    async with listening(roll_over_seconds=0.3) as (exchange, rig, listener):
        assert isinstance(exchange.market, ScriptedMarket)
        exchange.market.set_book("XRPUSDT", [("0.4999", 10_000_000)], [("0.5001", 10_000_000)])
        sent = 0
        while listener.heard("user_stream_rolled_over") < 4:
            (answer,) = await rig.adapter.place([order(f"tdm-{sent}", quantity=D(10))])
            assert isinstance(answer, OrderReport)
            sent += 1
            await asyncio.sleep(0.02)  # The order rate is limited.
        await eventually(lambda: len({news.fill.exchange_trade_id for news in listener.news if news.fill}) >= sent)
        filled = {news.report.client_order_id for news in listener.news if news.fill}
        assert filled == {f"tdm-{n}" for n in range(sent)}
        assert listener.heard("user_stream_down") == 0
        assert listener.gaps == ["user stream connected"]
        assert listener.stream.connected.is_set()


async def test_a_key_deleted_by_somebody_else_is_found_dead() -> None:
    """DELETE leaves our socket open and silent, and announces nothing."""
    async with listening(keep_alive_seconds=0.3) as (_, rig, listener):
        await rig.client.fapiPrivateDeleteListenKey()
        await eventually(lambda: listener.heard("user_stream_up") == 2)
        assert ("user_stream_down", {"why": "listenKey expired"}) in listener.events
        await rig.adapter.place([order("tdm-7")])
        await eventually(lambda: listener.news)


async def test_a_key_replaced_by_somebody_else_is_found_dead() -> None:
    """PUT names no key: it prolongs the other one and succeeds, while our socket stays silent."""
    async with listening(keep_alive_seconds=0.3) as (_, rig, listener):
        await rig.client.fapiPrivateDeleteListenKey()
        await rig.client.fapiPrivatePostListenKey()
        await eventually(lambda: listener.heard("user_stream_up") == 2)
        assert any("another key" in str(facts) for _, facts in listener.events)
        await rig.adapter.place([order("tdm-8")])
        await eventually(lambda: listener.news)


async def test_a_put_that_fails_costs_no_session() -> None:
    async with listening(keep_alive_seconds=0.1) as (exchange, _, listener):
        fault(exchange, "lost-503", count=3, path="/fapi/v1/listenKey", method="PUT")
        await eventually(lambda: listener.heard("listen_key_not_extended") == 3)
        await asyncio.sleep(0.3)
        assert listener.heard("listen_key_not_extended") == 3
        assert listener.heard("user_stream_down") == 0


async def test_a_socket_that_dies_at_once_is_not_hammered() -> None:
    """Every key is expired as soon as it is used: the pauses grow."""
    async with listening(StreamOptions(listen_key_life_seconds=0.01)) as (_, _, listener):
        await asyncio.sleep(4)
        assert 2 <= listener.heard("user_stream_up") <= 6


async def test_a_changed_setting_is_told() -> None:
    async with listening() as (_, rig, listener):
        await rig.client.fapiPrivatePostLeverage({"symbol": "XRPUSDT", "leverage": 7})
        await rig.client.fapiPrivatePostMultiAssetsMargin({"multiAssetsMargin": "true"})
        await eventually(lambda: listener.settings == [(XRP, 7), (None, None)])


async def test_funding_is_noticed() -> None:
    async with listening() as (exchange, rig, listener):
        await rig.adapter.place([order("tdm-6")])
        market = exchange.market
        assert isinstance(market, ScriptedMarket)
        market.settle("XRPUSDT", "0.0001")
        await eventually(lambda: listener.fundings)
