"""One bookTicker message to decision, 20 pairs on its symbol, against only decoding it and against ccxt.pro's handler.

    python bench/ticks.py

CPU time of this process; the three are measured in turn, several rounds, and each gets its best round, so that a busy machine
disturbs the ratios little. Targets: at most 3 × decoding, at least 20 × cheaper than ccxt.pro.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ccxt.pro
import msgspec
from rich.console import Console
from rich.table import Table

from domain.pairs import PairConfig
from domain.symbols import PairId, Symbol
from runner.config import SignalSettings
from runner.exchange.binance.market_stream.protocol import FeedProtocol, SymbolFeed
from runner.exchange.binance.symbols import exchange_id
from runner.signals.generator import SignalGenerator

PAIRS = 20
MESSAGES = 20_000
ROUNDS = 9
START_MS = 1_721_347_020_000
DECODE_RATIO_MAX = 3.0
CCXT_RATIO_MIN = 20.0


class Ticker(msgspec.Struct, gc=False):
    """The least a decoder must do: the fields of a quote, numbers in strings straight to float."""

    u: int
    s: str
    b: float
    B: float
    a: float
    A: float
    E: int


def message(symbol: str, update_id: int, mid: float, event_ms: int) -> bytes:
    """As captured from the wire."""
    return (
        f'{{"e":"bookTicker","u":{update_id},"s":"{symbol}","b":"{mid - 0.05:.2f}","B":"46.371","a":"{mid + 0.05:.2f}",'
        f'"A":"0.095","T":{event_ms},"E":{event_ms}}}'
    ).encode()


def rig() -> tuple[FeedProtocol, SignalGenerator, list[Symbol]]:
    """A hub symbol with 20 partners, windows loaded, every leg quoted."""
    symbols = [Symbol(f"{name}/USDT:USDT") for name in ("BTC", *(f"ALT{n}" for n in range(PAIRS)))]
    hub = symbols[0]
    pairs = [
        PairConfig(
            pair_id=PairId(f"P{n}"), leg_a=hub if n % 2 else partner, leg_b=partner if n % 2 else hub, hedge_ratio=1.0,
            entry_z=2.0, exit_z=0.0, stop_z=4.0, half_life_bars=5.0, half_life_bar_seconds=60,
        )
        for n, partner in enumerate(symbols[1:])
    ]  # fmt: skip
    generator = SignalGenerator(pairs, SignalSettings(), position_usd=500.0)
    chance = random.Random(1)
    open_ms = START_MS - START_MS % 60_000
    for symbol in symbols:
        rows = [(open_ms - (60 - i) * 60_000, 64_000 + chance.gauss(0, 15)) for i in range(60)]
        generator.calculator.load(symbol, rows)
    protocol = FeedProtocol()
    protocol.expect(symbols)
    for symbol in symbols:
        got = protocol.receive(message(exchange_id(symbol), 1, 64_000.0, open_ms), 1)
        assert isinstance(got, SymbolFeed)
        assert got.quote is not None
        generator.update(symbol, got.quote)
    return protocol, generator, symbols


def walk() -> list[bytes]:
    """The hub's random walk, within one bar: ticks of the size that BTCUSDT makes, pulled back to where it began."""
    chance = random.Random(2)
    mid, made = 64_000.0, []
    open_ms = START_MS - START_MS % 60_000
    for n in range(MESSAGES):
        mid += chance.choice((0.0, 0.0, 0.0, 0.1, -0.1, 0.5, -0.5)) + (64_000.0 - mid) * 0.001
        made.append(message("BTCUSDT", 2 + n, mid, open_ms + n))
    return made


def seconds_of(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> int:
    protocol, generator, symbols = rig()
    messages = walk()
    decode = msgspec.json.Decoder(Ticker, strict=False).decode
    receive, update = protocol.receive, generator.update
    exchange = ccxt.pro.binanceusdm({"newUpdates": True})
    client: Any = SimpleNamespace(
        url="wss://fstream.binance.com/public/ws/0",
        resolve=lambda *_: None,
        subscriptions={},
        futures={},
        rejections={},
    )
    shape = {"type": "swap", "swap": True, "spot": False, "contract": True, "linear": True, "inverse": False}
    market = exchange.safe_market_structure({"id": "BTCUSDT", "symbol": "BTC/USDT:USDT", **shape})
    exchange.markets = {"BTC/USDT:USDT": market}
    exchange.markets_by_id = {"BTCUSDT": [market]}

    def only_decode() -> None:
        for raw in messages:
            decode(raw)

    def decide() -> None:
        for feed in protocol.feeds:
            feed.update_id = 1
        for raw in messages:
            got = receive(raw, 5)
            update(got.symbol, got.quote)  # type: ignore[union-attr, arg-type]  # All of them are quotes.

    few = messages[: MESSAGES // 20]

    def through_ccxt() -> None:
        for raw in few:
            exchange.handle_message(client, json.loads(raw))

    through_ccxt()
    assert exchange.bidsasks["BTC/USDT:USDT"]["bid"] > 0, "ccxt.pro did not take the message"
    best = {"decode": 1e9, "decide": 1e9, "ccxt": 1e9}
    for _ in range(ROUNDS):
        best["decode"] = min(best["decode"], seconds_of(only_decode) / len(messages))
        best["decide"] = min(best["decide"], seconds_of(decide) / len(messages))
        best["ccxt"] = min(best["ccxt"], seconds_of(through_ccxt) / len(few))
    assert {row["standing"] for row in generator.status().values()} == {"watching"}
    asyncio.run(exchange.close())

    decode_ratio, ccxt_ratio = best["decide"] / best["decode"], best["ccxt"] / best["decide"]
    table = Table(title=f"One bookTicker message, {PAIRS} pairs on the symbol, {len(symbols)} symbols")
    for column in ("what", "µs", "ratio", "target", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row("decode with msgspec, no more", f"{best['decode'] * 1e6:.2f}", "1.0", "", "")
    fine = "ok" if decode_ratio <= DECODE_RATIO_MAX else "MISSED"
    table.add_row(
        "message to decision",
        f"{best['decide'] * 1e6:.2f}",
        f"{decode_ratio:.2f} × decode",
        f"≤ {DECODE_RATIO_MAX}",
        fine,
    )
    cheap = "ok" if ccxt_ratio >= CCXT_RATIO_MIN else "MISSED"
    table.add_row(
        "ccxt.pro's message handler",
        f"{best['ccxt'] * 1e6:.2f}",
        f"{ccxt_ratio:.1f} × ours",
        f"≥ {CCXT_RATIO_MIN}",
        cheap,
    )
    Console().print(table)
    return 0 if fine == cheap == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
