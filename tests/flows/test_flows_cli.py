"""The commands: what they print, what they write, and their exit codes. No Prefect anywhere near."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from flows_project import write_project

from flows.common.commands import speaking
from runner.commands.group import ENTRY_POINTS
from runner.config import load_settings
from storage import ledger


def _tandem(command: str, *arguments: str) -> Result:
    """By its entry point, as `tandem` finds it."""
    (point,) = entry_points(group=ENTRY_POINTS, name=command)
    return CliRunner().invoke(point.load(), [*arguments])


def _at(project: tuple[Path, Path]) -> list[str]:
    return ["--config", str(project[0]), "--pairs", str(project[1])]


def test_recalibrate_prints_a_row_a_pair_and_fills_the_ledger(project: tuple[Path, Path]) -> None:
    result = _tandem("recalibrate", *_at(project), "--window-days", "20", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [row["decision"] for row in answer["rows"]] == ["updated", "retired"]
    table = ledger.read(load_settings(project[0]).storage.ledger, "SELECT count(*) FROM calibrations")
    assert table.rows == [(2,)]


def test_reconcile_of_an_untouched_account_matches(project: tuple[Path, Path]) -> None:
    result = _tandem("reconcile", *_at(project), "--settle-seconds", "0")
    assert result.exit_code == 0, result.output
    assert "match" in result.stdout
    table = ledger.read(load_settings(project[0]).storage.ledger, "SELECT verdict FROM reconciliations")
    assert table.rows == [("match",)]


def test_reconcile_without_an_exchange_is_incomplete_never_a_match(tmp_path: Path) -> None:
    project = write_project(tmp_path, "http://127.0.0.1:1")
    result = _tandem("reconcile", *_at(project), "--settle-seconds", "0")
    assert result.exit_code == 1
    assert "incomplete: the exchange cannot be read" in result.stdout


def test_health_is_red_without_a_runner_and_green_when_it_need_not_run(project: tuple[Path, Path]) -> None:
    red = _tandem("health", *_at(project))
    assert red.exit_code == 1
    assert "failed: runner" in red.stdout
    fine = _tandem("health", *_at(project), "--stopped-is-fine", "--json")
    statuses = {row["probe"]: row["status"] for row in json.loads(fine.stdout)["rows"]}
    assert statuses["runner"] == statuses["exchange"] == statuses["pairs file"] == "ok"
    table = ledger.read(load_settings(project[0]).storage.ledger, "SELECT count(DISTINCT run_id) FROM health_checks")
    assert table.rows == [(2,)]


def test_backtest_trades_the_cointegrated_pair(project: tuple[Path, Path]) -> None:
    result = _tandem("backtest", *_at(project), "--days", "0.3", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    by_name = {row["name"]: row for row in answer["pairs"]}
    assert by_name["LTC_BCH"]["trades"] > 0
    assert answer["total"]["net_usd"] == pytest.approx(
        answer["total"]["gross_usd"] - answer["total"]["fees_usd"] + answer["total"]["funding_usd"]
    )
    again = _tandem("backtest", *_at(project), "--days", "0.2", "--no-fetch")
    assert again.exit_code == 0
    assert "not rounded" in again.stdout


def test_scan_finds_the_true_pair_among_decoys(project: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "found.csv"
    names = ("LTC/USDT", "BCH/USDT", "NEAR/USDT", "AVAX/USDT")
    options = [part for name in names for part in ("--symbol", name)]
    before = project[1].read_bytes()
    result = _tandem(
        "scan",
        "--config",
        str(project[0]),
        *options,
        "--window-days",
        "60",
        "--leg-p-min",
        "0",
        "--output",
        str(out),
        "--json",
    )
    assert result.exit_code == 0, result.output
    best = json.loads(result.stdout)["rows"][0]
    assert {best["y"], best["x"]} == {"LTC/USDT:USDT", "BCH/USDT:USDT"}
    assert best["q_value"] < 0.05
    assert len(out.read_text().splitlines()) == 1 + 12
    assert project[1].read_bytes() == before


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("recalibrate", ["--p-value-max", "7"], "--p-value-max"),
        ("recalibrate", ["--timeframe", "hourly"], "--timeframe"),
        ("recalibrate", ["--window-days", "nan"], "--window-days"),
        ("recalibrate", ["--max-turnover", "-1"], "--max-turnover"),
        ("recalibrate", ["--universe", "all"], "--universe"),
        ("recalibrate", ["--universe", "listed", "--only", "LTC_BCH"], "--only names pairs of the file"),
        ("reconcile", ["--tolerance", "-1"], "--tolerance"),
        ("backtest", ["--days", "0"], "--days"),
        ("backtest", ["--only", "NOPE"], "no pair is called NOPE"),
        ("scan", ["--symbol", "BTC"], "BTC"),
        ("scan", ["--output", "x.exe"], "--output"),
        ("health", ["--config", "missing.json"], "no such file"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    project: tuple[Path, Path], command: str, arguments: list[str], message: str
) -> None:
    where = _at(project) if command != "scan" else ["--config", str(project[0])]
    result = _tandem(command, *where, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_commands_never_load_prefect(project: tuple[Path, Path]) -> None:
    """The heaviest import of all, and a server's settings with it."""
    script = (
        "import sys; from flows.health.cli import health\n"
        "try: health.main(sys.argv[1:], prog_name='health')\n"
        "except SystemExit: pass\n"
        "import flows.backtest.job, flows.recalibrate.job, flows.scan.job, flows.reconcile.job\n"
        "assert 'prefect' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *_at(project)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "problem",
    [KeyboardInterrupt(), RuntimeError("Query interrupted")],
    ids=["between queries", "in a query of DuckDB's"],
)
def test_an_interrupt_is_one_line_and_code_1(problem: BaseException) -> None:
    @click.command()
    @speaking
    def work() -> int:
        raise problem

    result = CliRunner().invoke(work)
    assert (result.exit_code, result.stderr) == (1, "tandem work: interrupted; what was recorded stays\n")


def test_any_other_error_is_not_taken_for_an_interrupt() -> None:
    @click.command()
    @speaking
    def work() -> int:
        raise RuntimeError("something else")

    assert str(CliRunner().invoke(work).exception) == "something else"
