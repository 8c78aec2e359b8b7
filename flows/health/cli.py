"""`tandem health`: every part probed once, by hand."""

from pathlib import Path
from typing import Any

import click

from flows.common.commands import AS_JSON, DONE, FAILED, rules_of, show, speaking, with_config


@click.command()
@with_config()
@click.option("--ledger-lag-rows-max", type=int, default=None, help="Rows the ledger may lag.  [default: 1000]")
@click.option("--ledger-lag-seconds-max", type=float, default=None, help="… and for how long.  [default: 30]")
@click.option(
    "--clock-skew-ms-max", type=float, default=None, help="Distance to the exchange's clock.  [default: 1000]"
)
@click.option("--disk-free-gib-min", type=float, default=None, help="Free disk space.  [default: 1]")
@click.option("--stopped-is-fine", is_flag=True, help="The runner need not run.")
@AS_JSON
@speaking
def health(*, config_path: Path, pairs_path: Path, stopped_is_fine: bool, as_json: bool, **given: Any) -> int:
    """Probe runner, journal, ledger, recorder, exchange, pairs file and disk. Exit code 1 when something failed."""
    from flows.common import facts  # noqa: PLC0415
    from flows.health import job as work  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.READ)
    rules = rules_of(work.HealthRules, **given)
    result = work.check(
        settings, pairs_path, rules, run_id=facts.new_run_id(), say=_nothing, is_wanted=not stopped_is_fine
    )
    facts.publish(settings)
    show(work.table_of(result), title="Health", as_json=as_json, summary=work.summary_of(result))
    return FAILED if result.has_failed else DONE


def _nothing(_: str) -> None:
    """For work whose result says it all."""
