"""`tandem scan --prices FILE`: what comes out of a file, and what a bad one is told."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner, Result
from statsmodels.tsa.stattools import coint

from domain.units import HOUR_MS
from flows.scan.cli import scan as scan_command

COLUMNS = [
    "y", "x", "n", "hedge_ratio", "intercept", "lag", "t_stat", "p_value", "q_value", "half_life", "hurst", "johansen_trace",
    "status", "kept", "reason",
]  # fmt: skip
START_MS = 1_704_067_200_000
BARS = 400


def _scan(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(scan_command, ["--prices", str(path), *arguments])


def _market(bars: int = BARS) -> dict[str, np.ndarray]:
    """A and B belong together; C and D walk alone."""
    rng = np.random.default_rng(11)
    a, c, d = (100 + np.cumsum(rng.normal(0, 0.5, bars)) for _ in range(3))
    noise = rng.normal(0, 1.5, bars)
    for t in range(1, bars):
        noise[t] += 0.6 * noise[t - 1]
    return {"A": a, "B": 5 + 1.5 * a + noise, "C": c, "D": d}


def _stamp(bar: int) -> str:
    return str(np.datetime64(START_MS + bar * HOUR_MS, "ms")) + "Z"


def _long(market: dict[str, np.ndarray], stamp: Callable[[int], str] = _stamp) -> list[str]:
    return [f"{name},{stamp(bar)},{price:.9f}" for name, prices in market.items() for bar, price in enumerate(prices)]


def _csv(folder: Path, rows: Iterable[str], header: str = "symbol,ts,close") -> Path:
    path = folder / "prices.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _read(path: Path) -> list[tuple[object, ...]]:
    return duckdb.sql(f"FROM '{path}'").fetchall()


@pytest.mark.parametrize("ending", ["parquet", "csv", "json"])
@pytest.mark.parametrize("space", ["levels", "logs"])
def test_one_row_a_direction_with_statsmodels_numbers(tmp_path: Path, ending: str, space: str) -> None:
    market = _market()
    out = tmp_path / f"found.{ending}"
    result = _scan(_csv(tmp_path, _long(market)), "--space", space, "--criterion", "aic", "--output", str(out))
    assert result.exit_code == 0, result.output
    assert [row[0] for row in duckdb.sql(f"DESCRIBE FROM '{out}'").fetchall()] == COLUMNS
    rows = {(row[0], row[1]): dict(zip(COLUMNS, row, strict=True)) for row in _read(out)}
    assert len(rows) == 12
    values = {name: np.log(prices.round(9)) if space == "logs" else prices.round(9) for name, prices in market.items()}
    for (y, x), row in rows.items():
        t_stat, p_value, _ = coint(values[y], values[x])
        assert row["t_stat"] == pytest.approx(t_stat, abs=1e-8)
        assert row["p_value"] == pytest.approx(p_value, abs=1e-9)
        assert row["n"] == BARS
        assert row["hedge_ratio"] == pytest.approx(np.polyfit(values[x], values[y], 1)[0], rel=1e-8)
        assert row["status"] in {"ok", "stationary_leg"}
        assert row["q_value"] is None if row["status"] != "ok" else row["q_value"] >= row["p_value"]
    kept = [direction for direction, row in rows.items() if row["kept"]]
    assert [set(direction) for direction in kept] == [{"A", "B"}]
    other = rows[kept[0][1], kept[0][0]]
    assert (other["kept"], other["reason"]) == (False, "other_direction")


def test_another_estimator_and_another_statistic(tmp_path: Path) -> None:
    market, plain, other = _market(), tmp_path / "plain.json", tmp_path / "other.json"
    prices = _csv(tmp_path, _long(market))
    assert _scan(prices, "--output", str(plain)).exit_code == 0
    asked = ("--hedge-estimator", "tls_levels", "--statistic", "johansen_confirmed")
    result = _scan(prices, *asked, "--output", str(other))
    assert result.exit_code == 0, result.output
    before, after = (
        {(row[0], row[1]): dict(zip(COLUMNS, row, strict=True)) for row in _read(path)} for path in (plain, other)
    )
    one, back = after["B", "A"]["hedge_ratio"], after["A", "B"]["hedge_ratio"]
    assert one * back == pytest.approx(1.0)
    for direction, row in after.items():
        assert row["t_stat"] == before[direction]["t_stat"]
        assert row["hedge_ratio"] != before[direction]["hedge_ratio"]
        assert row["p_value"] in {1.0, before[direction]["p_value"]}
    assert after["C", "D"]["p_value"] == 1.0
    bad = _scan(prices, "--hedge-estimator", "tls")
    assert bad.exit_code == 2
    assert "'ols_levels', 'tls_levels'" in bad.output


def test_parquet_and_csv_in_any_order_twice_over_say_the_same(tmp_path: Path) -> None:
    rows = _long(_market())
    shuffled = list(np.random.default_rng(1).permutation(rows + rows[:50]))
    first, second, third = (tmp_path / f"{n}.json" for n in range(3))
    assert _scan(_csv(tmp_path, rows), "--output", str(first)).exit_code == 0
    assert _scan(_csv(tmp_path, shuffled), "--output", str(second)).exit_code == 0
    duckdb.sql(f"COPY (FROM '{_csv(tmp_path, shuffled)}') TO '{tmp_path}/prices.parquet'")
    assert _scan(tmp_path / "prices.parquet", "--output", str(third)).exit_code == 0
    assert first.read_text() == second.read_text() == third.read_text()


@pytest.mark.parametrize(
    "stamp",
    [
        _stamp,
        lambda bar: _stamp(bar).rstrip("Z"),
        lambda bar: _stamp(bar + 2).replace("Z", "+02:00"),
        lambda bar: str(START_MS + bar * HOUR_MS),
        lambda bar: str((START_MS + bar * HOUR_MS) // 1000),
        str,
    ],
    ids=["zulu", "naive", "offset", "milliseconds", "seconds", "bar number"],
)
def test_every_way_to_write_a_time(tmp_path: Path, stamp: Callable[[int], str]) -> None:
    result = _scan(_csv(tmp_path, _long(_market(), stamp)), "--json", "--min-edge-ratio", "0")
    assert result.exit_code == 0, result.output
    best = json.loads(result.stdout)["rows"][0]
    assert ({best["y"], best["x"]}, best["reason"]) == ({"A", "B"}, "kept")


def test_what_is_unfit_has_a_status_and_touches_only_its_own_pairs(tmp_path: Path) -> None:
    market = _market()
    good = tmp_path / "good.json"
    assert _scan(_csv(tmp_path, _long(market)), "--output", str(good)).exit_code == 0
    n = np.arange(BARS)
    sick = {
        "CONSTANT": np.full(BARS, 5.0),
        "HALTED": np.where(n < 300, 7.0, market["C"]),
        "TWIN": 2 * market["A"] + 3,
        "ZERO": np.where(n == 9, 0.0, market["D"]),
        "NEGATIVE": np.where(n == 9, -1.0, market["D"]),
        "MISPRINT": np.where(n == 200, 1.2 * market["D"], market["D"]),
    }
    rows = _long({**market, **sick}) + _long({"SHORT": market["C"][:30]})
    rows += [row for row in _long({"GAPPY": market["D"] + 1}) if int(row[-1]) % 3]
    rows += ["NAN," + row.split(",", 1)[1].rsplit(",", 1)[0] + ",nan" for row in _long({"X": market["C"]})]
    out = tmp_path / "out.json"
    result = _scan(_csv(tmp_path, rows), "--output", str(out))
    assert result.exit_code == 0, result.output
    statuses = {(row["y"], row["x"]): row["status"] for row in json.loads(out.read_text())}
    assert statuses["A", "TWIN"] == "collinear"
    for name, status in {
        "CONSTANT": "constant", "HALTED": "halted", "ZERO": "unusable", "NEGATIVE": "unusable", "MISPRINT": "bad_print",
        "SHORT": "too_short", "NAN": "too_short", "GAPPY": "gappy",
    }.items():  # fmt: skip
        assert {statuses["A", name], statuses[name, "A"]} == {status}, name
    after = {(row["y"], row["x"]): row for row in json.loads(out.read_text())}
    for row in json.loads(good.read_text()):
        for name in ("t_stat", "p_value", "lag", "hedge_ratio", "half_life", "johansen_trace"):
            assert after[row["y"], row["x"]][name] == pytest.approx(row[name], rel=1e-9, abs=1e-12), name
    unranked = [row for row in after.values() if row["status"] not in {"ok", "stationary_leg"}]
    assert all(row["t_stat"] is row["p_value"] is row["q_value"] is row["lag"] is None for row in unranked)
    assert not any(row["kept"] for row in unranked)


def test_unequal_histories_meet_on_their_common_window(tmp_path: Path) -> None:
    market = _market()
    rows = [row for row in _long(market) if not (row.startswith("B,") and row < f"B,{_stamp(100)}")]
    rows = [row for row in rows if not (row.startswith("A,") and row >= f"A,{_stamp(380)}")]
    out = tmp_path / "out.json"
    assert _scan(_csv(tmp_path, rows), "--output", str(out)).exit_code == 0
    found = {(row["y"], row["x"]): row for row in json.loads(out.read_text())}
    assert found["A", "B"]["n"] == 280
    t_stat = coint(market["A"].round(9)[100:380], market["B"].round(9)[100:380])[0]
    assert found["A", "B"]["t_stat"] == pytest.approx(t_stat, abs=1e-8)
    assert found["C", "D"]["n"] == BARS


def test_a_file_of_nothing_but_short_series_says_so(tmp_path: Path) -> None:
    result = _scan(_csv(tmp_path, _long(_market(30))))
    assert result.exit_code == 1
    assert "12 too_short" in result.stdout


# One row, one story: header, rows -> what the one line says.
BAD: list[tuple[str, str, list[str], str]] = [
    ("no close", "symbol,ts,price", ["A,1,1"], "no column close; it has symbol, ts, price"),
    ("no ts", "symbol,close", ["A,1"], "no column ts"),
    ("one column", "ts", ["1"], "need columns symbol, ts, close"),
    ("empty", "symbol,ts,close", [], "no prices in it"),
    ("words", "symbol,ts,close", ["A,1,1", "A,2,dear"], "a close of A is 'dear'"),
    ("words, wide", "ts,A,B", ["1,one,2"], "a close of A is 'one'"),
    ("two closes", "symbol,ts,close", ["A,1704067200000,1", "A,1704067200000,2"], "two closes at 2024-01-01T00:00:00.000, 1 and 2"),
    ("no symbol", "symbol,ts,close", [",1,2", "A,1,2"], "1 rows have no symbol"),
    ("mixed zones", "symbol,ts,close", ["A,2024-01-01T01:00:00,1", "A,2024-01-01T02:00:00Z,2"], "mixed time zones: 1 of 2"),
    ("mixed forms", "symbol,ts,close", ["A,1704067200000,1", "A,2024-01-01T02:00:00Z,2"], "1 of 2 values of ts are numbers"),
    ("no time", "symbol,ts,close", ["A,yesterday,1"], "'yesterday' is not a time"),
    (
        "mixed intervals",
        "symbol,ts,close",
        [*(f"{name},{START_MS + 60_000 * n},{n + 1}" for name in "AB" for n in range(30)), *(f"C,{START_MS + 300_000 * n},1" for n in range(6))],
        "mixed intervals: C has a bar every 300 seconds, 2 others every 60",
    ),
    ("one symbol", "symbol,ts,close", ["A,1,1", "A,2,2"], "at least two symbols"),
]  # fmt: skip


@pytest.mark.parametrize(("story", "header", "rows", "message"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_file_gets_one_line_and_loses_nothing(
    tmp_path: Path, story: str, header: str, rows: list[str], message: str
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("what was there")
    result = _scan(_csv(tmp_path, rows, header), "--output", str(out))
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert out.read_text() == "what was there"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prices.txt", b"x"),
        ("prices.csv", b""),
        ("prices.csv", b"\x00\xff\x00garbage"),
        ("prices.parquet", b"PAR1 not really"),
        ("prices.csv", None),
    ],
)
def test_garbage_gets_one_line_and_code_2(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    result = _scan(path)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert str(path) in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lags-max", "200"], "--lags-max 200 is too many for 400 bars"),
        (["--q-max", "1"], "--q-max"),
        (["--holdout-share", "0.9"], "--holdout-share"),
        (["--quote-volume-usd-per-day-min", "5"], "a FILE has only closes"),
        (["--output", "no-such-folder/x.csv"], "there is no folder"),
        (["--symbol", "a", "--symbol", "B"], "--symbol a: there is none in "),
        (["--symbol", "BB", "--symbol", "A"], "did you mean B?"),
        (["--symbol", "A"], "at least two symbols, not 1"),
        (["--window-days", "5"], "--window-days: of a FILE all is taken"),
        (["--timeframe", "4h"], "--timeframe: of a FILE all is taken"),
        (["--symbols-max", "3"], "--symbols-max: of a FILE all is taken"),
    ],
)
def test_bad_options_get_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = _scan(_csv(tmp_path, _long(_market())), *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_of_a_file_only_the_symbols_that_are_named(tmp_path: Path) -> None:
    """The family is what was looked at: two directions, not twelve."""
    result = _scan(_csv(tmp_path, _long(_market())), "--symbol", "B", "--symbol", "A", "--symbol", "B", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["summary"].startswith("2 directions of 2 symbols")
    assert {frozenset((row["y"], row["x"])) for row in answer["rows"]} == {frozenset("AB")}
