"""The `recalibrate` flow: nightly, hedge ratios anew, `pairs_config.json` whole or not at all."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.common.bars import Say
from flows.common.fan_out import FanOut
from flows.common.parameters import DAY_AND_TIME, ConfigFile, PairNames, PairsFile, files, named, run_id, sayer
from flows.common.progress import Bar
from flows.common.steps import Step
from flows.common.tasks import Tasks
from flows.recalibrate import job
from flows.recalibrate.report import summary_of, table_of
from flows.recalibrate.result import Recalibration
from flows.recalibrate.rules import CalibrationRules
from runner.config import SignalSettings, load_settings
from runner.keys import Purpose

ARTIFACT_KEY = "calibration"
SHEET_KEY = "calibration-sheet"
PUBLISH = Step(name="publish")


@flow(name="recalibrate", flow_run_name=named("recalibrate", DAY_AND_TIME), retries=0, persist_result=False)
def recalibrate(
    rules: CalibrationRules = CalibrationRules(),  # noqa: B008 - frozen; the form's defaults.
    pairs: PairNames = [],  # noqa: B006 - never changed; Prefect needs a plain default.
    dry_run: bool = False,
    *,
    fan_out: FanOut = FanOut(),  # noqa: B008
    config_file: ConfigFile = "config.json",
    pairs_file: PairsFile = "pairs_config.json",
) -> State[Any]:
    """Test the pairs of the file, or all that is listed, on fresh candles and rewrite the pairs file, whole or not at all.

    A pair that no longer passes opens no new trades; nothing is written when too much would change at once. The artifact
    `calibration` gives every reason, `calibration-sheet` the pictures; previous versions come back with `tandem config restore`.

    Args:
        rules: Which pairs are tested, what a pair must show to stay or to come in, and how much may change at once.
        pairs: Only these pairs of the file, by pair_id. Empty: all of them.
        dry_run: Decide and show, but write nothing.
        fan_out: Who does the testing, for universes that are too large for one process.
        config_file: The configuration, relative to the project folder.
        pairs_file: The pairs, relative to the project folder.
    """
    config, pairs_path = files(config_file, pairs_file)
    settings = load_settings(config, Purpose.READ)
    say = sayer()
    run = Tasks()
    with Bar("pairs", say) as bar:
        result = job.recalibrate(
            settings,
            pairs_path,
            rules,
            only=pairs,
            dry_run=dry_run,
            run_id=run_id(),
            say=say,
            progress=bar,
            spread_over=fan_out.over,
            run=run,
        )
    summary = summary_of(result)
    run(PUBLISH, lambda: _publish(result, summary, settings.signal, say))
    if result.is_refused:
        return Failed(message=summary)
    return Completed(message=summary)


def _publish(result: Recalibration, summary: str, signal: SignalSettings, say: Say) -> str:
    """Its artifacts. The file stands by now: what cannot be shown is no reason to call the run failed."""
    try:
        create_table_artifact(key=ARTIFACT_KEY, table=table_of(result), description=summary)
        # Only here: it takes a second to import.
        from flows.recalibrate.tearsheet import sheet_of  # noqa: PLC0415

        create_markdown_artifact(key=SHEET_KEY, markdown=sheet_of(result, signal), description=summary)
    except Exception as problem:  # noqa: BLE001 - whatever it is.
        message = f"an artifact could not be made: {type(problem).__name__}: {problem}"
        say(message)
        return message
    return f"artifacts {ARTIFACT_KEY} and {SHEET_KEY}"
