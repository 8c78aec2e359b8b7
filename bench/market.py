"""Markets that do as they are told: leg b of a pair stands where it is put, so that every signal is made, and its time known."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from paper.market import Book, FundingSettlement, Kline, Level, LeverageBracket, Listing, Mark

A, B = "1000CATUSDT", "1MBABYDOGEUSDT"
PRICES = (Decimal("0.0070"), Decimal("0.0052"))
TICKS = (Decimal("0.000001"), Decimal("0.0000001"))
CALM_MOVE = Decimal("0.001")
"""Share of the price by which past closes alternate; their deviation is what z is measured in."""
JUMP = Decimal("0.0031")
"""About three deviations."""
HOME = Decimal("0.0004")
"""Just past the mean, so that coming home is an exit whatever the rounding."""
DEPTH = Decimal(10_000_000)


def _listing(symbol: str, tick: Decimal) -> Listing:
    return Listing(
        symbol=symbol,
        base_asset=symbol.removesuffix("USDT"),
        quote_asset="USDT",
        tick=tick,
        step=Decimal(1),
        price_min=tick,
        price_max=Decimal(1000),
        quantity_min=Decimal(1),
        quantity_max=Decimal(100_000_000),
        market_quantity_max=Decimal(100_000_000),
        notional_min=Decimal(5),
        percent_price_up=Decimal("1.1"),
        percent_price_down=Decimal("0.9"),
        market_take_bound=Decimal("0.1"),
        price_precision=7,
        quantity_precision=0,
        open_orders_max=200,
        onboard_ms=1_569_398_400_000,
        funding_interval_hours=8,
        status="TRADING",
        brackets=(
            LeverageBracket(
                notional_floor=Decimal(0),
                notional_cap=Decimal(1_000_000),
                leverage_max=50,
                maintenance_margin_rate=Decimal("0.01"),
                cumulative=Decimal(0),
            ),
        ),
    )


class BenchMarket:
    """Satisfies `paper.market.Market`. Pairs of two contracts; every beat says all books, each leg b at its `moves`."""

    def __init__(self, pairs: Sequence[tuple[str, str]] = ((A, B),), *, beat_seconds: float) -> None:
        self._beat_seconds = beat_seconds
        self._prices = {symbol: price for pair in pairs for symbol, price in zip(pair, PRICES, strict=True)}
        self._ticks = {symbol: tick for pair in pairs for symbol, tick in zip(pair, TICKS, strict=True)}
        self._seconds = frozenset(b for _, b in pairs)
        self._listings = {symbol: _listing(symbol, tick) for symbol, tick in self._ticks.items()}
        self._update_id = 0
        self.moves: dict[str, Decimal] = dict.fromkeys(self._seconds, HOME)
        """Where each leg b stands, as a share of its price."""
        self._books = {symbol: self._book(symbol) for symbol in self._prices}

    def _book(self, symbol: str) -> Book:
        self._update_id += 1
        tick = self._ticks[symbol]
        middle = (self._prices[symbol] * (1 + self.moves.get(symbol, Decimal(0))) / tick).to_integral_value() * tick

        def levels(sign: int) -> tuple[Level, ...]:
            return tuple((middle + sign * tick * step, DEPTH) for step in (1, 2, 3))

        return Book(symbol=symbol, bids=levels(-1), asks=levels(1), update_id=self._update_id, event_ms=self.now_ms())

    @property
    def listings(self) -> Mapping[str, Listing]:
        return self._listings

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def book(self, symbol: str) -> Book:
        return self._books[symbol]

    def mark(self, symbol: str) -> Mark:
        now_ms = self.now_ms()
        return Mark(
            symbol=symbol,
            mark_price=self._prices[symbol],
            index_price=self._prices[symbol],
            funding_rate=Decimal(0),
            next_funding_ms=now_ms + 28_800_000,
            event_ms=now_ms,
        )

    def klines(
        self, symbol: str, interval_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        last = (self.now_ms() if end_ms is None else min(end_ms, self.now_ms())) // interval_ms
        rows = []
        for bar in range(last - limit + 1, last + 1):
            move = CALM_MOVE * (1 if bar % 2 else -1) if symbol in self._seconds else Decimal(0)
            price = self._prices[symbol] * (1 + move)
            rows.append(
                Kline(
                    open_ms=bar * interval_ms,
                    open=price,
                    high=price,
                    low=price,
                    close=price,
                    volume=Decimal(1),
                    close_ms=(bar + 1) * interval_ms - 1,
                    quote_volume=price,
                    trades=1,
                )
            )
        return rows

    def fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        return []

    def set_status(self, symbol: str, status: str) -> None:
        raise ValueError(f"{symbol} cannot become {status}: this market never changes")

    async def run(self, on_book: Callable[[Book], None], on_funding: Callable[[FundingSettlement], None]) -> None:
        """Say every book on every beat."""
        while True:
            await asyncio.sleep(self._beat_seconds)
            self._beat(on_book)

    def _beat(self, on_book: Callable[[Book], None]) -> None:
        for symbol in self._prices:
            self._books[symbol] = self._book(symbol)
            on_book(self._books[symbol])

    def snapshot(self) -> bytes:
        return b""


class TwoPriceMarket(BenchMarket):
    """One pair whose leg b goes from one of two places to the other on every beat, once `jumping` is set."""

    def __init__(self, beat_seconds: float, places: tuple[Decimal, Decimal] = (HOME, -JUMP)) -> None:
        super().__init__(beat_seconds=beat_seconds)
        self._places = places
        self.jumps_ns: list[int] = []
        """The monotonic time of every jump."""
        self.jumping = asyncio.Event()

    def _beat(self, on_book: Callable[[Book], None]) -> None:
        if self.jumping.is_set():
            here, there = self._places
            self.moves[B] = there if self.moves[B] == here else here
            self.jumps_ns.append(time.monotonic_ns())
        super()._beat(on_book)
