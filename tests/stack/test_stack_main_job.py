"""The main job as a stranger sees it: `tandem up` with nothing stood in for, a kill -9 in the middle, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import ROOT, wait_for

from flows.stack import identity, ports
from flows.stack.environment import known_auth_string
from flows.stack.layout import find_layout
from flows.stack.prefect_api import PrefectApi
from storage import ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path
    for name in ("prefect.yaml", "pairs_config.json"):
        shutil.copy(ROOT / name, home)
    config = json.loads((ROOT / "config.json").read_text())
    config["control"] = {"port": ports.Claims().choose(0)}
    (home / "config.json").write_text(json.dumps(config))
    try:
        yield home
    finally:
        record = identity.read_record(home / "var" / "run" / "stack.json")
        for left in identity.marked(str(record["mark"])) if record else []:
            left.send(signal.SIGKILL)


def test_it_trades_survives_a_kill_and_leaves_in_order(clone: Path) -> None:
    output = clone / "up.log"
    with output.open("w") as out:
        up = subprocess.Popen(
            (sys.executable, "-c", "from flows.stack.cli import up; up()"),
            cwd=clone,
            env={name: value for name, value in os.environ.items() if not name.startswith("TANDEM_")},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        said = output.read_text

        def heard(words: str, times: int = 1) -> bool:
            assert up.poll() is None, said()
            return said().count(words) >= times

        wait_for(lambda: heard("trade_closed"), within_s=400, why="a trade opened and closed")
        killed = _live_pid(clone)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: heard(" trading pairs=", 2), within_s=200, why="the platform started it again")
        before = said().count("trade_closed")
        wait_for(lambda: heard("trade_closed", before + 2), within_s=200, why="it trades on")
        wait_for(lambda: heard("first runs: reconcile"), within_s=300, why="the books were compared")
        (run_id,) = re.findall(r"first runs: reconcile Completed \(\S+/flow-run/(\S+)\)", said()) or [said()]
        story = ["orders", "positions", "orders again", "positions again", "compare", "act"]
        wait_for(lambda: _steps(clone, run_id) == story, within_s=60, why="a person sees the steps of the run")
        mark = str((identity.read_record(clone / "var" / "run" / "stack.json") or {})["mark"])
        up.send_signal(signal.SIGINT)
        assert up.wait(120) == 0, said()
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()
    assert identity.marked(mark) == [], "nothing is left behind"
    assert said().index("stop live") < said().index("stop prefect server"), "the live run first"
    trades = ledger.read(clone / "var" / "ledger.duckdb", "select count(*), count(closed_at) from pair_trades")
    opened, closed = trades.rows[0]
    assert opened >= closed >= 3
    asked = "select count(*) from signals where outcome = 'executed' and trade_id is null and signal_type in ('BUY', 'SELL')"
    assert ledger.read(clone / "var" / "ledger.duckdb", asked).rows[0][0] == 0, "every executed entry has its trade"


def _steps(clone: Path, run_id: str) -> list[str]:
    """The run's tasks in the order of their beginning, as the server tells its owner."""
    url = str((identity.read_record(clone / "var" / "run" / "stack.json") or {})["prefect"])

    async def ask() -> list[str]:
        async with PrefectApi(f"{url}/api", auth=known_auth_string(find_layout(clone), {})) as api:
            runs = await api._ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
        return [run["name"] for run in sorted(runs, key=lambda run: str(run["start_time"]))]

    return asyncio.run(ask())


def _live_pid(clone: Path) -> int:
    records = [identity.read_record(path) for path in (clone / "var" / "run").glob("live-*.json")]
    (pid,) = [int(str(record["pid"])) for record in records if record]
    return pid
