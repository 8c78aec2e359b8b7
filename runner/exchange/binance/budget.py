"""One request budget for the whole address, read from the exchange's own headers, with a reserve kept for unwinding.

The counts in the headers are of everybody behind this address: the live runner, the flows, and what else runs there. Each
request has a priority; the less urgent it is, the more of the minute it must leave to others. Minutes and bans are the exchange's,
so its clock measures them. While a ban lasts not one request leaves, whoever makes it.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from domain.units import MINUTE_MS
from runner.exchange.binance.codes import TOO_MANY_REQUESTS
from runner.exchange.binance.exchange_clock import MS_NS, MeasuredClock
from runner.exchange.binance.weights import (
    ENTRY_ORDERS,
    ENTRY_WEIGHT,
    ORDER_LIMIT_PER_10_SECONDS,
    ORDER_LIMIT_PER_MINUTE,
    READINGS,
    WEIGHT_LIMIT_PER_MINUTE,
)
from runner.exchange.port import Reading
from runner.exchange.priority import Priority
from runner.ports import Clock

TEN_SECONDS_MS = 10_000
BAN_MARGIN_MS = 250
"""Beyond the end that was named: knocking a moment early would prolong it."""
BAN_MS_MAX = 3 * 24 * 3_600_000
"""The longest documented one. Who names a longer one is not believed: legs may be open meanwhile."""
BAN_MS_DEFAULT = 120_000
"""Of a 418 that names no end: its documented minimum."""
ORDERS_WINDOW_MS_MAX = 3_600_000
ROLL_MARGIN_MS = 200
LATE_COUNT_MS = 2_000
"""A count that arrives so soon after the minute has rolled may still be the old minute's."""
_BANNED_UNTIL = re.compile(r"until (\d{13})")
_ORDERS_PER = re.compile(r"per (\d{1,9})? ?(SECOND|MINUTE)")
_DIGITS_MAX = 18
_TOO_MANY_REQUESTS = re.compile(rf'"code"\s*:\s*{TOO_MANY_REQUESTS}\b')


@dataclass(frozen=True, slots=True)
class Share:
    """What a request of one priority must leave to the more urgent ones."""

    weight_left: float  # Of the minute's weight, as a share.
    orders_left: float  # Of the order counts.
    after_ban_ms: int  # How long it lets the others through the door first.


SHARES: Mapping[Priority, Share] = MappingProxyType(
    {
        Priority.UNWIND: Share(weight_left=0.0, orders_left=0.0, after_ban_ms=0),
        Priority.PROOF: Share(weight_left=0.08, orders_left=0.0, after_ban_ms=50),
        Priority.ENTRY: Share(weight_left=0.25, orders_left=0.33, after_ban_ms=1_000),
        Priority.ACCOUNT: Share(weight_left=0.30, orders_left=0.33, after_ban_ms=2_000),
        Priority.BACKGROUND: Share(weight_left=0.40, orders_left=0.33, after_ban_ms=3_000),
    }
)


