"""The `reconcile` flow: every quarter of an hour and ad hoc, the account against our books. It never trades."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.common.parameters import TIME, ConfigFile, PairsFile, files, named, run_id, sayer
from flows.common.tasks import Tasks
from flows.reconcile import job
from flows.reconcile.report import summary_of, table_of
from flows.reconcile.rules import ReconciliationRules
from runner.config import load_settings
from runner.keys import Purpose

ARTIFACT_KEY = "reconciliation"


@flow(name="reconcile", flow_run_name=named("reconcile", TIME), retries=0, persist_result=False)
def reconcile(
    rules: ReconciliationRules = ReconciliationRules(),  # noqa: B008 - frozen; the form's defaults.
    config_file: ConfigFile = "config.json",
    pairs_file: PairsFile = "pairs_config.json",
) -> State[Any]:
    """Compare positions and open orders of the exchange with journal and ledger, per symbol and per pair.

    Looks twice: only a difference that outlives the pause counts. Fails on `mismatch` and on `incomplete`.

    Args:
        rules: How strict, and how patient.
        config_file: The configuration, relative to the project folder.
        pairs_file: The pairs, relative to the project folder.
    """
    config, pairs_path = files(config_file, pairs_file)
    result = job.reconcile(
        load_settings(config, Purpose.READ), pairs_path, rules, run_id=run_id(), say=sayer(), run=Tasks()
    )
    summary = summary_of(result)
    create_table_artifact(key=ARTIFACT_KEY, table=table_of(result), description=summary)
    return Completed(message=summary) if result.is_good else Failed(message=summary)
