"""Names of Binance's public streams: what each carries, on which route it speaks, and how often."""

import re
from dataclasses import dataclass
from typing import Literal

from paper.public_rest import INTERVALS_MS

Route = Literal["public", "market"]

ALL = ""  # The symbol of a stream about every contract.
_PUBLIC = frozenset({"bookTicker", "depth", "partialDepth", "trade", "rpiDepth"})
_PERIOD_MS = {
    "depth": 250,
    "partialDepth": 250,
    "rpiDepth": 500,
    "trade": 100,
    "aggTrade": 100,
    "markPrice": 3_000,
    "kline": 250,
    "miniTicker": 2_000,
    "ticker": 2_000,
}
_ALL_PERIOD_MS = {"bookTicker": 5_000, "markPrice": 3_000, "miniTicker": 1_000, "ticker": 1_000}
_SPEEDS_MS = {"": None, "@100ms": 100, "@250ms": 250, "@500ms": 500, "@1s": 1_000, "@3s": 3_000}
_WITH_SPEED = frozenset({"depth", "depth5", "depth10", "depth20", "rpiDepth", "markPrice"})
_SYMBOL_STREAM = re.compile(
    r"(?P<symbol>[a-z0-9_]+)@(?P<what>bookTicker|depth(?:5|10|20)?|rpiDepth|trade|aggTrade|markPrice|miniTicker|ticker"
    r"|forceOrder|kline_(?P<interval>\w+))(?P<speed>@\d+m?s)?"
)
_CONTINUOUS = re.compile(r"(?P<symbol>[a-z0-9]+)_perpetual@continuousKline_(?P<interval>\w+)")
_ALL_STREAM = re.compile(
    r"!(?:(?P<book>bookTicker)|(?P<contract>contractInfo)|(?P<array>markPrice|miniTicker|ticker|forceOrder)@arr)"
    r"(?P<speed>@\ds)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamName:
    """One stream that exists. `symbol` is in capitals, or empty for all contracts."""

    name: str
    kind: str  # bookTicker, depth, partialDepth, aggTrade, kline, …
    symbol: str
    period_ms: int | None  # Wall time between pushes; None when events push it.
    levels: int = 0
    interval: str = ""

    @property
    def route(self) -> Route:
        """Where it speaks; elsewhere it is acknowledged and stays silent."""
        return "public" if self.kind in _PUBLIC else "market"


def parse_stream(name: str) -> StreamName | None:
    """The stream of this name, or None: Binance acknowledges any name and says nothing about unknown ones."""
    if found := _SYMBOL_STREAM.fullmatch(name):
        what, interval = found["what"], found["interval"] or ""
        speed = found["speed"] or ""
        if speed and (what not in _WITH_SPEED or speed not in _SPEEDS_MS):
            return None
        if interval and interval not in INTERVALS_MS:
            return None
        kind, levels = what, 0
        if interval:
            kind = "kline"
        elif what.startswith("depth") and what != "depth":
            kind, levels = "partialDepth", int(what.removeprefix("depth"))
        return StreamName(
            name=name,
            kind=kind,
            symbol=found["symbol"].upper(),
            period_ms=_SPEEDS_MS[speed] or _PERIOD_MS.get(kind),
            levels=levels,
            interval=interval,
        )
    if found := _CONTINUOUS.fullmatch(name):
        if found["interval"] not in INTERVALS_MS:
            return None
        return StreamName(
            name=name,
            kind="continuousKline",
            symbol=found["symbol"].upper(),
            period_ms=_PERIOD_MS["kline"],
            interval=found["interval"],
        )
    if found := _ALL_STREAM.fullmatch(name):
        kind = found["book"] or found["contract"] or found["array"]
        if found["speed"] and (kind != "markPrice" or found["speed"] not in _SPEEDS_MS):
            return None
        period_ms = _SPEEDS_MS.get(found["speed"] or "") or _ALL_PERIOD_MS.get(kind)
        return StreamName(name=name, kind=kind, symbol=ALL, period_ms=period_ms)
    return None
