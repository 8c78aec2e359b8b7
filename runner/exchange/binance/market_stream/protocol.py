"""Sans-I/O half of the market feed: bytes in, quotes out. Knows no socket and reads no clock.

Understands raw and combined mode, drops what is older than what it has, refuses prices that cannot be, and never raises for
anything the wire may say.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from domain.quotes import Quote
from domain.symbols import Symbol
from runner.exchange.binance.symbols import exchange_id

EVENT_MS_MAX = 4_102_444_800_000  # The year 2100: later is garbage, not a time.
COIN_MARGINED = 2  # `st` of COIN-M rows, which share some streams since 2026-06-30.
INFINITE = math.inf
EXCERPT_LENGTH = 120
_UNDECODABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)

RefusalCallback = Callable[[str, str], None]
"""Called once per kind of refusal with (kind, excerpt of the message)."""


class _Ticker(msgspec.Struct, gc=False):
    """A bookTicker payload. Every field has a default: fields come and go, and control replies have none of them."""

    # In the order of the wire, which is how msgspec looks for them.
    e: Literal["bookTicker"] = "bookTicker"
    u: int = 0
    s: str = ""
    b: float = math.nan
    B: float = math.nan
    a: float = math.nan
    A: float = math.nan
    T: int = 0
    E: int = 0
    st: int = 1


class _Combined(msgspec.Struct, gc=False):
    stream: str
    data: _Ticker


class _Complaint(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Envelope(msgspec.Struct):
    """Whatever is not a quote: a control reply, or an event of a kind that we did not ask for."""

    id: int | str | None = None
    error: _Complaint | None = None
    code: int | None = None  # The older form of an error has no envelope.
    msg: str | None = None
    e: str | None = None
    stream: str | None = None


class ControlReply(msgspec.Struct, frozen=True):
    """The exchange's answer to SUBSCRIBE or UNSUBSCRIBE; `error` is None when it agreed."""

    request_id: int | str | None
    error: str | None


class SymbolFeed:
    """One symbol's newest quote, and how it got here."""

    __slots__ = ("quote", "symbol", "update_id")

    def __init__(self, symbol: Symbol) -> None:
        self.symbol = symbol
        self.reset()

    def reset(self) -> None:
        self.update_id = 0
        self.quote: Quote | None = None

    @property
    def received_ns(self) -> int:
        """When the newest quote came; 0 without a quote since the connection opened."""
        return 0 if self.quote is None else self.quote.received_ns


