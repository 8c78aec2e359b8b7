"""`tandem health`: every part probed once, by hand."""

from pathlib import Path
from typing import Any

import click

from flows.common.commands import AS_JSON, DONE, FAILED, rules_of, show, speaking, with_config
from flows.common.rule_options import rule_options
from flows.health.rules import HealthRules

_WORDS = {
    "ledger_lag_rows_max": "Rows the ledger may lag.",
    "ledger_lag_seconds_max": "… and for how long.",
    "clock_skew_ms_max": "Distance to the exchange's clock.",
    "disk_free_gib_min": "Free disk space.",
}


@click.command()
@with_config()
@rule_options(HealthRules, _WORDS, leave_out={"journal_silence_seconds_max"})
@click.option("--stopped-is-fine", is_flag=True, help="The runner need not run.")
@AS_JSON
@speaking
def health(*, config_path: Path, pairs_path: Path, stopped_is_fine: bool, as_json: bool, **parameters: Any) -> int:
    """Probe runner, journal, ledger, recorder, exchange, pairs file and disk. Exit code 1 when something failed."""
    from flows.common import facts  # noqa: PLC0415
    from flows.health import job as work  # noqa: PLC0415
    from flows.health.report import summary_of, table_of  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.READ)
    rules = rules_of(HealthRules, **parameters)
    result = work.check(
        settings, pairs_path, rules, run_id=facts.new_run_id(), say=_nothing, is_wanted=not stopped_is_fine
    )
    facts.publish(settings)
    show(table_of(result), title="Health", as_json=as_json, summary=summary_of(result))
    return FAILED if result.has_failed else DONE


def _nothing(_: str) -> None:
    """For work whose result says it all."""
