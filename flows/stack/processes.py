"""The children of the supervisor: each in its own session, restarted loudly when it dies, stopped in its own time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from domain.text import printable
from flows.stack.identity import Identity, identify
from flows.stack.listener import Listener
from flows.stack.steps import Steps

BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)
LIVED_LONG_S = 60.0
LOG_BYTES_MAX = 20_000_000


class ChildDied(Exception):
    """A child ended before it was ready; the text carries its last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, and how long it may take to stop before its whole group is killed."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    home: Path
    log: Path
    stop_within_s: float
    listener: Listener | None = None
    """The socket that it inherits and serves."""

    @property
    def inherits(self) -> tuple[int, ...]:
        """The descriptors that the process gets of us."""
        return () if self.listener is None else (self.listener.fileno(),)


class Child:
    """One supervised process."""

    def __init__(
        self,
        program: Program,
        steps: Steps,
        *,
        on_start: Callable[[], None],
        on_restart: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.program = program
        self._steps = steps
        self._on_start = on_start
        self._on_restart = on_restart
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False
        self.identity: Identity | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process; nobody restarts it before `keep` is called."""
        _rotate(self.program.log)
        if self.program.listener is not None:
            self.program.listener.hand_over()
        with self.program.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must reach the supervisor alone. The supervisor has
            # handlers for SIGINT by now, so exec gives the child the default again; a worker that inherits
            # SIGINT ignored would ignore SIGTERM too (Prefect turns one into the other).
            self._process = await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(self.program.environment),
                cwd=self.program.home,
                start_new_session=True,
                pass_fds=self.program.inherits,
            )
        self.identity = identify(self._process.pid)
        self._on_start()

    async def wait(self) -> int:
        """Return the exit code of a process that is meant to end."""
        assert self._process is not None
        return await self._process.wait()

    def check(self) -> None:
        """Raise ChildDied if the process has ended on its way up."""
        if self._process is not None and self._process.returncode is not None:
            raise ChildDied(
                f"{self.name} ended with {_exit_text(self._process.returncode)}; the end of {self.program.log}:\n"
                + tail_of(self.program.log)
            )

    def keep(self) -> None:
        """Restart the process from now on whenever it ends."""
        self._watch = asyncio.create_task(self._restart_for_ever(), name=f"keep {self.name}")

    async def _restart_for_ever(self) -> None:
        deaths = 0
        while self._process is not None:
            began_at_s = time.monotonic()
            code = await self._process.wait()
            if self._stopping:
                return
            if self.program.listener is not None:
                self.program.listener.turn_away()
            deaths = 1 if time.monotonic() - began_at_s > LIVED_LONG_S else deaths + 1
            pause_s = BACKOFF_S[min(deaths, len(BACKOFF_S)) - 1]
            self._steps.warn(
                f"{self.name} ended with {_exit_text(code)}; starting it again in {pause_s:g} s ({self.program.log})"
            )
            await asyncio.sleep(pause_s)
            try:
                await self.start()
            except (
                OSError
            ) as error:  # No memory or no process to be had: the old one stays dead, so we come round again.
                self._steps.warn(f"{self.name} could not be started: {error}")
                continue
            self._steps.warn(f"{self.name} is back (pid {self._process.pid})")
            if self._on_restart is not None:
                await self._on_restart()

    async def stop(self, *, stop_within_s: float | None = None) -> str:
        """SIGTERM, wait, then kill the whole group. Return what happened, for the terminal."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        process = self._process
        if process is None:
            return "was not running"
        ending = (
            f"ended by itself with {_exit_text(process.returncode)}" if process.returncode is not None else "stopped"
        )
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(stop_within_s or self.program.stop_within_s):
                    await process.wait()
            except TimeoutError:
                ending = "had to be killed"
        # The leader of the session names the group; what it left behind goes with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        return ending


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _rotate(log: Path) -> None:
    """Keep one earlier log once this one has grown large."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def tail_of(log: Path, *, lines: int = 12) -> str:
    """Return the last lines of a log, indented."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return printable("".join(f"    {line}" for line in deque(file, lines)))
    except OSError:
        return ""
