"""`tandem prefect …`: Prefect's own command, turned to this clone's server and with the secret that opens it."""

import click


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--link", is_flag=True, help="Print the address that opens the UI without asking, and do nothing else.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="PREFECT-COMMAND…")
def prefect(*, link: bool, arguments: tuple[str, ...]) -> None:
    """Run Prefect's own command against the server that `tandem up` started in this clone.

    For example: tandem prefect deployment run recalibrate/recalibrate --watch. Everything behind the name is Prefect's;
    'tandem prefect COMMAND --help' says more. The server proves that it is ours before its secret is sent.
    """
    from flows.stack import prefect_command  # noqa: PLC0415

    prefect_command.run(arguments, only_link=link)
