"""The default market: seeded perpetuals, ten pairs that truly belong together among decoys that do not."""

import asyncio
import heapq
import random
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from paper.market import Book, FundingSettlement, Kline, Listing, Mark, with_status
from paper.markets.bars import BarSeries
from paper.markets.books import BookMaker
from paper.markets.clock import MarketClock, wall_ms
from paper.markets.funding import FundingSchedule
from paper.markets.history import Past, Stretch
from paper.markets.listings import Quotation, known_quotations, made_up_quotations
from paper.markets.marks import make_mark
from paper.markets.pairs import known_pairs
from paper.markets.world import COMMON, Leg, World

HISTORY_DAYS = 95
_EXTRA_HISTORY_DAYS = 2  # Load-test contracts: a thousand long pasts would fill the memory.
_STEP_SECONDS = 0.025
_LAG_SECONDS_MAX = 1.0
_UPDATE_IDS_PER_MS = 8  # Restarts begin above every id the market can have used before.


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of every disturbance now and at the first start, by name."""

    version: int
    seed: int
    at_ms: int
    now: dict[str, float]
    anchor_ms: int
    anchor: dict[str, float]


def read_snapshot(raw: bytes) -> Snapshot:
    """Raises: ValueError for anything but a snapshot that this version wrote."""
    try:
        snapshot = msgspec.json.decode(raw, type=Snapshot)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the synthetic market's snapshot cannot be read: {error}") from error
    if snapshot.version != 1:
        raise ValueError(f"the synthetic market's snapshot is of version {snapshot.version}, this program reads 1")
    return snapshot


class SyntheticMarket:
    """A market that makes itself up, the same way for the same seed.

    `speed` is market seconds per wall second, `ticks_per_second` counts books per contract and wall second,
    `start_ms` is the market time to begin at, the wall's without it. `extra_symbols` adds that many made-up contracts
    for load tests. A snapshot continues at its prices and time: its seed wins over `seed`, and the past before the
    first start stays what it was.

    Raises: ValueError for a bad speed, rate or snapshot.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        speed: float = 1.0,
        snapshot: bytes | None = None,
        funding_interval_seconds: float | None = None,
        extra_symbols: int = 0,
        ticks_per_second: float = 6.0,
        history_days: int = HISTORY_DAYS,
        start_ms: int | None = None,
    ) -> None:
        if not ticks_per_second > 0:
            raise ValueError(f"ticks per second must be positive, not {ticks_per_second}")
        saved = read_snapshot(snapshot) if snapshot else None
        # A market that ran faster than the wall is ahead of it; its time must not jump back.
        if saved is not None:
            start_ms = saved.at_ms if saved.at_ms > wall_ms() else None
        started_ms = wall_ms() if start_ms is None else start_ms
        self._seed = seed if saved is None else saved.seed
        self._rng = random.Random(f"{self._seed}:{started_ms if saved else 0}")  # noqa: S311 - reproducible.
        self._tick_seconds = 1.0 / ticks_per_second

        quotations = known_quotations() + made_up_quotations(extra_symbols)
        self._listings = {quotation.listing.symbol: quotation.listing for quotation in quotations}
        self._world = World(
            base_prices={quotation.listing.symbol: quotation.base_price for quotation in quotations},
            pairs=known_pairs(),
            rng=self._rng,
            known=None if saved is None else saved.now,
        )
        self._anchor_ms = started_ms if saved is None else saved.anchor_ms
        self._anchor = self._world.state() if saved is None else {**self._world.state(), **saved.anchor}
        self._funding = FundingSchedule(self._listings, seed=self._seed, interval_seconds=funding_interval_seconds)
        self._bars = self._draw_past(quotations, started_ms, history_days)
        self._makers = {
            symbol: BookMaker(listing, update_id=started_ms * _UPDATE_IDS_PER_MS, rng=self._rng)
            for symbol, listing in self._listings.items()
        }
        self._tick_usd = {symbol: float(listing.tick) for symbol, listing in self._listings.items()}
        self._books: dict[str, Book] = {}
        for symbol, price in self._world.prices().items():
            self._quote(symbol, price, started_ms, 0.0)
        # Last, because a fast market would already move while its past is drawn.
        self._clock = MarketClock(speed=speed, start_ms=start_ms if speed == 1.0 else started_ms)

    def _draw_past(self, quotations: Sequence[Quotation], now_ms: int, days: int) -> dict[str, BarSeries]:
        known = {quotation.listing.symbol for quotation in known_quotations()}
        long, short = (
            Past(Stretch.ending(now_ms, anchor_ms=self._anchor_ms, days=length), seed=self._seed)
            for length in (days, min(days, _EXTRA_HISTORY_DAYS))
        )
        common = self._world.disturbances[COMMON]
        commons = {
            past: past.path(common, at_anchor=self._anchor[COMMON], now=self._world[COMMON]) for past in (long, short)
        }
        series: dict[str, BarSeries] = {}
        for quotation in quotations:
            listing = quotation.listing
            past = long if listing.symbol in known else short
            leg = self._world.legs[listing.symbol]
            prices = self._world.past_prices(leg, past, commons[past], self._anchor)
            columns = past.columns(
                listing.symbol,
                prices,
                tick=float(listing.tick),
                wick_fraction=leg.wick_fraction,
                minute_usd=leg.minute_usd,
            )
            series[listing.symbol] = BarSeries(listing, columns)
        return series

    # What the exchange asks.

    @property
    def listings(self) -> Mapping[str, Listing]:
        """Every contract by symbol."""
        return self._listings

    def now_ms(self) -> int:
        """Market time in Unix milliseconds."""
        return self._clock.now_ms()

    def book(self, symbol: str) -> Book:
        """The newest book. Raises: KeyError for an unknown symbol."""
        return self._books[symbol]

    def mark(self, symbol: str) -> Mark:
        """Mark price and predicted funding. Raises: KeyError for an unknown symbol."""
        now_ms = self.now_ms()
        next_ms = self._funding.next_ms(symbol, now_ms)
        return make_mark(self._books[symbol], self._funding.rate(symbol, next_ms), next_ms, now_ms)

    def klines(
        self, symbol: str, interval_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        """Ascending bars as Binance selects them. Raises: KeyError for an unknown symbol."""
        return self._bars[symbol].select(
            interval_ms, start_ms=start_ms, end_ms=end_ms, limit=limit, now_ms=self.now_ms()
        )

    def fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        """Settled funding rates, ascending. Raises: KeyError for an unknown symbol."""
        bars = self._bars[symbol]
        return self._funding.history(
            symbol,
            bars.close_at,
            first_ms=bars.start_ms,
            now_ms=self.now_ms(),
            start_ms=start_ms,
            end_ms=end_ms,
            limit=limit,
        )

    def set_status(self, symbol: str, status: str, delivery_ms: int | None = None) -> None:
        """Change a contract's status; one that does not trade stops quoting."""
        self._listings[symbol] = with_status(self._listings[symbol], status, delivery_ms)

    def snapshot(self) -> bytes:
        """Today's state and the anchor's, a few kilobytes of JSON."""
        return msgspec.json.encode(
            Snapshot(
                version=1,
                seed=self._seed,
                at_ms=self.now_ms(),
                now=self._world.state(),
                anchor_ms=self._anchor_ms,
                anchor=self._anchor,
            )
        )

    # What moves.

    async def run(self, on_book: Callable[[Book], None], on_funding: Callable[[FundingSettlement], None]) -> None:
        """Tick until cancelled. A machine that cannot keep up gets fewer books, never a queue of them."""
        monotonic = time.monotonic
        uniform = self._rng.uniform
        groups = self._world.groups
        due = [(monotonic() + uniform(0.0, self._tick_seconds), index) for index in range(len(groups))]
        heapq.heapify(due)
        funding_due = [(self._funding.next_ms(symbol, self.now_ms()), symbol) for symbol in self._listings]
        heapq.heapify(funding_due)
        while True:
            await asyncio.sleep(_STEP_SECONDS)
            at_seconds = monotonic()
            now_ms = self.now_ms()
            self._world.move_common(now_ms)
            while due[0][0] <= at_seconds:
                due_seconds, index = due[0]
                for leg, price in self._world.move(groups[index], now_ms):
                    if self._listings[leg.symbol].status == "TRADING":
                        book = self._quote(leg.symbol, price, now_ms, self._volume(leg))
                        on_book(book)
                if at_seconds - due_seconds > _LAG_SECONDS_MAX:
                    due_seconds = at_seconds
                heapq.heapreplace(due, (due_seconds + self._tick_seconds * uniform(0.5, 1.5), index))
            while funding_due[0][0] <= now_ms:
                nominal_ms, symbol = funding_due[0]
                on_funding(self._funding.settlement(symbol, nominal_ms, self.mark(symbol).mark_price))
                heapq.heapreplace(funding_due, (self._funding.next_ms(symbol, nominal_ms), symbol))

    def _volume(self, leg: Leg) -> float:
        """Base volume traded since the last tick, as lively as the past was."""
        minutes = self._tick_seconds * self._clock.speed / 60.0
        return leg.minute_usd * minutes * self._rng.uniform(0.2, 1.8) / self._world.price(leg)

    def _quote(self, symbol: str, price: float, now_ms: int, volume: float) -> Book:
        price_ticks = max(1, round(price / self._tick_usd[symbol]))
        if volume > 0.0:
            self._bars[symbol].observe(now_ms, price_ticks, volume)
        book = self._makers[symbol].around(price_ticks, now_ms)
        self._books[symbol] = book
        return book
