"""Parameters that several flows share, and what they all do at start: one description each, as the UI shows it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from prefect import runtime
from prefect.logging import get_run_logger
from pydantic import Field

from flows.common import facts
from flows.common.bars import Say

# What the form says of a parameter comes from the flow's docstring: Prefect drops an annotation's own description.
ConfigFile = Annotated[str, Field(min_length=1)]
PairsFile = Annotated[str, Field(min_length=1)]
PairNames = list[str]


def run_id() -> str:
    """The flow run's id; outside of Prefect's engine one of our own."""
    return str(runtime.flow_run.id or facts.new_run_id())


def sayer() -> Say:
    """Progress goes to the run's log."""
    return get_run_logger().info


def files(config_file: str, pairs_file: str) -> tuple[Path, Path]:
    """Both as paths; relative ones start at the project folder, which is a flow run's working directory."""
    return Path(config_file), Path(pairs_file)


TIME, DAY_AND_TIME = "%H%M", "%m%d-%H%M"
"""Of a run's name, in UTC: what runs many times a day is told apart by the time."""


def named(flow: str, pattern: str) -> Callable[[], str]:
    """How a flow names its runs: after the flow and when it began, as in reconcile-2341."""
    return lambda: f"{flow}-{datetime.fromtimestamp(facts.now_ms() / 1000, tz=UTC).strftime(pattern)}"
