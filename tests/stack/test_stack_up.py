"""`tandem up` with a stand-in bot: refuses a second one, survives dead children, cleans up after kill -9, leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rig import make_clone, ticks_in, wait_for, with_standin_bot

from flows.stack import identity, ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UP = (sys.executable, "-c", "from flows.stack.cli import up; up()")


class Up:
    """`tandem up` in a clone of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        with (self.home / f"up-{len(self.processes)}.log").open("w") as out:
            process = subprocess.Popen(
                (*UP, *arguments),
                cwd=self.home,
                env=with_standin_bot(),
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.processes.append(process)
        return process

    def output(self, which: int = -1) -> str:
        number = range(len(self.processes))[which]
        return (self.home / f"up-{number}.log").read_text()

    def until_trading(self) -> int:
        process = self.processes[-1]

        def trading() -> bool:
            assert process.poll() is None, self.output()
            return "live trading" in self.output()

        wait_for(trading, within_s=280, why="live trading")
        return int(ticks_in(self.home)[-1]["pid"])

    def record(self) -> dict[str, object]:
        found = identity.read_record(self.home / "var" / "run" / "stack.json")
        assert found is not None
        return found

    def marked(self) -> list[identity.Identity]:
        return identity.marked(str(self.record()["mark"]))

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        record = identity.read_record(self.home / "var" / "run" / "stack.json")
        for left in identity.marked(str(record["mark"])) if record else []:
            left.send(signal.SIGKILL)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    up = Up(make_clone(tmp_path, control_port=ports.Claims().choose(0)))
    try:
        yield up
    finally:
        up.close()


def child_pid(record: dict[str, object], name: str) -> int:
    children = record["children"]
    assert isinstance(children, dict)
    return int(children[name]["pid"])


def test_a_stack_from_start_to_end(up: Up) -> None:
    first = up.start()
    pid = up.until_trading()
    wait_for(lambda: "Ctrl-C stops everything" in up.output(), within_s=30, why="closing lines")

    # A second one is refused, in one line that names the first.
    second = subprocess.run(
        UP, check=False, cwd=up.home, env=with_standin_bot(), capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 2
    assert f"(pid {first.pid})" in second.stderr
    assert len(second.stderr.splitlines()) == 1

    # The worker dies without a word: live trades on, and the worker comes back.
    worker = child_pid(up.record(), "prefect worker")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: "prefect worker is back" in up.output(), within_s=30, why="worker back")
    assert child_pid(up.record(), "prefect worker") != worker
    assert psutil.pid_exists(pid)

    # The supervisor itself is killed: everything trades on, and the next one cleans up, live first.
    first.kill()
    first.wait()
    old = up.marked()
    assert pid in {process.pid for process in old}
    again = up.start("--for", "1")
    wait_for(lambda: not any(process.is_alive for process in old), within_s=120, why="the old stack is gone")
    assert [tick["what"] for tick in ticks_in(up.home) if tick["pid"] == pid][-1] == "left in order"

    # The next one starts, ends by itself, and leaves nothing.
    up.until_trading()
    mark = str(up.record()["mark"])
    assert again.wait(240) == 0, up.output()
    assert identity.marked(mark) == []
    assert "outlived" not in up.output()
    assert ticks_in(up.home)[-1]["what"] == "left in order"


def test_ctrl_c_while_it_starts_leaves_nothing(up: Up) -> None:
    process = up.start()
    wait_for(lambda: "recorder " in up.output(), within_s=150, why="the recorder is up")
    mark = str(up.record()["mark"])
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0, up.output()
    assert identity.marked(mark) == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("config.json", '{"tradng_mode": "paper"}', "tradng_mode"),
        ("config.json", "{", "config.json"),
        ("pairs_config.json", json.dumps({"pairs": [{"pair_id": "x"}]}), "pairs_config.json"),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(up: Up, file: str, text: str, expected: str) -> None:
    (up.home / file).write_text(text)
    done = subprocess.run(
        UP, check=False, cwd=up.home, env=with_standin_bot(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (up.home / "var" / "run" / "stack.json").exists()
