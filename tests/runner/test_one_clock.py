"""The runner has one clock, the one it is handed: a test that owns it owns every wait and every age."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THE_CLOCK = "runner/clock.py"
COMMANDS = "runner/commands/"
"""A command is a process of a person's, not of the runner's."""
OTHER_CLOCKS = {"asyncio.sleep", "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep"}  # fmt: skip


def other_clocks(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            is_of_a_loop = node.attr == "time" and ast.unparse(node.value).endswith(("loop", "loop()"))
            if name in OTHER_CLOCKS or is_of_a_loop:
                yield f"line {node.lineno}: {name}"


def test_the_runner_reads_no_clock_but_its_own() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): list(other_clocks(path.read_text()))
        for path in (ROOT / "runner").rglob("*.py")
    }
    assert found.pop(THE_CLOCK), "the scan sees a clock where there is one"
    assert {path: clocks for path, clocks in found.items() if clocks and not path.startswith(COMMANDS)} == {}


@pytest.mark.parametrize(
    "line", ["self._loop.time()", "asyncio.get_running_loop().time()", "await asyncio.sleep(1)", "time.time()"]
)
def test_another_clock_is_seen(line: str) -> None:
    assert len(list(other_clocks(f"async def wait():\n    {line}"))) == 1
