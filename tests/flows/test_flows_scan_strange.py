"""`tandem scan --prices FILE` with what people really have: a status, or one line, and nothing half-written."""

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner, Result

from flows.scan.cli import scan as scan_command

BARS = 240
START_MS, HOUR_MS = 1_704_067_200_000, 3_600_000
Market = dict[str, np.ndarray]


def _scan(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(scan_command, ["--prices", str(path), *arguments])


def _told(result: Result) -> list[str]:
    """What stands on stderr, but for the progress that a slow machine shows."""
    return [line for line in result.stderr.splitlines() if not line.startswith("pairs: ")]


def _market() -> Market:
    rng = np.random.default_rng(12)
    return {name: 100 + np.cumsum(rng.normal(0, 0.5, BARS)) for name in "ABC"}


def _rows(market: Market) -> list[str]:
    return [
        f"{name},{START_MS + n * HOUR_MS},{float(p)!r}" for name, prices in market.items() for n, p in enumerate(prices)
    ]


def _file(folder: Path, rows: list[str], header: str = "symbol,ts,close") -> Path:
    path = folder / "prices.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


# One row, one story: what is done to symbol C's prices -> its status, whoever it is paired with.
SICK: list[tuple[str, Callable[[np.ndarray], np.ndarray], str]] = [
    ("1e155", lambda p: p * 1e155, "unusable"),
    ("1e300", lambda p: p * 1e300, "unusable"),
    ("1e-160", lambda p: p * 1e-160, "unusable"),
    ("denormal", lambda p: p * 1e-310, "unusable"),
    ("one infinity", lambda p: np.where(np.arange(BARS) == 7, np.inf, p), "unusable"),
    ("one minus infinity", lambda p: np.where(np.arange(BARS) == 7, -np.inf, p), "unusable"),
    ("all NaN", lambda _: np.full(BARS, np.nan), "too_short"),
    ("delisted at once", lambda p: np.where(np.arange(BARS) > 20, np.nan, p), "too_short"),
    ("halted at half", lambda p: np.where(np.arange(BARS) > 90, p[90], p), "halted"),
]


@pytest.mark.parametrize(("story", "make", "status"), SICK, ids=[row[0] for row in SICK])
def test_a_sick_symbol_has_a_status_and_spoils_nothing_else(
    tmp_path: Path, story: str, make: Callable[[np.ndarray], np.ndarray], status: str
) -> None:
    market = _market()
    out = tmp_path / "out.json"
    assert _scan(_file(tmp_path, _rows(market)), "--output", str(out)).exit_code in {0, 1}
    before = {(row["y"], row["x"]): row for row in json.loads(out.read_text())}
    market["C"] = make(market["C"])
    result = _scan(_file(tmp_path, _rows(market)), "--output", str(out))
    assert result.exit_code in {0, 1}, result.output
    assert _told(result) == []
    rows = {(row["y"], row["x"]): row for row in json.loads(out.read_text())}
    assert {rows[pair]["status"] for pair in rows if "C" in pair} == {status}
    for pair in (("A", "B"), ("B", "A")):
        assert rows[pair]["status"] == before[pair]["status"]
        for name in ("n", "hedge_ratio", "lag", "t_stat", "p_value", "half_life", "hurst"):
            assert rows[pair][name] == pytest.approx(before[pair][name], rel=1e-9), name


# One row, one story: what is done to the bytes of a good file -> exit code, and what is said.
BYTES: list[tuple[str, Callable[[bytes], bytes], int, str]] = [
    ("byte order mark", lambda text: b"\xef\xbb\xbf" + text, 0, "6 directions of 3 symbols"),
    ("semicolons", lambda text: text.replace(b",", b";"), 0, "6 directions of 3 symbols"),
    ("carriage returns", lambda text: text.replace(b"\n", b"\r\n"), 0, "6 directions of 3 symbols"),
    (
        "capital headers",
        lambda text: text.replace(b"symbol,ts,close", b"Symbol,TS,Close"),
        0,
        "6 directions of 3 symbols",
    ),
    ("Latin-1", lambda text: text.replace(b"A,", b"\xc4,"), 2, "it is not UTF-8 text; save it as UTF-8"),
    ("UTF-16", lambda text: text.decode().encode("utf-16"), 2, "prices.csv"),
    ("a column too many", lambda text: text.replace(b"A,", b"A,1,", 3), 2, "prices.csv"),
    ("torn off", lambda text: text[:50], 2, "a scan needs at least two symbols"),
    ("an archive", lambda _: b"PK\x03\x04" + bytes(range(256)) * 8, 2, "prices.csv"),
]


@pytest.mark.parametrize(("story", "make", "code", "said"), BYTES, ids=[row[0] for row in BYTES])
def test_the_files_of_other_programs(
    tmp_path: Path, story: str, make: Callable[[bytes], bytes], code: int, said: str
) -> None:
    path = _file(tmp_path, _rows(_market()))
    path.write_bytes(make(path.read_bytes()))
    result = _scan(path)
    assert result.exit_code in ({0, 1} if code == 0 else {code}), result.output
    assert said in (result.stdout if code == 0 else result.stderr)
    assert len(_told(result)) == (0 if code == 0 else 1)


def test_names_are_only_names(tmp_path: Path) -> None:
    """Quotes, spaces, another alphabet, numbers: a symbol is what stands there."""
    market = _market()
    names = ["O'B\"x; DROP TABLE given", "币 安", "42"]
    rows = [
        (name, START_MS + n * HOUR_MS, float(price))
        for name, prices in zip(names, market.values(), strict=True)
        for n, price in enumerate(prices)
    ]
    path, out = tmp_path / "prices.parquet", tmp_path / "it's.json"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (symbol VARCHAR, ts BIGINT, close DOUBLE)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        connection.execute(f"COPY t TO '{path}'")
    assert _scan(path, "--output", str(out)).exit_code in {0, 1}
    assert {row["y"] for row in json.loads(out.read_text())} == set(names)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder.csv", "is a folder; name a file"),
        ("x.xlsx", "need a name that ends in .parquet, .csv or .json"),
        ("no/x.csv", "there is no folder"),
        ("/proc/x.csv", "cannot be written"),
    ],
)
def test_where_the_output_cannot_go_is_said_before_any_work(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    result = _scan(tmp_path / "not-there.csv", "--output", str(tmp_path / name))
    assert result.exit_code == 2
    assert message in result.stderr, "the missing prices would be the next complaint"
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["", "folder.csv"])
def test_a_folder_is_no_file_of_prices(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    result = _scan(tmp_path / name)
    assert result.exit_code == 2
    assert "is a folder; name a .parquet or .csv file of prices" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.csv"
    out.write_text("what was there")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    result = _scan(_file(tmp_path, _rows(_market())), "--output", str(out))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert out.read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "prices.csv"]


