"""What docs/paper-exchange.md shows is what happens."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_paper_state import end, start

from paper import control
from paper.faults import Kind

PAGE = Path(__file__).parents[2] / "docs" / "paper-exchange.md"
ADDRESS = "http://127.0.0.1:18080"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    process, address = start(tmp_path, "--seed", "7", "--token-file", str(tmp_path / "var" / "exchange.token"))
    yield address
    assert end(process, 15) == (0, "", "")


def test_every_fault_is_documented() -> None:
    text = PAGE.read_text()
    assert [kind.value for kind in Kind if f"`{kind.value}`" not in text] == []


@pytest.mark.slow
def test_the_script_and_the_commands_work_as_shown(url: str, tmp_path: Path) -> None:
    text = PAGE.read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shown = subprocess.run(
        [sys.executable, "-c", script.replace(ADDRESS, url)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "closed 0.01\n", "")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed; the shown commands need it")
    _, shown_block = text.split("## Let something go wrong")
    commands = re.findall(r"^\$ (.*)$", shown_block, re.MULTILINE)
    assert [line.startswith("curl ") for line in commands] == [True, True, True]
    shown = subprocess.run(
        ["sh", "-euc", "\n".join(f"{line}; echo" for line in commands).replace(ADDRESS, url)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    replies = [json.loads(line) for line in shown.stdout.splitlines() if line]
    assert replies[0] == {"id": 1}
    assert (replies[1]["faults"][0]["hits"], replies[1]["faults"][0]["active"]) == (0, True)
    assert replies[2] == {"removed": 1}


def test_every_control_route_is_documented() -> None:
    text = PAGE.read_text()
    paths = set(re.findall(r'"(/paper/[a-z-]+)', inspect.getsource(control)))
    assert len(paths) == 10
    assert [path for path in sorted(paths) if path not in text] == []
