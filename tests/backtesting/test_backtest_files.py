"""Files of prices and funding: what they may look like, and one clear line for each thing that is wrong with one."""

from pathlib import Path

import numpy as np
import pytest
from backtest_worlds import MINUTE, START_MS, symbol

from domain.errors import ConfigError
from flows.backtest.engine.files import read_funding, read_prices

T0, T1, T2 = "2025-05-05T00:00:00Z", "2025-05-05T00:01:00Z", "2025-05-05T00:02:00Z"


def written(folder: Path, text: str, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    return path


def test_klines_long_form_in_any_order(tmp_path: Path) -> None:
    """Names as the exchange or a person writes them; the same row twice is one; a missing number is a missing bar."""
    path = written(
        tmp_path,
        f"""symbol,ts,open,high,low,close,volume
        ETH/USDT,{T1},5,9,1,6,1
        BTCUSDT,{T2},3,9,1,4,1
        BTCUSDT,{T0},1,9,1,2,1
        BTCUSDT,{T0},1,9,1,2,1
        ETH/USDT,{T2},,9,1,7,1
        ETH/USDT,{T0},4,9,1,5,1
        ETH/USDT,2025-05-05T00:03:00Z,6,9,1,7,1""",
    )
    bars, quotes = read_prices(path, step_ms=999)
    assert quotes is None
    assert bars.symbols == (symbol("BTC"), symbol("ETH"))
    assert (bars.first_bar * bars.step_ms, bars.step_ms) == (START_MS, MINUTE)
    assert bars.opens is not None
    np.testing.assert_array_equal(bars.opens, [[1, 4], [np.nan, 5], [3, np.nan], [np.nan, 6]])
    np.testing.assert_array_equal(bars.closes, [[2, 5], [np.nan, 6], [4, np.nan], [np.nan, 7]])


def test_closes_alone(tmp_path: Path) -> None:
    bars, _ = read_prices(written(tmp_path, f"symbol,ts,close\nBTCUSDT,{T0},1\nBTCUSDT,{T1},2"), step_ms=MINUTE)
    assert bars.opens is None


@pytest.mark.parametrize("time", ["ts", "E_ms"])
def test_quotes_keep_the_file_s_order_within_a_millisecond(tmp_path: Path, time: str) -> None:
    """`E_ms` is what a recording for the paper exchange calls it."""
    path = written(
        tmp_path,
        f"""symbol,{time},bid,ask
        ETHUSDT,{START_MS + 5},10,11
        BTCUSDT,{START_MS + 5},20,21
        ETHUSDT,{START_MS + 5},12,13
        BTCUSDT,{START_MS + 1},30,31
        BTCUSDT,{START_MS + MINUTE},40,42""",
    )
    bars, quotes = read_prices(path, step_ms=MINUTE)
    assert quotes is not None
    assert quotes.bid.tolist() == [30, 10, 20, 12, 40]
    assert [quotes.symbols[place] for place in quotes.place][:2] == [symbol("BTC"), symbol("ETH")]
    np.testing.assert_array_equal(bars.closes, [[20.5, 12.5], [41, np.nan]])


def test_funding(tmp_path: Path) -> None:
    path = written(tmp_path, f"symbol,ts,funding_rate\nBTCUSDT,{T1},0.001\nBTCUSDT,{T0},-0.002")
    assert read_funding(path) == {symbol("BTC"): [(START_MS, -0.002), (START_MS + MINUTE, 0.001)]}


BAD = {
    "no such file": (None, "no such file"),
    "neither klines nor quotes": (f"symbol,ts,price\nBTCUSDT,{T0},1", "need columns close or bid and ask"),
    "no symbol": (f"ts,close\n{T0},1", "no column symbol"),
    "no time": ("symbol,close\nBTCUSDT,1", "no column ts"),
    "empty": ("symbol,ts,close", "there is nothing in it"),
    "a name that is none": (
        f"symbol,ts,close\nBTC-PERP,{T0},1\nBTC-PERP,{T1},1",
        "'BTC-PERP' is not a linear perpetual",
    ),
    "words for numbers": (f"symbol,ts,close\nBTCUSDT,{T0},much", "close of BTCUSDT is 'much', which is not a number"),
    "zero": (
        f"symbol,ts,close\nBTCUSDT,{T0},1\nBTCUSDT,{T1},0",
        "close of BTCUSDT at 2025-05-05T00:01:00.000 is 0, which is no price",
    ),
    "negative": (f"symbol,ts,open,close\nBTCUSDT,{T0},-1,1\nBTCUSDT,{T1},1,1", "open of BTCUSDT"),
    "two bars": (
        f"symbol,ts,close\nBTCUSDT,{T0},1\nBTCUSDT,{T0},2\nBTCUSDT,{T1},2",
        "two bars at 2025-05-05T00:00:00.000; keep one",
    ),
    "mixed intervals": (
        f"symbol,ts,close\nBTCUSDT,{T0},1\nBTCUSDT,{T1},1\nBTCUSDT,{T2},1\nETHUSDT,{T0},1\nETHUSDT,{T2},1\nETHUSDT,2025-05-05T00:04:00Z,1",
        "mixed intervals: BTCUSDT has a bar every 60 s, ETHUSDT every 120 s",
    ),
    "off the grid": (
        f"symbol,ts,close\nBTCUSDT,{T0},1\nBTCUSDT,{T1},1\nBTCUSDT,2025-05-05T00:02:30Z,1\nBTCUSDT,2025-05-05T00:03:30Z,1",
        "off the grid of 60 s",
    ),
    "one bar": (f"symbol,ts,close\nBTCUSDT,{T0},1", "no symbol has two bars"),
    "mixed time zones": (f"symbol,ts,close\nBTCUSDT,{T0},1\nBTCUSDT,2025-05-05T00:01:00,1", "mixed time zones"),
    "not a time": ("symbol,ts,close\nBTCUSDT,17,1\nBTCUSDT,18,1", "17 is not a time"),
    "nothing whole": (f"symbol,ts,close\nBTCUSDT,{T0},NaN", "no row of it has all of close"),
    "crossed": (f"symbol,ts,bid,ask\nBTCUSDT,{T0},2,1", "a bid of 2 above its ask of 1"),
    "milliseconds": (
        f"symbol,ts,close\nBTCUSDT,{START_MS},1\nBTCUSDT,{START_MS + 5},1",
        "give them as symbol, ts, bid, ask",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    path = tmp_path / "none.csv" if text is None else written(tmp_path, text)
    with pytest.raises(ConfigError) as problem:
        read_prices(path, step_ms=MINUTE)
    assert message in str(problem.value)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"symbol,ts,close\nBTCUSDT,{T0},1", "no column rate"),
        (f"symbol,ts,rate\nBTCUSDT,{T0},0.1\nBTCUSDT,{T0},0.2", "two rates"),
        (f"symbol,ts,rate\nBTCUSDT,{T0},-5", "rate of BTCUSDT is -5; need a fraction of the notional"),
    ],
)
def test_a_bad_file_of_funding(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_funding(written(tmp_path, text))


def test_not_a_parquet_file(tmp_path: Path) -> None:
    path = written(tmp_path, "nonsense", "prices.parquet")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prices(path, step_ms=MINUTE)
    with pytest.raises(ConfigError, match=r"need a \.parquet or \.csv file"):
        read_prices(written(tmp_path, "x", "prices.txt"), step_ms=MINUTE)
