"""The `scan` flow: ad hoc, cointegrated pairs among all symbols. It proposes; it never writes the pairs file."""

from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.common.bars import Say
from flows.common.fan_out import FanOut
from flows.common.parameters import DAY_AND_TIME, ConfigFile, files, named, sayer
from flows.common.progress import Bar
from flows.common.steps import Step
from flows.common.tasks import Tasks
from flows.scan import job
from flows.scan.report import excluded_lines, summary_of, table_of
from flows.scan.rules import ScanRules
from runner.config import load_settings
from runner.keys import Purpose

ARTIFACT_KEY = "scan"
REPORT = Step(name="report")


@flow(name="scan", flow_run_name=named("scan", DAY_AND_TIME), retries=0, persist_result=False)
def scan(
    rules: ScanRules = ScanRules(),  # noqa: B008 - frozen; the form's defaults.
    rows: Annotated[int, Field(ge=1, le=5000)] = 200,
    fan_out: FanOut = FanOut(),  # noqa: B008
    config_file: ConfigFile = "config.json",
) -> State[Any]:
    """Test every pair of a universe in both directions, correct for the number of tests, say what passes the gates, best first.

    Args:
        rules: What is looked at, for how long back, how it is tested, and what a pair must show to be kept.
        rows: Rows of the artifact, best first.
        fan_out: Who does the testing, for universes that are too large for one process.
        config_file: The configuration, relative to the project folder.
    """
    config, _ = files(config_file, "")
    say = sayer()
    run = Tasks()
    with Bar("pairs", say) as bar:
        found = job.scan_exchange(
            load_settings(config, Purpose.READ), rules, say=say, progress=bar, spread_over=fan_out.over, run=run
        )
    summary = summary_of(found)
    if not found.tested:
        return Failed(message=f"no pair could be tested: {summary}")
    run(REPORT, lambda: _report(found, summary, rows, say))
    return Completed(message=summary)


def _report(found: job.Scan, summary: str, rows: int, say: Say) -> str:
    excluded = excluded_lines(found)
    for line in excluded:
        say(line)
    table = table_of(found, rows_max=rows)
    create_table_artifact(key=ARTIFACT_KEY, table=table, description="\n\n".join([summary, *excluded]))
    return f"artifact {ARTIFACT_KEY}, {len(table)} rows"
