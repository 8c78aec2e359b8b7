"""The feed protocol: what becomes a quote, what does not and why, and that nothing on the wire makes it raise."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.symbols import Symbol
from runner.exchange.binance.market_stream.protocol import ControlReply, FeedProtocol, SymbolFeed

BTC = Symbol("BTC/USDT:USDT")
TICKS = Path(__file__).parents[3] / "shared" / "data" / "ticks_binance_um_2024-07-18"


def ticker(**changes: Any) -> dict[str, Any]:
    payload = {
        "e": "bookTicker", "u": 7, "E": 1_568_014_460_893, "T": 1_568_014_460_891, "s": "BTCUSDT", "ps": "BTCUSDT",
        "b": "25.35190000", "B": "31.21000000", "a": "25.36520000", "A": "40.66000000", "st": 1,
    }  # fmt: skip
    payload.update(changes)
    return {key: value for key, value in payload.items() if value is not None}


def protocol() -> FeedProtocol:
    made = FeedProtocol()
    made.expect([BTC])
    return made


def feed(made: FeedProtocol, payload: object, received_ns: int = 5) -> SymbolFeed | ControlReply | None:
    return made.receive(json.dumps(payload).encode(), received_ns)


@pytest.mark.parametrize(
    "payload",
    [
        ticker(),
        ticker(st=None, ps=None, E=None),
        ticker(T=None, e=None),
        ticker(b=25.3519, a=25.3652),
        ticker(news={"a": [1, 2]}),
        {"stream": "btcusdt@bookTicker", "data": ticker()},
    ],
    ids=["sample", "without the recent fields", "without T and e", "numbers", "more than we know", "combined"],
)
def test_a_book_ticker_is_a_quote(payload: object) -> None:
    made = protocol()
    got = feed(made, payload)
    assert isinstance(got, SymbolFeed)
    assert got.symbol == BTC
    assert got.quote is not None
    assert (got.quote.bid, got.quote.ask, got.quote.received_ns) == (25.3519, 25.3652, 5)
    assert got.quote.event_ms in {1_568_014_460_893, 1_568_014_460_891}
    assert not made.refused


REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("price", {"b": "0"}),
    ("price", {"b": "-1"}),
    ("price", {"a": "Infinity"}),
    ("undecodable", {"a": "1e999"}),
    ("price", {"b": "25.4"}),
    ("price", {"B": "-1"}),
    ("price", {"A": "inf"}),
    ("incomplete", {"b": "nan"}),
    ("incomplete", {"a": None}),
    ("incomplete", {"u": None}),
    ("incomplete", {"u": -4}),
    ("event_time", {"E": None, "T": None}),
    ("event_time", {"E": -1}),
    ("event_time", {"E": 99_999_999_999_999}),
    ("undecodable", {"b": []}),
    ("undecodable", {"u": "x"}),
]


@pytest.mark.parametrize(("kind", "changes"), REFUSALS, ids=[str(row) for row in REFUSALS])
def test_a_price_that_cannot_be_is_refused_and_counted(kind: str, changes: dict[str, Any]) -> None:
    made = protocol()
    assert feed(made, ticker(**changes)) is None
    refused, ignored = sum(made.refused.values()), sum(made.ignored.values())
    assert refused + ignored == 1
    assert made.refused[kind] == 1 or kind == "undecodable"
    assert isinstance(feed(made, ticker()), SymbolFeed), "the next good one is taken"


def test_an_older_quote_after_a_newer_one_is_dropped() -> None:
    made = protocol()
    assert feed(made, ticker(u=8)) is not None
    assert feed(made, ticker(u=7)) is None
    assert feed(made, ticker(u=8)) is None
    assert made.ignored["older"] == 2
    made.reset()
    assert feed(made, ticker(u=1)) is not None, "after a reconnect, old quotes are not quotes"


IGNORED: list[tuple[str, object]] = [
    ("coin_margined", ticker(st=2)),
    ("coin_margined", ticker(s="BTCUSD_PERP", st=2)),
    ("unexpected_symbol", ticker(s="ETHUSDT")),
    ("other_event", ticker(e="aggTrade")),
    ("other_event", {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "u": 160, "b": [["0.0024", "10"]], "a": []}),
    ("other_event", {"stream": "btcusdt@depth", "data": {"e": "depthUpdate", "b": [["1", "2"]]}}),
]


@pytest.mark.parametrize(("kind", "payload"), IGNORED, ids=[str(n) for n in range(len(IGNORED))])
def test_what_we_did_not_ask_for_is_no_fault(kind: str, payload: object) -> None:
    made = protocol()
    assert feed(made, payload) is None
    assert made.ignored == Counter({kind: 1})
    assert not made.refused


REPLIES: list[tuple[object, ControlReply]] = [
    ({"result": None, "id": 3}, ControlReply(3, None)),
    ({"result": ["btcusdt@aggTrade"], "id": "three"}, ControlReply("three", None)),
    ({"error": {"code": 2, "msg": "Invalid request"}, "id": 1}, ControlReply(1, "2: Invalid request")),
    ({"code": 2, "msg": "Invalid request", "id": 1}, ControlReply(1, "2: Invalid request")),
]


@pytest.mark.parametrize(("payload", "reply"), REPLIES)
def test_answers_to_requests(payload: object, reply: ControlReply) -> None:
    assert feed(protocol(), payload) == reply


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise(message: bytes) -> None:
    made = protocol()
    assert not isinstance(made.receive(message, 1), SymbolFeed)


@given(st.text(max_size=200))
def test_arbitrary_text_never_raises(message: str) -> None:
    assert not isinstance(protocol().receive(message, 1), SymbolFeed)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*ticker(), "data", "stream", "id", "error", "code", "msg"]), _JSON))
def test_any_value_in_any_field_never_raises_and_never_makes_a_bad_quote(payload: dict[str, Any]) -> None:
    got = feed(protocol(), ticker(**payload))
    if isinstance(got, SymbolFeed):
        assert got.quote is not None
        assert 0 < got.quote.bid <= got.quote.ask < float("inf")


@given(st.integers(0, 160), st.binary(min_size=1, max_size=3))
def test_a_damaged_message_never_raises(position: int, damage: bytes) -> None:
    raw = json.dumps(ticker()).encode()
    protocol().receive(raw[:position] + damage + raw[position + len(damage) :], 1)


def test_a_deeply_nested_message_never_raises() -> None:
    made = protocol()
    assert made.receive(b'{"b":' + b"[" * 100_000, 1) is None
    assert made.receive(b"[" * 100_000, 1) is None


def test_each_kind_of_refusal_is_told_once_with_an_excerpt_that_fits_a_line() -> None:
    told: list[tuple[str, str]] = []
    made = FeedProtocol(on_refusal=lambda kind, excerpt: told.append((kind, excerpt)))
    made.expect([BTC])
    for _ in range(3):
        made.receive(b"\xff\x00\n" * 1000, 1)
        feed(made, ticker(b="0"))
    assert [kind for kind, _ in told] == ["undecodable", "price"]
    assert all(len(excerpt) <= 120 and excerpt.isprintable() for _, excerpt in told)


@pytest.mark.skipif(not TICKS.is_dir(), reason="the captured ticks are not on this machine")
def test_every_captured_book_ticker_is_decoded() -> None:
    taken = 0
    for path in sorted(TICKS.glob("*.gz")):
        made = FeedProtocol()
        made.expect([BTC, Symbol("ETH/USDT:USDT")])
        with gzip.open(path, "rb") as lines:
            for line in lines:
                received, _, message = line.partition(b" ")
                got = made.receive(message, int(received))
                is_ticker = b'"e":"bookTicker"' in message
                assert isinstance(got, SymbolFeed) == is_ticker, message[:200]
                taken += is_ticker
        assert not made.refused - Counter(incomplete=1, undecodable=10), made.refused
        assert not made.ignored["older"]
    assert taken == 99_588
