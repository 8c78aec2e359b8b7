"""When funding is settled, and at which rate: computed from the seed, so no history has to be kept."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from domain.units import HOUR_MS
from paper.market import FundingSettlement, Listing

_RATE_CENTRE = 10_000  # In 1e-8: the usual 0.01 %.
_RATE_SPREAD = 9_000
_JITTER_MS = 9


class FundingSchedule:
    """Settlement times and rates of every contract.

    `interval_seconds` (market time) replaces the usual eight hours; contracts with a shorter interval keep the
    proportion.
    """

    def __init__(self, listings: Mapping[str, Listing], *, seed: int, interval_seconds: float | None) -> None:
        scale = 1.0 if interval_seconds is None else interval_seconds / (8 * 3_600)
        if not scale > 0:
            raise ValueError(f"funding interval must be positive, not {interval_seconds} s")
        self._seed = seed
        self._interval_ms = {
            symbol: max(1_000, int(listing.funding_interval_hours * HOUR_MS * scale))
            for symbol, listing in listings.items()
        }

    def next_ms(self, symbol: str, now_ms: int) -> int:
        """The coming settlement's nominal time."""
        interval_ms = self._interval_ms[symbol]
        return (now_ms // interval_ms + 1) * interval_ms

    def rate(self, symbol: str, nominal_ms: int) -> Decimal:
        """The rate paid at this settlement; predicted until then."""
        first = self._hash(symbol, nominal_ms, "a") / 0xFFFFFFFF
        second = self._hash(symbol, nominal_ms, "b") / 0xFFFFFFFF
        return Decimal(_RATE_CENTRE + round(_RATE_SPREAD * (first + second - 1.0))).scaleb(-8)

    def settlement(self, symbol: str, nominal_ms: int, mark_price: Decimal) -> FundingSettlement:
        """The settlement due at `nominal_ms`, stamped with the exchange's few milliseconds of jitter."""
        return FundingSettlement(
            symbol=symbol,
            rate=self.rate(symbol, nominal_ms),
            settled_ms=nominal_ms + self._hash(symbol, nominal_ms, "ms") % _JITTER_MS,
            mark_price=mark_price,
        )

    def history(
        self,
        symbol: str,
        price_at: Callable[[int], Decimal],
        *,
        first_ms: int,
        now_ms: int,
        start_ms: int | None,
        end_ms: int | None,
        limit: int,
    ) -> Sequence[FundingSettlement]:
        """Settled rates between the two times, ascending: the first `limit` from a start, else the last ones."""
        interval_ms = self._interval_ms[symbol]
        lowest_ms = max(first_ms, 0 if start_ms is None else start_ms - _JITTER_MS)
        highest_ms = now_ms if end_ms is None else min(now_ms, end_ms)
        first = -(-lowest_ms // interval_ms)
        beyond = highest_ms // interval_ms + 1
        # One more on each side: the jitter may move a settlement over the edge.
        if start_ms is None:
            first = max(first, beyond - limit - 1)
        else:
            beyond = min(beyond, first + limit + 1)
        rows = [
            self.settlement(symbol, index * interval_ms, price_at(index * interval_ms))
            for index in range(first, beyond)
        ]
        rows = [
            row for row in rows if (start_ms is None or row.settled_ms >= start_ms) and row.settled_ms <= highest_ms
        ]
        return rows[-limit:] if start_ms is None else rows[:limit]

    def _hash(self, symbol: str, nominal_ms: int, what: str) -> int:
        return zlib.crc32(f"{self._seed}:{symbol}:{nominal_ms}:{what}".encode())
