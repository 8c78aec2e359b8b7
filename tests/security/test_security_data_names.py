"""Hostile names fed to every command that takes one: an answer or one clear line, and nothing changed outside the project's own state."""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from security_folders import listing

from domain.symbols import Symbol
from runner.__main__ import exit_code_of
from storage import market
from storage.recorder import drain_once

START_MS, HOUR_MS, BARS = 1_704_067_200_000, 3_600_000, 30

PIECES = [
    *(
        "'",
        '"',
        "''",
        '"";',
        "; COPY (SELECT 1) TO 'owned.csv'; --",
        "; ATTACH 'x.duckdb'; --",
        "') --",
        "$$",
        "/*",
        "*/",
    ),
    *(
        "../",
        "../../etc/passwd",
        "/",
        "\\",
        ".",
        "..",
        "~",
        "|touch owned",
        "$(touch owned)",
        "`touch owned`",
        "%s",
        "{0}",
    ),
    *(
        "\n",
        "\r",
        "\t",
        "\x1b[2J",
        "\u202e",
        "\u2028",
        "\x00",
        "\udcff",
        "é",
        "日本",
        "\U0001f600",
        "NULL",
        "BTC/USDT",
        "*",
        "[a]",
        "[/a]",
    ),
]
NAMES = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
    st.text(min_size=1, max_size=40),
)


def no_zero_byte(name: str) -> bool:
    return "\0" not in name  # Nothing on a command line can hold one.


def writable(name: str) -> bool:
    """What a text file can hold."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def prices(folder: Path, header: list[str], symbol: str) -> str:
    path = folder / "prices.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(header)
        for n in range(BARS):
            for name in (symbol, "LTC/USDT"):
                writer.writerow([name, str(START_MS + n * HOUR_MS), str(100 + n % 7), "1"][: len(header)])
    return str(path)


# One row, one story: the command's arguments, given its folder and a name.
ARGUMENTS: list[tuple[str, Callable[[Path, str], list[str]]]] = [
    (
        "a symbol asked for",
        lambda f, n: ["scan", "--prices", prices(f, ["symbol", "ts", "close"], "A"), f"--symbol={n}"],
    ),
    ("a pair asked for", lambda _, n: ["recalibrate", f"--only={n}"]),
    ("a pair to test", lambda f, n: ["backtest", "--prices", prices(f, ["symbol", "ts", "close"], "A"), f"--only={n}"]),
    ("a statement", lambda _, n: ["query", "--", n]),
    ("a table", lambda _, n: ["query", "--", f"select * from {n}"]),
    ("a text", lambda _, n: ["query", "--", f"select '{n}'"]),
    ("a trade", lambda _, n: ["trade", "--", n]),
    ("a pair to close", lambda _, n: ["flatten", "--", n]),
    ("a version", lambda _, n: ["config", "restore", "--", n]),
    ("two versions", lambda _, n: ["config", "diff", "--", n, n]),
    ("a configuration", lambda f, n: ["health", f"--config={f / 'sub' / n}"]),
    ("pairs", lambda f, n: ["config", "history", f"--pairs={f / 'sub' / n}"]),
    ("a file of prices", lambda f, n: ["scan", f"--prices={f / 'sub' / n}.csv"]),
    ("a file of sectors", lambda f, n: ["scan", "--prices", "none.csv", f"--sectors={f / 'sub' / n}"]),
]
FILES: list[tuple[str, Callable[[Path, str], list[str]]]] = [
    ("symbols to scan", lambda f, n: ["scan", "--prices", prices(f, ["symbol", "ts", "close"], n)]),
    ("columns to scan", lambda f, n: ["scan", "--prices", prices(f, [n, "ts", "close"], "A")]),
    ("symbols to test", lambda f, n: ["backtest", "--prices", prices(f, ["symbol", "ts", "close"], n)]),
    ("columns to test", lambda f, n: ["backtest", "--prices", prices(f, ["symbol", "ts", "close", n], "A")]),
    ("pairs of the file", lambda f, n: ["recalibrate", "--pairs", pairs(f, n, "LTC/USDT")]),
    ("legs of the file", lambda f, n: ["recalibrate", "--pairs", pairs(f, "A_B", n)]),
]


def pairs(folder: Path, pair_id: str, leg: str, *, name: str = "named.json") -> str:
    path = folder / name
    row = {"pair_id": pair_id, "leg_a": leg, "leg_b": "BCH/USDT", "hedge_ratio": 1.0}
    path.write_text(json.dumps({"pairs": [row]}))
    return str(path)


@contextlib.contextmanager
def project() -> Iterator[Path]:
    """A folder with a project in it, a secret beside it, and a ledger; the current folder meanwhile."""
    with TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name) / "project"
        (folder / "sub").mkdir(parents=True)
        (Path(name) / "secret").write_text("of another program")
        (folder / "config.json").write_text(
            json.dumps(
                {"data": {"rest_url": "http://127.0.0.1:9", "stream_url": "ws://127.0.0.1:9"}, "control": {"port": 9}}
            )
        )
        pairs(folder, "LTC_BCH", "LTC/USDT", name="pairs_config.json")
        assert drain_once(*(folder / "var" / file for file in ("journal.sqlite", "flows.sqlite", "ledger.duckdb")))
        with contextlib.chdir(folder):
            yield folder


def outside(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """All that no name may change: everything but the project's state and the files that the test itself writes."""
    ours = ("project/var", "project/prices.csv", "project/named.json")
    return {name: found for name, found in listing(folder.parent).items() if not name.startswith(ours)}


