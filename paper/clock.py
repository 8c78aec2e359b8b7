"""Server time: the wall clock plus a skew that a fault may set. Signatures, orders and trades obey it."""

import time

MS_IN_NS = 1_000_000


class ServerClock:
    """The exchange's own clock. `skew_ms` moves it away from the wall clock; the monotonic reading never moves."""

    __slots__ = ("skew_ms",)

    def __init__(self, *, skew_ms: int = 0) -> None:
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        """Server time in Unix milliseconds."""
        return time.time_ns() // MS_IN_NS + self.skew_ms

    def monotonic_ms(self) -> int:
        """Milliseconds that only ever go forward: for durations, never for timestamps."""
        return time.monotonic_ns() // MS_IN_NS

    def monotonic_ns(self) -> int:
        """The same in nanoseconds, for benchmarks."""
        return time.monotonic_ns()
