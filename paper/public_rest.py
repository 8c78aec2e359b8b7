"""Binance's unsigned REST endpoints: rules, bars, books, marks and funding, answered from a market's memory."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol, runtime_checkable

import msgspec
from aiohttp import web

from domain.units import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS
from paper.clock import ServerClock
from paper.day_tickers import day_ticker
from paper.errors import ApiError, refused
from paper.market import Book, FundingSettlement, Kline, Listing, Mark, Market
from paper.markets.bars import MONTH_MS
from paper.numbers import fixed8
from paper.public_rules import exchange_info

Json = object
Query = Mapping[str, str]
Answer = Callable[[Query], Json | Awaitable[Json]]

INTERVALS_MS: Mapping[str, int] = {
    **{f"{count}m": count * MINUTE_MS for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": count * HOUR_MS for count in (1, 2, 4, 6, 8, 12)},
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": WEEK_MS,
    "1M": MONTH_MS,
}
_KLINES_DEFAULT, _KLINES_MAX = 500, 1_500
_FUNDINGS_DEFAULT, _FUNDINGS_MAX = 200, 1_000
_DEPTHS = frozenset({5, 10, 20, 50, 100, 500, 1_000})
_DEPTH_DEFAULT = 500
_TAKER_SHARE = Decimal("0.5")
_INTEREST_RATE = "0.00010000"


@runtime_checkable
class History(Protocol):
    """A market that must ask somebody else for its past."""

    async def fetch_klines(
        self, symbol: str, interval: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        """Bars as Binance selects them. Raises: OSError."""
        ...

    async def fetch_fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        """Settled funding rates, ascending. Raises: OSError."""
        ...


def routes(market: Market, clock: ServerClock) -> list[web.RouteDef]:
    """The unsigned endpoints under /fapi/v1, all GET. Refusals are Binance's code and text with HTTP 400."""
    public = PublicRest(market, clock)
    answers: Mapping[str, Answer] = {
        "ping": lambda _: {},
        "time": lambda _: {"serverTime": clock.now_ms()},
        "exchangeInfo": lambda _: exchange_info(market.listings.values(), clock.now_ms()),
        "klines": public.klines,
        "depth": public.depth,
        "ticker/bookTicker": public.book_ticker,
        "ticker/price": public.price,
        "ticker/24hr": public.day,
        "premiumIndex": public.premium_index,
        "fundingRate": public.funding_rate,
        "fundingInfo": public.funding_info,
        "openInterest": public.open_interest,
    }
    return [web.get(f"/fapi/v1/{path}", _handler(answer)) for path, answer in answers.items()]


