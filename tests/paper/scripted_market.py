"""A market that moves only when a test says so: a few contracts with their real ticks and steps."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from paper.market import Book, FundingSettlement, Kline, Level, LeverageBracket, Listing, Mark, with_status

D = Decimal
# symbol, tick, step, smallest notional, price
CONTRACTS = [
    ("BTCUSDT", "0.1", "0.001", "50", "82500"),
    ("ETHUSDT", "0.01", "0.001", "20", "3000"),
    ("XRPUSDT", "0.0001", "0.1", "5", "0.5"),
    ("1000CATUSDT", "0.000001", "1", "5", "0.0123"),
    ("1MBABYDOGEUSDT", "0.0000001", "1", "5", "0.0023277"),
]
BRACKETS = [
    ("0", "50000", 125, "0.004", "0"),
    ("50000", "600000", 100, "0.005", "50"),
    ("600000", "3000000", 50, "0.01", "3050"),
]
START_MS = 1_790_000_000_000


def listing_of(symbol: str, tick: str, step: str, notional_min: str, price: str) -> Listing:
    tick_size, step_size = D(tick), D(step)
    return Listing(
        symbol=symbol, base_asset=symbol.removesuffix("USDT"), quote_asset="USDT", tick=tick_size, step=step_size,
        price_min=tick_size, price_max=D(1_000_000), quantity_min=step_size, quantity_max=step_size * 1_000_000,
        market_quantity_max=step_size * 120_000, notional_min=D(notional_min), percent_price_up=D("1.05"),
        percent_price_down=D("0.95"), market_take_bound=D("0.05"), price_precision=-tick_size.as_tuple().exponent,
        quantity_precision=max(0, -step_size.as_tuple().exponent), open_orders_max=200, onboard_ms=1_569_398_400_000,
        funding_interval_hours=8, status="TRADING",
        brackets=tuple(
            LeverageBracket(notional_floor=D(low), notional_cap=D(high), leverage_max=most, maintenance_margin_rate=D(rate), cumulative=D(cum))
            for low, high, most, rate, cum in BRACKETS
        ),
    )  # fmt: skip


class ScriptedMarket:
    """Satisfies `paper.market.Market`. `set_book`, `set_mark` and `settle` move it."""

    def __init__(self) -> None:
        self._listings = {row[0]: listing_of(*row) for row in CONTRACTS}
        self._marks: dict[str, Mark] = {}
        self._books: dict[str, Book] = {}
        self._on_book: Callable[[Book], None] | None = None
        self._on_funding: Callable[[FundingSettlement], None] | None = None
        self._fundings: list[FundingSettlement] = []
        self._updates = 0
        self.restored: bytes = b""
        for symbol, tick, step, _, price in CONTRACTS:
            self.set_mark(symbol, price)
            half, size = D(tick), D(step) * 1000
            middle = D(price)
            self.set_book(
                symbol,
                [(middle - half * n, size) for n in (1, 2, 3)],
                [(middle + half * n, size) for n in (1, 2, 3)],
            )

    def set_book(
        self, symbol: str, bids: Sequence[tuple[object, object]], asks: Sequence[tuple[object, object]]
    ) -> Book:
        """Replace the book, and hand it over if the market runs."""
        self._updates += 1
        book = Book(
            symbol=symbol, bids=_levels(bids), asks=_levels(asks), update_id=self._updates, event_ms=self.now_ms()
        )
        self._books[symbol] = book
        if self._on_book is not None:
            self._on_book(book)
        return book

    def set_mark(self, symbol: str, price: object, rate: str = "0.0001") -> None:
        """Move mark and index price."""
        self._marks[symbol] = Mark(
            symbol=symbol, mark_price=D(str(price)), index_price=D(str(price)), funding_rate=D(rate),
            next_funding_ms=START_MS + 28_800_000, event_ms=self.now_ms(),
        )  # fmt: skip

    def settle(self, symbol: str, rate: str) -> FundingSettlement:
        """Settle funding at the present mark."""
        settlement = FundingSettlement(
            symbol=symbol, rate=D(rate), settled_ms=self.now_ms(), mark_price=self._marks[symbol].mark_price
        )
        self._fundings.append(settlement)
        if self._on_funding is not None:
            self._on_funding(settlement)
        return settlement

    @property
    def listings(self) -> Mapping[str, Listing]:
        return self._listings

    def now_ms(self) -> int:
        return START_MS

    def book(self, symbol: str) -> Book:
        return self._books[symbol]

    def mark(self, symbol: str) -> Mark:
        return self._marks[symbol]

    def klines(
        self, symbol: str, interval_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        price = self._marks[symbol].mark_price
        count = min(limit, 3)
        first = START_MS - START_MS % interval_ms - (count - 1) * interval_ms
        return [
            Kline(open_ms=first + n * interval_ms, open=price, high=price, low=price, close=price, volume=D(1),
                  close_ms=first + (n + 1) * interval_ms - 1, quote_volume=price, trades=1)
            for n in range(count)
        ]  # fmt: skip

    def fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        return [row for row in self._fundings if row.symbol == symbol][-limit:]

    def set_status(self, symbol: str, status: str, delivery_ms: int | None = None) -> None:
        self._listings[symbol] = with_status(self._listings[symbol], status, delivery_ms)

    async def run(self, on_book: Callable[[Book], None], on_funding: Callable[[FundingSettlement], None]) -> None:
        self._on_book, self._on_funding = on_book, on_funding
        try:
            await asyncio.Event().wait()
        finally:
            self._on_book = self._on_funding = None

    def snapshot(self) -> bytes:
        return b"scripted"


def _levels(rows: Sequence[tuple[object, object]]) -> tuple[Level, ...]:
    return tuple((D(str(price)), D(str(quantity))) for price, quantity in rows)
