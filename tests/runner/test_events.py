"""The catalogue of events against the code that emits them: all of them, only them, with the facts that are declared."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from domain.entries import EventLogged
from domain.events import MORE_FACTS, Event, Severity
from domain.order_resolution import Evidence
from runner import events
from runner.events import CATALOGUE
from runner.run_totals import RunTotals
from storage.story import REPORTED_BY_OTHER_ROWS

ROOT = Path(__file__).resolve().parents[2]
EMITTING = {"emit", "emit_line", "_on_event"}
COLUMNS = {"pair_id", "trade_id"}
"""Columns of the table `events`; not facts."""
SPREAD: dict[str, tuple[str, ...]] = {
    "stopped": tuple(field.name for field in fields(RunTotals)),
    "order_evidence_conflicting": Evidence.__struct_fields__,
}
"""Facts that a call takes from a record with `**`, where the record is not built in the same function."""


class Emitted(msgspec.Struct):
    """One place that emits, by the constants of the events it may emit."""

    where: str
    constants: tuple[str, ...]
    facts: set[str]
    spreads: bool
    """Some facts come from elsewhere with `**`."""


def _constants(node: ast.expr, assigned: dict[str, ast.expr]) -> tuple[str, ...]:
    """`events.X`, either branch of a conditional, or a variable that holds one of these."""
    if isinstance(node, ast.IfExp):
        return _constants(node.body, assigned) + _constants(node.orelse, assigned)
    if isinstance(node, ast.Name) and node.id in assigned:
        return _constants(assigned[node.id], {})
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "events":
        return (node.attr,)
    return ()


def _facts(call: ast.Call, assigned: dict[str, ast.expr]) -> tuple[set[str], bool]:
    names = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
    mappings = [keyword.value for keyword in call.keywords if keyword.arg is None] + call.args[1:]
    spreads = False
    for mapping in mappings:
        value = assigned.get(mapping.id) if isinstance(mapping, ast.Name) else mapping
        if isinstance(value, ast.Dict) and all(isinstance(key, ast.Constant) for key in value.keys):
            names |= {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
        else:
            spreads = True
    return names - COLUMNS - {"exception"}, spreads


def _assigned_once(function: ast.AST) -> dict[str, ast.expr]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _handed_on(event: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """The function, or one within it, was given the event by whoever calls it."""
    functions = [node for node in ast.walk(function) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    given = {argument.arg for node in functions for argument in (*node.args.posonlyargs, *node.args.args)}
    return isinstance(event, ast.Name) and event.id in given


def emitted_in(source: str, where: str = "") -> Iterator[Emitted]:
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assigned = _assigned_once(function)
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute | ast.Name):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
            if name in EMITTING and call.args and not _handed_on(call.args[0], function):
                facts, spreads = _facts(call, assigned)
                yield Emitted(f"{where}:{call.lineno}", _constants(call.args[0], assigned), facts, spreads)


def _code() -> Iterator[tuple[str, str]]:
    for folder in ("runner", "storage", "flows", "domain"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


PLACES = [place for name, source in _code() for place in emitted_in(source, name)]
WRITTEN_AS_ROWS = {"backtest_done": "flows/backtest/ledger_entries.py", "journal_row_unreadable": "storage/rows.py"}
"""By those who have no log: the event, and who writes it."""


def test_the_search_finds_what_is_known() -> None:
    source = """
def one(self, bad):
    kind = events.PAIR_FAILED if bad else events.LATE_FILL
    facts = {"why": 1, "symbol": 2}
    self.log.emit(kind, pair_id=1, **facts)
    self._on_event(events.STREAM_LOST, {"retry_seconds": 1})
    emit_line("late_fill", **facts_of(bad))
"""
    assert [(x.constants, x.facts, x.spreads) for x in emitted_in(source)] == [
        (("PAIR_FAILED", "LATE_FILL"), {"why", "symbol"}, False),
        (("STREAM_LOST",), {"retry_seconds"}, False),
        ((), set(), True),
    ]
    assert len(PLACES) > 70


def test_every_event_that_is_emitted_is_a_constant_of_the_catalogue() -> None:
    assert [place.where for place in PLACES if not place.constants] == []
    unknown = [(place.where, name) for place in PLACES for name in place.constants if not hasattr(events, name)]
    assert unknown == []


def test_every_event_of_the_catalogue_is_emitted_somewhere() -> None:
    emitted = {getattr(events, name).name for place in PLACES for name in place.constants}
    assert sorted(CATALOGUE.keys() - emitted - WRITTEN_AS_ROWS.keys()) == []
    for name, file in WRITTEN_AS_ROWS.items():
        assert name.upper() in (ROOT / file).read_text(encoding="utf-8")


def test_facts_given_are_the_facts_declared() -> None:
    given: dict[str, set[str]] = {}
    open_ended: set[str] = set()
    for place in PLACES:
        for constant in place.constants:
            event: Event = getattr(events, constant)
            facts = place.facts | (set(SPREAD.get(event.name, ())) if place.spreads else set())
            undeclared = facts - set(event.facts)
            assert not undeclared or MORE_FACTS in event.facts, (
                f"{place.where}: {event.name} does not declare {undeclared}"
            )
            given.setdefault(event.name, set()).update(facts)
            if place.spreads and event.name not in SPREAD:
                open_ended.add(event.name)
    never = {
        name: sorted(set(CATALOGUE[name].facts) - facts - {MORE_FACTS})
        for name, facts in given.items()
        if name not in open_ended
    }
    assert {name: facts for name, facts in never.items() if facts} == {}
    # Where a function returns the facts they are checked when tests run: the log of the execution rig refuses others.
    assert {name for name in open_ended if MORE_FACTS not in CATALOGUE[name].facts} <= {
        "control_refused",
        "trade_rolled_back",
        "unhedged_budget_exceeded",
    }


OTHER_LOGS = {"runner/logs.py", "flows/stack/guard.py"}
"""The log itself, and the door of the Prefect server, which writes into that server's own log."""


def test_no_call_names_an_event_by_a_string() -> None:
    """Neither the standard logger nor a row of the log is used beside the catalogue."""
    loose = [
        f"{name}:{call.lineno}"
        for name, source in _code()
        if name not in OTHER_LOGS
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and _is_loose(call)
    ]
    assert loose == []


def _is_loose(call: ast.Call) -> bool:
    name = (
        call.func.attr
        if isinstance(call.func, ast.Attribute)
        else call.func.id
        if isinstance(call.func, ast.Name)
        else ""
    )
    if name == EventLogged.__name__:
        values = [keyword.value for keyword in call.keywords if keyword.arg == "event"]
        return any(isinstance(value, ast.Constant) for value in values)
    levels = {"debug", "info", "warning", "error", "critical", "exception"}
    first = call.args[0] if call.args else None
    if name not in levels or not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return False
    of = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    return "log" in ast.unparse(of)


@pytest.mark.parametrize("event", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_an_entry_of_the_catalogue_is_well_formed(event: Event) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event.name)
    assert getattr(events, event.name.upper()) is event
    for text in (event.meaning, event.what_to_do):
        assert "\n" not in text
        assert "|" not in text, "it is a cell of a table"
    assert event.meaning
    assert bool(event.what_to_do) is (event.severity in {Severity.WARNING, Severity.ERROR})
    assert len(set(event.facts)) == len(event.facts)
    assert not COLUMNS & set(event.facts)


def test_who_reads_events_by_name_knows_them() -> None:
    assert set(REPORTED_BY_OTHER_ROWS) <= CATALOGUE.keys()
