"""The tandem command in processes of its own: help that imports nothing heavy, and one clear line for bad input."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.__main__ import exit_code_of
from runner.commands import group

ROOT = Path(__file__).parents[2]
PAIRS = {
    "pairs": [
        {"pair_id": "A_B", "leg_a": "AAA/USDT", "leg_b": "BBB/USDT", "hedge_ratio": 0.7, "z_score_threshold": 2.0}
    ]
}


def tandem(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TANDEM_", "BINANCE_"))}
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"control": {"port": 0}}))
    (tmp_path / "pairs_config.json").write_text(json.dumps(PAIRS))
    return tmp_path


def test_help_lists_every_command_and_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from runner.__main__ import exit_code_of; code = exit_code_of(['--help']);"
        "heavy = {'ccxt', 'duckdb', 'prefect', 'pandas', 'aiohttp', 'numpy', 'pydantic'} & set(sys.modules);"
        "print(sorted(heavy), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "[] 0"
    names = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    wanted = ["run", "status", "pause", "resume", "flatten", "reload", "trade", "query"]
    assert [name for name in names if name in wanted] == wanted


def test_the_live_process_loads_neither_duckdb_nor_what_computes() -> None:
    """What the import contract promises, seen in a process that has loaded all that `tandem run` does."""
    code = (
        "import sys, runner.bot, runner.commands.run, runner.control;"
        "print(sorted({'duckdb', 'prefect', 'pandas', 'numba', 'scipy', 'statsmodels'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["[]"]


HELP_OF_ALL = """
import sys
from importlib.metadata import EntryPoint
import click
from runner.__main__ import exit_code_of
from runner.commands import group
from runner.commands.group import tandem
HEAVY = {"aiohttp", "ccxt", "duckdb", "matplotlib", "numba", "numpy", "pandas", "prefect", "rich", "scipy", "statsmodels", "websockets"}
words = []
context = click.Context(tandem)
for name in tandem.list_commands(context):
    command = tandem.get_command(context, name)
    words += [[name], *([name, one] for one in getattr(command, "commands", ()))]
for line in words:
    code = exit_code_of([*line, "--help"])
    print("RESULT", " ".join(line), code, sorted(HEAVY & set(sys.modules)))
"""


def test_no_commands_help_imports_what_computes_or_serves() -> None:
    """In one process, so the first command that is named with a module is the one that imports it."""
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    told = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    names = {line.split()[0] for line in told}
    assert names >= {
        "run",
        "query",
        "up",
        "exchange",
        "recalibrate",
        "config",
        "scan",
        "backtest",
        "health",
        "reconcile",
    }
    assert [line for line in told if not line.endswith(" 0 []")] == []


def test_a_new_command_is_listed_with_the_first_line_of_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    new = EntryPoint(name="report", value="flows.scan.cli:scan", group=group.ENTRY_POINTS)
    monkeypatch.setattr(group, "entry_points", lambda **given: [new] if given.get("name", "report") == "report" else [])
    listed = CliRunner().invoke(group.tandem, ["--help"]).stdout
    assert re.search(r"  report +Scan: cointegrated pairs among all symbols", listed)


@pytest.mark.parametrize("name", ["run", "status", "pause", "resume", "flatten", "reload", "trade", "query"])
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of([name, "--help"]) == 0
    assert "--config" in capsys.readouterr().out


BAD_USAGE: list[tuple[str, list[str], dict[str, str], str]] = [
    ("no such command", ["fly"], {}, "No such command 'fly'"),
    ("no such option", ["status", "--fast"], {}, "No such option"),
    ("no such file", ["run", "--config", "missing.json"], {}, "missing.json: no such file"),
    ("no such pairs file", ["run", "--pairs", "missing.json"], {}, "missing.json: no such file"),
    ("unknown variable", ["run"], {"TANDEM_SIGNAL__LOKBACK": "3"}, "TANDEM_SIGNAL__LOKBACK"),
    ("not a number", ["run"], {"TANDEM_SIGNAL__LOOKBACK_BARS": "many"}, "TANDEM_SIGNAL__LOOKBACK_BARS"),
    ("a log file nowhere", ["run"], {"TANDEM_LOG_FILE": "config.json/log"}, "TANDEM_LOG_FILE"),
    ("both formats", ["query", "select 1", "--json", "--csv"], {}, "exclude each other"),
]


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"), [row[1:] for row in BAD_USAGE], ids=[row[0] for row in BAD_USAGE]
)
def test_bad_usage_is_exit_2_and_nothing_started(
    folder: Path, arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    done = tandem(folder, *arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "var").exists()


BAD_FILES: list[tuple[str, str, str, str]] = [
    ("unknown key", "config.json", '{"signals": {}}', "signals: unknown key (did you mean signal?)"),
    ("wrong type", "config.json", '{"signal": {"lookback_bars": "60"}}', "signal.lookback_bars"),
    ("not JSON", "config.json", "{", "not valid JSON"),
    ("a pair of one symbol", "pairs_config.json", json.dumps(PAIRS).replace("BBB", "AAA"), "the same symbol"),
    ("a hedge ratio of nothing", "pairs_config.json", json.dumps(PAIRS).replace("0.7", "0"), "hedge_ratio must be"),
    ("not a number", "pairs_config.json", json.dumps(PAIRS).replace("0.7", "NaN"), "pairs_config.json"),
]


@pytest.mark.parametrize(
    ("name", "text", "expected"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES]
)
def test_a_bad_file_is_one_line_that_names_it(folder: Path, name: str, text: str, expected: str) -> None:
    (folder / name).write_text(text)
    done = tandem(folder, "run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tandem: {name}: ")
    assert expected in line
    assert not (folder / "var").exists()


@pytest.mark.parametrize(
    ("arguments", "port"), [(["status"], "0"), (["status"], "1"), (["flatten", "A_B"], "1"), (["reload"], "0")]
)
def test_without_a_runner_the_remedy_is_named(folder: Path, arguments: list[str], port: str) -> None:
    done = tandem(folder, *arguments, TANDEM_CONTROL__PORT=port)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "start one with 'tandem run' or 'make up'" in line


def test_a_query_without_a_ledger_is_one_line(folder: Path) -> None:
    done = tandem(folder, "query", "select 1")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "ledger.duckdb" in line
