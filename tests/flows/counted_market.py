"""A synthetic market that notes every question about its past, takes its time to answer, and can have outages."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flows_project import STANDS_STILL, START_MS

from paper.errors import ApiError
from paper.market import FundingSettlement, Kline
from paper.markets import SyntheticMarket


@dataclass(frozen=True)
class Question:
    symbol: str
    limit: int
    opened: tuple[int, ...]  # The bars, or settlements, of the answer.


class CountedMarket(SyntheticMarket):
    """`outage` [start, end) ms and `broken` symbols may be set while it runs."""

    def __init__(self) -> None:
        super().__init__(
            seed=9,
            speed=STANDS_STILL,
            start_ms=START_MS,
            history_days=12,
            ticks_per_second=0.2,
        )
        self.seconds = 0.0
        self.outage: tuple[int, int] | None = None
        self.broken: set[str] = set()
        self.questions: list[Question] = []
        self.funding_questions: list[Question] = []
        self.at_once = self.at_once_max = 0
        self._enough = asyncio.Event()
        self.held_until = 0
        """After the first question none is answered until so many are out at once."""

    async def fetch_klines(
        self, symbol: str, interval: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        if self.questions:
            await asyncio.sleep(self.seconds)
            if self.at_once >= self.held_until:
                self._enough.set()
            await self._enough.wait()
        self.at_once -= 1
        if symbol in self.broken:
            raise ApiError(-1122, "Invalid symbol status.")
        interval_ms = {"1m": 60_000, "15m": 900_000, "1h": 3_600_000}[interval]
        bars = self.klines(symbol, interval_ms, start_ms=start_ms, end_ms=end_ms, limit=limit)
        if self.outage is not None:
            bars = [bar for bar in bars if not self.outage[0] <= bar.open_ms < self.outage[1]]
        self.questions.append(Question(symbol, limit, tuple(bar.open_ms for bar in bars)))
        return bars

    async def fetch_fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        rows = self.fundings(symbol, start_ms=start_ms, end_ms=end_ms, limit=limit)
        self.funding_questions.append(Question(symbol, limit, tuple(row.settled_ms for row in rows)))
        return rows

    def served(self) -> Counter[tuple[str, int]]:
        """How often each bar was handed out."""
        return Counter((question.symbol, time_ms) for question in self.questions for time_ms in question.opened)
