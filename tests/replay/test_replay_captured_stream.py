"""Captured websocket lines through the real provider: every bookTicker arrives, in order, with the recorded numbers."""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from domain.quotes import Quote
from domain.symbols import Symbol
from runner.clock import SystemClock
from runner.exchange.binance.market_stream.provider import BinanceWebSocketProvider
from runner.exchange.binance.market_stream.settings import FeedSettings

TICKS = Path(__file__).parents[3] / "shared" / "data" / "ticks_binance_um_2024-07-18"
FILES = ("btcusdt_20240718.gz", "btcusdt_20240719.gz", "ethusdt_20240718.gz", "ethusdt_20240719.gz")
SYMBOLS = {"btcusdt": Symbol("BTC/USDT:USDT"), "ethusdt": Symbol("ETH/USDT:USDT")}

pytestmark = pytest.mark.skipif(not TICKS.is_dir(), reason=f"the captured lines are not on this machine ({TICKS.name})")


def lines_of(path: Path) -> Iterator[bytes]:
    """What the exchange sent, all streams of the recording, without the recorder's time stamp."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield line.partition(b" ")[2].rstrip(b"\n")


def test_these_are_all_the_files() -> None:
    assert tuple(sorted(path.name for path in TICKS.glob("*.gz"))) == FILES


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow][: "0719" in name]) for name in FILES])
async def test_every_captured_book_ticker_arrives(name: str) -> None:
    """The exchange sends depth and trades too, which nobody asked for: they are ignored; nothing is refused or dropped."""
    symbol = SYMBOLS[name.partition("_")[0]]
    sent_all, messages = asyncio.Event(), 0

    async def adapter(socket: ServerConnection) -> None:
        nonlocal messages
        request = json.loads(await socket.recv())
        await socket.send(json.dumps({"result": None, "id": request["id"]}))
        for line in lines_of(TICKS / name):
            if b'"stream"' not in line[:12]:
                continue  # The REST depth snapshot that the recorder put between the messages.
            messages += 1
            await socket.send(line.decode())
        sent_all.set()
        with contextlib.suppress(ConnectionClosed):
            await socket.wait_closed()

    got: list[Quote] = []
    events: list[str] = []
    async with serve(adapter, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        provider = BinanceWebSocketProvider(
            SystemClock(),
            FeedSettings(stream_url=f"ws://127.0.0.1:{port}"),
            on_quote=lambda found, quote: got.append(quote) if found == symbol else events.append(found),
            on_stale=lambda found, stale, _: events.append(f"{found} stale {stale}"),
            on_interrupted=lambda found: events.append(f"interrupted {sorted(found)}"),
            on_event=lambda event, _: events.append(event.name) if event.severity != "info" else None,
            on_failed=lambda error: events.append(repr(error)),
        )
        await provider.watch_ticker([symbol])
        async with asyncio.timeout(120):
            await sent_all.wait()
            # The answer to SUBSCRIBE is a message, too.
            while provider.statistics.messages < messages + 1:  # noqa: ASYNC110 - most messages call nobody back.
                await asyncio.sleep(0.02)
        statistics = provider.statistics
        await provider.close()
    assert events == []
    assert statistics.refused == {}
    assert set(statistics.ignored) <= {"other_event"}
    assert [(quote.event_ms, quote.bid, quote.bid_quantity, quote.ask, quote.ask_quantity) for quote in got] == [
        recorded(line) for line in lines_of(TICKS / name) if b"@bookTicker" in line[:40]
    ]


def recorded(line: bytes) -> tuple[int, float, float, float, float]:
    data = json.loads(line)["data"]
    return data["E"], float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])


def test_the_four_files_are_the_whole_recording() -> None:
    """As many bookTicker lines as the recording's own table has rows, so that the tests above have missed none."""
    counted = sum(len(re.findall(rb'@bookTicker"', line)) for name in FILES for line in lines_of(TICKS / name))
    row = duckdb.execute(f"select count(*) from '{TICKS / 'bookticker.parquet'}'").fetchone()
    assert row == (counted,) == (99_588,)
