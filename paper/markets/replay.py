"""A recorded market played again, at a pace of our choosing; its time is the recording's."""

import asyncio
import heapq
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from domain.units import MINUTE_MS
from paper.market import Book, FundingSettlement, Kline, Listing, Mark, with_status
from paper.markets.bars import BarSeries
from paper.markets.books import BookMaker
from paper.markets.funding import FundingSchedule
from paper.markets.marks import make_mark
from paper.markets.timelines import Event, open_timeline

log = logging.getLogger(__name__)

_STEP_SECONDS = 0.02
_STEP_SECONDS_MAX = 0.25  # A machine that cannot keep up plays slower; it never jumps.


class ReplayCursor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the recording was played."""

    at_ms: int


class ReplayMarket:
    """Plays a recording at `speed` market seconds per wall second; infinity plays as fast as listeners take it, 0 when told to.

    Market time stands at the start until `run`, never passes an event that was not played, and stops for good at
    the end of the recording. Depth behind the top, spreads of klines and funding rates are made up from `seed`.

    Raises: ValueError for a bad speed, snapshot or recording.
    """

    def __init__(
        self,
        data: Path,
        *,
        speed: float,
        seed: int = 0,
        start_ms: int | None = None,
        snapshot: bytes | None = None,
        funding_interval_seconds: float | None = None,
    ) -> None:
        if not speed >= 0:
            raise ValueError(f"market speed must be 0 or more, not {speed}")
        if snapshot:
            try:
                start_ms = msgspec.json.decode(snapshot, type=ReplayCursor).at_ms
            except msgspec.MsgspecError as error:
                raise ValueError(f"the replayed market's snapshot cannot be read: {error}") from error
        timeline = open_timeline(data, start_ms=start_ms)
        if timeline.left_out:
            log.warning("replay: left out, no bar before the start: %s", ", ".join(timeline.left_out))
        self._speed = speed
        self._listings = timeline.listings
        self._events = timeline.events
        self._end_ms = timeline.end_ms
        self._now_ms = timeline.start_ms
        self._funding = FundingSchedule(timeline.listings, seed=seed, interval_seconds=funding_interval_seconds)
        self._bars = {
            symbol: BarSeries(listing, timeline.past[symbol]) for symbol, listing in timeline.listings.items()
        }
        rng = random.Random(seed)  # noqa: S311 - reproducible.
        self._makers = {
            symbol: BookMaker(listing, update_id=timeline.start_ms * 8, rng=rng)
            for symbol, listing in timeline.listings.items()
        }
        self._books = {
            symbol: self._makers[symbol].around(int(past.close[-1]), timeline.start_ms)
            for symbol, past in timeline.past.items()
        }
        self._next = next(self._events, None)
        self._on_book: Callable[[Book], None] | None = None  # While it runs.
        self._on_funding: Callable[[FundingSettlement], None] = lambda _: None
        self._due: list[tuple[int, str]] = []

    @property
    def listings(self) -> Mapping[str, Listing]:
        """Every contract by symbol."""
        return self._listings

    @property
    def ended(self) -> bool:
        """True once the recording is over and the market stands still."""
        return self._next is None

    def now_ms(self) -> int:
        """Market time in Unix milliseconds."""
        return self._now_ms

    def book(self, symbol: str) -> Book:
        """The newest book. Raises: KeyError for an unknown symbol."""
        return self._books[symbol]

    def mark(self, symbol: str) -> Mark:
        """Mark price and predicted funding. Raises: KeyError for an unknown symbol."""
        next_ms = self._funding.next_ms(symbol, self._now_ms)
        return make_mark(self._books[symbol], self._funding.rate(symbol, next_ms), next_ms, self._now_ms)

    def klines(
        self, symbol: str, interval_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        """Ascending bars as Binance selects them. Raises: KeyError for an unknown symbol."""
        return self._bars[symbol].select(
            interval_ms, start_ms=start_ms, end_ms=end_ms, limit=limit, now_ms=self._now_ms
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
            now_ms=self._now_ms,
            start_ms=start_ms,
            end_ms=end_ms,
            limit=limit,
        )

    def set_status(self, symbol: str, status: str, delivery_ms: int | None = None) -> None:
        """Change a contract's status; one that does not trade stops quoting."""
        self._listings[symbol] = with_status(self._listings[symbol], status, delivery_ms)

    def snapshot(self) -> bytes:
        """The position in the recording, to the minute."""
        return msgspec.json.encode(ReplayCursor(at_ms=self._now_ms // MINUTE_MS * MINUTE_MS))

    async def run(self, on_book: Callable[[Book], None], on_funding: Callable[[FundingSettlement], None]) -> None:
        """Play until cancelled; at the end say so once and stand still."""
        self._on_book, self._on_funding = on_book, on_funding
        self._due = [(self._funding.next_ms(symbol, self._now_ms), symbol) for symbol in self._listings]
        heapq.heapify(self._due)
        if not self._speed:
            await asyncio.Event().wait()
        unpaced = math.isinf(self._speed)
        before_seconds = time.monotonic()
        owed_ms = 0.0
        while self._next is not None:
            await asyncio.sleep(0 if unpaced else _STEP_SECONDS)
            after_seconds = time.monotonic()
            elapsed_seconds = min(after_seconds - before_seconds, _STEP_SECONDS_MAX)
            before_seconds = after_seconds
            owed_ms += MINUTE_MS if unpaced else elapsed_seconds * 1_000 * self._speed
            target_ms = min(self._now_ms + int(owed_ms), self._end_ms)
            owed_ms -= int(owed_ms)
            self._advance(target_ms)
        self._end()
        await asyncio.Event().wait()

    def play_until(self, at_ms: int) -> None:
        """At speed 0: play everything up to and including this moment of market time, at once, and stand still there.

        Raises: ValueError at another speed, before `run`, and for a moment that has passed.
        """
        if self._speed:
            raise ValueError(
                f"this market plays by itself, at speed {self._speed:g}; start the exchange with --speed 0"
            )
        if self._on_book is None:
            raise ValueError("this market does not run yet")
        if at_ms < self._now_ms:
            raise ValueError(f"until_ms {at_ms} has passed: market time is {self._now_ms}")
        was_over = self.ended
        self._advance(min(at_ms, self._end_ms))
        if self.ended and not was_over:
            self._end()

    def _advance(self, target_ms: int) -> None:
        assert self._on_book is not None
        while self._next is not None and self._next.event_ms <= target_ms:
            self._settle(self._next.event_ms)
            self._now_ms = max(self._now_ms, self._next.event_ms)
            self._play(self._next, self._on_book)
            self._next = next(self._events, None)
        self._settle(target_ms)
        self._now_ms = max(self._now_ms, target_ms)

    def _end(self) -> None:
        self._now_ms = self._end_ms
        log.warning("replay: the recording is over, the market stands still at %d", self._end_ms)

    def _settle(self, until_ms: int) -> None:
        while self._due[0][0] <= until_ms:
            nominal_ms, symbol = self._due[0]
            self._now_ms = max(self._now_ms, nominal_ms)
            self._on_funding(self._funding.settlement(symbol, nominal_ms, self.mark(symbol).mark_price))
            heapq.heapreplace(self._due, (self._funding.next_ms(symbol, nominal_ms), symbol))

    def _play(self, event: Event, on_book: Callable[[Book], None]) -> None:
        if self._listings[event.symbol].status != "TRADING":
            return
        self._bars[event.symbol].observe(event.event_ms, event.price_ticks, event.volume)
        maker, quote = self._makers[event.symbol], event.quote
        if quote is None:
            book = maker.around(event.price_ticks, event.event_ms)
        else:
            book = maker.between(
                quote.bid_ticks,
                quote.ask_ticks,
                event.event_ms,
                bid_quantity=quote.bid_quantity,
                ask_quantity=quote.ask_quantity,
                update_id=quote.update_id,
            )
        self._books[event.symbol] = book
        on_book(book)
