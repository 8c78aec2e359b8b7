"""The host of the live runner: stop, crash, crash loop, busy account, and a bot that will not leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from domain.errors import AccountBusy, ConfigError
from flows.stack.hosting import CrashLoop, DidNotLeave, Patience, host

QUICK = Patience(shutdown_s=0.2, busy_s=0.3, busy_poll_s=0.05, crashes_max=3, backoff_s=(0.01,))


class ScriptedBot:
    """Does one thing of its script in every run."""

    def __init__(self, script: list[Callable[[asyncio.Event], Awaitable[object]]]) -> None:
        self._script = script
        self.runs = 0

    async def run(self, stop: asyncio.Event) -> object:
        act = self._script[min(self.runs, len(self._script) - 1)]
        self.runs += 1
        return await act(stop)


async def trades(stop: asyncio.Event) -> object:
    await stop.wait()
    return "statistics"


async def ends(_: asyncio.Event) -> object:
    return "statistics"


async def crashes(_: asyncio.Event) -> object:
    raise RuntimeError("boom")


async def times_out(_: asyncio.Event) -> object:
    raise TimeoutError("a socket, not the shutdown")


async def is_busy(_: asyncio.Event) -> object:
    raise AccountBusy("pid 1 holds it")


async def is_misconfigured(_: asyncio.Event) -> object:
    raise ConfigError("config.json: no")


async def will_not_leave(_: asyncio.Event) -> object:
    await asyncio.sleep(60)
    return None


async def halts(stop: asyncio.Event) -> object:
    stop.set()
    raise RuntimeError("halted by itself")


# What the bot does run by run, how the host ends, and how often the bot was started.
STORIES = [
    ("stopped", [trades], "statistics", 1),
    ("ends by itself", [ends], "statistics", 1),
    ("crashes twice, then trades", [crashes, times_out, trades], "statistics", 3),
    ("crashes for ever", [crashes], CrashLoop, 3),
    ("halts by setting its stop", [halts, trades], "statistics", 2),
    ("bad configuration", [is_misconfigured, trades], ConfigError, 1),
    ("busy, then free", [is_busy, is_busy, trades], "statistics", 3),
    ("busy for ever", [is_busy], AccountBusy, None),
    ("will not leave", [will_not_leave], DidNotLeave, 1),
]


@pytest.mark.parametrize(("script", "expected", "runs"), [row[1:] for row in STORIES], ids=[row[0] for row in STORIES])
async def test_stories(
    script: list[Callable[[asyncio.Event], Awaitable[object]]],
    expected: object,
    runs: int | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, logger="runner")
    bot, stop = ScriptedBot(script), asyncio.Event()
    if script[-1] in (trades, will_not_leave):
        asyncio.get_running_loop().call_later(0.5, stop.set)
    hosting = host(lambda: bot, stop, QUICK)
    if isinstance(expected, type) and issubclass(expected, Exception):
        with pytest.raises(expected):
            await hosting
    else:
        assert await hosting == expected
    assert runs is None or bot.runs == runs


async def test_a_stop_during_the_pause_after_a_crash_ends_it() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, stop.set)
    bot = ScriptedBot([crashes])
    assert await host(lambda: bot, stop, Patience(backoff_s=(30.0,))) is None
    assert bot.runs == 1


async def test_cancelling_the_host_cancels_the_bot() -> None:
    bot = ScriptedBot([will_not_leave])
    task = asyncio.create_task(host(lambda: bot, asyncio.Event(), QUICK))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {other.get_name() for other in asyncio.all_tasks()} & {"live bot", "stop"} == set()
