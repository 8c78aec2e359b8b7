"""A real Prefect server and process worker on free ports, started as `tandem up` starts them, for tests to abuse."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from flows.stack import identity
from flows.stack.layout import Layout
from flows.stack.listener import Listener
from flows.stack.prefect_api import FlowRun, PrefectApi
from flows.stack.programs import Plan, Program
from flows.stack.proof import proves

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def wait_for(what: Callable[[], T], *, within_s: float, why: str) -> T:
    """Return the first truthy answer."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if answer := what():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s} s: {why}")


def make_clone(home: Path, *, control_port: int = 0) -> Path:
    """Turn a folder into something that looks like a clone and deploys the live flow alone."""
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    document["deployments"] = [row for row in document["deployments"] if row["name"] == "live"]
    (home / "prefect.yaml").write_text(yaml.safe_dump(document))
    (home / "config.json").write_text(json.dumps({"trading_mode": "paper", "control": {"port": control_port}}))
    pair = {"pair_id": "1000CAT_1MBABYDOGE", "leg_a": "1000CAT/USDT", "leg_b": "1MBABYDOGE/USDT", "hedge_ratio": 0.7387}
    (home / "pairs_config.json").write_text(json.dumps({"pairs": [pair]}))
    return home


def with_standin_bot() -> dict[str, str]:
    """Return our environment with the stand-in where the live flow looks for its bot."""
    return {**os.environ, "TANDEM_BOT": "standin_bot:StandinBot", "PYTHONPATH": str(Path(__file__).parent)}


def ticks_in(home: Path) -> list[dict[str, Any]]:
    """Return what the stand-in bot wrote, oldest first."""
    path = home / "ticks.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Stack:
    """Server and worker started as `tandem up` starts them, but one by one and without a supervisor."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.layout = Layout(home=home)
        self.layout.create()
        self.plan = Plan(
            layout=self.layout,
            mark=uuid.uuid4().hex,
            listener=Listener(0),
            exchange_port=None,
            control_port=0,
            journal=home / "var" / "journal.sqlite",
            flows_journal=home / "var" / "flows.sqlite",
            ledger=home / "var" / "ledger.duckdb",
            inherited=with_standin_bot(),
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, program: Program) -> subprocess.Popen[bytes]:
        with program.log.open("ab") as log:
            process = subprocess.Popen(
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(program.environment),
                cwd=program.home,
                start_new_session=True,
                pass_fds=program.inherits,
            )
        self.processes[program.name] = process
        return process

    def start_server(self) -> None:
        if self.plan.listener.fileno() < 0:
            self.plan = replace(self.plan, listener=Listener(self.plan.listener.port))
        self.start(self.plan.server())
        url, auth = self.plan.prefect_url, self.plan.prefect_auth
        wait_for(lambda: asyncio.run(proves(url, auth)), within_s=280, why="server ready")

    def stop_server(self) -> None:
        server = self.processes.pop("prefect server")
        server.terminate()
        server.wait(20)
        self.plan.listener.close()  # The supervisor would turn callers away: the same to them.

    def ask(self, question: Callable[[PrefectApi], Awaitable[T]]) -> T:
        """Ask the server one thing."""

        async def ask() -> T:
            async with PrefectApi(f"{self.plan.prefect_url}/api", auth=self.plan.prefect_auth, timeout_s=60.0) as api:
                return await question(api)

        return asyncio.run(ask())

    def start_live(self) -> FlowRun:
        """Start a live run and wait for its first tick."""
        before = len(self.ticks())
        run = self.ask(lambda api: api.start("live/live", once=uuid.uuid4().hex))
        wait_for(lambda: len(self.ticks()) > before, within_s=150, why="first tick of the live run")
        return run

    def ticks(self) -> list[dict[str, Any]]:
        return ticks_in(self.home)

    def live_pid(self) -> int:
        return int(self.ticks()[-1]["pid"])

    def read(self, run: FlowRun) -> FlowRun:
        return self.ask(lambda api: api.read(run.run_id))

    def cancel(self, run: FlowRun) -> None:
        """Cancel as the UI does."""
        now = self.read(run)
        self.ask(lambda api: api.cancel(now))

    def until_over(self, run: FlowRun, *, within_s: float = 150) -> FlowRun:
        def over() -> FlowRun | None:
            now = self.read(run)
            return now if now.is_over else None

        return wait_for(over, within_s=within_s, why=f"{run.name} over")

    def until_left_in_order(self, pid: int, *, within_s: float = 60) -> None:
        def left() -> bool:
            last = [tick["what"] for tick in self.ticks() if tick["pid"] == pid][-1]
            return last == "left in order"

        wait_for(left, within_s=within_s, why=f"pid {pid} left in order")

    def cancel_live(self) -> None:
        """Leave no live run behind for the next test."""
        for run in self.ask(lambda api: api.runs(deployment="live")):
            self.cancel(run)
            self.until_over(run)

    def close(self) -> None:
        for _, process in identity.live_processes(self.layout.runs):
            process.send(signal.SIGTERM)
        for name in ("prefect deploy", "prefect worker", "prefect server"):
            if name in self.processes:
                self.processes[name].terminate()
        for left in identity.marked(self.plan.mark):
            left.send(signal.SIGKILL)
        for process in self.processes.values():
            process.wait(20)
        self.plan.listener.close()
