"""Files that are none: a pipe, a device, a folder, a gigabyte where a configuration should be. Refused in a line, at once."""

import asyncio
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from security_folders import said, tandem

from domain.errors import ConfigError
from runner.clock import SystemClock
from runner.config import Settings, load_settings
from runner.logs import Log
from runner.off_loop import OffLoop
from runner.pairs.registry import PairsRegistry
from runner.pairs.watch import PairsWatch, signature_of
from storage.files import READ_BYTES_MAX, FileHangs, FileRefused, read_file, require_file, within
from storage.journal import FlowJournal


def a_socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)  # The name of a socket may have a hundred letters.
    try:
        server.bind(path.name)
    finally:
        os.chdir(here)
        server.close()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(17 * 2**30)


# One row, one story: what is there -> what is said of it.
PAIR = {"pair_id": "A", "leg_a": "LTC/USDT", "leg_b": "BCH/USDT", "hedge_ratio": 1.0}
STRANGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("a pipe nobody writes to", os.mkfifo, "is a pipe; need a regular file"),
    ("a link to a pipe", lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")), "is a pipe"),
    ("an endless device", lambda path: path.symlink_to("/dev/zero"), "is a device"),
    ("a terminal", lambda path: path.symlink_to("/dev/tty"), "is a device"),
    ("a folder", lambda path: path.mkdir(), "folder"),
    ("a socket", a_socket, "is a socket"),
    ("seventeen gigabytes", sparse, "is larger than"),
]
READERS = [
    ("--config", "config.json", ["query", "select 1"]),
    ("--config of a runner", "config.json", ["run"]),
    ("--pairs", "pairs_config.json", ["run"]),
    ("--pairs of history", "pairs_config.json", ["config", "history"]),
    ("--prices of a scan", "prices.csv", ["scan", "--prices", "prices.csv"]),
    ("--prices of a backtest", "prices.parquet", ["backtest", "--prices", "prices.parquet"]),
    ("--funding", "funding.csv", ["backtest", "--prices", "ok.csv", "--funding", "funding.csv"]),
    ("--sectors", "sectors.json", ["scan", "--prices", "ok.csv", "--sectors", "sectors.json"]),
    ("the ledger", "var/ledger.duckdb", ["query", "select 1"]),
    ("the journal", "var/journal.sqlite", ["run"]),
]


@pytest.mark.parametrize(("name", "command"), [row[1:] for row in READERS], ids=[row[0] for row in READERS])
def test_a_command_refuses_a_pipe_at_once(tmp_path: Path, name: str, command: list[str]) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "ok.csv").write_text(
        "symbol,ts,open,close\n" + "".join(f"A/USDT,{n * 3_600_000 + 1_700_006_400_000},1,1\n" for n in range(9))
    )
    (tmp_path / "config.json").write_text('{"control": {"port": 0}}')
    (tmp_path / "pairs_config.json").write_text(json.dumps({"pairs": [PAIR]}))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    result = tandem(command, tmp_path)
    assert result.returncode in {1, 2}, result.stderr
    line = said(result) if command != ["run"] else result.stderr
    assert "is a pipe; need a regular file" in line
    assert Path(name).name in line


@pytest.mark.parametrize(("make", "told"), [row[1:] for row in STRANGE], ids=[row[0] for row in STRANGE])
@pytest.mark.parametrize("read", [read_file, require_file, load_settings])
def test_what_is_no_file_is_refused(
    tmp_path: Path, read: Callable[[Path], object], make: Callable[[Path], object], told: str
) -> None:
    path = tmp_path / "x"
    make(path)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=told) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(("make", "told"), [row[1:] for row in STRANGE[:-1]], ids=[row[0] for row in STRANGE[:-1]])
