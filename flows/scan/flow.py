"""The `scan` flow: ad hoc, cointegrated pairs among all symbols. It proposes; it never writes the pairs file."""

from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.common.fan_out import FanOut
from flows.common.parameters import ConfigFile, files, sayer
from flows.common.progress import Bar
from flows.common.universe import gather
from flows.scan import job as work
from flows.scan.rules import ScanRules
from runner.config import load_settings
from runner.keys import Purpose

ARTIFACT_KEY = "scan"


@flow(name="scan", retries=0, persist_result=False)
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
    universe = gather(load_settings(config, Purpose.READ), rules, say=say)
    with Bar("pairs", say) as bar, fan_out.over(len(universe.panel.symbols)) as spread:
        found = work.scan(universe.panel, work.options_of(rules), facts=universe.facts, progress=bar, spread=spread)
    summary = work.summary_of(found)
    if not found.tested:
        return Failed(message=f"no pair could be tested: {summary}")
    excluded = work.excluded_lines(found)
    for line in excluded:
        say(line)
    description = "\n\n".join([summary, *excluded])
    create_table_artifact(key=ARTIFACT_KEY, table=work.table_of(found, rows_max=rows), description=description)
    return Completed(message=summary)
