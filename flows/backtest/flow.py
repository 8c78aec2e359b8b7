"""The `backtest` flow: ad hoc, the live decisions over stored bars, with fees and funding."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.backtest import job
from flows.backtest.page import markdown_of
from flows.backtest.report import summary_of, table_of
from flows.backtest.result import Backtest
from flows.backtest.rules import BacktestRules
from flows.common.parameters import DAY_AND_TIME, ConfigFile, PairNames, PairsFile, files, named, run_id, sayer
from flows.common.progress import Bar
from flows.common.steps import Step
from flows.common.tasks import Tasks
from runner.config import load_settings
from runner.keys import Purpose

ARTIFACT_KEY, REPORT_KEY = "backtest", "backtest-report"
REPORT = Step(name="report")


@flow(name="backtest", flow_run_name=named("backtest", DAY_AND_TIME), retries=0, persist_result=False)
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
    run = Tasks()
    with Bar("backtest", say) as bar:
        result = job.backtest(
            load_settings(config, Purpose.READ),
            pairs_path,
            rules,
            only=pairs,
            run_id=run_id(),
            say=say,
            progress=bar,
            run=run,
        )
    summary = summary_of(result)
    run(REPORT, lambda: _report(result, summary))
    return Completed(message=summary)


def _report(result: Backtest, summary: str) -> str:
    create_table_artifact(key=ARTIFACT_KEY, table=table_of(result), description=summary)
    create_markdown_artifact(key=REPORT_KEY, markdown=markdown_of(result), description=summary)
    return f"artifacts {ARTIFACT_KEY} and {REPORT_KEY}"
