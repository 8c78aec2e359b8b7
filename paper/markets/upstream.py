"""Binance's own public market under our matching: its quotes, marks, bars and funding, our books around them."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Self, TypeVar

import aiohttp
import msgspec
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from domain.units import MINUTE_MS
from paper.market import Book, FundingSettlement, Kline, Listing, Mark, with_status
from paper.markets import upstream_wire as wire
from paper.markets.bars import BarColumns, BarSeries, ticks_of
from paper.markets.books import BookMaker
from paper.markets.clock import wall_ms

log = logging.getLogger(__name__)

REST_URL = "https://fapi.binance.com"
STREAM_URL = "wss://fstream.binance.com"
_STREAMS_PER_CONNECTION = 200
_NAMES_PER_REQUEST = 100
_REQUEST_GAP_SECONDS = 0.25  # Ten incoming messages a second are allowed.
_SILENCE_SECONDS_MAX = 30.0
_FLUSH_SECONDS = 0.02
_CACHE_SECONDS = 1.0
_CACHE_ENTRIES_MAX = 512
_FUNDING_HOURS = 8

REPLY_BYTES_MAX = 16 * 2**20
MESSAGE_BYTES_MAX = 2**20
_UNREADABLE = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)

Parsed = TypeVar("Parsed")
_Key = tuple[str, tuple[tuple[str, str], ...]]


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """What comes out of the socket is believed: nobody is followed elsewhere."""
        return exc


def _chunks(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[first : first + size] for first in range(0, len(names), size)]


class UpstreamMarket:
    """A market that follows another exchange of Binance's dialect.

    Build it with `open`. Reconnects by itself, with backoff; while it is cut off the books stand still. Bars and funding history
    come from the upstream by `fetch_klines` and `fetch_fundings`; `klines` and `fundings` know only what was seen since the start.
    """

    def __init__(self, session: aiohttp.ClientSession, *, rest_url: str, stream_url: str) -> None:
        self._session = session
        self._rest_url = rest_url.rstrip("/")
        self._stream_url = stream_url.rstrip("/")
        self._listings: dict[str, Listing] = {}
        self._books: dict[str, Book] = {}
        self._marks: dict[str, Mark] = {}
        self._bars: dict[str, BarSeries] = {}
        self._makers: dict[str, BookMaker] = {}
        self._fundings: dict[str, list[FundingSettlement]] = {}
        self._newest: dict[str, wire.StreamQuote] = {}
        self._skew_ms = 0
        self._cache: dict[_Key, tuple[float, bytes]] = {}
        self._on_funding: Callable[[FundingSettlement], None] = lambda _settlement: None

    @classmethod
    async def open(cls, *, rest_url: str | None, stream_url: str | None) -> Self:
        """Ask the upstream for its rules and present prices.

        Raises: OSError when it cannot be reached or does not speak Binance's dialect.
        """
        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        market = cls(session, rest_url=rest_url or REST_URL, stream_url=stream_url or STREAM_URL)
        try:
            await market._load()
        except (aiohttp.ClientError, OSError, *_UNREADABLE) as error:
            await session.close()
            raise OSError(f"upstream {market._rest_url} cannot be used: {error!r}") from error
        return market

    async def _load(self) -> None:
        before_ms = wall_ms()
        server = await self._get("time", {}, wire.ServerTime)
        self._skew_ms = server.server_time - (before_ms + wall_ms()) // 2
        info = await self._get("exchangeInfo", {}, wire.ExchangeInfo)
        intervals = {
            row.symbol: row.funding_interval_hours for row in await self._get("fundingInfo", {}, list[wire.FundingInfo])
        }
        quotes = {row.symbol: row for row in await self._get("ticker/bookTicker", {}, list[wire.RestQuote])}
        premiums = {row.symbol: row for row in await self._get("premiumIndex", {}, list[wire.Premium])}
        rng = random.Random(0)  # noqa: S311 - depth behind the real top.
        for contract in info.symbols:
            quote, premium = quotes.get(contract.symbol), premiums.get(contract.symbol)
            if quote is None or premium is None or not 0 < quote.bid_price < quote.ask_price:
                continue
            listing = wire.listing_of(
                contract, price=float(premium.mark_price), funding_hours=intervals.get(contract.symbol, _FUNDING_HOURS)
            )
            if listing is not None:
                self._list(listing, quote, premium, rng)
        if not self._listings:
            raise ValueError("it lists no USDT perpetual with a price")

    def _list(self, listing: Listing, quote: wire.RestQuote, premium: wire.Premium, rng: random.Random) -> None:
        symbol = listing.symbol
        self._listings[symbol] = listing
        self._makers[symbol] = BookMaker(listing, update_id=0, rng=rng)
        bid, ask = ticks_of(quote.bid_price, listing.tick), ticks_of(quote.ask_price, listing.tick)
        close = np.array([(bid + ask) // 2], np.int32)
        self._bars[symbol] = BarSeries(
            listing,
            BarColumns(
                start_ms=self.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS,
                open=close,
                high=close,
                low=close,
                close=close,
                volume=np.zeros(1, np.float32),
            ),
        )
        self._fundings[symbol] = []
        self._marks[symbol] = Mark(
            symbol=symbol,
            mark_price=premium.mark_price,
            index_price=premium.index_price,
            funding_rate=premium.last_funding_rate,
            next_funding_ms=premium.next_funding_time,
            event_ms=premium.time,
        )
        self._books[symbol] = self._makers[symbol].between(
            bid, ask, quote.time, bid_quantity=quote.bid_qty, ask_quantity=quote.ask_qty, update_id=0
        )

    # What the exchange asks.

    @property
    def listings(self) -> Mapping[str, Listing]:
        """Every contract by symbol."""
        return self._listings

    def now_ms(self) -> int:
        """Market time in Unix milliseconds: the upstream's clock as of the start."""
        return wall_ms() + self._skew_ms

    def book(self, symbol: str) -> Book:
        """The newest book. Raises: KeyError for an unknown symbol."""
        return self._books[symbol]

    def mark(self, symbol: str) -> Mark:
        """Mark price and predicted funding. Raises: KeyError for an unknown symbol."""
        return self._marks[symbol]

    def klines(
        self, symbol: str, interval_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        """Bars of the middles seen since the start. Raises: KeyError for an unknown symbol."""
        return self._bars[symbol].select(
            interval_ms, start_ms=start_ms, end_ms=end_ms, limit=limit, now_ms=self.now_ms()
        )

    def fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        """Settlements seen since the start, ascending. Raises: KeyError for an unknown symbol."""
        rows = [
            row
            for row in self._fundings[symbol]
            if (start_ms is None or row.settled_ms >= start_ms) and (end_ms is None or row.settled_ms <= end_ms)
        ]
        return rows[-limit:] if start_ms is None else rows[:limit]

    async def fetch_klines(
        self, symbol: str, interval: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        """The upstream's own bars, cached for a second. Raises: OSError when it does not answer."""
        rows = await self._ask(
            "klines", symbol, list[wire.KlineRow], start_ms=start_ms, end_ms=end_ms, limit=limit, interval=interval
        )
        return [wire.kline_of(row) for row in rows]

    async def fetch_fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        """The upstream's own funding history, cached for a second. Raises: OSError when it does not answer."""
        rows = await self._ask(
            "fundingRate", symbol, list[wire.FundingRow], start_ms=start_ms, end_ms=end_ms, limit=limit
        )
        return [row.settlement() for row in rows]

    def set_status(self, symbol: str, status: str, delivery_ms: int | None = None) -> None:
        """Change a contract's status here; one that does not trade stops quoting."""
        self._listings[symbol] = with_status(self._listings[symbol], status, delivery_ms)

    def snapshot(self) -> bytes:
        """Nothing: a restart asks the upstream."""
        return b""

    async def _ask(
        self,
        path: str,
        symbol: str,
        kind: type[Parsed],
        *,
        start_ms: int | None,
        end_ms: int | None,
        limit: int,
        **more: str,
    ) -> Parsed:
        query = {"symbol": symbol, **more, "limit": str(limit)}
        query |= {} if start_ms is None else {"startTime": str(start_ms)}
        query |= {} if end_ms is None else {"endTime": str(end_ms)}
        try:
            return await self._get(path, query, kind)
        except (aiohttp.ClientError, OSError, *_UNREADABLE) as error:
            raise OSError(f"upstream {path}: {error!r}") from error

    async def _get(self, path: str, query: Mapping[str, str], kind: type[Parsed]) -> Parsed:
        key = (path, tuple(sorted(query.items())))
        now_seconds = time.monotonic()
        cached = self._cache.get(key)
        if cached is None or now_seconds - cached[0] > _CACHE_SECONDS:
            cached = now_seconds, await self._fetch(f"{self._rest_url}/fapi/v1/{path}", query)
            if len(self._cache) >= _CACHE_ENTRIES_MAX:
                self._cache.clear()
            self._cache[key] = cached
        return msgspec.json.decode(cached[1], type=kind, strict=False)

    async def _fetch(self, url: str, query: Mapping[str, str]) -> bytes:
        """A reply's body. A redirect is not followed, and nothing is read without end. Raises: OSError, aiohttp.ClientError."""
        async with self._session.get(url, params=query, allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                raise OSError(f"HTTP {response.status}")
            body = bytearray()
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > REPLY_BYTES_MAX:
                    response.close()
                    raise OSError(f"a reply of more than {REPLY_BYTES_MAX} bytes")
            return bytes(body)

    # What moves.

    async def run(self, on_book: Callable[[Book], None], on_funding: Callable[[FundingSettlement], None]) -> None:
        """Follow the upstream's streams until cancelled."""
        self._on_funding = on_funding
        names = [f"{symbol.lower()}@bookTicker" for symbol in self._listings]
        try:
            async with asyncio.TaskGroup() as tasks:
                for chunk in _chunks(names, _STREAMS_PER_CONNECTION):
                    tasks.create_task(self._follow("public", chunk, self._quoted))
                tasks.create_task(self._follow("market", ("!markPrice@arr@1s",), self._marked))
                tasks.create_task(self._flush(on_book))
        finally:
            await self._session.close()

    async def _follow(self, route: str, names: Sequence[str], receive: Callable[[bytes], None]) -> None:
        """One connection, for ever: `connect` waits longer after each failure, and a silent one counts as failed."""
        url = f"{self._stream_url}/{route}/ws"
        async for socket in _Connect(url, max_queue=None, compression=None, max_size=MESSAGE_BYTES_MAX):
            try:
                await self._subscribe(socket, names)
                while True:
                    async with asyncio.timeout(_SILENCE_SECONDS_MAX):
                        message = await socket.recv(decode=False)
                    receive(message)
            except (WebSocketException, TimeoutError, OSError) as error:
                log.warning("upstream %s: connection lost (%s), connecting again", url, repr(error))

    async def _subscribe(self, socket: ClientConnection, names: Sequence[str]) -> None:
        for number, chunk in enumerate(_chunks(names, _NAMES_PER_REQUEST), 1):
            request = {"method": "SUBSCRIBE", "params": chunk, "id": number}
            await socket.send(msgspec.json.encode(request).decode())
            await asyncio.sleep(_REQUEST_GAP_SECONDS)

    def _quoted(self, message: bytes) -> None:
        """Keep the newest quote of each contract; what is older than it is dropped."""
        try:
            quote = msgspec.json.decode(message, type=wire.StreamQuote, strict=False)
            if not all(value.is_finite() for value in (quote.b, quote.B, quote.a, quote.A)):
                raise ValueError("a price or quantity is no number")
        except _UNREADABLE as error:
            log.warning("upstream: a quote cannot be read: %s", error)
            return
        newest = self._newest.get(quote.s)
        known_id = self._books[quote.s].update_id if quote.s in self._books else quote.u
        if quote.u > (known_id if newest is None else newest.u):
            self._newest[quote.s] = quote

    async def _flush(self, on_book: Callable[[Book], None]) -> None:
        """Turn the newest quotes into books: however many arrive, each contract gets at most one book a step."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            newest, self._newest = self._newest, {}
            for symbol, quote in newest.items():
                listing = self._listings[symbol]
                if listing.status != "TRADING" or not 0 < quote.b < quote.a:
                    continue
                bid, ask = ticks_of(quote.b, listing.tick), ticks_of(quote.a, listing.tick)
                self._bars[symbol].observe(quote.E, (bid + ask) // 2, 0.0)
                book = self._makers[symbol].between(
                    bid, ask, quote.E, bid_quantity=quote.B, ask_quantity=quote.A, update_id=quote.u
                )
                self._books[symbol] = book
                on_book(book)

    def _marked(self, message: bytes) -> None:
        """New marks; a funding time that moves on means that the old one was settled at the rate predicted last."""
        if not message.startswith(b"["):
            return  # The reply to our subscription.
        try:
            rows = msgspec.json.decode(message, type=list[wire.StreamMark], strict=False)
        except _UNREADABLE as error:
            log.warning("upstream: marks cannot be read: %s", error)
            return
        for row in rows:
            before = self._marks.get(row.s)
            if before is None:
                continue  # COIN-M, or a contract we do not list.
            self._marks[row.s] = Mark(
                symbol=row.s,
                mark_price=row.p,
                index_price=row.i,
                funding_rate=row.r,
                next_funding_ms=row.T,
                event_ms=row.E,
            )
            if row.T > before.next_funding_ms > 0:
                settlement = FundingSettlement(
                    symbol=row.s, rate=before.funding_rate, settled_ms=before.next_funding_ms, mark_price=row.p
                )
                self._fundings[row.s].append(settlement)
                self._on_funding(settlement)
