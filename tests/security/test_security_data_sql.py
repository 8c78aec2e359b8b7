"""Data that becomes code: a column's name, a file's name, a statement. Nothing but the file that was named is touched."""

import ast
import csv
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from security_folders import listing

import flows.backtest.cli
import flows.scan.cli
from domain.errors import ConfigError
from domain.symbols import Symbol
from paper.markets.timelines import open_timeline
from runner.commands.query import query
from storage import locked_duckdb, market
from storage.ledger import QueryRefused, read
from storage.recorder import drain_once
from storage.sql import identifier, literal

START_MS, HOUR_MS = 1_704_067_200_000, 3_600_000
ROOT = Path(__file__).parents[2]


def steal(folder: Path) -> str:
    """What an attacker appends: copy a secret out, and write a program."""
    return (
        f"COPY (SELECT content FROM read_text('{folder}/config.json')) TO '{folder}/stolen.txt' (HEADER false);"
        f" COPY (SELECT 'echo owned') TO '{folder}/owned.sh' (HEADER false); --"
    )


# One row, one story: the name of a column, given what it wants to run.
COLUMNS: list[tuple[str, Callable[[str], str]]] = [
    (
        "the reported one: out of its quotes and on",
        lambda sql: f'a" AS stamp, 1 AS symbol, 2 AS close FROM (SELECT 1 AS a)); {sql}',
    ),
    ("a quote and a statement", lambda sql: f'a"; {sql}'),
    ("a quote and a comment", lambda sql: f'a" --\n; {sql}'),
    ("an apostrophe", lambda sql: f"a'; {sql}"),
    ("a bracket", lambda sql: f"a]; {sql}"),
    ("a dollar quote", lambda sql: f"a$$; {sql}"),
    ("a line break", lambda sql: f'a\n"\n; {sql}'),
    ("a format field", lambda sql: "{0}{path}%s" + sql),
]
SHAPES: list[tuple[str, Callable[[str], list[str]]]] = [
    ("the time of a wide file", lambda name: [name, "BTC"]),
    ("a symbol of a wide file", lambda name: ["ts", name]),
    ("one column too many", lambda name: ["symbol", "ts", "close", name]),
    ("instead of the time", lambda name: ["symbol", name, "close"]),
]


def hostile_file(path: Path, header: list[str]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(header)
            writer.writerows([[str(START_MS + n * HOUR_MS), "2.5", "3.5", "1"][: len(header)] for n in range(3)])
        return
    values = ", ".join(f"{n + 1} AS {identifier(name)}" for n, name in enumerate(header))
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {values}) TO {literal(path)} (FORMAT parquet)")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("shape", [row[1] for row in SHAPES], ids=[row[0] for row in SHAPES])
@pytest.mark.parametrize("column", [row[1] for row in COLUMNS], ids=[row[0] for row in COLUMNS])
def test_the_name_of_a_column_runs_nothing(
    tmp_path: Path, column: Callable[[str], str], shape: Callable[[str], list[str]], suffix: str
) -> None:
    (tmp_path / "config.json").write_text('{"binance_api_secret": "s"}')
    prices = tmp_path / f"prices{suffix}"
    hostile_file(prices, shape(column(steal(tmp_path))))
    before = listing(tmp_path)
    for command in (flows.scan.cli.scan, flows.backtest.cli.backtest):
        result = CliRunner().invoke(command, ["--prices", str(prices), "--config", str(tmp_path / "config.json")])
        assert result.exit_code in {1, 2}, result.output
        assert isinstance(result.exception, SystemExit)
        assert len(result.stderr.splitlines()) == 1, "one line, whatever the name has in it"
    assert listing(tmp_path) == before


