"""A recording played again gives the same bars, the right quotes and one clear end."""

import asyncio
import logging
import math
from pathlib import Path

import duckdb
import pytest
from bare_exchange import until

from domain.units import MINUTE_MS
from paper.market import Book, FundingSettlement
from paper.markets import open_market
from paper.markets.replay import ReplayMarket

DATA = Path(__file__).parents[3] / "shared" / "data"
KLINES = DATA / "binance_um_2025_1m_typhonun" / "klines_1m.parquet"
QUOTES = DATA / "ticks_binance_um_2024-07-18" / "bookticker.parquet"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two contracts, 90 minutes, one missing minute."""
    path = tmp_path / "small.parquet"
    duckdb.connect().execute(
        f"""copy (
            select s as symbol, make_timestamp(1747612800000000 + m * 60000000) as ts,
                   o as open, greatest(o, c) + 0.3 as high, least(o, c) - 0.2 as low, c as close, 12.5 as volume
            from (select s, m, 100.0 + round(5 * sin(m + x), 1) as o, 100.0 + round(5 * sin(m + 1 + x), 1) as c
                  from range(90) t(m), (values ('AAAUSDT', 0), ('BBBUSDT', 2)) v(s, x))
            where not (s = 'AAAUSDT' and m = 70)
        ) to '{path}' (format parquet)"""
    )
    return path


async def play(market: ReplayMarket) -> list[Book]:
    """Play to the end."""
    books: list[Book] = []
    running = asyncio.create_task(market.run(books.append, lambda _: None))
    await until(lambda: market.ended)
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return books


def middle(book: Book) -> float:
    return float(book.bids[0][0] + book.asks[0][0]) / 2


def closes_of(books: list[Book], symbol: str) -> dict[int, float]:
    """The last middle of each minute, by event time: what a runner builds its bars from."""
    return {book.event_ms // MINUTE_MS * MINUTE_MS: middle(book) for book in books if book.symbol == symbol}


async def test_bars_rebuilt_from_ticks_equal_the_file(small: Path) -> None:
    market = ReplayMarket(Path(f"{small}?path=extremes"), speed=math.inf)
    books = await play(market)
    rows = (
        duckdb.connect()
        .execute(f"select symbol, epoch_ms(ts), open, high, low, close from '{small}' order by 1, 2")
        .fetchall()
    )
    start_ms = rows[0][1] + 60 * MINUTE_MS
    for symbol in ("AAAUSDT", "BBBUSDT"):
        expected = {row[1]: row[2:] for row in rows if row[0] == symbol and row[1] >= start_ms}
        closes = closes_of(books, symbol)
        assert {at: pytest.approx(row[3]) for at, row in expected.items()} == {at: closes[at] for at in expected}
        served = market.klines(symbol, MINUTE_MS, start_ms=start_ms, end_ms=None, limit=1_500)
        bars = {bar.open_ms: tuple(map(float, (bar.open, bar.high, bar.low, bar.close))) for bar in served}
        assert {at: pytest.approx(row) for at, row in expected.items()} == {at: bars[at] for at in expected}
    gap = market.klines("AAAUSDT", MINUTE_MS, start_ms=rows[0][1] + 70 * MINUTE_MS, end_ms=None, limit=1)[0]
    assert gap.open == gap.high == gap.low == gap.close
    assert gap.volume == 0


async def test_the_end_is_said_once(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        market = ReplayMarket(small, speed=math.inf)
        books = await play(market)
    assert [record.message.startswith("replay: the recording is over") for record in caplog.records] == [True]
    assert market.now_ms() == books[-1].event_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS


async def test_market_time_is_paced(small: Path) -> None:
    """At 600 times the speed the market moves, in order, and never runs ahead of what it has played."""
    market = ReplayMarket(small, speed=600.0)
    started_ms = market.now_ms()
    books: list[Book] = []

    def on_book(book: Book) -> None:
        assert market.now_ms() == book.event_ms
        books.append(book)

    running = asyncio.create_task(market.run(on_book, lambda _: None))
    await asyncio.sleep(0.6)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert 0 < market.now_ms() - started_ms <= 30 * MINUTE_MS
    events = [book.event_ms for book in books]
    assert events == sorted(events)


async def test_played_by_hand(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At speed 0 it stands still until told, and plays just as much as it is told; the same books as by itself."""
    by_itself = await play(ReplayMarket(small, speed=math.inf))
    market = ReplayMarket(small, speed=0)
    started_ms = market.now_ms()
    books: list[Book] = []
    with pytest.raises(ValueError, match="does not run yet"):
        market.play_until(started_ms)
    running = asyncio.create_task(market.run(books.append, lambda _: None))
    await asyncio.sleep(0)
    assert not books
    first, second = sorted({book.event_ms for book in by_itself})[:2]
    market.play_until(second - 1)
    assert [book.event_ms for book in books] == [first]
    assert market.now_ms() == second - 1
    market.play_until(second)
    assert books[-1].event_ms == market.now_ms() == second
    with pytest.raises(ValueError, match=f"has passed: market time is {second}"):
        market.play_until(second - 1)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        market.play_until(2 * second)
        market.play_until(3 * second)
    assert books == by_itself
    assert market.ended
    assert [record.message.startswith("replay: the recording is over") for record in caplog.records] == [True]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    paced = ReplayMarket(small, speed=2.0)
    with pytest.raises(ValueError, match="--speed 0"):
        paced.play_until(paced.now_ms())