def check(folder: Path, make: Callable[[Path, str], list[str]], name: str) -> None:
    before = outside(folder)
    errors, answer = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(answer):
        try:
            code = exit_code_of(make(folder, name))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    told = errors.getvalue()
    assert code in {0, 1, 2}, told
    assert "unexpected" not in told.replace("unexpected extra", ""), told
    assert "Traceback" not in told
    shown = told + answer.getvalue()
    assert all(letter.isprintable() or letter == "\n" for letter in shown), "nothing that a terminal obeys"
    assert outside(folder) == before


@pytest.mark.parametrize("make", [row[1] for row in ARGUMENTS], ids=[row[0] for row in ARGUMENTS])
def test_a_hostile_argument(make: Callable[[Path, str], list[str]]) -> None:
    @settings(max_examples=15, deadline=None)
    @given(NAMES.filter(no_zero_byte))
    def each(name: str) -> None:
        check(folder, make, name)

    with project() as folder:
        each()


@pytest.mark.parametrize("make", [row[1] for row in FILES], ids=[row[0] for row in FILES])
def test_a_hostile_name_in_a_file(make: Callable[[Path, str], list[str]]) -> None:
    @settings(max_examples=10, deadline=None)
    @given(NAMES.filter(writable))
    def each(name: str) -> None:
        check(folder, make, name)

    with project() as folder:
        each()


def test_text_in_the_ledger_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    with project():
        assert exit_code_of(["query", "select 'a' || chr(27) || '[2J' || chr(8238) || '[/b][link=x]c' as \"[d]\""]) == 0
    shown = capsys.readouterr().out
    assert r"a\x1b[2J\u202e[/b][link=x]c" in shown
    assert "[d]" in shown


@settings(deadline=None)
@given(NAMES, NAMES)
def test_no_name_leads_out_of_the_market_store(symbol: str, timeframe: str) -> None:
    with TemporaryDirectory() as name:
        root = Path(name) / "market"
        for wrong_symbol, frame in ((symbol, "1h"), ("BTC/USDT:USDT", timeframe), (symbol, timeframe)):
            with pytest.raises(ValueError, match="is not a"):
                market.write_klines(root, Symbol(wrong_symbol), frame, [(START_MS, 1.0, 1.0, 1.0, 1.0, 1.0)])
        assert not list(Path(name).iterdir())


@pytest.mark.parametrize("name", ["nothing", "-", "A-B-C-D", "..", "a b-c-d", "BTC-USDT-USDT\n", "x;y-z-w"])
def test_a_folder_that_is_no_symbol_is_passed_over(tmp_path: Path, name: str) -> None:
    for folder in (name, "LTC-USDT-USDT"):
        (tmp_path / "klines" / "1h" / folder).mkdir(parents=True, exist_ok=True)
    assert market.stored_symbols(tmp_path, "1h") == ["LTC/USDT:USDT"]
