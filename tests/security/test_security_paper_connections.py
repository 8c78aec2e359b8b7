"""Connections to the paper exchange that only wait keep no trader out, and what is no HTTP fills no log."""

import asyncio
import logging

import pytest
import websockets
from raw_sockets import request, send
from scripted_market import ScriptedMarket

from paper import door, idle_connections
from paper.idle_connections import WAITING_MAX
from paper.server import PaperExchange

HALF = b"GET /fapi/v1/time HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection within a few seconds."""
    try:
        async with asyncio.timeout(10):
            await reader.read()
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def asked(exchange: PaperExchange) -> bytes:
    return request("GET", "/fapi/v1/time", {"Host": f"127.0.0.1:{exchange.port}"})


async def test_many_half_open_connections_keep_neither_requests_nor_streams_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with PaperExchange(ScriptedMarket()) as exchange:
        trader_reader, trader = await asyncio.open_connection("127.0.0.1", exchange.port)
        trader.write(asked(exchange))
        assert (await trader_reader.readline()).startswith(b"HTTP/1.1 200")
        async with websockets.connect(f"{exchange.stream_url}/public/ws/btcusdt@bookTicker") as stream:
            streams = [await asyncio.open_connection("127.0.0.1", exchange.port) for _ in range(WAITING_MAX + 50)]
            for _, writer in streams:
                writer.write(HALF)
            assert all(await asyncio.gather(*(is_cut(reader) for reader, _ in streams[:40])))
            assert (await send(exchange.port, asked(exchange)))[0] == 200
            await (await stream.ping())
        trader.write(asked(exchange))
        async with asyncio.timeout(10):
            await trader_reader.readuntil(b"HTTP/1.1 200")  # Who has asked before goes last.
        for writer in (trader, *(writer for _, writer in streams)):
            writer.close()
    assert 1 <= sum("only waited" in row.getMessage() for row in caplog.records) <= 2


@pytest.mark.parametrize("said", [b"", b"GET /fa", HALF])
async def test_who_never_finishes_asking_is_cut(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_connections, "FIRST_REQUEST_SECONDS_MAX", 0.3)
    async with PaperExchange(ScriptedMarket()) as exchange:
        reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port)
        writer.write(said)
        assert await is_cut(reader)
        writer.close()


async def test_who_never_finishes_a_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS_MAX", 0.3)
    async with PaperExchange(ScriptedMarket()) as exchange:
        head = {"Host": f"127.0.0.1:{exchange.port}", "Content-Length": "9"}
        assert (await send(exchange.port, request("POST", "/fapi/v1/order", head) + b"sym"))[0] == 408


async def test_a_trader_who_pauses_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is cut just as an order leaves would be an order of unknown outcome."""
    monkeypatch.setattr(idle_connections, "FIRST_REQUEST_SECONDS_MAX", 0.1)
    async with PaperExchange(ScriptedMarket()) as exchange:
        reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port)
        for _ in range(2):
            writer.write(asked(exchange))
            async with asyncio.timeout(10):
                await reader.readuntil(b"HTTP/1.1 200")
            other, dropped = await asyncio.open_connection("127.0.0.1", exchange.port)
            assert await is_cut(other), "so long it lasted"
            dropped.close()
        writer.close()


async def test_what_is_no_http_is_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with PaperExchange(ScriptedMarket()) as exchange:
        for junk in (b"\x16\x03\x01 junk\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n") * 20:
            await send(exchange.port, junk)
    rows = [row for row in caplog.records if row.levelno >= logging.WARNING]
    assert len(rows) <= 1
    assert all(row.exc_info is None for row in rows)
    assert "Traceback" not in capfd.readouterr().err
