"""The processes of this clone that run now, and the sockets they listen on."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from flows.stack import identity
from flows.stack.layout import Layout
from storage.locks import holder_of

ROLES = (
    ("flows.stack.server", "prefect server"),
    ("flows.stack.warm worker", "prefect worker"),
    ("flows.stack.warm deploy", "prefect deploy"),
    ("storage.recorder", "recorder"),
    ("-m paper", "paper exchange"),
    ("prefect.engine", "flow run"),
    ("_workspace_", "flow run"),
)
"""A piece of the command line, and what the process is then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """One address that a process listens on."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """One process of this clone."""

    pid: int
    role: str
    sockets: tuple[Socket, ...]


def running(layout: Layout, trader: int | None) -> list[Ours]:
    """Return what carries the mark of this clone's stack, its supervisor, and the runner (`trader`, a pid) with its children."""
    record = identity.read_record(layout.runs / "stack.json")
    pids = {who.pid for who in identity.marked(str(record["mark"]))} if record and record.get("mark") else set()
    supervisor = holder_of(layout.runs / "up.lock")
    pids |= {pid for pid in (supervisor, trader) if pid is not None and pid > 0}
    if trader is not None and trader > 0:
        with contextlib.suppress(psutil.Error):
            pids |= {child.pid for child in psutil.Process(trader).children(recursive=True)}
    return [ours for pid in sorted(pids) for ours in _looked_at(pid, supervisor=supervisor, trader=trader)]


def _looked_at(pid: int, *, supervisor: int | None, trader: int | None) -> Iterator[Ours]:
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())
        role = next((role for piece, role in ROLES if piece in command), process.name())
        role = {supervisor: "tandem up", trader: "live runner"}.get(pid, role)
        held = [row.laddr for row in process.net_connections(kind="tcp") if row.status == psutil.CONN_LISTEN]
        yield Ours(pid=pid, role=role, sockets=tuple(Socket(host=at.ip, port=at.port) for at in held))
