"""Market time: the clock that stamps books, bars and funding, at its own pace."""

import time


def wall_ms() -> int:
    """The machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class MarketClock:
    """Unix milliseconds that pass `speed` times as fast as the wall's, and never run backwards.

    At speed 1 from now it follows the wall clock (and its corrections); otherwise it is anchored once and driven
    by the monotonic clock, because a correction of the wall's time must not be multiplied.
    """

    def __init__(self, *, speed: float, start_ms: int | None = None) -> None:
        if not speed > 0:
            raise ValueError(f"market speed must be positive, not {speed}")
        self.speed = speed
        self._follows_wall = speed == 1.0 and start_ms is None
        self._start_ms = wall_ms() if start_ms is None else start_ms
        self._anchor_seconds = time.monotonic()
        self._latest_ms = self._start_ms

    def now_ms(self) -> int:
        """Market time in Unix milliseconds."""
        if self._follows_wall:
            now_ms = wall_ms()
        else:
            now_ms = self._start_ms + int((time.monotonic() - self._anchor_seconds) * 1_000 * self.speed)
        self._latest_ms = max(self._latest_ms, now_ms)
        return self._latest_ms
