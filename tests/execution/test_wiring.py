"""How the parts are joined: every notice is heard, nothing is set on a part once it is made, and there is one clock."""

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from domain.trade_book import TradeBook
from runner.clock import SystemClock
from runner.components import build
from runner.config import Settings
from runner.execution.context import Notice
from runner.logs import Log
from runner.pairs.registry import PairsRegistry
from storage.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
OF_FLOWS = {"runner/exchange/binance/request_loop.py"}
"""Reads of the flows, in an event loop of their own: no part of the live runner."""
ONE_CLOCK = ("runner/execution", "runner/signals", "runner/exchange", "runner/pairs")
OTHER_CLOCKS = {("asyncio", "sleep"), ("loop", "time"), ("get_running_loop", "time"), ("time", "time"), ("time", "time_ns"), ("time", "monotonic"), ("time", "monotonic_ns")}  # fmt: skip


def sources(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def other_clocks(tree: ast.AST) -> list[str]:
    """Where a time is read, or waited for, beside the clock that is handed in."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value.func if isinstance(node.value, ast.Call) else node.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if (name, node.attr) in OTHER_CLOCKS or (name.endswith("_loop") and node.attr == "time"):
            found.append(f"line {node.lineno}: {name}.{node.attr}")
    return found


def callbacks_set_later(tree: ast.AST) -> list[str]:
    """Assignments of a callback to somebody else's attribute."""
    found = []
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Attribute) and target.attr.lstrip("_").startswith("on_"):
                owner = target.value.id if isinstance(target.value, ast.Name) else ""
                if owner != "self":
                    found.append(f"line {node.lineno}: {target.attr}")
    return found


async def test_every_notice_is_heard_once_the_live_runner_is_joined(tmp_path: Path) -> None:
    clock, journal = SystemClock(), Journal.open(tmp_path / "journal.sqlite")
    settings = Settings(binance_api_key="paper-key", binance_api_secret="paper-secret")
    parts = build(
        settings,
        clock=clock,
        journal=journal,
        book=TradeBook(settings.execution.hedge_error_max),
        log=Log(journal.note, clock),
        pairs=PairsRegistry(),
        halt=lambda _why: None,
        alone_since_ns=clock.monotonic_ns(),
    )
    try:
        notices = parts.execution.context.notices
        for field in dataclasses.fields(notices):
            notice = getattr(notices, field.name)
            assert isinstance(notice, Notice)
            assert notice._handlers, f"nobody acts on {field.name}"
    finally:
        await parts.close()
        await journal.close()


def test_no_callback_is_set_on_a_part_once_it_is_made() -> None:
    assert {path: found for path, tree in sources("runner", "paper") if (found := callbacks_set_later(tree))} == {}


def test_there_is_one_clock() -> None:
    assert {
        path: found for path, tree in sources(*ONE_CLOCK) if path not in OF_FLOWS and (found := other_clocks(tree))
    } == {}


def test_what_is_forbidden_is_found() -> None:
    wild = "exchange.on_doubt = f\nself._stream.on_news = f\nself.on_mine = f\nasyncio.sleep(1)\nasyncio.get_running_loop().time()\nself._loop.time()\n"
    tree = ast.parse(wild)
    assert callbacks_set_later(tree) == ["line 1: on_doubt", "line 2: on_news"]
    assert other_clocks(tree) == ["line 4: asyncio.sleep", "line 5: get_running_loop.time", "line 6: _loop.time"]