def _handler(answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            body, status = answer(request.query), 200
            if isinstance(body, Awaitable):
                body = await body
        except OSError as error:
            body, status = {"code": -1001, "msg": f"Internal error; unable to process your request. {error}"}, 503
        except ApiError as error:
            body, status = error.body(), error.status
        return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")

    return handle


def _integer(query: Query, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise refused(-1100, name, "^[0-9]{1,20}$")
    return int(text)


def _limit(query: Query, default: int, maximum: int) -> int:
    limit = _integer(query, "limit")
    if limit is None:
        return default
    if not 1 <= limit <= maximum:
        raise refused(-1130, "limit")
    return limit


def _window(query: Query) -> tuple[int | None, int | None]:
    start_ms, end_ms = _integer(query, "startTime"), _integer(query, "endTime")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise refused(-1023)
    return start_ms, end_ms


def kline_row(kline: Kline) -> list[Json]:
    """The twelve columns of a bar."""
    taker_base = kline.volume * _TAKER_SHARE
    taker_quote = kline.quote_volume * _TAKER_SHARE
    return [
        kline.open_ms,
        f"{kline.open:f}",
        f"{kline.high:f}",
        f"{kline.low:f}",
        f"{kline.close:f}",
        f"{kline.volume:f}",
        kline.close_ms,
        f"{kline.quote_volume:f}",
        kline.trades,
        f"{taker_base:f}",
        f"{taker_quote:f}",
        "0",
    ]


class PublicRest:
    """The answers, one method an endpoint. Each takes the query and returns what is to be JSON."""

    def __init__(self, market: Market, clock: ServerClock) -> None:
        self._market = market
        self._clock = clock

    def _listing(self, query: Query) -> Listing:
        symbol = query.get("symbol", "")
        if not symbol:
            raise refused(-1102, "symbol")
        listing = self._market.listings.get(symbol)
        if listing is None:
            raise refused(-1121)
        return listing

    def _one_or_all(self, query: Query, row: Callable[[str], Json]) -> Json:
        if "symbol" in query:
            return row(self._listing(query).symbol)
        return [row(symbol) for symbol in self._market.listings]

    async def klines(self, query: Query) -> Json:
        """Bars; the last one is still open when the window reaches now."""
        listing = self._listing(query)
        if "interval" not in query:
            raise refused(-1102, "interval")
        interval_ms = INTERVALS_MS.get(query["interval"])
        if interval_ms is None:
            raise ApiError(-1120, "Invalid interval.")
        limit = _limit(query, _KLINES_DEFAULT, _KLINES_MAX)
        start_ms, end_ms = _window(query)
        market, symbol = self._market, listing.symbol
        if isinstance(market, History):
            bars = await market.fetch_klines(symbol, query["interval"], start_ms=start_ms, end_ms=end_ms, limit=limit)
        else:
            bars = market.klines(symbol, interval_ms, start_ms=start_ms, end_ms=end_ms, limit=limit)
        return [kline_row(bar) for bar in bars]

    def depth(self, query: Query) -> Json:
        """The book, as deep as we have it."""
        listing = self._listing(query)
        limit = _integer(query, "limit")
        limit = _DEPTH_DEFAULT if limit is None else limit
        if limit not in _DEPTHS:
            raise ApiError(-4021, f"{limit} is not valid depth limit.")
        book = self._market.book(listing.symbol)
        return {
            "lastUpdateId": book.update_id,
            "E": book.event_ms,
            "T": book.event_ms,
            "bids": level_rows(book.bids[:limit]),
            "asks": level_rows(book.asks[:limit]),
        }

    def book_ticker(self, query: Query) -> Json:
        """Best bid and ask."""
        return self._one_or_all(query, lambda symbol: _book_ticker_row(self._market.book(symbol)))

    def price(self, query: Query) -> Json:
        """The last price: the close of the bar that is open now."""
        now_ms = self._market.now_ms()

        def row(symbol: str) -> Json:
            (bar,) = self._market.klines(symbol, MINUTE_MS, start_ms=None, end_ms=None, limit=1)
            return {"symbol": symbol, "price": f"{bar.close:f}", "time": now_ms}

        return self._one_or_all(query, row)

    def day(self, query: Query) -> Json:
        """Statistics of the last 24 hours."""

        def row(symbol: str) -> Json:
            day = day_ticker(self._market, symbol)
            return {
                "symbol": symbol,
                "priceChange": f"{day.change:f}",
                "priceChangePercent": f"{day.change_percent:.3f}",
                "weightedAvgPrice": f"{day.average:f}",
                "lastPrice": f"{day.last:f}",
                "lastQty": f"{day.last_quantity:f}",
                "openPrice": f"{day.open:f}",
                "highPrice": f"{day.high:f}",
                "lowPrice": f"{day.low:f}",
                "volume": f"{day.volume:f}",
                "quoteVolume": f"{day.quote_volume:f}",
                "openTime": day.open_ms,
                "closeTime": day.close_ms,
                "firstId": 1,
                "lastId": day.trades,
                "count": day.trades,
            }

        return self._one_or_all(query, row)

    def premium_index(self, query: Query) -> Json:
        """Mark price and the funding predicted for the coming settlement."""
        return self._one_or_all(query, lambda symbol: _premium_row(self._market.mark(symbol)))

    async def funding_rate(self, query: Query) -> Json:
        """Settled funding rates, ascending; without a symbol those of all contracts."""
        limit = _limit(query, _FUNDINGS_DEFAULT, _FUNDINGS_MAX)
        start_ms, end_ms = _window(query)
        symbols: Sequence[str] = (self._listing(query).symbol,) if "symbol" in query else tuple(self._market.listings)
        market = self._market
        settled: list[FundingSettlement] = []
        for symbol in symbols:
            # Only one contract's history is worth asking somebody else for.
            if isinstance(market, History) and len(symbols) == 1:
                settled += await market.fetch_fundings(symbol, start_ms=start_ms, end_ms=end_ms, limit=limit)
            else:
                settled += market.fundings(symbol, start_ms=start_ms, end_ms=end_ms, limit=limit)
        settled.sort(key=lambda row: row.settled_ms)
        settled = settled[-limit:] if start_ms is None else settled[:limit]
        return [
            {
                "symbol": row.symbol,
                "fundingRate": f"{row.rate:.8f}",
                "fundingTime": row.settled_ms,
                "markPrice": fixed8(row.mark_price),
                "rateType": "Regular",
            }
            for row in settled
        ]

    def funding_info(self, _query: Query) -> Json:
        """Only the contracts whose funding differs from the usual eight hours."""
        return [
            {
                "symbol": listing.symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": listing.funding_interval_hours,
                "disclaimer": False,
            }
            for listing in self._market.listings.values()
            if listing.funding_interval_hours != 8
        ]

    def open_interest(self, query: Query) -> Json:
        """Open contracts: here, a day's volume."""
        listing = self._listing(query)
        day = day_ticker(self._market, listing.symbol)
        return {"symbol": listing.symbol, "openInterest": f"{day.volume:f}", "time": self._market.now_ms()}


def level_rows(levels: Sequence[tuple[Decimal, Decimal]]) -> list[list[str]]:
    """Book levels as pairs of strings."""
    return [[f"{price:f}", f"{quantity:f}"] for price, quantity in levels]


def _book_ticker_row(book: Book) -> Json:
    (bid, bid_quantity), (ask, ask_quantity) = book.bids[0], book.asks[0]
    return {
        "symbol": book.symbol,
        "bidPrice": f"{bid:f}",
        "bidQty": f"{bid_quantity:f}",
        "askPrice": f"{ask:f}",
        "askQty": f"{ask_quantity:f}",
        "time": book.event_ms,
        "lastUpdateId": book.update_id,
    }


def _premium_row(mark: Mark) -> Json:
    return {
        "symbol": mark.symbol,
        "markPrice": fixed8(mark.mark_price),
        "indexPrice": fixed8(mark.index_price),
        "estimatedSettlePrice": fixed8(mark.index_price),
        "lastFundingRate": f"{mark.funding_rate:.8f}",
        "interestRate": _INTEREST_RATE,
        "nextFundingTime": mark.next_funding_ms,
        "time": mark.event_ms,
    }
