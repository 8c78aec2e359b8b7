"""What the pages name exists, and what exists and matters is named: events, denial codes, settings, deployments, tables."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_tables import ROOT, TABLES, written
from pydantic import BaseModel

from domain.guards import GUARDS, DenialCode
from domain.orders import OrderStatus
from domain.pairs import ExitReason, TradeStatus
from flows.backtest.rules import BacktestRules
from flows.health.rules import HealthRules
from flows.recalibrate.rules import CalibrationRules
from flows.reconcile.rules import ReconciliationRules
from flows.scan.rules import ScanRules
from runner.config import Settings

LEVELS = {"debug", "info", "warning", "error", "critical"}
LOUD = {"warning", "error", "critical"}
SAYING = {"at", "_on_event", "on_event", "tell"}
OF_LEVEL_ERROR = {"exception": "error"}
# Said with a level of the moment, or by a caller whose level is decided elsewhere.
LEVEL_ELSEWHERE = {"user_stream_up": "info", "user_stream_rolled_over": "info"}
FROM_THE_RECORDER = {"journal_row_unreadable"}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _texts(node: ast.AST) -> list[str]:
    """The texts an argument may be: its own, or either branch of a conditional."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return []


def _assigned(function: ast.AST) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).extend(_texts(node.value))
    return found


def said_in(source: str) -> Iterator[tuple[str, set[str]]]:
    """(event, its levels) of every call that says one; no level means that another place decides."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assigned = _assigned(function)
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute | ast.Name):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
            if name == "EventLogged":
                named = {keyword.arg: _texts(keyword.value) for keyword in call.keywords}
                yield from ((event, set(named.get("level", []))) for event in named.get("event", []))
                continue
            words: list[str] = []
            for argument in call.args[:2] if name in SAYING else call.args[:1]:
                words += assigned.get(argument.id, []) if isinstance(argument, ast.Name) else _texts(argument)
            if name in LEVELS or name in OF_LEVEL_ERROR:
                levels = {OF_LEVEL_ERROR.get(name, name)}
            elif name in SAYING:
                levels = {word for word in words if word in LEVELS}
            else:
                continue
            for word in words:
                event = word.split(" ")[0]
                if event not in LEVELS and re.fullmatch(r"[a-z]+(_[a-z]+)*", event):
                    yield event, levels


def events() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for folder in ("runner", "storage", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for event, levels in said_in(path.read_text(encoding="utf-8")):
                found.setdefault(event, set()).update(levels or {LEVEL_ELSEWHERE.get(event, "warning")})
    return found


EVENTS = events()


def first_column(text: str) -> set[str]:
    """What stands in backticks in the first cell of every row of every table."""
    return {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}


def test_the_search_finds_what_is_known() -> None:
    """The search itself: these are said in five different ways."""
    assert EVENTS["sibling_lost"] == {"error"}
    assert EVENTS["stream_lost"] == {"warning"}
    assert "warning" in EVENTS["quotes_stale"]
    assert "error" in EVENTS["invariant_broken"]
    assert EVENTS["runner_crashed"] == {"error"}
    assert EVENTS["user_stream_down"] & LOUD
    assert EVENTS["backtest_done"] == {"info"}


def test_every_loud_event_is_on_the_page_of_alarms() -> None:
    listed = first_column(page("docs/alarms.md"))
    loud = {event for event, levels in EVENTS.items() if levels & LOUD and event not in LEVEL_ELSEWHERE}
    # One call says both: the level follows the word.
    loud -= {"quotes_fresh"}
    assert sorted(loud - listed) == []


def test_every_quiet_event_is_on_the_page_of_operations() -> None:
    listed = first_column(page("docs/operations.md")) | first_column(page("docs/alarms.md"))
    assert sorted(event for event, levels in EVENTS.items() if levels != {"debug"} and event not in listed) == []


def test_no_page_lists_an_event_that_nobody_says() -> None:
    alarms = page("docs/alarms.md").split("## Why an entry was refused")[0]
    everyday = page("docs/operations.md").split("## What the lines say")[1].split("## Ask")[0]
    listed = first_column(alarms) | first_column(everyday)
    assert sorted(listed - EVENTS.keys() - FROM_THE_RECORDER) == []
    recorder = "".join(path.read_text() for path in (ROOT / "storage").glob("*.py"))
    assert [name for name in FROM_THE_RECORDER if name not in recorder] == []


def test_every_denial_code_is_explained_in_the_order_of_the_guards() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", page("docs/alarms.md"), re.MULTILINE)
    assert sorted(rows) == sorted(code.value for code in DenialCode)
    guarded = [code.value for code, _ in GUARDS]
    assert [code for code in rows if code in guarded] == guarded


def test_every_status_is_explained() -> None:
    listed = first_column(page("docs/execution.md"))
    known = {str(word) for kind in (TradeStatus, OrderStatus, ExitReason) for word in kind}
    assert sorted(known - listed) == []


def test_every_setting_is_listed_with_its_default() -> None:
    rows = dict(re.findall(r"^\| (`[a-z_.`, ]+) \| `(.*?)` \|", page("docs/operations.md"), re.MULTILINE))
    listed = {name: default for names, default in rows.items() for name in re.findall(r"`([^`]+)`", names)}
    known = {key: _shown(value) for key, value in _settings(Settings(), "")}
    assert {key: listed.get(key) for key in known} == known
    assert sorted(key for key in listed if "." in key and key.partition(".")[0] in Settings.model_fields) == sorted(
        key for key in known if "." in key
    )


def _settings(model: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    if isinstance(value, Path | str):
        return f'"{value}"'
    return str(value) if not isinstance(value, bool | None) else json.dumps(value)


def test_flows_are_as_deployed() -> None:
    text = page("docs/flows.md")
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert {row["name"] for row in deployments} == {"live", "recalibrate", "health", "reconcile", "backtest", "scan"}
    assert [row["name"] for row in deployments if f"| `{row['name']}` |" not in text] == []
    rules = (CalibrationRules, HealthRules, ReconciliationRules, BacktestRules, ScanRules)
    unnamed = [name for model in rules for name in model.model_fields if f"`{name}`" not in text]
    assert unnamed == []
    keys = re.compile(r'_KEY(?:, \w+_KEY)* = ("[a-z", -]+")')
    said = [
        key
        for path in (ROOT / "flows").rglob("*.py")
        for found in keys.findall(path.read_text())
        for key in re.findall(r'"([a-z-]+)"', found)
    ]
    assert len(said) >= 7
    assert [key for key in said if f"`{key}`" not in text] == []


def test_the_tables_equal_the_code() -> None:
    for name, table in TABLES.items():
        assert written(name) == table(), "run: python tests/docs/docs_tables.py"


def test_the_import_contracts_are_the_projects() -> None:
    project = tomllib.loads(page("pyproject.toml"))
    names = [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]
    assert names
    assert [name for name in names if f"- {name}\n" not in page("ARCHITECTURE.md")] == []


PAGES = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", PAGES)
def test_files_and_tests_that_are_named_exist(name: str) -> None:
    text = page(name)
    known = {
        function
        for path in (ROOT / "tests").rglob("test_*.py")
        for function in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert sorted(set(re.findall(r"`(test_\w+)`", text)) - known) == []
    folders = "domain|runner|storage|flows|paper|bench|tests|docs"
    files = re.findall(rf"`((?:{folders})/[\w./-]*)`", text)
    assert [file for file in files if not (ROOT / file).exists()] == []
