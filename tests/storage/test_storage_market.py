"""The Parquet store: what was written comes back once, in order, on one grid."""

import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ConfigError
from domain.symbols import Symbol
from domain.units import HOUR_MS
from storage import market

CAT = Symbol("1000CAT/USDT:USDT")
DOGE = Symbol("1MBABYDOGE/USDT:USDT")
START = 1_746_057_600_000  # 2025-05-01 00:00 UTC
FAR = START + 100 * 24 * HOUR_MS


def bar(hour: int, close: float = 1.0) -> tuple[float, ...]:
    return (START + hour * HOUR_MS, close, close, close, close, 10.0)


@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 1_500), st.floats(0.001, 1e6)), max_size=30), max_size=5))
@settings(max_examples=10, deadline=None)
def test_upserts_equal_a_dictionary(batches: list[list[tuple[int, float]]]) -> None:
    """1 500 hours cross two month ends."""
    expected: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for batch in batches:
            market.write_klines(root, CAT, "1h", [bar(hour, close) for hour, close in batch])
            expected |= dict(batch)
        found = market.read_klines(root, CAT, "1h", START, FAR)
        assert found["open_ms"].tolist() == [START + hour * HOUR_MS for hour in sorted(expected)]
        assert found["close"].tolist() == [expected[hour] for hour in sorted(expected)]
        assert market.last_open_ms(root, CAT, "1h") == (START + max(expected) * HOUR_MS if expected else None)
        missing = {
            time_ms
            for first, after in market.gaps(root, CAT, "1h", START, START + 1_501 * HOUR_MS)
            for time_ms in range(first, after, HOUR_MS)
        }
        assert missing == {START + hour * HOUR_MS for hour in range(1_501)} - set(found["open_ms"].tolist())


def test_closes_share_one_grid(tmp_path: Path) -> None:
    market.write_klines(tmp_path, CAT, "1h", [bar(0, 1.5), bar(1, 1.6), bar(4, 1.7)])
    market.write_klines(tmp_path, DOGE, "1h", [bar(1, 0.5), bar(2, 0.6)])
    other = Symbol("NONE/USDT:USDT")
    times, matrix, symbols = market.read_closes(tmp_path, [DOGE, CAT, other], "1h", START, START + 5 * HOUR_MS)
    assert symbols == (DOGE, CAT, other)
    assert times.tolist() == [START + hour * HOUR_MS for hour in range(5)]
    nan = np.nan
    expected = [[nan, 1.5, nan], [0.5, 1.6, nan], [0.6, nan, nan], [nan, nan, nan], [nan, 1.7, nan]]
    np.testing.assert_array_equal(matrix, np.array(expected))
    assert market.read_closes(tmp_path, [CAT], "1h", START, START + 4 * HOUR_MS).times.size == 2  # The end is excluded.
    assert market.read_closes(tmp_path, [other], "1h", START, FAR).matrix.shape == (0, 1)
    assert market.stored_symbols(tmp_path, "1h") == [CAT, DOGE]
    assert market.stored_symbols(tmp_path, "1m") == []


def test_funding_comes_back(tmp_path: Path) -> None:
    rates = [(START + 8 * HOUR_MS * n, 0.0001 * n) for n in range(200)]
    market.write_funding(tmp_path, CAT, rates[:150])
    market.write_funding(tmp_path, CAT, rates[100:])
    assert market.read_funding(tmp_path, CAT, START, START + 1_600 * HOUR_MS) == rates
    assert market.read_funding(tmp_path, DOGE, START, FAR) == []


def test_two_writers_of_one_month_lose_nothing(tmp_path: Path) -> None:
    def write(first: int) -> None:
        for hour in range(first, 40, 2):
            market.write_klines(tmp_path, CAT, "1h", [bar(hour)])

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert market.gaps(tmp_path, CAT, "1h", START, START + 40 * HOUR_MS) == []
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".lock", "2025-05.parquet"]


# fmt: off
BAD = [
    ("off the grid",   [(START + 1, 1, 1, 1, 1, 1)]),
    ("a NaN",          [(START, 1, 1, 1, float("nan"), 1)]),
    ("a price of 0",   [(START, 1, 1, 0, 1, 1)]),
]
# fmt: on


@pytest.mark.parametrize("rows", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_not_a_bar_is_refused_before_anything_is_written(rows: list[tuple[float, ...]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1000CAT"):
        market.write_klines(tmp_path, CAT, "1h", [bar(0), *rows])
    assert not list(tmp_path.iterdir())


def test_damage_and_names_are_told(tmp_path: Path) -> None:
    market.write_klines(tmp_path, CAT, "1h", [bar(0)])
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(b"not parquet")
    with pytest.raises(ConfigError, match="delete the damaged file"):
        market.read_klines(tmp_path, CAT, "1h", START, FAR)
    with pytest.raises(ValueError, match="timeframe"):
        market.write_klines(tmp_path, CAT, "hourly", [])
    with pytest.raises(ValueError, match="unified symbol"):
        market.write_klines(tmp_path, Symbol("../../etc"), "1h", [bar(0)])
