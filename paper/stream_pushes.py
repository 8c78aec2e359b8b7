"""Streams that are pushed at a rhythm rather than by each book: what each has to say now."""

from collections.abc import Callable

from paper import stream_payloads as payloads
from paper.day_tickers import day_ticker
from paper.market import Book, Market
from paper.public_rest import INTERVALS_MS
from paper.stream_names import StreamName

_CLOSED_BARS_MAX = 1_000


class Push:
    """One stream somebody listens to. It remembers what it said last, and when it is due."""

    def __init__(self, stream: StreamName, market: Market, now_seconds: float) -> None:
        self.stream = stream
        self.due_seconds = now_seconds
        self._market = market
        self._book: Book | None = None
        self._trade_id = market.now_ms()
        self._open_ms: int | None = None
        self._speak: Callable[[], list[bytes]] = {
            "depth": self._depth,
            "rpiDepth": self._depth,
            "partialDepth": self._partial_depth,
            "trade": self._trade,
            "aggTrade": self._trade,
            "markPrice": self._mark_price,
            "kline": self._kline,
            "continuousKline": self._kline,
            "miniTicker": self._ticker,
            "ticker": self._ticker,
            "bookTicker": self._all_books,
        }[stream.kind]

    def payloads(self) -> list[bytes]:
        """What to send now; empty when there is nothing new."""
        return self._speak()

    def _news(self) -> tuple[Book, Book] | None:
        """The book said last and the newest, when they differ."""
        before, after = self._book, self._market.book(self.stream.symbol)
        self._book = after
        if before is None or before.update_id == after.update_id:
            return None
        return before, after

    def _depth(self) -> list[bytes]:
        news = self._news()
        if news is None:
            return []
        before, after = news
        return [
            payloads.depth(
                after,
                bids=payloads.changed_levels(before.bids, after.bids),
                asks=payloads.changed_levels(before.asks, after.asks),
                first_id=before.update_id + 1,
                previous_id=before.update_id,
            )
        ]

    def _partial_depth(self) -> list[bytes]:
        news = self._news()
        if news is None:
            return []
        before, after = news
        previous_id = before.update_id
        levels = self.stream.levels
        return [
            payloads.depth(
                after,
                bids=after.bids[:levels],
                asks=after.asks[:levels],
                first_id=previous_id + 1,
                previous_id=previous_id,
            )
        ]

    def _trade(self) -> list[bytes]:
        """A trade at the side the price moved to: somebody took that side."""
        news = self._news()
        if news is None:
            return []
        before, after = news
        moved = after.bids[0][0] + after.asks[0][0] - before.bids[0][0] - before.asks[0][0]
        if not moved:
            return []
        price, quantity = after.asks[0] if moved > 0 else after.bids[0]
        self._trade_id += 1
        say = payloads.trade if self.stream.kind == "trade" else payloads.aggregate_trade
        step = self._market.listings[self.stream.symbol].step
        quantity = max(step, (quantity / 10).quantize(step))
        return [say(after, price=price, quantity=quantity, trade_id=self._trade_id, buyer_is_maker=moved < 0)]

    def _mark_price(self) -> list[bytes]:
        market = self._market
        if self.stream.symbol:
            return [payloads.encode(payloads.mark_price(market.mark(self.stream.symbol)))]
        rows = [payloads.mark_price(market.mark(symbol)) for symbol in market.listings]
        return [payloads.encode([*rows, payloads.coin_margined_mark(market.now_ms())])]

    def _kline(self) -> list[bytes]:
        """Bars that have closed since the last push (once, final), then the one that is open."""
        stream, market = self.stream, self._market
        now_ms = market.now_ms()
        bars = market.klines(
            stream.symbol,
            INTERVALS_MS[stream.interval],
            start_ms=self._open_ms,
            end_ms=None,
            limit=1 if self._open_ms is None else _CLOSED_BARS_MAX,
        )
        if not bars:
            return []
        self._open_ms = bars[-1].open_ms
        newest = len(bars) - 1
        return [
            payloads.kline(
                bar,
                symbol=stream.symbol,
                interval=stream.interval,
                now_ms=now_ms,
                closed=row < newest,
                continuous=stream.kind == "continuousKline",
            )
            for row, bar in enumerate(bars)
        ]

    def _ticker(self) -> list[bytes]:
        say = payloads.ticker if self.stream.kind == "ticker" else payloads.mini_ticker
        if self.stream.symbol:
            return [payloads.encode(say(self.stream.symbol, day_ticker(self._market, self.stream.symbol)))]
        rows = [say(symbol, day_ticker(self._market, symbol)) for symbol in self._market.listings]
        leak = {**rows[0], "s": "BTCUSD_PERP", "ps": "BTCUSD", "st": payloads.COIN_M}
        return [payloads.encode([*rows, leak])]

    def _all_books(self) -> list[bytes]:
        market = self._market
        rows = [payloads.book_ticker(market.book(symbol)) for symbol in market.listings]
        return [*rows, *payloads.coin_margined_tickers(market.now_ms())]