@pytest.mark.parametrize("name", ["prices.csv", "link.csv", "config.json", "pairs_config.json", "sectors.json"])
def test_the_output_never_writes_over_what_was_given(tmp_path: Path, name: str) -> None:
    path = _file(tmp_path, _rows(_market()))
    (tmp_path / "link.csv").symlink_to(path)
    for own in ("config.json", "pairs_config.json"):
        (tmp_path / own).write_text("mine")
    (tmp_path / "sectors.json").write_text('{"A": "l1"}')
    before = (tmp_path / name).read_bytes()
    given = ["--config", str(tmp_path / "config.json"), "--sectors", str(tmp_path / "sectors.json")]
    result = _scan(path, *given, "--output", str(tmp_path / name))
    assert result.exit_code == 2
    assert "would write over" in result.stderr
    assert len(_told(result)) == 1
    assert (tmp_path / name).read_bytes() == before


def test_an_output_that_is_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("what was there")
    link.symlink_to(real)
    assert _scan(_file(tmp_path, _rows(_market())), "--output", str(link)).exit_code in {0, 1}
    assert link.is_symlink()
    assert real.read_text().startswith("y,x,n,")


@pytest.mark.parametrize("name", ["prices[1].csv", "prices?.csv", "prices*.csv"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    _file(tmp_path, ["another,1,file"]).rename(tmp_path / "prices1.csv")
    path = _file(tmp_path, _rows(_market())).rename(tmp_path / name)
    assert "6 directions of 3 symbols" in _scan(path).stdout


# One row, one story: what is appended to a good file whose times are written as text or as numbers -> what the one line says.
TIMES: list[tuple[str, bool, list[str], str]] = [
    ("a word among zoned times", True, ["A,yesterday,1"], "'yesterday' is not a time"),
    ("no end of time", True, ["A,infinity,1"], "'infinity' is not a time"),
    ("one without a zone", True, ["A,2025-01-01T00:00:00,1"], "mixed time zones"),
    ("a huge number", False, [f"A,{10**30},1"], "1e+30, which is no time"),
    ("one bar between the others", False, [f"A,{START_MS + 7 * 60_000},1"], "mixed intervals"),
    ("a symbol between the others", False, [f"Z,{START_MS + n * HOUR_MS + 420_000},1" for n in range(BARS)],
     "Z has a bar at 2024-01-01T00:07:00.000, between the bars of the others"),
    ("a last bar that is too late", False, [f"A,{START_MS + BARS * HOUR_MS + 420_000},1"], "A has a bar at 2024-01-11T00:07:00.000, between"),
]  # fmt: skip


@pytest.mark.parametrize(("story", "is_text", "rows", "said"), TIMES, ids=[row[0] for row in TIMES])
def test_strange_times_get_one_line(tmp_path: Path, story: str, is_text: bool, rows: list[str], said: str) -> None:
    good = _rows(_market())
    if is_text:
        good = [
            f"{name},{np.datetime64(int(at), 'ms')}Z,{close}" for name, at, close in (row.split(",") for row in good)
        ]
    result = _scan(_file(tmp_path, good + rows))
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "LINE 1" not in result.stderr
    assert len(_told(result)) == 1


def test_days_of_23_and_25_hours_that_all_symbols_share_are_no_mistake(tmp_path: Path) -> None:
    rows = [
        f"{name},{START_MS + 24 * n * HOUR_MS + (HOUR_MS if 80 < n < 200 else 0)},{float(p)!r}"
        for name, prices in _market().items()
        for n, p in enumerate(prices)
    ]
    assert "6 directions of 3 symbols over 240 bars" in _scan(_file(tmp_path, rows)).stdout
