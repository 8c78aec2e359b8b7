"""The list of commands. Those of flows and paper are found by their entry points, so that the runner never imports them."""

import contextlib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points, version
from types import MappingProxyType
from typing import Any

import click

from domain.errors import ConfigError

ENTRY_POINTS = "tandem.commands"

OURS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "run": ("runner.commands.run:run", "The live runner alone, in the foreground, without Prefect."),
        "status": ("runner.commands.control_client:status", "What the running runner holds, sees and waits for."),
        "pause": ("runner.commands.control_client:pause", "No new entries; exits go on."),
        "resume": ("runner.commands.control_client:resume", "Entries again."),
        "flatten": ("runner.commands.control_client:flatten", "Close one pair's trade, or all of them."),
        "reload": ("runner.commands.control_client:reload", "Read the pairs file again, now."),
        "trade": (
            "runner.commands.trade:trade",
            "One trade's story from signal to last execution, or the last trades.",
        ),
        "query": ("runner.commands.query:query", "One SQL statement against the published ledger."),
    }
)
THEIRS: Mapping[str, str] = MappingProxyType(
    {
        "up": "Everything: paper exchange, recorder, Prefect, worker, deployments, live runner.",
        "exchange": "The paper exchange alone: Binance USD-M's dialect on loopback.",
        "recalibrate": "Test the configured pairs again and write their hedge ratios.",
        "config": "The versions of the pairs file: history, diff, restore.",
        "scan": "Look for cointegrated pairs.",
        "backtest": "The live decisions over stored klines, with fees.",
        "health": "Probe every part once.",
        "reconcile": "Compare the ledger with the exchange.",
        "doctor": "What can be reached, read and changed, by whom, and what to do about it.",
        "prefect": "Prefect's own command, turned to this clone's server.",
    }
)


class LazyGroup(click.Group):
    """Knows every command's name and one line about it; imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (Click's signature.)
        known = [*OURS, *THEIRS]
        found = {point.name for point in entry_points(group=ENTRY_POINTS)}
        return [name for name in known if name in OURS or name in found] + sorted(found.difference(known))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in OURS:
            module, _, name = OURS[cmd_name][0].partition(":")
            command: Any = getattr(importlib.import_module(module), name)
            return command if isinstance(command, click.Command) else None
        for point in entry_points(group=ENTRY_POINTS, name=cmd_name):
            try:
                found = point.load()
            except ImportError as error:
                raise ConfigError(f"{cmd_name}: cannot be loaded ({error}); install the project again") from None
            return found if isinstance(found, click.Command) else None
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of one-liners; no command is imported for it."""
        helps = {**{name: text for name, (_, text) in OURS.items()}, **THEIRS}
        with formatter.section("Commands"):
            formatter.write_dl([(name, helps.get(name) or _help_of_folder(name)) for name in self.list_commands(ctx)])


def _help_of_folder(command: str) -> str:
    """A command without a line in the table: the first line of its folder's docstring. Nothing else of it is imported."""
    for point in entry_points(group=ENTRY_POINTS, name=command):
        with contextlib.suppress(ImportError):
            folder = importlib.import_module(point.module.rpartition(".")[0])
            return (folder.__doc__ or "").partition("\n")[0]
    return ""


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed, 2 bad usage or configuration. 'tandem COMMAND --help' says more.",
)
@click.version_option(version("tandem"), message="tandem %(version)s")
def tandem() -> None:
    """Pairs trading for Binance USD-M perpetual futures: two legs, ridden together."""
