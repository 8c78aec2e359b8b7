"""Request budgets: weight by address, order counts by account, 429 for the careless and 418 for the stubborn."""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.units import DAY_MS, MINUTE_MS
from paper.clock import ServerClock
from paper.errors import ApiError, refused
from paper.options import LimitOptions

TEN_SECONDS_MS = 10_000
BANNED = "Way too many requests; IP banned until {}."
WEIGHTS: Mapping[tuple[str, str], int] = {
    ("GET", "/fapi/v1/aggTrades"): 20,
    ("GET", "/fapi/v1/trades"): 5,
    ("GET", "/fapi/v2/account"): 5,
    ("GET", "/fapi/v3/account"): 5,
    ("GET", "/fapi/v2/balance"): 5,
    ("GET", "/fapi/v3/balance"): 5,
    ("GET", "/fapi/v1/positionRisk"): 5,
    ("GET", "/fapi/v2/positionRisk"): 5,
    ("GET", "/fapi/v3/positionRisk"): 5,
    ("GET", "/fapi/v1/accountConfig"): 5,
    ("GET", "/fapi/v1/symbolConfig"): 5,
    ("GET", "/fapi/v1/commissionRate"): 20,
    ("GET", "/fapi/v1/income"): 30,
    ("GET", "/fapi/v1/positionSide/dual"): 30,
    ("GET", "/fapi/v1/multiAssetsMargin"): 30,
    ("GET", "/fapi/v1/allOrders"): 5,
    ("GET", "/fapi/v1/userTrades"): 5,
    ("GET", "/fapi/v1/fundingRate"): 0,  # A pool of its own, not simulated.
    ("GET", "/fapi/v1/fundingInfo"): 0,
    ("POST", "/fapi/v1/order"): 0,
    ("PUT", "/fapi/v1/order"): 0,
    ("POST", "/fapi/v1/batchOrders"): 5,
    ("POST", "/fapi/v1/countdownCancelAll"): 10,
}
ONE_OR_ALL: Mapping[str, tuple[int, int]] = {
    "/fapi/v1/openOrders": (1, 40),
    "/fapi/v1/ticker/bookTicker": (2, 5),
    "/fapi/v1/ticker/price": (1, 2),
    "/fapi/v2/ticker/price": (1, 2),
    "/fapi/v1/ticker/24hr": (1, 40),
    "/fapi/v1/premiumIndex": (1, 10),
}
BY_LIMIT: Mapping[str, tuple[int, tuple[tuple[int, int], ...], int]] = {
    "/fapi/v1/klines": (500, ((99, 1), (499, 2), (1000, 5)), 10),
    "/fapi/v1/depth": (500, ((50, 2), (100, 5), (500, 10)), 20),
}


def weight_of(method: str, path: str, params: Mapping[str, str]) -> int:
    """The request weight that Binance charges."""
    if path in BY_LIMIT:
        default, steps, beyond = BY_LIMIT[path]
        text = params.get("limit", "")
        limit = int(text) if text.isascii() and text.isdigit() else default
        return next((weight for ceiling, weight in steps if limit <= ceiling), beyond)
    if method == "GET" and path in ONE_OR_ALL:
        one, every = ONE_OR_ALL[path]
        return one if "symbol" in params else every
    return WEIGHTS.get((method, path), 1)


