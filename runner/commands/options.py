"""Options that several commands share."""

from pathlib import Path

import click

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="config.json",
    envvar="TANDEM_CONFIG",
    show_default=True,
    help="The configuration file.",
)
pairs_option = click.option(
    "--pairs",
    "pairs_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="pairs_config.json",
    envvar="TANDEM_PAIRS",
    show_default=True,
    help="The pairs to trade; read again when the file changes.",
)
