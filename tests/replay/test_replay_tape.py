"""The two ways of playing a kline: through its extremes, and straight to its close."""

import asyncio
import math
from pathlib import Path

import duckdb
import pytest

from domain.units import MINUTE_MS
from paper.market import Book
from paper.markets.replay import ReplayMarket

START_MS = 1_747_612_800_000


@pytest.fixture
def klines(tmp_path: Path) -> Path:
    """Two contracts, 75 minutes. Each minute both visit extremes far from their closes."""
    path = tmp_path / "klines.parquet"
    duckdb.connect().execute(
        f"""copy (
            select s as symbol, make_timestamp({START_MS}000 + m * 60000000) as ts,
                   100.01 + m as open, 108.01 + m as high, 92.01 + m as low,
                   100.01 + m + d as close, 12.5 as volume
            from range(75) t(m), (values ('AAAUSDT', 1), ('BBBUSDT', -1)) v(s, d)
        ) to '{path}' (format parquet)"""
    )
    return path


async def played(data: Path) -> list[Book]:
    """Every book until the recording is over."""
    market = ReplayMarket(data, speed=math.inf)
    books: list[Book] = []
    running = asyncio.create_task(market.run(books.append, lambda _: None))
    async with asyncio.timeout(30):
        while not market.ended:  # noqa: ASYNC110 - a market tells the time, not its listeners.
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return books


def middles(books: list[Book], symbol: str, minute: int) -> list[float]:
    """The prices of one contract in one minute, in order."""
    first_ms = START_MS + minute * MINUTE_MS
    return [
        float(book.bids[0][0] + book.asks[0][0]) / 2
        for book in books
        if book.symbol == symbol and first_ms <= book.event_ms < first_ms + MINUTE_MS
    ]


async def test_a_bar_is_played_through_its_extremes(klines: Path) -> None:
    books = await played(Path(f"{klines}?path=extremes"))
    assert middles(books, "AAAUSDT", 70) == pytest.approx([170.01, 162.01, 178.01, 171.01])
    assert middles(books, "BBBUSDT", 70) == pytest.approx([170.01, 178.01, 162.01, 169.01])


async def test_closes_only_goes_straight_from_close_to_close(klines: Path) -> None:
    """No spread of two contracts lies outside the spreads at the closes before and after it."""
    books = await played(klines)
    for symbol, step in (("AAAUSDT", 1), ("BBBUSDT", -1)):
        before, after = 169.01 + step, 170.01 + step
        prices = middles(books, symbol, 70)
        assert len(prices) == 4
        assert prices == sorted(prices)
        assert before < prices[0] < after
        assert prices[-1] == pytest.approx(after)


async def test_an_unknown_path_is_refused(klines: Path) -> None:
    with pytest.raises(ValueError, match="not one of closes, extremes"):
        ReplayMarket(Path(f"{klines}?path=middle"), speed=1.0)