@dataclass(slots=True)
class Window:
    """A counter that starts again with each window of the exchange's own clock: minutes are minutes of its day."""

    length_ms: int
    started_ms: int = 0
    used: int = 0

    def add(self, amount: int, now_ms: int) -> int:
        """Count and return what the present window has used."""
        start = now_ms - now_ms % self.length_ms
        if start != self.started_ms:
            self.started_ms, self.used = start, 0
        self.used += amount
        return self.used

    def left_seconds(self, now_ms: int) -> int:
        """Seconds until the window ends, at least one."""
        return max(1, (self.started_ms + self.length_ms - now_ms + 999) // 1000)


class Limited(ApiError):
    """A request turned away by its address: 429 or 418, with the seconds to wait."""

    def __init__(self, text: str, status: int, retry_after_seconds: int) -> None:
        super().__init__(-1003, text, status)
        self.retry_after_seconds = retry_after_seconds


class Limits:
    """Counts every request of every address and every order of every account."""

    def __init__(self, options: LimitOptions, clock: ServerClock) -> None:
        self._options = options
        self._clock = clock
        self._weights: dict[str, Window] = {}
        self._ignored: dict[str, Window] = {}
        self._orders: dict[str, tuple[Window, Window]] = {}
        self._banned: dict[str, tuple[float, int]] = {}  # Address to (monotonic end, server time of the end).
        self._everybody_banned_until_ms = 0.0

    def ban_everybody(self, duration_ms: int | None) -> None:
        """The fault "ban": every address, for so long (None = until lifted)."""
        self._everybody_banned_until_ms = (
            float("inf") if duration_ms is None else float(self._clock.monotonic_ms() + duration_ms)
        )

    def lift_bans(self) -> None:
        """Forget every ban."""
        self._everybody_banned_until_ms = 0.0
        self._banned.clear()
        self._ignored.clear()

    def charge(self, address: str, weight: int) -> int:
        """Count a request; return the weight used this minute. Raises: Limited (429 or 418)."""
        now_ms = self._clock.monotonic_ms()
        self._check_ban(address, now_ms)
        window = self._weights.setdefault(address, Window(MINUTE_MS))
        used = window.add(weight, self._clock.now_ms())
        ceiling = self._options.weight_per_minute_max
        if ceiling and used > ceiling:
            wait_seconds = window.left_seconds(self._clock.now_ms())
            if self._ignored.setdefault(address, Window(MINUTE_MS)).add(1, now_ms) > self._options.ignored_refusals_max:
                self._ban(address, now_ms)
                self._check_ban(address, now_ms)
            raise Limited(refused(-1003, ceiling).text, 429, wait_seconds)
        return used

    def _ban(self, address: str, now_ms: int) -> None:
        length_ms = self._options.ban_seconds * 1000
        self._banned[address] = (float(now_ms + length_ms), self._clock.now_ms() + length_ms)

    def _check_ban(self, address: str, now_ms: int) -> None:
        if now_ms < self._everybody_banned_until_ms:
            left_ms = min(self._everybody_banned_until_ms - now_ms, 3.0 * DAY_MS)
            until_ms = self._clock.now_ms() + int(left_ms)
            raise Limited(BANNED.format(until_ms), 418, max(1, int(left_ms / 1000)))
        banned = self._banned.get(address)
        if banned is None:
            return
        ends_ms, until_ms = banned
        if now_ms >= ends_ms:
            del self._banned[address]
            self._ignored.pop(address, None)
            return
        raise Limited(BANNED.format(until_ms), 418, max(1, int((ends_ms - now_ms) / 1000)))

    def count_orders(self, key: str, *, in_10s: int, in_minute: int) -> dict[str, str]:
        """Count new orders; return the headers that tell. Raises: VenueError -1015."""
        now_ms = self._clock.now_ms()
        short, long = self._orders.setdefault(key, (Window(TEN_SECONDS_MS), Window(MINUTE_MS)))
        used_short, used_long = short.add(in_10s, now_ms), long.add(in_minute, now_ms)
        if 0 < self._options.orders_per_10s_max < used_short:
            raise refused(-1015, self._options.orders_per_10s_max, "10 SECOND")
        if 0 < self._options.orders_per_minute_max < used_long:
            raise refused(-1015, self._options.orders_per_minute_max, "1 MINUTE")
        return {"x-mbx-order-count-10s": str(used_short), "x-mbx-order-count-1m": str(used_long)}

    def order_rows(self, key: str) -> list[dict[str, object]]:
        """GET rateLimit/order."""
        now_ms = self._clock.now_ms()
        short, long = self._orders.setdefault(key, (Window(TEN_SECONDS_MS), Window(MINUTE_MS)))
        kind = {"rateLimitType": "ORDERS"}
        return [
            kind
            | {"interval": "SECOND", "intervalNum": 10, "limit": self._options.orders_per_10s_max}
            | {"count": short.add(0, now_ms)},
            kind
            | {"interval": "MINUTE", "intervalNum": 1, "limit": self._options.orders_per_minute_max}
            | {"count": long.add(0, now_ms)},
        ]
