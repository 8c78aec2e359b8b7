"""A paper exchange following another one, which stands in for Binance."""

import asyncio
import socket

import aiohttp
import pytest
from bare_exchange import BareExchange, Serve, until

from paper.markets import SyntheticMarket, open_market
from paper.markets.upstream import UpstreamMarket


async def follow(exchange: BareExchange) -> UpstreamMarket:
    market = await open_market(
        "upstream",
        seed=1,
        speed=1.0,
        data=None,
        upstream_rest=exchange.rest_url,
        upstream_stream=exchange.stream_url,
        snapshot=None,
        funding_interval_seconds=None,
    )
    assert isinstance(market, UpstreamMarket)
    return market


async def test_rules_quotes_and_marks_come_through(exchange: BareExchange, serving: Serve) -> None:
    upstream = await follow(exchange)
    assert {s: (row.tick, row.step, row.notional_min) for s, row in upstream.listings.items()} == {
        s: (row.tick, row.step, row.notional_min) for s, row in exchange.market.listings.items()
    }
    assert upstream.listings["1000CATUSDT"].funding_interval_hours == 4
    async with serving(upstream) as ours:
        await until(lambda: {book.symbol for book in ours.books} == set(upstream.listings), 20)
        theirs = {(book.symbol, book.update_id): book for book in exchange.books}
        for book in ours.books:
            origin = theirs[book.symbol, book.update_id]
            assert (book.bids[0], book.asks[0], book.event_ms) == (origin.bids[0], origin.asks[0], origin.event_ms)
            assert len(book.bids) > 1
        started_ms = upstream.mark("ETHUSDT").event_ms
        await until(lambda: upstream.mark("ETHUSDT").event_ms > started_ms, 10)
        async with aiohttp.ClientSession() as session:
            rows = []
            for url in (exchange.rest_url, ours.rest_url):
                query = "symbol=ETHUSDT&interval=1h&limit=100&endTime=" + str(upstream.now_ms() - 3_600_000)
                async with session.get(f"{url}/fapi/v1/klines?{query}") as reply:
                    rows.append([row[:7] for row in await reply.json()])
            assert rows[0] == rows[1]
            async with session.get(f"{ours.rest_url}/fapi/v1/fundingRate?symbol=ETHUSDT&limit=7") as reply:
                assert len(await reply.json()) == 7
        assert len(upstream.klines("ETHUSDT", 60_000, start_ms=None, end_ms=None, limit=5)) >= 2


async def test_reconnects(exchange: BareExchange, serving: Serve) -> None:
    upstream = await follow(exchange)
    async with serving(upstream) as ours:
        await until(lambda: len(ours.books) > 20, 20)
        exchange.faults.fire("garbage", '{"e":"garb')
        exchange.faults.fire("drop")
        seen = len(ours.books)
        await until(lambda: exchange.streams.connections == 0, 10)
        await until(lambda: len(ours.books) > seen + 50, 30)


async def test_funding_is_settled_when_its_time_moves_on(serving: Serve) -> None:
    origin = SyntheticMarket(seed=1, speed=60.0, history_days=1, funding_interval_seconds=240.0)
    async with serving(origin) as exchange, serving(await follow(exchange)) as ours:
        await until(lambda: any(row.symbol == "ETHUSDT" for row in ours.fundings), 30)
        settled = next(row for row in ours.fundings if row.symbol == "ETHUSDT")
        assert (
            settled.rate
            == origin.fundings("ETHUSDT", start_ms=settled.settled_ms, end_ms=settled.settled_ms + 20, limit=1)[0].rate
        )


async def test_unreachable_or_strange_upstreams() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OSError, match="cannot be used"):
        await UpstreamMarket.open(rest_url=f"http://127.0.0.1:{port}", stream_url=None)

    async def say_no(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(say_no, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="cannot be used"):
            await UpstreamMarket.open(rest_url=f"http://127.0.0.1:{port}", stream_url=None)
