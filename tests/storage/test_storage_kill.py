"""kill -9 of the runner's writer, of the recorder and of both, at random moments: nothing acknowledged lost or doubled."""

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from storage_entries import fill_journal

from storage import entries_file, ledger
from storage.recorder import drain_once

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TRIALS = 18  # Per victim: 54 in all.


class Victim:
    """A process of ours that is killed without a word, again and again."""

    def __init__(self, *command: str) -> None:
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
        self.process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, env=environment, cwd=HERE)
        self.output = bytearray()

    def first_line(self) -> None:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 60)[0], "no first line within a minute"
        self._read_some()

    def run_for(self, seconds: float) -> None:
        """Let it run, and keep its pipe empty meanwhile."""
        finished = threading.Event()
        timer = threading.Timer(seconds, finished.set)
        timer.start()
        while not finished.is_set():
            if select.select([self.process.stdout], [], [], 0.01)[0]:
                self._read_some()
        timer.join()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        self.output += rest
        return self.process.returncode

    def acknowledged(self) -> list[list[str]]:
        """Whole lines only: a torn one was not finished being told."""
        return [line.split() for line in self.output.decode().split("\n")[:-1]]

    def _read_some(self) -> None:
        assert self.process.stdout is not None
        self.output += os.read(self.process.stdout.fileno(), 65536)


class Stage:
    """One account's files, who works on them, and everything that was acknowledged so far."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal.sqlite"
        self.flows = folder / "flows.sqlite"
        self.ledger = folder / "ledger.duckdb"
        self.acknowledged: list[list[str]] = []

    def writer(self, seed: int) -> Victim:
        return Victim("storage_appender.py", str(self.journal), str(seed))

    def recorder(self) -> Victim:
        files = ("--journal", str(self.journal), "--flows-journal", str(self.flows), "--ledger", str(self.ledger))
        return Victim("-m", "storage.recorder", *files, "--publish-seconds", "0.05")

    def check_journal(self) -> None:
        """Every acknowledged row is there, once (the file says UNIQUE), and no group is there in part."""
        stored = [entry.signal_id for _, entry in entries_file.replay(self.journal, kinds=["signal_received"])]
        assert len(stored) == len(set(stored))
        missing = {signal_id for group in self.acknowledged for signal_id in group} - set(stored)
        assert not missing
        groups: dict[str, int] = {}
        for signal_id in stored:
            name, _, size = signal_id.rsplit("-", 2)
            groups[f"{name}-{size}"] = groups.get(f"{name}-{size}", 0) + 1
        assert all(count == int(name.rsplit("-", 1)[1]) for name, count in groups.items())

    def check_ledger(self) -> None:
        """Row for row what the journal holds: none missing, none twice."""
        for kind, table in (("signal_received", "journal.signals_received"), ("spread_sampled", "spreads")):
            recorded = [row[0] for row in ledger.read(self.ledger, f"SELECT seq FROM {table} ORDER BY seq").rows]
            assert recorded == [seq for seq, _ in entries_file.replay(self.journal, kinds=[kind])]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """With two onlookers, a thread and a process, that must never see an error while the trials run."""
    stage = Stage(tmp_path)
    fill_journal(stage.journal, [])
    assert drain_once(stage.journal, stage.flows, stage.ledger)
    with Onlookers(stage.ledger):
        yield stage


class Onlookers(contextlib.AbstractContextManager["Onlookers"]):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "storage_onlooker.py"), str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        assert int(said.split()[0]) > 10
        assert not self._failures

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            try:
                ledger.read(self._path, "SELECT count(*) FROM signals")
            except BaseException as failure:  # noqa: BLE001 - told by the test's own thread
                self._failures.append(failure)
                return


@pytest.mark.slow
def test_the_runner_is_killed(stage: Stage) -> None:
    recorder = stage.recorder()
    recorder.first_line()
    for seed in range(TRIALS):
        dice = random.Random(seed)  # noqa: S311
        writer = stage.writer(seed)
        writer.first_line()
        writer.run_for(dice.random() * 0.3)
        writer.end(signal.SIGKILL)
        stage.acknowledged += writer.acknowledged()
        stage.check_journal()
    assert recorder.end(signal.SIGTERM) == 0
    stage.check_ledger()


@pytest.mark.slow
def test_the_recorder_is_killed(stage: Stage) -> None:
    writer = stage.writer(0)
    writer.first_line()
    for seed in range(TRIALS):
        dice = random.Random(seed)  # noqa: S311
        recorder = stage.recorder()
        if seed % 6:  # Every sixth dies while it starts.
            recorder.first_line()
        writer.run_for(dice.random() * 0.4)
        recorder.end(signal.SIGKILL)
    writer.end(signal.SIGKILL)
    stage.acknowledged += writer.acknowledged()
    stage.check_journal()
    assert drain_once(stage.journal, stage.flows, stage.ledger)
    stage.check_ledger()


@pytest.mark.slow
def test_both_are_killed(stage: Stage) -> None:
    for seed in range(TRIALS):
        dice = random.Random(1_000 + seed)  # noqa: S311
        recorder, writer = stage.recorder(), stage.writer(seed)
        writer.first_line()
        if seed % 6:
            recorder.first_line()
        writer.run_for(dice.random() * 0.3)
        victims = [recorder, writer]
        dice.shuffle(victims)
        for victim in victims:
            victim.end(signal.SIGKILL)
        stage.acknowledged += writer.acknowledged()
        stage.check_journal()
    assert drain_once(stage.journal, stage.flows, stage.ledger)
    stage.check_ledger()