# One row, one story: a statement -> what is refused of it. {folder} is full of other people's files.
ESCAPES = [
    ("write a file", "COPY (SELECT 1) TO '{folder}/out.csv'"),
    ("write over the file itself", "COPY (SELECT 1) TO '{folder}/allowed.csv'"),
    ("read another file", "FROM read_csv('{folder}/secret.csv')"),
    ("read it as text", "FROM read_text('{folder}/secret.csv')"),
    ("read round a corner", "FROM read_text('{folder}/allowed.csv/../secret.csv')"),
    ("look what is there", "FROM glob('{folder}/*')"),
    ("attach a database", "ATTACH '{folder}/new.duckdb'"),
    ("export everything", "EXPORT DATABASE '{folder}/exported'"),
    ("install an extension", "INSTALL httpfs"),
    ("load one", "LOAD httpfs"),
    ("load a library", "LOAD '{folder}/secret.csv'"),
    ("fetch from the network", "FROM read_csv('http://127.0.0.1:9/x.csv')"),
    ("unlock", "SET lock_configuration = false"),
    ("open the doors again", "SET enable_external_access = true"),
    ("allow a folder", "SET allowed_directories = ['{folder}']"),
    ("spill elsewhere", "SET temp_directory = '{folder}/spill'"),
    ("log elsewhere", "SET log_query_path = '{folder}/log'"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("allowed", "secret"):
        (tmp_path / f"{name}.csv").write_text("a,b\n1,2\n")
    return tmp_path


@pytest.mark.parametrize("statement", [row[1] for row in ESCAPES], ids=[row[0] for row in ESCAPES])
def test_a_connection_to_one_file_does_nothing_else(folder: Path, statement: str) -> None:
    before = listing(folder)
    with locked_duckdb.in_memory(files=[folder / "allowed.csv"]) as connection:
        with pytest.raises(duckdb.Error):
            connection.execute(statement.format(folder=folder)).fetchall()
        name = locked_duckdb.file_name(folder / "allowed.csv")
        assert connection.execute(f"FROM read_csv({name})").fetchall() == [(1, 2)]
    assert listing(folder) == before


@pytest.mark.parametrize("statement", [row[1] for row in ESCAPES], ids=[row[0] for row in ESCAPES])
def test_a_query_does_nothing_but_read_the_ledger(folder: Path, statement: str) -> None:
    config = folder / "config.json"
    config.write_text("{}")
    ledger = folder / "var" / "ledger.duckdb"
    assert drain_once(folder / "var" / "journal.sqlite", folder / "var" / "flows.sqlite", ledger)
    before = listing(folder)
    with pytest.raises(ConfigError):
        query.main(["--config", str(config), statement.format(folder=folder)], standalone_mode=False)
    assert listing(folder) == before


def test_a_query_has_a_time_limit_and_says_so(tmp_path: Path) -> None:
    ledger = tmp_path / "var" / "ledger.duckdb"
    assert drain_once(tmp_path / "var" / "journal.sqlite", tmp_path / "var" / "flows.sqlite", ledger)
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) AS a, range(10000000) AS b"
    started = time.monotonic()
    with pytest.raises(QueryRefused, match=r"took longer than 0\.3 s and was stopped"):
        read(ledger, endless, seconds=0.3)
    many = "SELECT range, range::VARCHAR FROM range(300000000)"
    with pytest.raises(QueryRefused, match=r"took longer than 0\.3 s|emory"):
        read(ledger, many, seconds=0.3)
    assert time.monotonic() - started < 30
    assert read(ledger, "SELECT 1").rows == [(1,)], "and the next one is answered"


def test_a_recording_is_read_and_nothing_else(folder: Path) -> None:
    recording = folder / "rec'ording.csv"
    recording.write_text("symbol,ts\nBTC,1\n")
    with pytest.raises(ValueError, match="needs the columns"):
        open_timeline(recording)
    (folder / "database.duckdb").write_text("")
    with pytest.raises(ValueError, match="cannot be read"):
        open_timeline(folder / "database.duckdb")


def test_the_market_store_sees_nothing_outside_its_folder(tmp_path: Path) -> None:
    root, symbol = tmp_path / "market", Symbol("BTC/USDT:USDT")
    market.write_klines(root, symbol, "1h", [(START_MS, 1.0, 1.0, 1.0, 1.0, 1.0)])
    (tmp_path / "elsewhere.parquet").write_bytes(
        next(market.klines_folder(root, symbol, "1h").glob("*.parquet")).read_bytes()
    )
    link = market.klines_folder(root, symbol, "1h") / "2030-01.parquet"
    link.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(ConfigError, match="cannot be read"):
        market.read_klines(root, symbol, "1h", START_MS, 2_000_000_000_000)


def test_a_pattern_in_the_name_of_a_file_means_that_file(tmp_path: Path) -> None:
    named, answers_to_it = tmp_path / "pr[1]*?'.csv", tmp_path / "pr1x?'.csv"
    named.write_text("a,b\n1,2\n")
    answers_to_it.write_text("a,b\n3,4\n")
    with locked_duckdb.in_memory(files=[named]) as connection:
        assert connection.execute(f"FROM read_csv({locked_duckdb.file_name(named)})").fetchall() == [(1, 2)]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(deadline=None)
@given(NAMES)
def test_any_name_is_a_name_and_any_text_a_text(name: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        cursor = connection.execute(f"SELECT {literal(name)} AS {identifier(name)}")
        assert cursor.description[0][0] == name
        assert cursor.fetchall() == [(name,)]
    connection.close()
    with duckdb.connect() as other:
        answer = other.execute(f"SELECT {literal(name)} AS {identifier(name)}")
        assert answer.description[0][0] == name
        assert answer.fetchall() == [(name,)]


def test_a_zero_byte_is_refused() -> None:
    for spell in (identifier, literal):
        with pytest.raises(ValueError, match="zero byte"):
            spell("a\0; DROP TABLE entries")


def test_there_is_one_place_where_duckdb_is_opened_and_one_where_files_are_replaced() -> None:
    """A new connection beside these would know nothing of what is said above."""
    elsewhere = []
    for package in ("domain", "storage", "runner", "flows"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                called = f"{ast.unparse(node.func.value)}.{node.func.attr}"
                allowed = {
                    "duckdb.connect": "locked_duckdb.py",
                    "os.fsync": "files.py",
                    "os.rename": "",
                    "os.replace": "",
                }
                if called in allowed and path.name != allowed[called]:
                    elsewhere.append(f"{path.relative_to(ROOT)}: {called}")
    assert elsewhere == []
