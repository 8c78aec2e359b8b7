"""A hostile websocket: no redirect, no bomb and no nonsense gets past the one place where our streams are opened."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import hostile_exchange as hostile
import pytest
from raw_sockets import Serve, listening
from websockets.exceptions import WebSocketException

from domain.symbols import Symbol
from runner.clock import SystemClock
from runner.exchange.binance.contract_stream import ContractStream
from runner.exchange.binance.market_stream.connection import FeedConnection
from runner.exchange.binance.market_stream.settings import FeedSettings
from runner.exchange.binance.transport import open_socket
from runner.exchange.binance.user_stream import UserStream

SECONDS = 2.0
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT, MORE, COMPRESSED = 0x81, 0x01, 0xC1
DEEP = hostile.frame(TEXT, b'{"data":' + b"[" * 200_000)

ATTACKS: list[tuple[str, Serve, str]] = [
    ("a compression that we did not offer", hostile.streaming(extension=DEFLATE), "NegotiationError"),
    ("a compressed message", hostile.streaming(hostile.frame(COMPRESSED, b"\xaa" * 100)), "ConnectionClosedError"),
    ("a message of two mebibytes", hostile.streaming(hostile.frame(TEXT, bytes(2**21))), "ConnectionClosedError"),
    ("a message that says it has exabytes", hostile.streaming(hostile.frame(TEXT, b"", length=2**62)), "ConnectionClosedError"),
    ("a message in parts without end",
     hostile.streaming(hostile.frame(MORE, b"a"), again=hostile.frame(0x00, bytes(65536))), "ConnectionClosedError"),
    ("text that is none", hostile.streaming(hostile.frame(TEXT, b"\xff\xfe")), "ConnectionClosedError"),
    ("a masked frame", hostile.streaming(b"\x81\x81\x00\x00\x00\x00a"), "ConnectionClosedError"),
    ("no websocket", hostile.whole(b"{}"), "InvalidStatus"),
    ("an answer without end", hostile.endlessly(b"HTTP/1.1 101 Switching Protocols\r\n", b"A: b\r\n" * 100), "TimeoutError"),
    ("an answer a byte at a time", hostile.endlessly(b"HTTP/1.1 101 ", b"a", pause_seconds=0.02), "TimeoutError"),
    ("silence", hostile.endlessly(b"", b"", pause_seconds=0.02), "TimeoutError"),
]  # fmt: skip


async def read_to_the_end(url: str) -> None:
    """Raises what ended it. Whoever leaves the broken connection open is given up at the next unanswered ping."""
    connection = await open_socket(url, open_seconds_max=SECONDS, ping_seconds=0.5, close_seconds_max=1)
    async with connection:
        while True:
            await connection.recv()


@pytest.mark.parametrize("attack", ATTACKS, ids=[row[0] for row in ATTACKS])
async def test_an_attack_ends_the_connection_soon(attack: tuple[str, Serve, str]) -> None:
    _, serve, error = attack
    began = time.monotonic()
    async with listening(serve) as port:
        with pytest.raises((WebSocketException, OSError, TimeoutError)) as found:
            await read_to_the_end(f"ws://127.0.0.1:{port}/x")
    assert type(found.value).__name__ == error
    assert time.monotonic() - began < SECONDS + 3


@asynccontextmanager
async def elsewhere(heard: list[bytes]) -> AsyncIterator[int]:
    """Somebody who would like to be followed to; keeps what he hears."""

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))

    async with listening(serve) as port:
        yield port


async def first_event(stream: Any, events: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the stream says first of how it fares."""
    task = asyncio.create_task(stream.run())
    try:
        async with asyncio.timeout(10):
            while not events:  # noqa: ASYNC110  (The condition is about another party's state.)
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return events[0]


def quotes_from(url: str, events: list[Mapping[str, Any]]) -> FeedConnection:
    return FeedConnection(
        SystemClock(),
        FeedSettings(stream_url=url, connect_seconds_max=SECONDS),
        on_quote=lambda _symbol, _quote: None,
        on_interrupted=lambda _symbols: None,
        on_event=lambda event, facts: events.append({"event": event.name, **facts}),
    )


