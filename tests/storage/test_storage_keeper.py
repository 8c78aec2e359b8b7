"""Somebody records as long as a runner lives, whoever dies: ours, or the one a crashed runner left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from storage_entries import fill_journal
from storage_entries import signal as received

from storage import ledger
from storage.locks import holder_of
from storage.recorder_process import RecorderKeeper

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "journal.sqlite", tmp_path / "flows.sqlite", tmp_path / "ledger.duckdb"


def recording(files: tuple[Path, Path, Path]) -> int | None:
    return holder_of(files[2].with_name("ledger.duckdb.lock"))


def killed(pid: int | None, files: tuple[Path, Path, Path]) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while recording(files) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_recorder_that_dies_is_replaced(files: tuple[Path, Path, Path]) -> None:
    keeper = RecorderKeeper(*files)
    keeper.begin()
    keeper.wait_until_ready()
    try:
        first = recording(files)
        assert not keeper.look(), "all is well"
        killed(first, files)
        fill_journal(files[0], [received("1")])
        assert keeper.look()
        assert recording(files) not in {None, first}
    finally:
        keeper.stop()
    assert recording(files) is None
    assert ledger.read(files[2], "SELECT count(*) FROM signals").rows == [(1,)]


@pytest.mark.slow
def test_what_a_crashed_runner_left_behind_is_succeeded(files: tuple[Path, Path, Path]) -> None:
    """It records at first, so we start none; then it ends, and so we do."""
    journal, flows, path = map(str, files)
    command = [
        sys.executable,
        "-m",
        "storage.recorder",
        "--journal",
        journal,
        "--flows-journal",
        flows,
        "--ledger",
        path,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as left_behind:
        assert left_behind.stdout is not None
        assert left_behind.stdout.readline().startswith(b"recorder ready")
        keeper = RecorderKeeper(*files)
        keeper.begin()
        keeper.wait_until_ready()
        assert not keeper.look()
        assert recording(files) == left_behind.pid
        killed(left_behind.pid, files)
    try:
        assert keeper.look()
        assert recording(files) is not None
    finally:
        keeper.stop()


@pytest.mark.slow
def test_a_backlog_keeps_nobody_waiting(files: tuple[Path, Path, Path]) -> None:
    """Ready means that the lock is held; what the journal holds is drained afterwards, all of it before the end."""
    fill_journal(files[0], [received(str(number)) for number in range(20_000)])
    keeper = RecorderKeeper(*files)
    keeper.begin()
    keeper.wait_until_ready()
    keeper.stop()
    assert ledger.read(files[2], "SELECT count(*) FROM signals").rows == [(20_000,)]