class FeedProtocol:
    """Decodes one connection's messages for the symbols it was told to expect."""

    def __init__(self, *, on_refusal: RefusalCallback | None = None) -> None:
        self._feeds: dict[str, SymbolFeed] = {}
        self._find = self._feeds.get
        self._decode = msgspec.json.Decoder(_Ticker, strict=False).decode
        self._decode_combined = msgspec.json.Decoder(_Combined, strict=False).decode
        self._decode_envelope = msgspec.json.Decoder(_Envelope).decode
        self._on_refusal = on_refusal
        self.refused: Counter[str] = Counter()
        """By kind: undecodable, incomplete, price, event_time. These are faults of the sender."""
        self.ignored: Counter[str] = Counter()
        """By kind: older, unexpected_symbol, coin_margined, other_event. These are the way of the world."""

    @property
    def feeds(self) -> Iterable[SymbolFeed]:
        return self._feeds.values()

    def expect(self, symbols: Iterable[Symbol]) -> None:
        """Accept quotes of these symbols from now on; those already expected keep their newest quote."""
        for symbol in symbols:
            self._feeds.setdefault(exchange_id(symbol), SymbolFeed(symbol))

    def forget(self, symbols: Iterable[Symbol]) -> None:
        """Quotes of these symbols are no longer expected."""
        for symbol in symbols:
            self._feeds.pop(exchange_id(symbol), None)

    def reset(self) -> None:
        """Forget every quote: after a reconnect, old quotes are not quotes."""
        for feed in self._feeds.values():
            feed.reset()

    def receive(self, message: bytes | str, received_ns: int) -> SymbolFeed | ControlReply | None:
        """Take one message. Return the feed whose quote is new, the answer to a request, or None."""
        try:
            ticker = self._decode(message)
        except _UNDECODABLE:
            return self._other(message)
        feed = self._find(ticker.s)
        if feed is None:
            ticker = self._unwrap(message, ticker)
            feed = self._find(ticker.s)
            if feed is None:
                return self._unfamiliar(message, ticker)
        # The rest is written out here, not in helpers: this runs for every tick of every symbol.
        bid, ask, event_ms, update_id = ticker.b, ticker.a, ticker.E or ticker.T, ticker.u
        bid_quantity, ask_quantity = ticker.B, ticker.A
        if (
            # NaN, infinity, zero, a negative and a crossed book all come out false.
            0.0 < bid <= ask < INFINITE
            and 0.0 <= bid_quantity < INFINITE
            and 0.0 <= ask_quantity < INFINITE
            and 0 < event_ms < EVENT_MS_MAX
            and update_id > feed.update_id
            and ticker.st != COIN_MARGINED
        ):
            feed.update_id = update_id
            feed.quote = Quote(bid, ask, bid_quantity, ask_quantity, event_ms, received_ns)
            return feed
        self._rejected(message, ticker, feed)
        return None

    def _unwrap(self, message: bytes | str, ticker: _Ticker) -> _Ticker:
        """What a combined-mode message carries; the message itself when it is not one."""
        if ticker.s:
            return ticker
        try:
            return self._decode_combined(message).data
        except _UNDECODABLE:
            return ticker

    def _unfamiliar(self, message: bytes | str, ticker: _Ticker) -> ControlReply | None:
        if not ticker.s:
            return self._other(message)
        self.ignored["coin_margined" if ticker.st == COIN_MARGINED else "unexpected_symbol"] += 1
        return None

    def _rejected(self, message: bytes | str, ticker: _Ticker, feed: SymbolFeed) -> None:
        """Say why a message about a symbol of ours did not become a quote."""
        if ticker.st == COIN_MARGINED:
            self.ignored["coin_margined"] += 1
        elif ticker.u <= 0 or math.isnan(ticker.b) or math.isnan(ticker.a):
            self._refuse("incomplete", message)
        elif not 0 < (ticker.E or ticker.T) < EVENT_MS_MAX:
            self._refuse("event_time", message)
        elif ticker.u <= feed.update_id:
            self.ignored["older"] += 1
        else:
            self._refuse("price", message)

    def _other(self, message: bytes | str) -> ControlReply | None:
        try:
            envelope = self._decode_envelope(message)
        except _UNDECODABLE:
            self._refuse("undecodable", message)
            return None
        if envelope.error is not None:
            return ControlReply(envelope.id, f"{envelope.error.code}: {envelope.error.msg}")
        if envelope.msg is not None:
            return ControlReply(envelope.id, f"{envelope.code}: {envelope.msg}")
        if envelope.id is not None:
            return ControlReply(envelope.id, None)
        if envelope.e not in {None, "bookTicker"} or "@bookTicker" not in (envelope.stream or "@bookTicker"):
            self.ignored["other_event"] += 1
        else:
            self._refuse("incomplete", message)
        return None

    def _refuse(self, kind: str, message: bytes | str) -> None:
        self.refused[kind] += 1
        if self.refused[kind] == 1 and self._on_refusal is not None:
            self._on_refusal(kind, _excerpt(message))


def _excerpt(message: bytes | str) -> str:
    head = message[: EXCERPT_LENGTH + 1]
    text = head.decode(errors="backslashreplace") if isinstance(head, bytes) else head
    return "".join(c if c.isprintable() else "." for c in text)[:EXCERPT_LENGTH]