def test_a_journal_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], object], told: str) -> None:
    path = tmp_path / "journal.sqlite"
    make(path)
    with pytest.raises(ConfigError, match=told):
        FlowJournal.open(path)


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path: Path) -> None:
    """`/proc` says that its files are empty."""
    path = tmp_path / "x"
    path.symlink_to("/proc/self/maps")
    with pytest.raises(FileRefused, match="is larger than"):
        read_file(path, bytes_max=100)
    (tmp_path / "y").write_bytes(b"x" * READ_BYTES_MAX)
    assert len(read_file(tmp_path / "y")) == READ_BYTES_MAX


def test_a_lease_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Who opens a file on which another process has a lease waits for it for 45 seconds, unless it asks not to."""
    path = tmp_path / "x"
    path.write_text("x")
    with path.open("r+") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("this file system knows no leases")
        handler = _ignoring_the_lease()
        try:
            with pytest.raises(BlockingIOError):
                read_file(path)
        finally:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            handler()


def _ignoring_the_lease() -> Callable[[], object]:
    import signal  # noqa: PLC0415

    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    return lambda: signal.signal(signal.SIGIO, before)


def test_a_disk_that_hangs_is_left_behind(tmp_path: Path) -> None:
    answered = threading.Event()
    with pytest.raises(FileHangs, match=r"no answer within 0\.1 s; its disk or network share hangs"):
        within(0.1, tmp_path, answered.wait)
    answered.set()


# The runner's own reading


class Told:
    """A log that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.log: Any = SimpleNamespace(emit=lambda event, **facts: self.lines.append((event.name, str(facts))))


async def _nothing(*_: object) -> None:
    return None


def _watch(path: Path, told: Told) -> PairsWatch:
    generator = SimpleNamespace(symbols=frozenset({"LTC/USDT:USDT", "BCH/USDT:USDT"}), reconfigure=lambda _: None)
    parts: Any = SimpleNamespace(generator=generator, watch_quotes=_nothing, clock=SystemClock())
    log: Log = told.log
    return PairsWatch(path, Settings(), parts, PairsRegistry(), log, seen=signature_of(path))


async def test_a_pipe_for_pairs_stops_neither_quotes_nor_exits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.pairs.watch.LOOK_SECONDS", 0.02)
    path, told = tmp_path / "pairs_config.json", Told()
    path.write_text('{"pairs": []}')
    watching = asyncio.create_task(_watch(path, told).run())
    path.unlink()
    os.mkfifo(path)
    longest = 0.0
    deadline = time.monotonic() + 60
    while not told.lines and time.monotonic() < deadline:
        before = time.monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - before)
    assert [(event, "is a pipe" in why) for event, why in told.lines] == [("pairs_file_invalid", True)]
    assert longest < 2, "the loop went on"
    path.unlink()
    path.write_text(json.dumps({"pairs": [PAIR]}))
    while len(told.lines) < 2 and time.monotonic() < deadline:  # noqa: ASYNC110 - a file is watched; there is no event.
        await asyncio.sleep(0.01)
    watching.cancel()
    assert told.lines[1][0] == "pairs_reloaded", told.lines


async def test_one_thread_waits_for_a_disk_that_hangs_and_the_loop_goes_on(tmp_path: Path) -> None:
    answered = threading.Event()
    files = OffLoop(seconds=0.05)
    threads = threading.active_count()
    for _ in range(20):
        with pytest.raises(FileHangs):
            await files.call(tmp_path, answered.wait)
    assert threading.active_count() == threads + 1
    answered.set()
    deadline = time.monotonic() + 30
    while threading.active_count() > threads and time.monotonic() < deadline:  # noqa: ASYNC110 - threads end without one.
        await asyncio.sleep(0.01)
    assert await files.call(tmp_path, lambda: "an answer") == "an answer"


async def test_calls_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    files = OffLoop(seconds=30)
    assert await asyncio.gather(*(files.call(tmp_path, lambda n=n: n) for n in range(20))) == list(range(20))


async def test_what_is_raised_off_the_loop_is_raised_to_who_waits(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match=r"^no$"):
        await OffLoop().call(tmp_path, refuse)
