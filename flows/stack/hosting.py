"""Host the live runner: give it time to leave, start it again when it stumbles, and call a crash loop by its name.

Knows neither Prefect nor the runner: the `live` flow hands it both, so a test can hand it something smaller.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from domain.errors import AccountBusy, ConfigError
from runner import events
from runner.logs import emit_line

Status = Mapping[str, Any]


class Bot(Protocol):
    """What the host needs of a trading bot."""

    async def run(self, stop: asyncio.Event) -> Any:
        """Trade until `stop` is set, then leave in order and return the final statistics.

        Raises: ConfigError, AccountBusy; anything else is a crash.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the host waits for what."""

    shutdown_s: float = 25.0
    """The platform kills the process group 30 s after a cancel; we are out before."""
    busy_s: float = 20.0
    """A predecessor that is just leaving frees the account within this; after it, somebody else trades."""
    busy_poll_s: float = 1.0
    crashes_max: int = 5
    crash_window_s: float = 600.0
    backoff_s: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 30.0)


class DidNotLeave(Exception):
    """The runner was told to stop and was cut off when its time was up; the journal tells the rest."""


class CrashLoop(Exception):
    """The runner crashed too often in too short a time: a human has to look."""


async def host(make_bot: Callable[[], Bot], stop: asyncio.Event, patience: Patience = Patience()) -> Any:
    """Run the bot until it ends or `stop` is set; return its final statistics, None if it never ran.

    A crash starts a new bot, which replays the journal like any other start.
    Raises: ConfigError, AccountBusy (after `busy_s`), CrashLoop, DidNotLeave.
    """
    crashes: deque[float] = deque()
    began_at_s = time.monotonic()
    while True:
        try:
            return await _one_run(make_bot(), stop, patience)
        except (ConfigError, DidNotLeave):
            raise
        except AccountBusy:
            if time.monotonic() - began_at_s > patience.busy_s or await _stopped_within(stop, patience.busy_poll_s):
                raise
        except Exception as error:
            now_s = time.monotonic()
            crashes.append(now_s)
            while now_s - crashes[0] > patience.crash_window_s:
                crashes.popleft()
            if len(crashes) >= patience.crashes_max:
                raise CrashLoop(
                    f"{len(crashes)} crashes within {patience.crash_window_s:g} s, the last: {error!r}"
                ) from error
            pause_s = patience.backoff_s[min(len(crashes), len(patience.backoff_s)) - 1]
            emit_line(events.RUNNER_CRASHED, exception=error, restart_in_s=pause_s, crashes=len(crashes))
            if await _stopped_within(stop, pause_s):
                return None


async def _one_run(bot: Bot, stop: asyncio.Event, patience: Patience) -> Any:
    """Run one bot to its end. Once `stop` is set it has `shutdown_s` to leave; then its task is cancelled.

    The bot gets an event of its own: one that halts by setting it must not look like somebody's wish to stop.
    """
    leave = asyncio.Event()
    running = asyncio.create_task(bot.run(leave), name="live bot")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        leave.set()
        if not running.done():
            await asyncio.wait({running}, timeout=patience.shutdown_s)
        if not running.done():
            raise DidNotLeave(f"the runner did not leave within {patience.shutdown_s:g} s and was cut off")
        return running.result()
    finally:
        stopping.cancel()
        if not running.done():
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.wait({running}, timeout=2.0)


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
