"""Find this clone's Prefect server, make sure that it is ours, and become Prefect's own command."""

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from domain.errors import ConfigError, TandemError
from flows.stack import entrance, identity
from flows.stack.environment import known_auth_string, own_environment
from flows.stack.layout import find_layout
from flows.stack.proof import proves


class NoServer(TandemError):
    """No server of this clone answers."""


def run(arguments: tuple[str, ...], *, only_link: bool) -> None:
    """Replace this process by `prefect …`. Raises: ConfigError, NoServer."""
    layout = find_layout(Path.cwd())
    record = identity.read_record(layout.runs / "stack.json") or {}
    url, auth = str(record.get("prefect", "")), known_auth_string(layout, os.environ)
    if not url:
        raise NoServer("no stack of this clone runs; start one with `tandem up`")
    if not asyncio.run(proves(url, auth)):
        raise NoServer(f"{url} does not prove that it is this clone's Prefect server; start one with `tandem up`")
    if only_link:
        click.echo(entrance.link(url, auth))
        return
    if not arguments:
        raise ConfigError("prefect: which command? For example `tandem prefect deployment ls`")
    environment = own_environment(layout, port=urlsplit(url).port or 80, inherited=os.environ)
    environment.pop("PREFECT_CLI_PROMPT")  # A person may be asked.
    os.execve(sys.executable, [sys.executable, "-m", "prefect", *arguments], environment)  # noqa: S606 - Prefect itself.
