"""`tandem query`: one statement against the published ledger, in a process of its own."""

import csv
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domain.text import printable
from runner.commands.options import config_option

if TYPE_CHECKING:
    from storage.ledger import Table


@click.command()
@click.argument("sql")
@config_option
@click.option("--json", "as_json", is_flag=True, help="A JSON array of objects, on stdout.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values with a header, on stdout.")
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=0.01, max=86_400),
    default=30.0,
    show_default=True,
    help="Seconds after which the statement is stopped.",
)
def query(sql: str, config_path: Path, *, as_json: bool, as_csv: bool, seconds: float) -> int:
    """Run one SQL statement, read-only, and print what it answers.

    For example: tandem query "select pair_id, status, net_pnl_usd from pair_trades". 'tandem query "show tables"' lists
    what there is. Times are UTC.
    """
    # DuckDB is loaded for this command alone; the live process never carries it.
    from domain.errors import ConfigError  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415
    from storage.ledger import QueryRefused, read  # noqa: PLC0415

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other; give one of them")
    try:
        table = read(load_settings(config_path, Purpose.NONE).storage.ledger, sql, seconds=seconds)
    except QueryRefused as refusal:
        raise ConfigError(str(refusal)) from None
    if as_json:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        click.echo(json.dumps(rows, default=str))
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(table.columns)
        writer.writerows(table.rows)
    else:
        _print(table)
    return 0


def _print(table: "Table") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as Shown  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Shown()
    for column in table.columns:
        shown.add_column(Text(printable(column)), overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(printable(_cell(value))) for value in row))  # Text: brackets are no markup.
    console = Console()
    console.print(shown)
    console.print(f"{len(table.rows)} row{'' if len(table.rows) == 1 else 's'}")


def _cell(value: object) -> str:
    """A value as people read it: an exact decimal without the zeros its column would carry."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)
