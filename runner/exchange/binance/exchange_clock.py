"""The exchange's time, carried on by our monotonic clock: signatures, its minutes and the ends of its bans obey it.

Between two measurements nothing that happens to the machine's wall clock moves it. What the wall clock does is still watched,
because the ledger is written by it.
"""

from runner.ports import Clock

MS_NS = 1_000_000


class MeasuredClock:
    """The exchange's Unix milliseconds; until the first measurement, the machine's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._exchange_ms = 0
        self._wall_ms = 0
        self._at_ns: int | None = None

    def measured(self, exchange_ms: int, asked_ns: int, answered_ns: int) -> None:
        """The exchange said `exchange_ms` at some moment between the two (monotonic ns); the middle is the best guess."""
        self._exchange_ms = exchange_ms
        self._at_ns = (asked_ns + answered_ns) // 2
        self._wall_ms = self._clock.now_ms() - (self._clock.monotonic_ns() - self._at_ns) // MS_NS

    def ticks_ns(self) -> int:
        """The monotonic clock that measurements are told in."""
        return self._clock.monotonic_ns()

    def now_ms(self) -> int:
        """What the exchange's clock shows now."""
        if self._at_ns is None:
            return self._clock.now_ms()
        return self._exchange_ms + (self._clock.monotonic_ns() - self._at_ns) // MS_NS

    def skew_ms(self) -> int:
        """How far this machine's wall clock is ahead of the exchange's; negative when it is behind."""
        return self._clock.now_ms() - self.now_ms()

    def jumped_ms(self) -> int:
        """How far the wall clock has moved against the monotonic one since the last measurement."""
        return 0 if self._at_ns is None else self.skew_ms() - (self._wall_ms - self._exchange_ms)

    def age_seconds(self) -> float | None:
        """Since the last measurement; None before the first."""
        return None if self._at_ns is None else (self._clock.monotonic_ns() - self._at_ns) / 1e9
