"""`tandem reconcile`: the account against our books, by hand."""

from pathlib import Path
from typing import Any

import click

from flows.common.commands import AS_JSON, DONE, FAILED, rules_of, say, show, speaking, with_config
from flows.common.rule_options import rule_options
from flows.reconcile.rules import ReconciliationRules

_WORDS = {
    "tolerance": "Difference let pass, as a share.",
    "settle_seconds": "Pause between the two looks.",
}


@click.command()
@with_config()
@rule_options(ReconciliationRules, _WORDS)
@AS_JSON
@speaking
def reconcile(*, config_path: Path, pairs_path: Path, as_json: bool, **parameters: Any) -> int:
    """Compare the exchange's positions and open orders with our books. Reads only. Exit code 1 unless all is explained."""
    from flows.common import facts  # noqa: PLC0415
    from flows.reconcile import job as work  # noqa: PLC0415
    from flows.reconcile.report import summary_of, table_of  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.READ)
    rules = rules_of(ReconciliationRules, **parameters)
    facts.publish(settings)
    result = work.reconcile(settings, pairs_path, rules, run_id=facts.new_run_id(), say=say)
    facts.publish(settings)
    show(table_of(result), title="Reconciliation", as_json=as_json, summary=summary_of(result))
    return DONE if result.is_good else FAILED
