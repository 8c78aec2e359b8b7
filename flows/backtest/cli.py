"""`tandem backtest`: the live decisions over stored bars or a file of prices, by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from domain.errors import ConfigError
from flows.backtest.rules import BacktestRules
from flows.common.commands import AS_JSON, DONE, ONLY, rules_of, say, show, speaking, with_config
from flows.common.rule_options import Wording, option_of, rule_options
from flows.recalibrate.rules import CalibrationRules

# A rule of the calibration has another option here than `tandem recalibrate` has.
_SPELLED = {name: f"--calibrate {name}" for name in CalibrationRules.model_fields} | {
    "window_days": "--formation-days",
    "universe": "--universe",
    "timeframe": "--calibration-timeframe",
}
_FILE: dict[str, Any] = {
    "type": click.Path(path_type=Path),
    "metavar": "FILE",
}  # What is wrong with it is told in our own words.
_WORDS: dict[str, Wording] = {
    "timeframe": "The bar.  [default: signal.bar_seconds, or the file's own]",
    "days": "How far back is traded.  [default: 3, or all of the file]",
    "lookback_bars": "Bars behind mean and deviation.  [default: as configured]",
    "half_spread_bps": "Half the spread, on every fill.",
    "taker_fee_bps": "Fee on every fill.  [default: as configured]",
    "slippage_bps": "Paid beyond the spread on every fill.",
    "latency_bars": "Bars from a decision to its fill.",
    "latency_ms": "… and at least so many milliseconds.",
    "min_edge_ratio": "Reversion over costs.  [default: as configured]",
    "cost_scales": [
        option_of(BacktestRules, "cost_scales", "The same with so many times the fee.", type=str, metavar="A,B,…")
    ],
    "walk_forward": "Recalibrate on the way as the nightly flow would.",
    # Of the rules of the calibration.
    "window_days": [
        option_of(CalibrationRules, "window_days", "What a recalibration looks at.", flag="--formation-days")
    ],
    "recalibrate_every_days": "From one to the next.",
    "calibration": [
        option_of(
            CalibrationRules, "universe", "The pairs of the file, or every pair of all symbols, none to begin with."
        ),
        option_of(CalibrationRules, "timeframe", "The candle of the test.", flag="--calibration-timeframe"),
        click.option(
            "--calibrate",
            multiple=True,
            metavar="RULE=VALUE",
            help="Any other rule of `tandem recalibrate`, as in q_max=0.1; several times.",
        ),
    ],
    "prices": [
        option_of(BacktestRules, "prices", "Klines or quotes (.parquet, .csv) instead of the exchange's.", **_FILE)
    ],
    "funding": [option_of(BacktestRules, "funding", "Funding rates (symbol, ts, rate), with --prices.", **_FILE)],
    "fetch": "Bring the stored bars up to date first.",
}


@click.command()
@with_config()
@ONLY
@rule_options(BacktestRules, _WORDS)
@click.option("--report", default=None, help="A page with pictures (.html) to open in a browser.", **_FILE)
@AS_JSON
@speaking
def backtest(
    *,
    config_path: Path,
    pairs_path: Path,
    only: tuple[str, ...],
    cost_scales: str | None,
    calibrate: tuple[str, ...],
    formation_days: float | None,
    universe: str | None,
    calibration_timeframe: str | None,
    prices: Path | None,
    funding: Path | None,
    report: Path | None,
    as_json: bool,
    **parameters: Any,
) -> int:
    """Replay the live decisions: decided on a close, filled at the next open, fees, spread and funding paid.

    --prices reads klines (symbol, ts, open, close) or quotes (symbol, ts, bid, ask) and needs no exchange. Trades go to the
    ledger's backtest_trades, never among the account's own.
    """
    from flows.backtest import job as work  # noqa: PLC0415
    from flows.backtest import report as reports  # noqa: PLC0415
    from flows.common import facts  # noqa: PLC0415
    from flows.common.output_files import check_output  # noqa: PLC0415
    from flows.common.progress import Bar  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    calibration = rules_of(
        CalibrationRules,
        **{
            **_calibration_rules(calibrate),
            **_parameters(window_days=formation_days, universe=universe, timeframe=calibration_timeframe),
        },
        spelled=_SPELLED,
    )
    if not parameters["walk_forward"]:
        _needs_walk_forward(
            {
                "--formation-days": formation_days,
                "--universe": universe,
                "--calibration-timeframe": calibration_timeframe,
                "--calibrate": calibrate or None,
                "--recalibrate-every-days": parameters["recalibrate_every_days"],
            }
        )
    rules = rules_of(
        BacktestRules,
        **parameters,
        calibration=calibration,
        cost_scales=None if cost_scales is None else _numbers(cost_scales),
        prices=None if prices is None else str(prices),
        funding=None if funding is None else str(funding),
    )
    if report is not None:
        check_output("--report", report, (".html", ".htm"))
    settings = load_settings(config_path, Purpose.READ)
    with Bar("backtest", say) as bar:
        result = work.backtest(settings, pairs_path, rules, only=only, run_id=facts.new_run_id(), say=say, progress=bar)
    facts.publish(settings)
    if report is not None:
        from flows.backtest.page import write_report  # noqa: PLC0415

        write_report(report, result)
    if as_json:
        click.echo(reports.as_json(result))
    else:
        show(reports.table_of(result), title="Backtest", as_json=False, summary=reports.summary_of(result))
    return DONE


def _parameters(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"--cost-scales {text}: need numbers with commas between, as in 0,1,2") from None


def _calibration_rules(parameters: Sequence[str]) -> dict[str, Any]:
    """`q_max=0.1` as the rule's own type. Raises: ConfigError."""
    found: dict[str, Any] = {}
    for one in parameters:
        name, is_there, value = one.partition("=")
        field = CalibrationRules.model_fields.get(name)
        if not is_there or field is None or field.annotation is None:
            known = ", ".join(CalibrationRules.model_fields)
            raise ConfigError(f"--calibrate {one}: need RULE=VALUE with one of {known}")
        try:
            found[name] = TypeAdapter(field.annotation).validate_strings(value)
        except ValidationError as error:
            raise ConfigError(f"--calibrate {one}: {error.errors(include_url=False)[0]['msg']}") from None
    return found


def _needs_walk_forward(parameters: dict[str, Any]) -> None:
    for option, value in parameters.items():
        if value is not None:
            raise ConfigError(f"{option}: only a walk recalibrates; add --walk-forward")
