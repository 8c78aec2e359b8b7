"""A command's options are its flow's rules: what is in the rules is offered, typed and described, and nobody copies it."""

from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, Field

from flows.backtest.cli import backtest
from flows.backtest.rules import BacktestRules
from flows.common.rule_options import option_of, rule_options
from flows.health.cli import health
from flows.health.rules import HealthRules
from flows.recalibrate.cli import recalibrate
from flows.recalibrate.rules import CalibrationRules
from flows.reconcile.cli import reconcile
from flows.reconcile.rules import ReconciliationRules
from flows.scan.cli import scan
from flows.scan.rules import ScanRules

# Of each command, the rules that have no option of their own name, and why.
COMMANDS: list[tuple[click.Command, type[BaseModel], dict[str, str]]] = [
    (recalibrate, CalibrationRules, {
        "space": "there is one",
        "must_be_current": "what stopped trading is not calibrated",
        "disable_unfit": "--keep-unfit-open",
        "sectors": "--sectors FILE",
    }),
    (scan, ScanRules, {
        "must_be_current": "only a FILE may end before it does",
        "sectors": "--sectors FILE",
    }),
    (backtest, BacktestRules, {"calibration": "--formation-days, --universe, --calibration-timeframe, --calibrate"}),
    (health, HealthRules, {"journal_silence_seconds_max": "of the flow alone"}),
    (reconcile, ReconciliationRules, {}),
]  # fmt: skip


@pytest.mark.parametrize(("command", "rules", "without"), COMMANDS, ids=[str(row[0].name) for row in COMMANDS])
def test_every_rule_is_an_option(command: click.Command, rules: type[BaseModel], without: dict[str, str]) -> None:
    offered = {option.name for option in command.params}
    assert set(rules.model_fields) - offered == set(without)


class Rules(BaseModel):
    """One rule of each kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=3, description="How many.")
    share: float = Field(default=0.5, description="What part.")
    days: float | None = Field(default=None, description="How far; empty: off.")
    kind: Literal["a", "b"] = Field(default="a", description="Which.")
    strict: bool = Field(default=False, description="Whether.")
    fetch: bool = Field(default=True, description="Ask first.")
    scales: list[float] = Field(default=[0.0, 1.0, 2.0], description="Several.")
    names: dict[str, str] = Field(default={}, description="By name.")


def _command(options: Any) -> click.Command:
    @click.command()
    @options
    def command(**given: Any) -> None:
        click.echo(repr({name: value for name, value in sorted(given.items()) if value is not None}))

    return command


def _help(command: click.Command) -> list[str]:
    text = CliRunner().invoke(command, ["--help"]).stdout.partition("Options:\n")[2]
    return [" ".join(line.split()) for line in text.splitlines()][:-1]


def test_a_rule_says_its_type_its_words_and_its_default() -> None:
    assert _help(_command(rule_options(Rules))) == [
        "--count INTEGER How many. [default: 3]",
        "--share FLOAT What part. [default: 0.5]",
        "--days FLOAT How far; empty: off. [default: off]",
        "--kind [a|b] Which. [default: a]",
        "--strict Whether.",
        "--fetch / --no-fetch Ask first. [default: fetch]",
    ]


def test_a_command_has_words_of_its_own_and_the_default_stays_the_rules() -> None:
    words = {
        "kind": "The sort.",
        "days": "Back.  [default: all]",
        "share": "Part.  [default: {default}; of a FILE 0]",
        "scales": [option_of(Rules, "scales", "Times.", flag="--times", type=str, metavar="A,B")],
    }
    assert _help(_command(rule_options(Rules, words, leave_out={"strict", "fetch"}))) == [
        "--kind [a|b] The sort. [default: a]",
        "--days FLOAT Back. [default: all]",
        "--share FLOAT Part. [default: 0.5; of a FILE 0]",
        "--times A,B Times. [default: 0,1,2]",
        "--count INTEGER How many. [default: 3]",
    ]


def test_what_is_not_given_is_left_to_the_rules() -> None:
    command = _command(rule_options(Rules))
    assert CliRunner().invoke(command, []).stdout == "{'fetch': True}\n"
    given = CliRunner().invoke(command, ["--share", "1", "--days", "2", "--kind", "b", "--strict", "--no-fetch"])
    assert given.stdout == "{'days': 2.0, 'fetch': False, 'kind': 'b', 'share': 1.0, 'strict': True}\n"
    assert CliRunner().invoke(command, ["--count", "many"]).exit_code == 2
