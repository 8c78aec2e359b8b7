"""`tandem up`: the whole system with one command."""

import click


@click.command()
@click.option(
    "--for",
    "for_seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop by itself after this many seconds of trading.  [default: run until Ctrl-C]",
)
def up(for_seconds: float | None) -> None:
    """Start everything: paper exchange, recorder, Prefect server and UI, worker, deployments, live runner.

    Reads config.json and pairs_config.json of this clone; keeps all state in its var/ folder. Prints the addresses,
    then the runner's events. Ctrl-C or SIGTERM stops the live run gracefully first and leaves no process behind.
    """
    from flows.stack import up as work  # noqa: PLC0415

    raise SystemExit(work.up(for_seconds))
