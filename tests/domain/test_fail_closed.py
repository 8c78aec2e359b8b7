"""What nobody has said is no permission: snapshots, limits and the gate of entries have no default that lets an entry pass."""

import ast
import dataclasses
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from domain.guards import Limits, PreTradeSnapshot
from domain.reasons import ClockCode, SetUpCode
from domain.symbols import Symbol
from runner.execution.entry.gate import EntryGate

ROOT = Path(__file__).resolve().parents[2]
STATED = (PreTradeSnapshot, Limits)
MADE_AT = {
    "PreTradeSnapshot": {"runner/execution/entry/pre_trade_check.py", "flows/backtest/engine/account.py"},
    "Limits": {"runner/execution/entry/pre_trade_check.py", "flows/backtest/engine/terms.py"},
}


def constructions(name: str, source: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def unstated(kind: type, source: str, fields: set[str]) -> list[str]:
    """What each construction in a source leaves out, or passes along without naming it."""
    missing = []
    for call in constructions(kind.__name__, source):
        named = {keyword.arg for keyword in call.keywords}
        missing += [f"line {call.lineno}: **" for _ in named & {None}]
        missing += [f"line {call.lineno}: {field}" for field in sorted(fields - named)]
    return missing


def fields_of(kind: type) -> set[str]:
    assert dataclasses.is_dataclass(kind)
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("kind", STATED)
def test_no_field_has_a_default(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    for field in dataclasses.fields(kind):
        assert field.default is dataclasses.MISSING, f"{field.name}: what nobody gathers would be no objection"
        assert field.default_factory is dataclasses.MISSING, field.name


@pytest.mark.parametrize("kind", STATED)
def test_every_field_is_gathered_wherever_one_is_made(kind: type) -> None:
    paths = [path for folder in ("domain", "runner", "flows") for path in (ROOT / folder).rglob("*.py")]
    made_at = {
        path.relative_to(ROOT).as_posix() for path in paths if any(constructions(kind.__name__, path.read_text()))
    }
    assert MADE_AT[kind.__name__] <= made_at
    for path in made_at:
        source = (ROOT / path).read_text()
        assert unstated(kind, source, fields_of(kind)) == [], path
        # A field more, and the same places fail until they state it.
        assert len(unstated(kind, source, {*fields_of(kind), "a_new_danger"})) == len(
            list(constructions(kind.__name__, source))
        )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Limits(quote_age_ms_max=1)", ["line 1: daily_loss_usd_max", "line 1: gross_notional_usd_max", "line 1: min_edge_ratio"]),
        ("Limits(**known)", ["line 1: **", *(f"line 1: {name}" for name in sorted(fields_of(Limits)))]),
    ],
)  # fmt: skip
def test_what_is_left_out_is_found(source: str, said: list[str]) -> None:
    assert unstated(Limits, source, fields_of(Limits)) == said


def test_a_gate_that_nobody_has_opened_is_closed() -> None:
    gate, symbol = EntryGate(), Symbol("X/USDT:USDT")
    assert gate.recovering
    assert gate.user_stream_down
    assert gate.reading is None, "no balance, no margin"
    assert gate.clock_problem == ClockCode.UNKNOWN.because()
    assert gate.doubts_rules_of(symbol)
    assert gate.set_up_problem(symbol) == SetUpCode.NOT_CONFIRMED.because()
    assert gate.capital.reserved_usd == Decimal(0)
