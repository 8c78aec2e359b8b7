"""What the pages name exists, and what exists and matters is named: events, denial codes, settings, deployments, tables."""

import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_tables import PROCESSES, ROOT, TABLES, written
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
from runner.events import CATALOGUE


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_column(text: str) -> set[str]:
    """What stands in backticks in the first cell of every row of every table."""
    return {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}


def test_an_event_that_a_page_refers_to_exists() -> None:
    """`see …` in the tables of alarms, and the old names of the changelog, lead to a name of today."""
    referred = {
        name
        for found in re.findall(r"\bsee ((?:`[a-z]+_[a-z_]+`(?:, )?)+)", page("docs/alarms.md"))
        for name in re.findall(r"[a-z_]+", found)
    }
    assert len(referred) >= 10
    assert sorted(referred - CATALOGUE.keys()) == []
    renamed = dict(re.findall(r"^  \| `(\w+)` \| `(\w+)`", page("CHANGELOG.md"), re.MULTILINE))
    assert "sibling_lost" in renamed
    assert sorted(set(renamed.values()) - CATALOGUE.keys()) == []
    assert sorted(renamed.keys() & CATALOGUE.keys()) == []
    pages = "".join(page(name) for name in PAGES if name != "CHANGELOG.md")
    assert [old for old in renamed if f"`{old}`" in pages and old not in STILL_A_REASON] == []


STILL_A_REASON = {"sibling_lost"}
"""Words that are something else than an event, too: the reason of an exit."""


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
    return json.dumps(value) if isinstance(value, bool | tuple | None) else str(value)


def _rules_in(module: str) -> list[type[BaseModel]]:
    found = vars(importlib.import_module(module)).values()
    return [one for one in found if isinstance(one, type) and issubclass(one, BaseModel) and one is not BaseModel]


def test_flows_are_as_deployed() -> None:
    text = page("docs/flows.md")
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert [row["name"] for row in deployments if f"| `{row['name']}` |" not in text] == []
    rules = [
        model for path in (ROOT / "flows").glob("*/rules.py") for model in _rules_in(f"flows.{path.parent.name}.rules")
    ]
    assert {CalibrationRules, HealthRules, ReconciliationRules, BacktestRules, ScanRules} <= set(rules)
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


def test_a_decision_has_a_number_of_its_own_and_a_file_that_exists() -> None:
    """`**A-1. What was decided.** Why. (`the/file.py`)`: one line each."""
    decisions = re.findall(r"^\*\*(A-\d+)\. .*\(((?:`[^`]+`(?:, )?)+)\)$", page("ARCHITECTURE.md"), re.MULTILINE)
    numbers = [number for number, _ in decisions]
    assert sorted(numbers) == sorted(set(re.findall(r"\*\*(A-\d+)\.", page("ARCHITECTURE.md"))))
    gone = [
        (number, file)
        for number, files in decisions
        for file in re.findall(r"`([^`]+)`", files)
        if not (ROOT / file).exists()
    ]
    assert gone == []


def test_the_process_picture_names_known_processes_and_leaves_none_alone() -> None:
    others = {name for one in PROCESSES.values() for name in (*one.starts, *one.talks_to)}
    assert others - PROCESSES.keys() == {"readers"}
    assert PROCESSES.keys() - others == {"up"}, "somebody starts or needs every other one"


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
