"""`tandem run`: the live runner in the foreground, with a recorder beside it if nobody records this ledger."""

import asyncio
import dataclasses
import importlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.commands.options import config_option, pairs_option

if TYPE_CHECKING:
    from runner.config import Settings
    from runner.run_totals import RunTotals
    from storage.recorder_process import RecorderKeeper

KEEP_SECONDS = 5.0


@click.command()
@config_option
@pairs_option
def run(config_path: Path, pairs_path: Path) -> int:
    """Trade the configured pairs until Ctrl-C or SIGTERM.

    A signal stops it gracefully: no new entries, trades in flight brought to hedged or flat, open pairs kept (or flattened:
    execution.on_shutdown), everything recorded, final statistics printed. TANDEM_LOG_FILE names a file for a copy of the log.
    """
    # Imported here because `tandem --help` should not wait for ccxt.
    from runner import keys  # noqa: PLC0415
    from runner.config import load_settings, uses_paper_account  # noqa: PLC0415
    from runner.logs import keep_secret  # noqa: PLC0415
    from runner.pairs.file import load_pairs  # noqa: PLC0415

    settings = load_settings(config_path)
    load_pairs(pairs_path, settings.signal)
    if uses_paper_account(settings, os.environ) and keys.are_in(os.environ):
        click.echo("the exchange keys in the environment are not used: trading_mode is paper", err=True)
    for secret in (settings.binance_api_key, settings.binance_api_secret):
        if secret is not None:
            keep_secret(secret.get_secret_value())
    _log_to_terminal()
    with _recorder(settings) as keeper:
        statistics = asyncio.run(_trade(config_path, pairs_path, keeper))
    _print(statistics)
    return 0


def _log_to_terminal() -> None:
    from domain.errors import ConfigError  # noqa: PLC0415
    from runner.logs import configure_logging  # noqa: PLC0415

    log_file = os.environ.get("TANDEM_LOG_FILE")
    try:
        configure_logging(log_file=Path(log_file) if log_file else None)
    except OSError as error:
        raise ConfigError(f"TANDEM_LOG_FILE={log_file}: cannot be written ({error.strerror}); name another") from None


@contextmanager
def _recorder(settings: "Settings") -> Iterator["RecorderKeeper"]:
    """Raises: ConfigError when it does not start; nothing else has started then."""
    from domain.errors import ConfigError  # noqa: PLC0415
    from runner.keys import without_keys  # noqa: PLC0415
    from storage.files import private_folder  # noqa: PLC0415
    from storage.recorder_process import RecorderKeeper  # noqa: PLC0415

    storage = settings.storage
    try:
        for path in (storage.journal, storage.ledger):
            private_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"storage: {error.filename} cannot be made ({error.strerror}); correct storage") from None
    keeper = RecorderKeeper(
        storage.journal, settings.flows_journal, storage.ledger, environment=without_keys(os.environ)
    )
    keeper.begin()
    try:
        # While it starts: the imports, the better part of a start. After a crash legs are waiting for it.
        importlib.import_module("runner.bot")
        keeper.wait_until_ready()
        yield keeper
    finally:
        # After the journal is closed: the last rows are published before we say we are done.
        keeper.stop()


async def _trade(config_path: Path, pairs_path: Path, keeper: "RecorderKeeper") -> "RunTotals":
    from runner.bot import TradingBot  # noqa: PLC0415
    from runner.tasks import cancel_all  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    keeping = loop.create_task(_keep_recording(keeper))
    try:
        return await TradingBot(config_path, pairs_path).run(stop)
    finally:
        await cancel_all(keeping)


async def _keep_recording(keeper: "RecorderKeeper") -> None:
    """A recorder that died is replaced; the journals keep everything meanwhile, so trading never waits for it."""
    from domain.errors import ConfigError  # noqa: PLC0415
    from runner import events  # noqa: PLC0415
    from runner.logs import emit_line  # noqa: PLC0415

    while True:
        await asyncio.sleep(KEEP_SECONDS)
        try:
            if await asyncio.to_thread(keeper.look):
                emit_line(events.RECORDER_REPLACED)
        except (ConfigError, OSError) as problem:
            emit_line(events.RECORDER_MISSING, why=str(problem))


def _print(statistics: "RunTotals") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="Final statistics", show_header=False, title_justify="left")
    for field in dataclasses.fields(statistics):
        value = getattr(statistics, field.name)
        form = ".1%" if field.name == "success_rate" else ".1f" if isinstance(value, float) else ""
        table.add_row(field.name.replace("_", " "), format(value, form))
    Console().print(table)
