"""What the features' commands share: options, exit codes, one clear line for what goes wrong, tables.

The work is imported when a command runs, so that `--help` answers at once and no command loads what it does not need.
"""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from domain.errors import ConfigError, TandemError
from domain.text import one_line, printable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.text import Text

DONE, FAILED, BAD_USAGE = 0, 1, 2
_Command = TypeVar("_Command", bound=Callable[..., Any])
_Rules = TypeVar("_Rules", bound="BaseModel")


def say(line: str) -> None:
    """Progress goes to stderr: stdout is for the answer."""
    click.echo(printable(line), err=True)


def speaking(function: _Command) -> _Command:
    """One clear line for everything we raise on purpose, and the contract's exit codes."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        name = click.get_current_context().command_path.removeprefix("tandem ")
        try:
            code = function(*args, **kwargs)
        except ConfigError as problem:
            click.echo(f"tandem {name}: {one_line(str(problem))}", err=True)
            code = BAD_USAGE
        except TandemError as problem:
            click.echo(f"tandem {name}: {one_line(str(problem))}", err=True)
            code = FAILED
        except (KeyboardInterrupt, RuntimeError) as problem:
            # DuckDB's word for Ctrl-C during a query.
            if isinstance(problem, RuntimeError) and str(problem) != "Query interrupted":
                raise
            click.echo(f"tandem {name}: interrupted; what was recorded stays", err=True)
            code = FAILED
        sys.exit(code)

    return run  # type: ignore[return-value]  # wraps keeps the signature that click reads.


def with_config(*, pairs: bool = True) -> Callable[[_Command], _Command]:
    """--config and --pairs, the same everywhere."""

    def add(function: _Command) -> _Command:
        if pairs:
            function = click.option(
                "--pairs",
                "pairs_path",
                type=click.Path(path_type=Path, dir_okay=False),
                default=Path("pairs_config.json"),
                show_default=True,
                help="The pairs.",
            )(function)
        return click.option(
            "--config",
            "config_path",
            type=click.Path(path_type=Path, dir_okay=False),
            default=Path("config.json"),
            show_default=True,
            help="The configuration.",
        )(function)

    return add


def rules_of(model: type[_Rules], *, spelled: Mapping[str, str] | None = None, **parameters: Any) -> _Rules:
    """The command's options as the flow's own rules; what was not given keeps its default. Raises: ConfigError.

    `spelled`: the option of a rule, where it is not the rule's own name.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        return model(**{key: value for key, value in parameters.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        rule = str(first["loc"][0]) if first["loc"] else "options"
        option = (spelled or {}).get(rule, "--" + rule.replace("_", "-"))
        is_time = first["type"] == "string_pattern_mismatch" and rule == "timeframe"
        words = f"{first['input']!r} is no candle; write 1m, 15m, 1h, 1d" if is_time else first["msg"]
        raise ConfigError(f"{option}: {words}") from None


def show(rows: Sequence[dict[str, Any]], *, title: str, as_json: bool, summary: str) -> None:
    if as_json:
        click.echo(json.dumps({"summary": summary, "rows": list(rows)}, default=str))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    # Not on a terminal (a pipe, a file): wide enough that nothing is cut off.
    console = Console(width=None if sys.stdout.isatty() else 240)
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    if rows:
        console.print(table)
    console.print(printable(summary), highlight=False, markup=False, soft_wrap=True)


def _cell(value: Any) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    if isinstance(value, float):
        return Text(f"{value:.4g}")
    return Text("" if value is None else printable(str(value)))  # Brackets in it are no markup.


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")
ONLY = click.option("--only", multiple=True, metavar="PAIR", help="Only this pair; may be given several times.")
SECTORS = click.option(
    "--sectors",
    "sectors_path",
    type=click.Path(path_type=Path),  # What is wrong with it is told in one line of our own.
    default=None,
    metavar="FILE",
    help="Sectors of your own, before the exchange's: a JSON object of symbol to word.",
)