class KeyGiver:
    """A client that gets a listen key, whatever else is asked."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def fapiPrivatePostListenKey(self, _params: object = None) -> dict[str, str]:  # noqa: N802
        return {"listenKey": self._key}


def account_from(url: str, events: list[Mapping[str, Any]], key: str = "k" * 64) -> UserStream:
    client: Any = KeyGiver(key)
    return UserStream(
        SystemClock(),
        client,
        url,
        Symbol,
        on_news=lambda _news: None,
        on_gap=lambda _why: None,
        on_funding=lambda: None,
        on_event=lambda event, facts: events.append({"event": event.name, **facts}),
        request_timeout_seconds=SECONDS,
    )


@pytest.mark.parametrize("stream_from", [quotes_from, account_from])
async def test_a_redirect_is_not_followed_and_said(stream_from: Any) -> None:
    heard: list[bytes] = []
    events: list[Mapping[str, Any]] = []
    async with elsewhere(heard) as other, listening(hostile.redirecting(307, f"ws://127.0.0.1:{other}/x")) as port:
        said = await first_event(stream_from(f"ws://127.0.0.1:{port}", events), events)
    assert said["why"] == "HTTP 307, a redirect to '127.0.0.1'; not followed"
    assert heard == []


async def test_the_hints_about_contracts_are_not_redirected_either() -> None:
    heard: list[bytes] = []
    hints: list[None] = []
    async with elsewhere(heard) as other, listening(hostile.redirecting(302, f"ws://127.0.0.1:{other}/x")) as port:
        stream = ContractStream(SystemClock(), f"ws://127.0.0.1:{port}", Symbol, lambda: hints.append(None))
        with suppress(TimeoutError):
            await asyncio.wait_for(stream.run(), 0.5)
    assert (heard, hints) == ([], [])


@pytest.mark.parametrize("stream_from", [quotes_from, account_from])
async def test_a_bad_certificate_is_named(tmp_path: Path, stream_from: Any) -> None:
    async def nobody(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nothing may be sent")

    events: list[Mapping[str, Any]] = []
    server = await asyncio.start_server(nobody, "localhost", 0, ssl=hostile.self_signed(tmp_path))
    async with server:
        url = f"wss://localhost:{server.sockets[0].getsockname()[1]}"
        said = await first_event(stream_from(url, events), events)
    assert said["why"] == "the exchange's certificate is not valid: self-signed certificate"


async def test_brackets_in_brackets_are_an_unreadable_event_and_no_more() -> None:
    events: list[Mapping[str, Any]] = []
    async with listening(hostile.streaming(DEEP)) as port:
        stream = account_from(f"ws://127.0.0.1:{port}", events)
        task = asyncio.create_task(stream.run())
        async with asyncio.timeout(10):
            while not stream.unreadable:  # noqa: ASYNC110  (The condition is about another party's state.)
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_brackets_in_brackets_are_a_hint_about_contracts_and_no_more() -> None:
    hints: list[None] = []
    async with listening(hostile.streaming(DEEP)) as port:
        task = asyncio.create_task(
            ContractStream(SystemClock(), f"ws://127.0.0.1:{port}", Symbol, lambda: hints.append(None)).run()
        )
        async with asyncio.timeout(10):
            while len(hints) < 2:  # noqa: ASYNC110  (The first is for having connected.)
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_listen_key_cannot_change_the_request() -> None:
    """It comes from the other side, and stands in the address of the next connection."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await hostile.asked(reader))
        writer.write(hostile.upgraded(heads[0]))
        await reader.read()

    events: list[Mapping[str, Any]] = []
    key = "x HTTP/1.1\r\nX-Planted: yes\r\n\r\nGET /fapi&a=b#c"
    async with listening(serve) as port:
        said = await first_event(account_from(f"ws://127.0.0.1:{port}", events, key), events)
    assert said["event"] == "user_stream_up"
    assert b"\r\nx-planted" not in heads[0].lower()
    assert heads[0].startswith(b"GET /private/ws?listenKey=x%20HTTP%2F1.1%0D%0AX-Planted")
