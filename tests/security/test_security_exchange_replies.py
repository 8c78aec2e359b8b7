"""A hostile answer to a signed request: it is never believed, never followed, never read without end; the outcome is *unknown*."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hostile_exchange as hostile
import pytest
from raw_sockets import Serve, listening

from flows.common.reads import ExchangeReads
from runner.clock import SystemClock
from runner.config import DataSettings, Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import Client, make_client
from runner.exchange.binance.requests import send
from runner.exchange.errors import ExchangeError, OutcomeUnknown

PATIENCE_SECONDS = 1.0
ORDER = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "20", "newClientOrderId": "x"}
MEMORY_KB_MAX = 150_000


def settings_at(url: str) -> Settings:
    return Settings(
        binance_api_key="k" * 64,
        binance_api_secret="s" * 64,
        data=DataSettings(rest_url=url, stream_url=url.replace("http", "ws"), request_timeout_seconds=PATIENCE_SECONDS),
    )


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    client = make_client(settings_at(url), Budget(SystemClock()))
    try:
        yield client
    finally:
        await client.close()


async def order_at(port: int, seconds: float = PATIENCE_SECONDS) -> Any:
    """What became of an order that was sent there."""
    async with client_of(f"http://127.0.0.1:{port}") as client:
        return await send("order", lambda: client.fapiPrivatePostOrder(ORDER), timeout_seconds=seconds)


def test_the_forged_answer_would_be_believed() -> None:
    """Else the attacks below prove nothing."""

    async def story() -> None:
        async with listening(hostile.whole(hostile.FORGED)) as port:
            assert (await order_at(port))["status"] == "FILLED"

    asyncio.run(story())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "where", ["http://127.0.0.1:{other}/fapi/v1/order", "http://localhost:{other}/", "//127.0.0.1:{other}/"]
)
async def test_a_redirect_is_not_followed(status: int, where: str) -> None:
    heard: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        await hostile.whole(hostile.FORGED)(reader, writer)

    async with (
        listening(elsewhere) as other,
        listening(hostile.redirecting(status, where.format(other=other))) as port,
    ):
        with pytest.raises(OutcomeUnknown, match=rf"order: HTTP {status}, a redirect to '\S+'; not followed"):
            await order_at(port)
    assert heard == [], "neither key nor signature went elsewhere"


async def test_a_redirect_to_itself_and_one_to_nowhere() -> None:
    for location in ("/fapi/v1/order", "", "http://[", "javascript:x"):
        async with listening(hostile.redirecting(302, location)) as port:
            with pytest.raises(OutcomeUnknown, match="HTTP 302, a redirect; not followed"):
                await order_at(port)


ENDLESS: list[tuple[str, Serve, str]] = [
    ("a gzip bomb", hostile.bomb("gzip"), "more than 16 MiB"),
    ("a deflate bomb", hostile.bomb("deflate"), "more than 16 MiB"),
    ("a body without end", hostile.endlessly(hostile.CHUNKED, hostile.chunk(hostile.MEBIBYTE)), "more than 16 MiB"),
    ("a body of a huge length",
     hostile.endlessly(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", hostile.MEBIBYTE), "more than 16 MiB"),
    ("an error without end",
     hostile.endlessly(b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n", hostile.chunk(hostile.MEBIBYTE)),
     "more than 16 MiB"),
    ("headers without end", hostile.endlessly(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 1000), "order: "),
    ("one header without end", hostile.endlessly(b"HTTP/1.1 200 OK\r\nA: ", b"a" * 65536), "order: "),
    ("interim answers without end", hostile.endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "no answer within 1 s"),
    ("headers a byte at a time", hostile.endlessly(b"HTTP/1.1 200 OK\r\nA: ", b"a", pause_seconds=0.02), "no answer within 1 s"),
    ("a body a byte at a time", hostile.endlessly(hostile.CHUNKED, hostile.chunk(b" "), pause_seconds=0.02), "no answer within 1 s"),
    ("silence after the headers", hostile.endlessly(hostile.CHUNKED, b"", pause_seconds=0.02), "no answer within 1 s"),
    ("brackets in brackets", hostile.whole(b"[" * 1_000_000), "order: "),
    ("objects in objects", hostile.whole(b'{"a":' * 200_000), "order: "),
    ("a number of a million digits", hostile.whole(b'{"orderId":' + b"9" * 1_000_000 + b"}"), "not JSON"),
    ("an encoding that is none", hostile.whole(b"%ff", content_type="application/json; charset=zlib"), "order: "),
]  # fmt: skip


@pytest.mark.parametrize("attack", ENDLESS, ids=[row[0] for row in ENDLESS])
async def test_what_never_ends_is_given_up_in_time_and_in_little_memory(attack: tuple[str, Serve, str]) -> None:
    _, serve, why = attack
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    async with listening(serve) as port:
        with pytest.raises(OutcomeUnknown, match=why):
            await order_at(port)
    assert time.monotonic() - began < PATIENCE_SECONDS + 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < MEMORY_KB_MAX


@pytest.mark.parametrize("serve", [hostile.redirecting(302, "http://127.0.0.1:1/"), hostile.bomb("gzip")])
async def test_the_flows_ask_by_the_same_client(serve: Serve) -> None:
    def read(port: int) -> None:
        with ExchangeReads(settings_at(f"http://127.0.0.1:{port}"), attempts=1) as reads:
            reads.listed()

    async with listening(serve) as port:
        with pytest.raises(ExchangeError, match=r"exchangeInfo: HTTP \d+, a (redirect|reply of more)"):
            await asyncio.to_thread(read, port)


async def test_a_session_survives_what_it_refused() -> None:
    """The connection is thrown away; the next request has a new one and is answered."""
    answers: list[Serve] = [hostile.redirecting(302, "/"), hostile.bomb("gzip"), hostile.whole(hostile.FORGED)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(reader, writer)

    async with listening(serve) as port, client_of(f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await send("order", lambda: client.fapiPrivatePostOrder(ORDER), timeout_seconds=5)
        answer = await send("order", lambda: client.fapiPrivatePostOrder(ORDER), timeout_seconds=5)
    assert answer["status"] == "FILLED"


async def test_a_certificate_that_nobody_vouches_for_is_named(tmp_path: Path) -> None:
    async def nobody(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nothing may be sent")

    server = await asyncio.start_server(nobody, "localhost", 0, ssl=hostile.self_signed(tmp_path))
    async with server, client_of(f"https://localhost:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(ExchangeError) as refused:
            await send("order", lambda: client.fapiPrivatePostOrder(ORDER), timeout_seconds=5)
    assert str(refused.value) == "order: the exchange's certificate is not valid: self-signed certificate"


async def test_https_at_a_port_without_tls_is_named() -> None:
    async with (
        listening(hostile.answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port,
        client_of(f"https://localhost:{port}") as client,
    ):
        with pytest.raises(ExchangeError, match="order: "):
            await send("order", lambda: client.fapiPrivatePostOrder(ORDER), timeout_seconds=5)
