"""Order books around a price: a tight top, ten levels, quantities drawn from a pool."""

import random
from decimal import Decimal

from paper.market import Book, Level, Listing

LEVELS = 10
_HALF_SPREAD_FRACTION = 0.5e-4
_LEVEL_GAP_FRACTION = 0.7e-4
_POOL = 64  # Power of two: drawn by masking random bits.
_POOL_BITS = 6
_POOL_LIFE = 20_000  # Books until quantities are drawn anew, because the price has moved on.
_TOP_USD = 2_500.0
_NEXT_LEVEL_USD = 1_500.0
_PRICES_MAX = 50_000
_UPDATE_ID_STRIDE = 7


class BookMaker:
    """Makes one contract's books. The mid is exactly the price it is given, so bars of mids equal our klines."""

    def __init__(self, listing: Listing, *, update_id: int, rng: random.Random) -> None:
        self._symbol = listing.symbol
        self._tick = listing.tick
        self._tick_usd = float(listing.tick)
        self._step = listing.step
        self._step_units = float(listing.step)
        self._update_id = update_id
        self._rng = rng
        self._prices: dict[int, Decimal] = {}
        self._pool: list[tuple[Decimal, ...]] = []
        self._pool_left = 0

    def around(self, price_ticks: int, event_ms: int) -> Book:
        """A book whose mid is `price_ticks`."""
        half = max(1, round(price_ticks * _HALF_SPREAD_FRACTION))
        return self.between(max(1, price_ticks - half), price_ticks + half, event_ms)

    def between(
        self,
        bid_ticks: int,
        ask_ticks: int,
        event_ms: int,
        *,
        bid_quantity: Decimal | None = None,
        ask_quantity: Decimal | None = None,
        update_id: int | None = None,
    ) -> Book:
        """A book with this top, and depth of our own behind it."""
        self._pool_left -= 1
        if self._pool_left <= 0:
            self._fill_pool(ask_ticks)
        gap = max(1, round(ask_ticks * _LEVEL_GAP_FRACTION))
        bits = self._rng.getrandbits(2 * _POOL_BITS)
        bids = self._side(bid_ticks, -gap, self._pool[bits & (_POOL - 1)], bid_quantity)
        asks = self._side(ask_ticks, gap, self._pool[bits >> _POOL_BITS], ask_quantity)
        self._update_id = self._update_id + 1 + bits % _UPDATE_ID_STRIDE if update_id is None else update_id
        return Book(symbol=self._symbol, bids=bids, asks=asks, update_id=self._update_id, event_ms=event_ms)

    def _side(
        self, best_ticks: int, gap: int, quantities: tuple[Decimal, ...], best_quantity: Decimal | None
    ) -> tuple[Level, ...]:
        prices = self._prices
        if len(prices) > _PRICES_MAX:
            prices.clear()
        levels: list[Level] = []
        ticks = best_ticks
        for quantity in quantities:
            if ticks <= 0:
                break
            price = prices.get(ticks)
            if price is None:
                price = prices[ticks] = ticks * self._tick
            levels.append((price, quantity))
            ticks += gap
        if best_quantity is not None:
            levels[0] = (levels[0][0], best_quantity)
        return tuple(levels)

    def _fill_pool(self, price_ticks: int) -> None:
        steps_per_usd = 1.0 / (price_ticks * self._tick_usd * self._step_units)
        uniform = self._rng.uniform
        self._pool = [
            tuple(
                max(1, round((_TOP_USD + _NEXT_LEVEL_USD * level) * uniform(0.4, 1.6) * steps_per_usd)) * self._step
                for level in range(LEVELS)
            )
            for _ in range(_POOL)
        ]
        self._pool_left = _POOL_LIFE
