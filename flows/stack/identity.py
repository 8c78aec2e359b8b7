"""Who is alive: a process is its pid *and* its start time, for pids are used again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from storage.files import write_whole

MARK = "_TANDEM_STACK"
"""Environment variable that every process of one stack inherits, flow runs and orphans included. Not TANDEM_…: that
prefix names configuration."""


ACCOUNT_BUSY = "AccountBusy"
"""The name of the state in which the flow `live` ends a run that found the account taken: another run trades on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One process, told apart from a later one with the same pid."""

    pid: int
    started_at_s: float

    def process(self) -> psutil.Process | None:
        """Return the live process, or None if it is gone, a zombie, or somebody else by now."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_at_s) > 1.0:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None

    @property
    def is_alive(self) -> bool:
        return self.process() is not None

    def send(self, signal_number: signal.Signals) -> None:
        """Signal the process if it still is the one we mean."""
        process = self.process()
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)


def identify(pid: int | None = None) -> Identity | None:
    """Return the identity of a running process (default: this one), None if it is gone."""
    try:
        process = psutil.Process(pid or os.getpid())
        return Identity(pid=process.pid, started_at_s=process.create_time())
    except psutil.NoSuchProcess:
        return None


def listening_ports(identity: Identity) -> frozenset[int]:
    """Return the TCP ports that a process itself listens on, by the sockets it holds."""
    process = identity.process()
    if process is None:
        return frozenset()
    with contextlib.suppress(psutil.Error, OSError):
        held = process.net_connections(kind="tcp")
        return frozenset(row.laddr.port for row in held if row.status == psutil.CONN_LISTEN)
    return frozenset()


def marked(mark: str) -> list[Identity]:
    """Return every other process of this user that carries the stack's mark, whoever its parent is."""
    found: list[Identity] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == mark:
                found.append(Identity(pid=process.pid, started_at_s=process.create_time()))
    return found


def write_record(path: Path, record: dict[str, object]) -> None:
    """Replace a small JSON file whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def read_record(path: Path) -> dict[str, object] | None:
    """Return a record, None if it is missing or was never finished."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def identity_in(record: dict[str, object] | None) -> Identity | None:
    """Return the identity that a record holds."""
    if record is None:
        return None
    pid, started_at_s = record.get("pid"), record.get("started_at_s")
    if not isinstance(pid, int) or not isinstance(started_at_s, (int, float)):
        return None
    return Identity(pid=pid, started_at_s=float(started_at_s))


def live_record(runs: Path, run_id: str) -> Path:
    """Return where a live flow run says which process it is."""
    return runs / f"live-{run_id}.json"


@contextlib.contextmanager
def registered(runs: Path, run_id: str) -> Iterator[None]:
    """Leave word of this live process while it runs; a record whose process is gone is a dead run."""
    path = live_record(runs, run_id)
    me = identify()
    assert me is not None
    write_record(path, {**asdict(me), "run_id": run_id})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def live_processes(runs: Path) -> list[tuple[str, Identity]]:
    """Return (run id, process) of every live run that is alive; forget those that are not."""
    found: list[tuple[str, Identity]] = []
    for path in sorted(runs.glob("live-*.json")):
        record = read_record(path)
        identity = identity_in(record)
        if record is not None and identity is not None and identity.is_alive:
            found.append((str(record.get("run_id", "")), identity))
        elif record is not None:
            path.unlink(missing_ok=True)
    return found
