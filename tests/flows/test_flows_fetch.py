"""Candles and settlements into the store: nothing twice, nothing lost, whatever happens in between."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from counted_market import CountedMarket
from flows_project import ExchangeThread, write_project
from paper_control import order

from domain.symbols import Symbol, unified
from flows.common import bars
from flows.common.bars import READS_AT_ONCE, Fetched, fetch_funding, refresh, store_of
from flows.common.reads import ExchangeReads
from runner.config import Settings, load_settings
from storage import market

NAMES = ("LTC", "BCH", "NEAR")
SYMBOLS = [unified(f"{name}/USDT") for name in NAMES]
MINUTE, QUARTER, HOUR = 60_000, 900_000, 3_600_000


@pytest.fixture
def counted() -> Iterator[CountedMarket]:
    served = CountedMarket()
    thread = ExchangeThread(9, lambda: served)
    thread.start()
    served.url, served.control_token = thread.rest_url, thread.control_token  # type: ignore[attr-defined]
    yield served
    thread.stop()


@pytest.fixture
def settings(tmp_path: Path, counted: CountedMarket) -> Settings:
    return load_settings(write_project(tmp_path, counted.url)[0])  # type: ignore[attr-defined]


def fetch(settings: Settings, bars: int, timeframe: str = "15m", symbols: list[Symbol] = SYMBOLS) -> Fetched:
    with ExchangeReads(settings) as reads:
        return refresh(reads, store_of(settings), symbols, timeframe, bars=bars, say=lambda _: None)


def test_a_second_run_asks_one_small_question_a_symbol(settings: Settings, counted: CountedMarket) -> None:
    first = fetch(settings, 900)
    assert first.bars == 3 * 900
    counted.questions.clear()
    assert fetch(settings, 900).bars == 0
    assert sorted(question.symbol for question in counted.questions) == sorted(f"{name}USDT" for name in NAMES)
    assert all(question.limit <= 4 for question in counted.questions)


def test_a_day_later_one_question_brings_what_is_new(settings: Settings, counted: CountedMarket) -> None:
    """A store that is 96 bars behind: the first symbol asks twice, the others know by then how much is missing."""
    fetch(settings, 900)
    for symbol in SYMBOLS:
        cut(store_of(settings), symbol, "15m", newest=96)
    counted.questions.clear()
    assert fetch(settings, 900).bars == 3 * 96
    assert len(counted.questions) == 4
    assert sum(question.limit for question in counted.questions) <= 3 * 96 + 4 * 4


def cut(root: Path, symbol: Symbol, timeframe: str, *, newest: int) -> None:
    """Take the newest bars out of a store, and only them."""
    end_ms = (market.last_open_ms(root, symbol, timeframe) or 0) + 1
    take_out(root, symbol, timeframe, end_ms - newest * market.timeframe_ms(timeframe), end_ms)


def take_out(root: Path, symbol: Symbol, timeframe: str, start_ms: int, end_ms: int) -> None:
    for path in market.klines_folder(root, symbol, timeframe).glob("*.parquet"):
        beside = path.with_suffix(".beside")
        duckdb.sql(
            f"COPY (FROM '{path}' WHERE open_ms < {start_ms} OR open_ms >= {end_ms}) TO '{beside}' (FORMAT parquet)"
        )
        beside.replace(path)


def test_a_hole_in_the_store_is_filled_and_nothing_else_asked_for(settings: Settings, counted: CountedMarket) -> None:
    root = store_of(settings)
    end_ms = fetch(settings, 900).end_ms or 0
    hole = end_ms - 500 * QUARTER, end_ms - 480 * QUARTER
    take_out(root, SYMBOLS[1], "15m", *hole)
    counted.questions.clear()
    assert fetch(settings, 900).bars == 20
    assert market.gaps(root, SYMBOLS[1], "15m", end_ms - 900 * QUARTER, end_ms) == []
    (fetched,) = [question for question in counted.questions if question.limit > 4]
    assert (fetched.symbol, fetched.limit) == ("BCHUSDT", 21), "the hole and one bar of overlap"


def test_an_outage_of_the_exchange_is_asked_about_once(settings: Settings, counted: CountedMarket) -> None:
    now_ms = counted.now_ms() // QUARTER * QUARTER
    counted.outage = now_ms - 300 * QUARTER, now_ms - 288 * QUARTER
    fetch(settings, 900)
    assert market.gaps(store_of(settings), SYMBOLS[0], "15m", now_ms - 890 * QUARTER, now_ms) == [counted.outage]
    counted.questions.clear()
    assert fetch(settings, 900).bars == 0
    assert all(question.limit <= 4 for question in counted.questions)
    # Somebody deletes what is known: it is asked for once more, and then known again.
    for path in store_of(settings).rglob("holes.json"):
        path.unlink()
    fetch(settings, 900)
    assert sum(question.limit > 4 for question in counted.questions) == 3


def test_what_is_older_than_the_listing_is_asked_for_once(settings: Settings, counted: CountedMarket) -> None:
    """Twelve days are all there is; thirty are asked for."""
    first = fetch(settings, 30 * 24, "1h")
    assert 3 * 286 <= first.bars <= 3 * 320
    counted.questions.clear()
    assert fetch(settings, 30 * 24, "1h").bars == 0
    assert all(question.limit <= 4 for question in counted.questions)
    # A longer window asks for what nobody asked for yet, and for nothing else.
    counted.questions.clear()
    fetch(settings, 40 * 24, "1h")
    assert all(question.limit <= 4 or question.limit <= 240 for question in counted.questions)
    assert not any(question.opened for question in counted.questions if question.limit > 4)


def test_one_symbol_in_trouble_does_not_stop_the_others(settings: Settings, counted: CountedMarket) -> None:
    counted.broken = {"LTCUSDT"}
    found = fetch(settings, 100)
    assert list(found.failures) == [SYMBOLS[0]]
    assert "-1122" in found.failures[SYMBOLS[0]]
    assert found.bars >= 2 * 100
    folder = market.klines_folder(store_of(settings), SYMBOLS[1], "15m")
    next(folder.glob("*.parquet")).write_bytes(b"damaged")
    counted.broken = set()
    found = fetch(settings, 100)
    assert list(found.failures) == [SYMBOLS[1]]
    assert "delete the damaged file" in found.failures[SYMBOLS[1]]


def test_round_trips_overlap_and_are_bounded(settings: Settings, counted: CountedMarket) -> None:
    counted.held_until, counted.seconds = READS_AT_ONCE, 0.05
    symbols = [unified(f"{name.removesuffix('USDT')}/USDT") for name in counted.listings]
    assert len(symbols) > 3 * READS_AT_ONCE
    assert fetch(settings, 40, "1h", symbols).bars == len(symbols) * 40
    assert counted.at_once_max == READS_AT_ONCE, "with less the answers would still be waited for"


def test_a_ban_in_the_middle_is_waited_for(settings: Settings, counted: CountedMarket) -> None:
    ban = {"kind": "ban", "parameters": {"duration_ms": 1_500}}
    with ExchangeReads(settings) as reads:
        reads.listed()
        order(counted.url, counted.control_token, "faults", ban)  # type: ignore[attr-defined]
        began = time.monotonic()
        found = refresh(reads, store_of(settings), SYMBOLS, "15m", bars=100, say=lambda _: None)
        assert found.failures == {}
        assert time.monotonic() - began > 1.5
        assert reads._budget.bans == 1, "the first one is alone, and nobody knocks while it waits"


def test_who_is_interrupted_does_not_wait_for_answers(
    settings: Settings, counted: CountedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while eight questions are out that nobody answers."""
    counted.seconds = 60.0

    def interrupted(futures: object) -> None:
        deadline = time.monotonic() + 60
        while counted.at_once < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(bars, "as_completed", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch(settings, 100)
    assert counted.at_once == 2, "they were out"
    assert time.monotonic() - began < 50


CHILD = """
import sys
from pathlib import Path
from domain.symbols import unified
from flows.common.bars import refresh, store_of
from flows.common.reads import ExchangeReads
from runner.config import load_settings
settings = load_settings(Path(sys.argv[1]))
with ExchangeReads(settings) as reads:
    refresh(reads, store_of(settings), [unified(f"{n}/USDT") for n in sys.argv[2:]], "1m", bars=14_000, say=print)
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_where_it_was(
    tmp_path: Path, settings: Settings, counted: CountedMarket
) -> None:
    """kill -9 between two pages of three symbols. What was stored by then is never handed out again."""
    counted.seconds = 0.02
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "config.json"), *NAMES])
    while len(counted.questions) < 20 and child.poll() is None:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was over before it could be killed"
    root = store_of(settings)
    stored = {
        (f"{name}USDT", time_ms)
        for name, symbol in zip(NAMES, SYMBOLS, strict=True)
        for time_ms in market.read_klines(root, symbol, "1m", 0, counted.now_ms())["open_ms"].tolist()
    }
    assert len(stored) > 3_000
    counted.questions.clear()
    found = fetch(settings, 14_000, "1m")
    assert found.failures == {}
    again = [bar for bar in counted.served() if bar in stored]
    assert len(again) <= 3 * 4, "the bars that tell whether it is still the same market"
    assert set(counted.served().values()) == {1}
    for symbol in SYMBOLS:
        end_ms = (market.last_open_ms(root, symbol, "1m") or 0) + MINUTE
        assert market.gaps(root, symbol, "1m", end_ms - 14_000 * MINUTE, end_ms) == []
    assert not list(root.rglob("*.tmp"))


def test_settlements_come_once(settings: Settings, counted: CountedMarket) -> None:
    now_ms = counted.now_ms()
    with ExchangeReads(settings) as reads:
        for days, came in ((5, 15), (5, 0), (10, 15), (10, 0)):
            counted.funding_questions.clear()
            start_ms = now_ms - days * 24 * HOUR
            found = fetch_funding(reads, store_of(settings), SYMBOLS, start_ms, now_ms, say=lambda _: None)
            assert 3 * (came - 1) <= found.bars <= 3 * (came + 1), days
            assert sum(len(question.opened) for question in counted.funding_questions) == found.bars
    held = market.read_funding(store_of(settings), SYMBOLS[0], now_ms - 10 * 24 * HOUR, now_ms)
    assert 29 <= len(held) <= 31


def test_settlements_before_a_listing_are_asked_for_once(settings: Settings, counted: CountedMarket) -> None:
    now_ms = counted.now_ms()
    with ExchangeReads(settings) as reads:
        for days in (40, 40):
            counted.funding_questions.clear()
            fetch_funding(reads, store_of(settings), SYMBOLS, now_ms - days * 24 * HOUR, now_ms, say=lambda _: None)
    assert not any(question.opened for question in counted.funding_questions)
    assert len(counted.funding_questions) <= 3, "only what is new since the last settlement"