class HeldBack(Exception):
    """The request was not sent; it may be in `wait_ms`."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"held back for {wait_ms} ms by the request budget; nothing was sent")
        self.wait_ms = wait_ms


@dataclass(slots=True)
class _Count:
    """What the exchange has counted in the present window, as it last said."""

    length_ms: int
    limit: int
    window: int = -1
    used: int = 0
    in_flight: int = 0  # Sent, and not yet in a count that was reported.

    def report(self, used: int, exchange_ms: int) -> None:
        window = exchange_ms // self.length_ms
        is_late = window == self.window + 1 and exchange_ms % self.length_ms < min(LATE_COUNT_MS, self.length_ms // 5)
        if is_late and used > self.used:
            return  # The old window's last count; the next reply tells the new one's.
        self.window, self.used = window, used

    def at(self, exchange_ms: int) -> int:
        return self.in_flight + (self.used if exchange_ms // self.length_ms == self.window else 0)

    def wait_ms(self, amount: int, left: float, exchange_ms: int) -> int:
        """Until the window rolls, when taking `amount` now would leave less than the share `left` of the limit."""
        if amount == 0 or self.at(exchange_ms) + amount <= self.limit * (1 - left):
            return 0
        return self.length_ms - exchange_ms % self.length_ms + ROLL_MARGIN_MS


class Budget:
    """How much of the exchange's windows is used, and until when it takes no requests."""

    def __init__(self, clock: Clock, weight_limit: int = WEIGHT_LIMIT_PER_MINUTE) -> None:
        self._clock = clock
        self.exchange_clock = MeasuredClock(clock)
        self._weight = _Count(MINUTE_MS, weight_limit)
        self._orders_10s = _Count(TEN_SECONDS_MS, ORDER_LIMIT_PER_10_SECONDS)
        self._orders_1m = _Count(MINUTE_MS, ORDER_LIMIT_PER_MINUTE)
        self._banned_until_ns = 0  # Monotonic: a jump of the wall clock neither prolongs nor shortens a ban.
        self._no_orders_until_ns = 0
        self.bans = 0

    # What the exchange says.

    def limits_are(self, rows: Any) -> None:
        """Take over the limits that exchangeInfo names; what cannot be read changes nothing."""
        counts = {
            ("REQUEST_WEIGHT", "MINUTE", 1): self._weight,
            ("ORDERS", "SECOND", 10): self._orders_10s,
            ("ORDERS", "MINUTE", 1): self._orders_1m,
        }
        for row in rows if isinstance(rows, list) else ():
            with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
                limit = int(row["limit"])
                if limit > 0:
                    counts[str(row["rateLimitType"]), str(row["interval"]), int(row["intervalNum"])].limit = limit

    def observe(self, http_status: int, headers: Mapping[str, str], body: str) -> None:
        """Read one reply. A 429, a 418 or a −1003 stops every request until its time is over."""
        lowered = {name.lower(): value for name, value in headers.items()}
        exchange_ms = self.exchange_clock.now_ms()
        for header, count in (
            ("x-mbx-used-weight-1m", self._weight),
            ("x-mbx-order-count-10s", self._orders_10s),
            ("x-mbx-order-count-1m", self._orders_1m),
        ):
            used = _number_in(lowered.get(header, ""))
            if used is not None:
                count.report(used, exchange_ms)
        if http_status in {418, 429} or (http_status == 400 and _TOO_MANY_REQUESTS.search(body[:300])):
            self.bans += 1
            self._ban(http_status, lowered.get("retry-after", ""), body[:1000], exchange_ms)

    def _ban(self, http_status: int, retry_after: str, body: str, exchange_ms: int) -> None:
        waits = []
        seconds = _number_in(retry_after)
        if seconds is not None:
            waits.append(seconds * 1000)
        named = _BANNED_UNTIL.search(body)
        if named is not None:
            waits.append(int(named[1]) - exchange_ms)
        default = BAN_MS_DEFAULT if http_status == 418 else MINUTE_MS - exchange_ms % MINUTE_MS
        wait_ms = min(max(waits, default=default), BAN_MS_MAX) + BAN_MARGIN_MS
        self._banned_until_ns = max(self._banned_until_ns, self._clock.monotonic_ns() + wait_ms * MS_NS)

    def too_many_orders(self, message: str) -> None:
        """A −1015: no order is taken until the window that it names has rolled; everything else goes on."""
        found = _ORDERS_PER.search(message)
        length_ms = TEN_SECONDS_MS
        if found is not None:
            length_ms = int(found[1] or 1) * (1_000 if found[2] == "SECOND" else MINUTE_MS) or TEN_SECONDS_MS
            length_ms = min(length_ms, ORDERS_WINDOW_MS_MAX)
        wait_ms = length_ms - self.exchange_clock.now_ms() % length_ms + ROLL_MARGIN_MS
        self._no_orders_until_ns = max(self._no_orders_until_ns, self._clock.monotonic_ns() + wait_ms * MS_NS)

    # What we may do.

    @property
    def used_weight(self) -> int:
        """Of the running minute of the exchange, as it last said, and what is on its way."""
        return self._weight.at(self.exchange_clock.now_ms())

    def blocked_ms(self) -> int:
        """How long a ban lasts: no request may leave. 0 without a ban."""
        return _left_ms(self._banned_until_ns - self._clock.monotonic_ns())

    def wait_ms(self, priority: Priority, weight: int, orders: int = 0) -> int:
        """How long a request that costs so much has to wait; 0: it may leave now."""
        share = SHARES[priority]
        now_ns, exchange_ms = self._clock.monotonic_ns(), self.exchange_clock.now_ms()
        waits = [self._weight.wait_ms(weight, share.weight_left, exchange_ms)]
        if self._banned_until_ns:
            waits.append(_left_ms(self._banned_until_ns + share.after_ban_ms * MS_NS - now_ns))
        if orders:
            waits.append(_left_ms(self._no_orders_until_ns - now_ns))
            waits.append(self._orders_10s.wait_ms(orders, share.orders_left, exchange_ms))
            waits.append(self._orders_1m.wait_ms(orders, share.orders_left, exchange_ms))
        return max(waits)

    def entry_wait_ms(self) -> int:
        """0 while an entry, and what may have to follow it, leaves the reserve for unwinding untouched."""
        return self.wait_ms(Priority.ENTRY, ENTRY_WEIGHT, ENTRY_ORDERS)

    def has_room(self, reading: Reading) -> bool:
        """True while this reading leaves to the more urgent requests what is theirs."""
        priority, weight = READINGS[reading]
        return self.wait_ms(priority, weight) == 0

    @contextlib.contextmanager
    def spending(self, priority: Priority, weight: int, orders: int = 0) -> Iterator[None]:
        """Around one request. Raises: HeldBack when it has to wait; then it must not be sent."""
        wait_ms = self.wait_ms(priority, weight, orders)
        if wait_ms > 0:
            raise HeldBack(wait_ms)
        taken = ((self._weight, weight), (self._orders_10s, orders), (self._orders_1m, orders))
        for count, amount in taken:
            count.in_flight += amount
        try:
            yield
        finally:
            for count, amount in taken:
                count.in_flight -= amount


def _number_in(header: str) -> int | None:
    """None for what is no count; nor is a number of more digits than a clock has."""
    return int(header) if header.isascii() and header.isdigit() and len(header) <= _DIGITS_MAX else None


def _left_ms(left_ns: int) -> int:
    """Rounded up: a wait that ends a moment early ends in a refusal."""
    return max(0, -(-left_ns // MS_NS))
