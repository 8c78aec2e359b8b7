"""`tandem recalibrate`: the nightly recalibration by hand. Its options are the flow's own rules, one for one."""

from pathlib import Path
from typing import Any

import click

from flows.common.commands import AS_JSON, DONE, FAILED, ONLY, SECTORS, rules_of, say, show, speaking, with_config
from flows.common.rule_options import rule_options
from flows.recalibrate.rules import CalibrationRules

_NOT_OFFERED = {
    "space",  # There is one.
    "disable_unfit",  # --keep-unfit-open.
    "must_be_current",  # What stopped trading is not calibrated.
}


@click.command()
@with_config()
@ONLY
@click.option("--symbol", "symbols", multiple=True, metavar="BASE/USDT", help="With --universe listed: only these.")
@rule_options(CalibrationRules, leave_out=_NOT_OFFERED)
@SECTORS
@click.option("--keep-unfit-open", is_flag=True, help="Do not close unfit pairs for entries.")
@click.option("--dry-run", is_flag=True, help="Decide and show, write nothing.")
@AS_JSON
@speaking
def recalibrate(
    *,
    config_path: Path,
    pairs_path: Path,
    only: tuple[str, ...],
    symbols: tuple[str, ...],
    sectors_path: Path | None,
    keep_unfit_open: bool,
    dry_run: bool,
    as_json: bool,
    **parameters: Any,
) -> int:
    """Test the pairs of the file anew, or all that is listed, and rewrite the pairs file, whole or not at all.

    A pair that no longer passes opens no new trades. When too much would change at once, nothing is written and the exit code is
    1. Previous versions are kept: tandem config history.
    """
    from flows.common import facts  # noqa: PLC0415
    from flows.common.progress import Bar  # noqa: PLC0415
    from flows.common.universe_rules import read_sectors  # noqa: PLC0415
    from flows.recalibrate import job as work  # noqa: PLC0415
    from flows.recalibrate.report import summary_of, table_of  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.READ)
    rules = rules_of(
        CalibrationRules,
        **parameters,
        symbols=list(symbols) or None,
        sectors=None if sectors_path is None else read_sectors(sectors_path),
        disable_unfit=False if keep_unfit_open else None,
    )
    with Bar("pairs", say) as bar:
        result = work.recalibrate(
            settings, pairs_path, rules, only=only, dry_run=dry_run, run_id=facts.new_run_id(), say=say, progress=bar
        )
    if not dry_run:
        facts.publish(settings)
    show(table_of(result), title="Calibration", as_json=as_json, summary=summary_of(result))
    return FAILED if result.is_refused else DONE
