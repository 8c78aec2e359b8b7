"""`tandem up`: the whole system with one command, and all of it gone with one Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import stat
import sys
from pathlib import Path

import click

from domain.errors import ConfigError
from flows.stack.checks import make_plan
from flows.stack.layout import Layout, find_layout
from flows.stack.leftovers import stop_leftovers
from flows.stack.ports import Claims
from flows.stack.prefect_api import ServerSilent
from flows.stack.processes import ChildDied
from flows.stack.programs import Plan
from flows.stack.steps import Steps
from flows.stack.supervisor import Supervisor
from runner import keys
from runner.config import Settings
from storage.locks import LockHeld, OsLock

DONE, FAILED, BAD_USAGE = 0, 1, 2
FIRST_QUESTION = "select trade_id, pair_id, status, net_pnl_usd from pair_trades order by opened_at desc limit 10"


def up(for_seconds: float | None) -> int:
    """Start everything, until Ctrl-C or for so many seconds of trading; returns the exit code."""
    steps = Steps()
    try:
        _close_everything()
        layout = find_layout(Path.cwd())
        layout.create()
        lock = OsLock(layout.runs / "up.lock")
    except LockHeld as held:
        ours = f"already runs in this clone (pid {held.holder}); stop it with Ctrl-C there or `kill {held.holder}`"
        click.echo(f"tandem up: {held.explain(ours)}" if held.user else f"tandem up {ours}", err=True)
        return BAD_USAGE
    except (ConfigError, OSError) as error:
        click.echo(f"tandem up: {error}", err=True)
        return BAD_USAGE
    try:
        _put_keys_into_files(layout)
        return asyncio.run(_run(layout, steps, for_seconds))
    except ConfigError as error:
        click.echo(f"tandem up: {error}", err=True)
        return BAD_USAGE
    finally:
        keys.forget(layout.keys)
        lock.release()


def _close_everything() -> None:
    """What we and our children write is for this user alone, and a crash leaves no memory on the disk."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _put_keys_into_files(layout: Layout) -> None:
    """Keys in this process's environment would be in every child's, and in ours for all its life: begin again without them."""
    if keys.are_in(os.environ):
        keys.hand_over(layout.keys, os.environ)
        environment = {**keys.without_keys(os.environ), keys.FOLDER: str(layout.keys)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - ourselves, once more.
    if os.environ.get(keys.FOLDER) != str(layout.keys):
        keys.forget(layout.keys)


async def _run(layout: Layout, steps: Steps, for_seconds: float | None) -> int:
    stop = asyncio.Event()
    stop_now = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before any child starts: see Child.start.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: stop_now.set() if stop.is_set() else stop.set())
    await stop_leftovers(layout, steps)
    layout.sweep_temporary()
    claims = Claims()
    with steps.step("checks") as facts:
        plan, settings, pairs = make_plan(layout, os.environ, claims)
        facts.append(f"{pairs} pairs, {settings.trading_mode} mode{', dry run' if settings.dry_run else ''}")
        if plan.exchange_port is not None and layout.keys.is_dir():
            keys.forget(layout.keys)  # Nobody here has a use for them.
            facts.append("(your exchange keys are not used in it)")
    async with Supervisor(plan, steps, stop_now) as supervisor:
        try:
            return await _live(supervisor, settings, stop, for_seconds)
        finally:
            stop.set()
            await supervisor.stop()
            claims.release()
            steps.say("everything is stopped")


async def _live(supervisor: Supervisor, settings: Settings, stop: asyncio.Event, for_seconds: float | None) -> int:
    """Start, tell, wait for the word to stop. Return the exit code."""
    code = DONE
    starting = asyncio.create_task(_start(supervisor, settings))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait({stopping}, timeout=for_seconds)
    except* (ChildDied, ServerSilent) as group:
        for error in group.exceptions:
            supervisor.steps.say(str(error), colour="red")
        code = FAILED
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.wait({starting, stopping})
    return code


async def _start(supervisor: Supervisor, settings: Settings) -> None:
    run = await supervisor.start()
    await supervisor.until_trading(run)
    for line in closing_lines(supervisor.plan, settings, run.run_id, is_private=is_private(sys.stdout.fileno())):
        click.echo(line)
    supervisor.begin_first_runs(run)


def is_private(descriptor: int) -> bool:
    """Return whether what is written there is read by this user alone: a terminal, a pipe, a file that nobody else can read."""
    facts = os.fstat(descriptor)
    is_closed_file = stat.S_ISREG(facts.st_mode) and not facts.st_mode & (stat.S_IRGRP | stat.S_IROTH)
    return os.isatty(descriptor) or stat.S_ISFIFO(facts.st_mode) or is_closed_file


def closing_lines(plan: Plan, settings: Settings, run_id: str, *, is_private: bool) -> list[str]:
    """Return where everything is, and what to look at next; what opens the UI without asking only where nobody else reads it."""
    ui, run = plan.prefect_url, f"/runs/flow-run/{run_id}"
    logs = plan.layout.logs
    # As it can be typed here: on the path, or in the environment that `make` made.
    tandem = "tandem" if shutil.which("tandem") else os.path.relpath(Path(sys.executable).with_name("tandem"))
    key = os.path.relpath(plan.layout.prefect_auth)
    shown = [
        ("Prefect UI", plan.prefect_link() if is_private else f"{ui} (asks once, for the text in {key})"),
        ("live run", plan.prefect_link(run) if is_private else ui + run),
        (
            "control",
            f"{plan.control_url}/status" if plan.control_port else "any free port, see the runner's first lines",
        ),
        ("exchange", plan.exchange_url or settings.data.rest_url or "Binance"),
        ("ledger", str(plan.ledger)),
        ("logs", f"{logs}{os.sep}*.log"),
    ]
    return [
        "",
        *(f"  {name:<11} {value}" for name, value in shown),
        "",
        f"  next: {tandem} status",
        *([] if is_private else [f"        {tandem} prefect --link    an address that opens the UI without asking"]),
        f'        {tandem} query "{FIRST_QUESTION}"',
        "  Ctrl-C stops everything, the live run first. What follows is the runner's own log.",
        "",
    ]