async def test_funding_is_settled_on_the_way_when_played_by_hand(small: Path) -> None:
    market = ReplayMarket(small, speed=0, funding_interval_seconds=600)
    settled: list[FundingSettlement] = []
    running = asyncio.create_task(market.run(lambda _: None, settled.append))
    await asyncio.sleep(0)
    market.play_until(market.now_ms() + 20 * MINUTE_MS)
    assert len(settled) == 2 * 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_quotes_of_one_millisecond_keep_the_order_of_the_file(tmp_path: Path) -> None:
    """As a backtest takes them: whose quote was written down first was heard first, whatever its name and update id."""
    start_ms = 1747612800000
    rows = [("BBBUSDT", 0, 7), ("AAAUSDT", 0, 9), ("BBBUSDT", 60_000, 9), ("AAAUSDT", 60_000, 3 << 50)]
    rows += [("AAAUSDT", 60_001, 4 << 50), ("BBBUSDT", 60_001, 10)]
    text = [f"{symbol},{start_ms + at_ms},{update_id},9.9,1,10.1,1" for symbol, at_ms, update_id in rows]
    path = tmp_path / "quotes.csv"
    path.write_text("\n".join(["symbol,E_ms,update_id,bid,bid_qty,ask,ask_qty", *text]))
    books = await play(ReplayMarket(path, speed=math.inf))
    assert [book.symbol for book in books] == [symbol for symbol, at_ms, _ in rows if at_ms]
    assert [book.update_id for book in books] == [update_id for _, at_ms, update_id in rows if at_ms]


async def test_restart_goes_on_where_it_was(small: Path) -> None:
    played = Path(f"{small}?path=extremes")  # Whose bars are the recording's, highs and lows included.
    first = ReplayMarket(played, speed=math.inf)
    running = asyncio.create_task(first.run(lambda _: None, lambda _: None))
    await until(lambda: first.now_ms() >= 1747612800000 + 70 * MINUTE_MS)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    second = ReplayMarket(played, speed=1.0, snapshot=first.snapshot())
    assert second.now_ms() == first.now_ms() // MINUTE_MS * MINUTE_MS
    before = {"start_ms": None, "end_ms": second.now_ms() - 1, "limit": 20}
    assert first.klines("BBBUSDT", MINUTE_MS, **before) == second.klines("BBBUSDT", MINUTE_MS, **before)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?start=yesterday", "not an ISO time"),
        ("?start=2025-05-19T00:30", "time zone is missing"),
        ("?start=2031-05-19T00:00Z", "nothing to play"),
        ("?begin=1", "unknown option"),
    ],
)
async def test_bad_starts(small: Path, query: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplayMarket(Path(f"{small}{query}"), speed=1.0)


async def test_bad_files(tmp_path: Path) -> None:
    text = tmp_path / "odd.csv"
    text.write_text("a,b\n1,2\n")
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1 not really")
    for path, message in ((text, "needs the columns"), (torn, "cannot be read"), (tmp_path / "no", "no such file")):
        with pytest.raises(ValueError, match=message):
            ReplayMarket(path, speed=1.0)


async def test_csv_and_start_option(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    duckdb.connect().execute(f"copy (select * from '{small}') to '{path}' (header)")
    market = await open_market(
        "replay",
        seed=1,
        speed=60.0,
        data=Path(f"{path}?start=2025-05-19T00:30Z"),
        upstream_rest=None,
        upstream_stream=None,
        snapshot=None,
        funding_interval_seconds=None,
    )
    assert market.now_ms() == 1747612800000 + 30 * MINUTE_MS
    assert set(market.listings) == {"AAAUSDT", "BBBUSDT"}


@pytest.mark.slow
@pytest.mark.skipif(not KLINES.is_file(), reason="the real klines are not on this machine")
async def test_real_klines() -> None:
    """16 real perpetuals: two weeks of past, then a day's closes tick for tick."""
    market = ReplayMarket(KLINES, speed=math.inf)
    started_ms = market.now_ms()
    assert len(market.listings) == 16
    hourly = market.klines("BTCUSDT", 60 * MINUTE_MS, start_ms=None, end_ms=None, limit=1_000)
    assert len(hourly) > 300
    books: list[Book] = []
    running = asyncio.create_task(market.run(books.append, lambda _: None))
    await until(lambda: market.now_ms() >= started_ms + 1_440 * MINUTE_MS)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for symbol in ("BTCUSDT", "LAYERUSDT"):
        rows = (
            duckdb.connect()
            .execute(
                f"select epoch_ms(ts), close from '{KLINES}' where symbol = ? and epoch_ms(ts) >= ? order by ts limit 1440",
                [symbol, started_ms],
            )
            .fetchall()
        )
        closes = closes_of(books, symbol)
        assert [pytest.approx(close) for _, close in rows] == [closes[at] for at, _ in rows]


@pytest.mark.slow
@pytest.mark.skipif(not QUOTES.is_file(), reason="the real quotes are not on this machine")
async def test_real_quotes() -> None:
    """Every quote of eight real minutes after the first full minute comes out as it was recorded."""
    market = ReplayMarket(QUOTES, speed=math.inf)
    started_ms = market.now_ms()
    books = await play(market)
    recorded = (
        duckdb.connect()
        .execute(
            f"select update_id, bid, bid_qty, ask, ask_qty from '{QUOTES}' "
            "where symbol = 'BTCUSDT' and E_ms >= ? order by update_id",
            [started_ms],
        )
        .fetchall()
    )
    played = [
        (book.update_id, *(float(number) for level in (book.bids[0], book.asks[0]) for number in level))
        for book in books
        if book.symbol == "BTCUSDT"
    ]
    assert len(recorded) > 40_000
    assert recorded == sorted(played)
