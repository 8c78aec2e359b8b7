"""One contract's bars: minutes kept as integers of the tick, every other interval added up from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import numpy.typing as npt

from domain.units import DAY_MS, MINUTE_MS, WEEK_MS
from paper.market import Kline, Listing

MONTH_MS = 30 * DAY_MS  # Only a name for "1M": months are calendar months.
_FIRST_MONDAY_MS = 4 * DAY_MS  # 1970-01-05; weeks open on Mondays.
_GROWTH_BARS = 4_096
_USD_PER_TRADE = 350.0

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarColumns:
    """Consecutive one-minute bars, prices in ticks, volume in the base asset."""

    start_ms: int  # Open time of the first row; a whole minute.
    open: npt.NDArray[np.int32]
    high: npt.NDArray[np.int32]
    low: npt.NDArray[np.int32]
    close: npt.NDArray[np.int32]
    volume: npt.NDArray[np.float32]


def bucket_opens(interval_ms: int, first_ms: int, last_ms: int) -> Ints:
    """Open times of the bars that cover first_ms … last_ms, and of the one after them."""
    if interval_ms == MONTH_MS:
        first = np.datetime64(first_ms, "ms").astype("datetime64[M]")
        last = np.datetime64(last_ms, "ms").astype("datetime64[M]")
        months = np.arange(first, last + np.timedelta64(2, "M"))
        return months.astype("datetime64[ms]").astype(np.int64)
    offset_ms = _FIRST_MONDAY_MS if interval_ms == WEEK_MS else 0
    first_open = (first_ms - offset_ms) // interval_ms * interval_ms + offset_ms
    last_open = (last_ms - offset_ms) // interval_ms * interval_ms + offset_ms
    return np.arange(first_open, last_open + 2 * interval_ms, interval_ms, dtype=np.int64)


class BarSeries:
    """The bars of one contract, closed ones in arrays and the open one as plain integers.

    Feed it ticks with `observe`. A minute without a tick becomes a flat bar at the previous close with no volume.
    """

    def __init__(self, listing: Listing, columns: BarColumns, *, bars_max: int = 400_000) -> None:
        count = len(columns.close)
        if count == 0:
            raise ValueError(f"{listing.symbol}: a market needs at least one closed bar")
        self._tick = listing.tick
        self._tick_usd = float(listing.tick)
        self._step = listing.step
        self._start_ms = columns.start_ms
        self._count = count
        self._bars_max = bars_max
        self._prices = [columns.open, columns.high, columns.low, columns.close]
        self._volume = columns.volume
        self._open_ms = columns.start_ms + count * MINUTE_MS
        self._open = self._high = self._low = self._close = int(columns.close[-1])
        self._bar_volume = 0.0
        self._touched = False

    @property
    def start_ms(self) -> int:
        """Open time of the oldest bar."""
        return self._start_ms

    @property
    def open_ms(self) -> int:
        """Open time of the bar that is still open."""
        return self._open_ms

    def observe(self, event_ms: int, price_ticks: int, volume: float) -> None:
        """Fold one price into the open bar, closing bars whose minute is over. Older ticks count as now."""
        if event_ms >= self._open_ms + MINUTE_MS:
            self.roll(event_ms)
        if self._touched:
            self._high = max(self._high, price_ticks)
            self._low = min(self._low, price_ticks)
        else:
            self._open = self._high = self._low = price_ticks
            self._touched = True
        self._close = price_ticks
        self._bar_volume += volume

    def roll(self, now_ms: int) -> None:
        """Close every bar whose minute is over at `now_ms`."""
        minutes = (now_ms - self._open_ms) // MINUTE_MS
        if minutes <= 0:
            return
        self._reserve(minutes)
        row = self._count
        for column, value in zip(self._prices, (self._open, self._high, self._low, self._close), strict=True):
            column[row] = value
            column[row + 1 : row + minutes] = self._close
        self._volume[row] = self._bar_volume
        self._volume[row + 1 : row + minutes] = 0.0
        self._count += minutes
        self._open_ms += minutes * MINUTE_MS
        self._open = self._high = self._low = self._close
        self._bar_volume = 0.0
        self._touched = False

    def _reserve(self, rows: int) -> None:
        if self._count > self._bars_max:
            dropped = self._bars_max // 4
            self._prices = [column[dropped:] for column in self._prices]
            self._volume = self._volume[dropped:]
            self._start_ms += dropped * MINUTE_MS
            self._count -= dropped
        missing = self._count + rows - len(self._volume)
        if missing > 0:
            room = missing + _GROWTH_BARS
            self._prices = [np.concatenate((column, np.zeros(room, np.int32))) for column in self._prices]
            self._volume = np.concatenate((self._volume, np.zeros(room, np.float32)))

    def close_at(self, at_ms: int) -> Decimal:
        """The last price known at `at_ms` (the oldest one for times before the history)."""
        row = (at_ms - self._start_ms) // MINUTE_MS - 1
        if row >= self._count:
            return self._close * self._tick
        return int(self._prices[3][max(0, row)]) * self._tick

    def select(
        self, interval_ms: int, *, start_ms: int | None, end_ms: int | None, limit: int, now_ms: int
    ) -> Sequence[Kline]:
        """Bars as Binance selects them: from `start_ms` forward, else the last `limit` up to `end_ms`."""
        self.roll(now_ms)
        opens = bucket_opens(interval_ms, self._start_ms, self._open_ms)
        first = 0 if start_ms is None else int(np.searchsorted(opens[:-1], start_ms, "left"))
        beyond = len(opens) - 1 if end_ms is None else int(np.searchsorted(opens[:-1], end_ms, "right"))
        if start_ms is None:
            first = max(first, beyond - limit)
        else:
            beyond = min(beyond, first + limit)
        if first >= beyond:
            return ()
        return self._aggregate(opens[first : beyond + 1])

    def _aggregate(self, opens: Ints) -> Sequence[Kline]:
        """One bar for each bucket of `opens` but the last, which only ends the one before it."""
        edges = np.clip((opens - self._start_ms) // MINUTE_MS, 0, self._count + 1)
        low_row, high_row = int(edges[0]), int(edges[-1])
        closed_end = min(high_row, self._count)
        columns = [column[low_row:closed_end].astype(np.int64) for column in self._prices]
        volume = self._volume[low_row:closed_end].astype(np.float64)
        if high_row > self._count:
            still_open = (self._open, self._high, self._low, self._close)
            columns = [np.append(column, value) for column, value in zip(columns, still_open, strict=True)]
            volume = np.append(volume, self._bar_volume)
        opened, high, low, close = columns
        quote = volume * (high + low + 2 * close) * (self._tick_usd / 4)
        trades = np.where(volume > 0, 1 + (quote / _USD_PER_TRADE).astype(np.int64), 0)
        starts = edges[:-1] - low_row
        ends = edges[1:] - low_row - 1
        return self._rows(
            opens,
            (opened[starts], np.maximum.reduceat(high, starts), np.minimum.reduceat(low, starts), close[ends]),
            np.add.reduceat(volume, starts),
            np.add.reduceat(quote, starts),
            np.add.reduceat(trades, starts),
        )

    def _rows(
        self, opens: Ints, prices: tuple[Ints, Ints, Ints, Ints], volume: Floats, quote: Floats, trades: Ints
    ) -> list[Kline]:
        tick, step = self._tick, self._step
        steps = np.rint(volume / float(step)).astype(np.int64).tolist()
        cents = np.rint(quote * 100_000).astype(np.int64).tolist()
        times = opens.tolist()
        columns = [column.tolist() for column in prices]
        return [
            Kline(
                open_ms=times[row],
                open=columns[0][row] * tick,
                high=columns[1][row] * tick,
                low=columns[2][row] * tick,
                close=columns[3][row] * tick,
                volume=steps[row] * step,
                close_ms=times[row + 1] - 1,
                quote_volume=Decimal(cents[row]).scaleb(-5),
                trades=count,
            )
            for row, count in enumerate(trades.tolist())
        ]


def ticks_of(price: Decimal, tick: Decimal) -> int:
    """A price as a whole number of ticks, rounded half to even."""
    return int((price / tick).to_integral_value(ROUND_HALF_EVEN))
