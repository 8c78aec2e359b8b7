"""The `recalibrate` flow: nightly, hedge ratios anew, `pairs_config.json` whole or not at all."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.jobs import recalibrate as work
from flows.jobs.calibration import CalibrationRules
from flows.parameters import ConfigFile, PairNames, PairsFile, files, run_id, sayer
from runner.config import load_settings

ARTIFACT_KEY = "calibration"


@flow(name="recalibrate", retries=0, persist_result=False)
def recalibrate(
    rules: CalibrationRules = CalibrationRules(),  # noqa: B008 - frozen; the form's defaults.
    pairs: PairNames = [],  # noqa: B006 - never changed; Prefect needs a plain default.
    dry_run: bool = False,
    config_file: ConfigFile = "config.json",
    pairs_file: PairsFile = "pairs_config.json",
) -> State[Any]:
    """Test the configured pairs with Engle–Granger on fresh candles and rewrite the pairs file, whole or not at all.

    A pair that no longer passes keeps its numbers and opens no new trades; the artifact `calibration` gives every reason.

    Args:
        rules: When a pair's new numbers are taken.
        pairs: Only these pairs, by pair_id. Empty: all of the pairs file.
        dry_run: Decide and show, but write nothing.
        config_file: The configuration, relative to the project folder.
        pairs_file: The pairs, relative to the project folder.
    """
    config, pairs_path = files(config_file, pairs_file)
    settings = load_settings(config)
    result = work.recalibrate(settings, pairs_path, rules, only=pairs, dry_run=dry_run, run_id=run_id(), say=sayer())
    summary = work.summary_of(result)
    create_table_artifact(key=ARTIFACT_KEY, table=work.table_of(result), description=summary)
    if result.learnt_nothing:
        return Failed(message=f"nothing could be learnt of any pair: {summary}")
    return Completed(message=summary)
