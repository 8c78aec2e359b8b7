"""`tandem doctor`: one screen, a line a finding."""

import json
from pathlib import Path

import click

from flows.doctor.findings import Finding, Grade

COLOURS = {Grade.OK: "green", Grade.WARN: "yellow", Grade.FAIL: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")
def doctor(*, as_json: bool) -> int:
    """Show what of this clone can be reached, read and changed, by whom, and what to do about it.

    Lists every address that its processes listen on, with who may use it and how it is protected (the protection is tried), who can
    read its files, and where the exchange's keys are. Changes nothing. Exit code 1 when a line says fail.
    """
    sections = examine(Path.cwd())
    findings = [finding for found in sections.values() for finding in found]
    if as_json:
        rows = [
            {"section": name, "grade": each.grade, "what": each.what, "detail": each.detail, "remedy": each.remedy}
            for name, found in sections.items()
            for each in found
        ]
        click.echo(json.dumps(rows))
    else:
        _print(sections)
    return 1 if any(each.grade is Grade.FAIL for each in findings) else 0


def examine(start: Path) -> dict[str, list[Finding]]:
    """Look at everything. Raises: ConfigError when `start` is in no clone."""
    # What this needs takes a moment to import, and `--help` should not wait for it.
    import os  # noqa: PLC0415

    from domain.errors import ConfigError  # noqa: PLC0415
    from flows.doctor import doors, files, processes, secrets  # noqa: PLC0415
    from flows.stack.environment import known_auth_string  # noqa: PLC0415
    from flows.stack.layout import Layout, find_layout  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415
    from storage.locks import holder_of  # noqa: PLC0415

    # Whoever only uses `tandem run` has a configuration and no deployments.
    is_bare = (start / "config.json").is_file() and not (start / "prefect.yaml").is_file()
    layout = Layout(home=start.resolve()) if is_bare else find_layout(start)
    try:
        settings = load_settings(layout.config, Purpose.NONE)
    except ConfigError:
        settings = None  # Said by `secrets`.
    journal = settings.storage.journal if settings is not None else None
    trader = holder_of(journal.with_name(f"{journal.name}.lock")) if journal is not None else None
    running = processes.running(layout, trader)
    return {
        "listening": doors.examine(running, settings, known_auth_string(layout, os.environ)),
        "files": files.examine(layout, settings),
        "keys": secrets.examine(layout.config, settings, running),
    }


def _print(sections: dict[str, list[Finding]]) -> None:
    width = max(len(each.what) for found in sections.values() for each in found)
    for name, found in sections.items():
        click.secho(name, bold=True)
        for each in found:
            grade = click.style(f"{each.grade:<4}", fg=COLOURS[each.grade])
            click.echo(f"  {grade}  {each.what:<{width}}  {each.detail}")
            if each.remedy:
                click.echo(f"        {'':<{width}}  → {each.remedy}")
