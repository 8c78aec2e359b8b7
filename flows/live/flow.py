"""The `live` flow: Prefect hosts, shows and restarts the runner; it never guards money.

Why it looks as it does: the worker's cancel is lost after a minute without server, a run with a concurrency limit is
killed when its lease cannot be renewed, and 30 s after a cancel the process group is killed. So: own signal handlers,
own look at the run's state, no concurrency limit (the account's OS lock fences), and out within 25 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import json
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed
from pydantic import Field

from domain.errors import AccountBusy, ConfigError
from flows.stack.hosting import Bot, Status, host
from flows.stack.identity import ACCOUNT_BUSY, registered, write_record
from flows.stack.layout import STATUS_FILE
from flows.stack.run_watch import RunWatch
from runner.logs import LOGGER_NAME, file_handler
from storage.files import read_file

RUNS = Path("var/run")
"""Relative to the project folder, which is a flow run's working directory. `tandem up` looks there."""
STATUS_KEY, STATISTICS_KEY = "live-status", "live-statistics"


class _Latest:
    """The newest status the runner gave us; older ones are nobody's business."""

    def __init__(self) -> None:
        self.status: Status = {"state": "starting"}

    def __call__(self, status: Status) -> None:
        self.status = dict(status)
        write_record(RUNS / STATUS_FILE, {"executed": status.get("executed", 0)})


def _make_bot(config_path: Path, pairs_path: Path, latest: _Latest) -> Bot:
    """Return a bot of the configured kind: the runner's, unless TANDEM_BOT names `module:callable`."""
    module_name, _, name = os.environ.get("TANDEM_BOT", "runner.bot:TradingBot").partition(":")
    make = getattr(importlib.import_module(module_name), name)
    return cast(Bot, make(config_path, pairs_path, on_status=latest))


@contextlib.contextmanager
def _logging_to_file() -> Iterator[None]:
    """Write the runner's lines to TANDEM_LOG_FILE too; Prefect's own handlers on that logger stay."""
    path, logger = os.environ.get("TANDEM_LOG_FILE"), logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.INFO)
    if not path:
        yield
        return
    handler = file_handler(Path(path))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def _facts(statistics: object) -> Mapping[str, Any]:
    """Return statistics of any shape as facts for a page."""
    if statistics is None:
        return {}
    if isinstance(statistics, Mapping):
        return statistics
    if dataclasses.is_dataclass(statistics) and not isinstance(statistics, type):
        return dataclasses.asdict(statistics)
    fields = getattr(statistics, "__struct_fields__", ())
    return {name: getattr(statistics, name) for name in fields} or {"statistics": str(statistics)}


def _run_name() -> str:
    """Name the run after what it does with money; a configuration that cannot be read is the runner's to refuse."""
    try:
        mode = os.environ.get("TANDEM_TRADING_MODE") or json.loads(read_file(Path("config.json")))["trading_mode"]
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        mode = "unknown"
    return f"live-{mode}"


@flow(name="live", flow_run_name=_run_name, retries=0, persist_result=False)
async def live(
    config_file: Annotated[str, Field(min_length=1)] = "config.json",
    pairs_file: Annotated[str, Field(min_length=1)] = "pairs_config.json",
) -> State[Any]:
    """Trade the configured pairs until cancelled. A cancel stops it gracefully; an outage of the server does not.

    Args:
        config_file: The configuration, relative to the project folder.
        pairs_file: The pairs to trade, relative to the project folder. The runner reads it again when it changes.
    """
    stop, latest, signals = asyncio.Event(), _Latest(), list[str]()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        signals.append(number.name)
        stop.set()

    # Prefect's own handler would raise CancelledError in every task at once, orders in flight included.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)

    run_id = runtime.flow_run.id
    config, pairs = Path(config_file), Path(pairs_file)
    with registered(RUNS, str(run_id)), _logging_to_file():
        async with RunWatch(run_id) as watch:
            tasks = [
                asyncio.create_task(watch.until_cancelled(stop)),
                asyncio.create_task(watch.keep_page(STATUS_KEY, "Live status", lambda: latest.status)),
            ]
            try:
                statistics = await host(lambda: _make_bot(config, pairs, latest), stop)
            except AccountBusy as busy:
                return Cancelled(name=ACCOUNT_BUSY, message=f"another runner trades this account: {busy}")
            finally:
                for task in tasks:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
            facts = _facts(statistics)
            await watch.write_page(STATUS_KEY, "Live status", {**latest.status, "state": "stopped"})
            await watch.write_page(STATISTICS_KEY, "Final statistics", facts)
    if stop.is_set():
        return Cancelled(message=f"stopped gracefully: {watch.why or ', '.join(signals)}")
    return Completed(message="the runner ended by itself")
