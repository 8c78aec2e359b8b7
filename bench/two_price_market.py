"""A market of two contracts whose second leg jumps between two prices on a beat: every jump is a signal, and its time is known."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from paper.market import Book, FundingSettlement, Kline, Level, LeverageBracket, Listing, Mark

A, B = "1000CATUSDT", "1MBABYDOGEUSDT"
PRICE = {A: Decimal("0.0070"), B: Decimal("0.0052")}
TICK = {A: Decimal("0.000001"), B: Decimal("0.0000001")}
CALM_MOVE = Decimal("0.001")
"""Share of the price by which past closes alternate; their deviation is what z is measured in."""
JUMP = Decimal("0.0031")
"""About three deviations."""
HOME = Decimal("0.0004")
"""Just past the mean, so that coming home is an exit whatever the rounding."""
DEPTH = Decimal(10_000_000)


def _listing(symbol: str) -> Listing:
    return Listing(
        symbol=symbol,
        base_asset=symbol.removesuffix("USDT"),
        quote_asset="USDT",
        tick=TICK[symbol],
        step=Decimal(1),
        price_min=TICK[symbol],
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


class TwoPriceMarket:
    """Satisfies `paper.market.Market`. `jumps_ns` holds the monotonic time of every jump."""

    def __init__(self, beat_seconds: float) -> None:
        self._beat_seconds = beat_seconds
        self._listings = {symbol: _listing(symbol) for symbol in (A, B)}
        self._update_id = 0
        self._away = False
        self._books = {symbol: self._book(symbol) for symbol in (A, B)}
        self.jumps_ns: list[int] = []
        self.jumping = asyncio.Event()

    def _book(self, symbol: str) -> Book:
        self._update_id += 1
        move = Decimal(0) if symbol == A else -JUMP if self._away else HOME
        tick = TICK[symbol]
        middle = (PRICE[symbol] * (1 + move) / tick).to_integral_value() * tick

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
            mark_price=PRICE[symbol],
            index_price=PRICE[symbol],
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
            move = CALM_MOVE * (1 if bar % 2 else -1) if symbol == B else Decimal(0)
            price = PRICE[symbol] * (1 + move)
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
        """Say both books on every beat; once `jumping` is set, leg b jumps on every beat."""
        while True:
            await asyncio.sleep(self._beat_seconds)
            self._books[A] = self._book(A)
            on_book(self._books[A])
            if self.jumping.is_set():
                self._away = not self._away
                self.jumps_ns.append(time.monotonic_ns())
            self._books[B] = self._book(B)
            on_book(self._books[B])

    def snapshot(self) -> bytes:
        return b""
