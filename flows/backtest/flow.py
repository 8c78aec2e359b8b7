"""The `backtest` flow: ad hoc, the live decisions over stored bars, with fees and funding."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.backtest import job as work
from flows.backtest.page import markdown_of
from flows.backtest.report import summary_of, table_of
from flows.backtest.rules import BacktestRules
from flows.common.parameters import ConfigFile, PairNames, PairsFile, files, run_id, sayer
from flows.common.progress import Bar
from runner.config import load_settings
from runner.keys import Purpose

ARTIFACT_KEY, REPORT_KEY = "backtest", "backtest-report"


@flow(name="backtest", retries=0, persist_result=False)
def backtest(
    rules: BacktestRules = BacktestRules(),  # noqa: B008 - frozen; the form's defaults.
    pairs: PairNames = [],  # noqa: B006 - never changed; Prefect needs a plain default.
    config_file: ConfigFile = "config.json",
    pairs_file: PairsFile = "pairs_config.json",
) -> State[Any]:
    """Replay pairs, as configured or recalibrated on the way: decided on a close, filled at the next open, all costs paid.

    Args:
        rules: What is replayed, and at what cost.
        pairs: Only these pairs, by pair_id. Empty: all of the pairs file.
        config_file: The configuration, relative to the project folder.
        pairs_file: The pairs, relative to the project folder.
    """
    config, pairs_path = files(config_file, pairs_file)
    say = sayer()
    with Bar("backtest", say) as bar:
        result = work.backtest(
            load_settings(config, Purpose.READ), pairs_path, rules, only=pairs, run_id=run_id(), say=say, progress=bar
        )
    summary = summary_of(result)
    create_table_artifact(key=ARTIFACT_KEY, table=table_of(result), description=summary)
    create_markdown_artifact(key=REPORT_KEY, markdown=markdown_of(result), description=summary)
    return Completed(message=summary)
