"""One request budget for the whole IP, read from the venue's own headers, with a reserve kept for unwinding.

Bans are respected to the millisecond they name; nobody polls against one.
"""

import re
from collections.abc import Mapping

from runner.ports import Clock

WEIGHT_LIMIT_PER_MINUTE = 2_400
RESERVED_FOR_ORDERS = 600
_BANNED_UNTIL = re.compile(r"until (\d{13})")


class Budget:
    """How much of the minute is used, and until when the venue will not listen."""

    def __init__(self, clock: Clock, weight_limit: int = WEIGHT_LIMIT_PER_MINUTE) -> None:
        self._clock = clock
        self._weight_limit = weight_limit
        self._used = 0
        self._used_at_ms = 0
        self._blocked_until_ms = 0
        self.bans = 0

    def observe(self, http_status: int, headers: Mapping[str, str], body: str) -> None:
        """Read one reply's headers; a 429 or 418 blocks everything until its time is over."""
        now_ms = self._clock.now_ms()
        lowered = {name.lower(): value for name, value in headers.items()}
        used = lowered.get("x-mbx-used-weight-1m", "")
        if used.isdigit():
            self._used, self._used_at_ms = int(used), now_ms
        if http_status in {418, 429}:
            self.bans += 1
            retry_after = lowered.get("retry-after", "")
            until = now_ms + (int(retry_after) * 1000 if retry_after.isdigit() else 1_000)
            named = _BANNED_UNTIL.search(body)
            if named is not None:
                until = max(until, int(named[1]))
            self._blocked_until_ms = max(self._blocked_until_ms, until)

    @property
    def used_weight(self) -> int:
        """Of the running minute, as the venue last said."""
        same_minute = self._clock.now_ms() // 60_000 == self._used_at_ms // 60_000
        return self._used if same_minute else 0

    def blocked_ms(self) -> int:
        """0 when the venue listens."""
        return max(0, self._blocked_until_ms - self._clock.now_ms())

    def allows_background_read(self, weight: int) -> bool:
        """False when a read that can wait would eat into what unwinding may need."""
        if self.blocked_ms() > 0:
            return False
        return self.used_weight + weight <= self._weight_limit - RESERVED_FOR_ORDERS
