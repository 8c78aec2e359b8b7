"""Each flow on a real Prefect server: it runs, its artifact is there, its colour is right, its form reads well."""

import importlib
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun, TaskRunResult
from prefect.exceptions import ParameterTypeError
from prefect.testing.utilities import prefect_test_harness
from prefect.utilities.callables import parameter_schema

from domain.errors import ConfigError, TandemError
from domain.refusals import RefusalKind
from domain.statistics.scan import ScanResult
from domain.statistics.surrogates import independent_walks
from flows.backtest.flow import backtest
from flows.common import facts, progress, tasks
from flows.common.fan_out import FanOut, solve_batch
from flows.common.progress import Bar
from flows.common.steps import Step
from flows.common.tasks import StepOverdue, Tasks, task_of
from flows.health.flow import health
from flows.recalibrate.flow import recalibrate
from flows.reconcile.flow import reconcile
from flows.scan.flow import scan
from flows.scan.job import options_of
from flows.scan.job import scan as scan_panel
from flows.scan.rules import ScanRules
from runner.config import load_settings
from runner.exchange.errors import OutcomeUnknown, Refused, Unreachable

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
DEPLOYED: list[str] = [
    row["entrypoint"]
    for row in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    if row["name"] != "live"
]
FLOWS: list[Flow[..., Any]] = [
    getattr(importlib.import_module(module), name) for module, _, name in (one.rpartition(".") for one in DEPLOYED)
]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=240):
        yield


@pytest.fixture
def here(project: tuple[Path, Path]) -> Iterator[dict[str, str]]:
    """Parameters as a deployment gives them: file names relative to the project folder."""
    before = Path.cwd()
    os.chdir(project[0].parent)
    yield {"config_file": "config.json", "pairs_file": "pairs_config.json"}
    os.chdir(before)


def _artifact(key: str) -> Any:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    assert found, f"no artifact {key}"
    return found[-1]


def _task_runs(state: State[Any]) -> list[TaskRun]:
    """Of a flow run, as the server knows them, in the order in which they began. It learns of them by events, a little later."""
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        for _ in range(200):
            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
            if found and all(run.state is not None and run.state.is_final() for run in found):
                return sorted(found, key=lambda run: run.start_time or run.created or BEGINNING)
            time.sleep(0.1)
    raise AssertionError(f"not all task runs are over: {[(run.name, run.state_name) for run in found]}")


def _story(state: State[Any]) -> list[str]:
    """The steps that a person sees, each of which waited for the one before it."""
    steps = [run for run in _task_runs(state) if not run.name.startswith("scan-batch")]
    for before, after in pairwise(steps):
        assert [one.id for one in after.task_inputs["wait_for"] if isinstance(one, TaskRunResult)] == [before.id]
    return [run.name for run in steps]


def _name_of(state: State[Any]) -> str:
    assert state.state_details.flow_run_id is not None
    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id).name


def test_recalibrate(server: None, here: dict[str, str]) -> None:
    fan_out = {"runner": "threads", "workers": 2, "batches": 2}
    state = recalibrate(rules={"window_days": 20}, fan_out=fan_out, **here, return_state=True)
    assert state.is_completed(), state.message
    assert _story(state) == ["fetch", "test", "confirm", "decide", "write", "publish"]
    assert sum(run.name.startswith("scan-batch") for run in _task_runs(state)) == 2
    assert re.fullmatch(r"recalibrate-\d{4}-\d{4}", _name_of(state))
    messages = {run.name: (run.state and run.state.message) for run in _task_runs(state)}
    assert messages["decide"] == "1 updated, 1 retired"
    assert messages["confirm"] == "statsmodels confirms 1 pairs"
    assert messages["write"] == "pairs file is now version 1"
    artifact = _artifact("calibration")
    assert "LTC_BCH" in artifact.data
    assert "1 updated, 1 retired" in artifact.description
    sheet = _artifact("calibration-sheet").data
    assert "![LTC_BCH: spread and z](data:image/png;base64," in sheet
    assert "![q-values](data:image/svg+xml;base64," in sheet
    assert len(sheet) < 1_000_000
    unfit = {
        "window_days": 20,
        "max_turnover": 0,
        "half_life_candles_min": 100,
    }  # Whatever the market drew: it reverts in hours.
    again = recalibrate(rules=unfit, **here, return_state=True)
    assert again.is_failed()
    assert "refused, nothing was written: turnover_exceeded" in (again.message or "")


def test_scan(server: None, here: dict[str, str]) -> None:
    rules = {"symbols": ["LTC/USDT", "BCH/USDT", "AVAX/USDT"], "window_days": 20}
    state = scan(rules=rules, config_file=here["config_file"], return_state=True)
    assert state.is_completed(), state.message
    assert "hedge_ratio" in _artifact("scan").data
    assert _story(state) == ["fetch", "test", "confirm", "report"]


def test_backtest(server: None, here: dict[str, str]) -> None:
    state = backtest(rules={"days": 0.2}, pairs=["LTC_BCH"], **here, return_state=True)
    assert state.is_completed(), state.message
    assert "total" in _artifact("backtest").data
    assert "| LTC_BCH |" in _artifact("backtest-report").data
    assert _story(state) == ["load", "walk", "record", "report"]


def test_reconcile(server: None, here: dict[str, str]) -> None:
    # No recorder ever ran here: there is no ledger, so nothing may be claimed.
    state = reconcile(rules={"settle_seconds": 0}, **here, return_state=True)
    assert state.is_failed()
    assert "incomplete" in (state.message or "")
    assert "our books cannot be read" in _artifact("reconciliation").data
    assert _story(state) == ["orders", "act"]
    facts.publish(load_settings(Path("config.json")))
    state = reconcile(rules={"settle_seconds": 0}, **here, return_state=True)
    assert state.is_completed(), state.message
    assert _story(state) == ["orders", "positions", "orders again", "positions again", "compare", "act"]
    assert re.fullmatch(r"reconcile-\d{4}", _name_of(state))
    assert _task_runs(state)[-1].state.message == "recorded; nothing to do"  # type: ignore[union-attr]


def test_health(server: None, here: dict[str, str]) -> None:
    state = health(**here, return_state=True)
    assert state.is_completed(), state.message
    data = _artifact("health").data
    assert "never started here" in data
    assert "exchange" in data
    looks = ["live runs", "live deployment", "runner", "records", "exchange", "pairs file", "disk"]
    assert _story(state) == [*looks, "record"]


def test_a_bad_configuration_is_a_failed_run_with_one_line(server: None, here: dict[str, str]) -> None:
    Path("config.json").write_text('{"colour": 1}')
    state = health(**here, return_state=True)
    assert state.is_failed()
    assert "unknown key" in (state.message or "")


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_parameter_reads_well_in_the_form(flow: Flow[..., Any]) -> None:
    """A description and a default for each, those of the rules included; limits refuse what cannot be."""
    schema = parameter_schema(flow)
    assert flow.description
    assert not schema.required
    for name, field in schema.properties.items():
        # A group of rules is described by its model; the form shows that.
        model = schema.definitions.get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("description") or model.get("description"), name
    for model in schema.definitions.values():
        for name, field in model.get("properties", {}).items():  # An enumeration has none.
            assert field.get("description"), name
            assert "default" in field or name == "symbols", name


@pytest.mark.parametrize(
    ("flow", "parameters"),
    [
        (recalibrate, {"rules": {"p_value_max": 2}}),
        (recalibrate, {"rules": {"no_such_rule": 1}}),
        (recalibrate, {"fan_out": {"runner": "processes"}}),
        (reconcile, {"rules": {"tolerance": "much"}}),
        (scan, {"rows": 0}),
        (backtest, {"rules": {"days": -1}}),
    ],
)
def test_impossible_parameters_are_refused(flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError, match="invalid parameters"):
        flow.validate_parameters(parameters)


def test_a_crashed_live_run_is_started_again_once(server: None, here: dict[str, str]) -> None:
    """Level-triggered: the health flow finds the last run crashed and nobody on the account, twice; it starts one."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName  # noqa: PLC0415
    from prefect.states import Crashed  # noqa: PLC0415

    @flow(name="live")
    def stand_in() -> None: ...

    def runs() -> list[Any]:
        live = DeploymentFilter(name=DeploymentFilterName(any_=["live"]))
        with get_client(sync_client=True) as client:
            return client.read_flow_runs(deployment_filter=live)

    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(flow_id=client.create_flow(stand_in), name="live")
        dead = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(dead.id, Crashed(message="killed"), force=True)
    first = health(**here, return_state=True)
    assert first.is_failed(), "the runner does not run: red until it does"
    assert len(runs()) == 2
    health(**here, return_state=True)
    assert len(runs()) == 2, "one start for one death"


@flow(name="fan-out", persist_result=False)
def _scanned(fan_out: FanOut) -> list[Any]:
    """A list, because a flow's result is looked into: an object of ours is left alone in it."""
    return [scan_panel(PANEL, options_of(RULES), spread_over=fan_out.over).result]


PANEL = independent_walks(np.random.default_rng(3), symbols=150, bars=200)
RULES = ScanRules(q_max=0.99, holdout_share=0, half_life_candles_max=1e9, min_edge_ratio=0)


@pytest.mark.parametrize(
    "fan_out",
    [FanOut(runner="threads", workers=2, batches=3), FanOut(runner="dask", workers=2, batches=3)],
    ids=["threads", "dask"],
)
@pytest.mark.filterwarnings("default")  # Dask's own, at its end.
def test_the_bits_are_those_of_one_process(server: None, fan_out: FanOut) -> None:
    alone = scan_panel(PANEL, options_of(RULES)).result
    (found,) = _scanned(fan_out)
    assert isinstance(found, ScanResult)
    assert found.family == alone.family > 10_000
    assert found.survivors == alone.survivors
    for name in (
        "hedge_ratio",
        "intercept",
        "t_stat",
        "p_value",
        "half_life",
        "hurst",
        "johansen_trace",
        "lag",
        "crossings",
    ):
        assert getattr(found.tests, name).tobytes() == getattr(alone.tests, name).tobytes(), name


class Answers:
    """Work that fails with each of these in turn, and then is done."""

    def __init__(self, *problems: BaseException) -> None:
        self.problems, self.asked = list(problems), 0

    def __call__(self) -> str:
        self.asked += 1
        if self.problems:
            raise self.problems.pop(0)
        return "there"


SILENT, NO = OutcomeUnknown("no answer"), Refused(RefusalKind.REJECTED, -2015, "bad key")
TRIES: list[tuple[str, bool, list[BaseException], int, BaseException | None]] = [
    ("a read that is answered", True, [], 1, None),
    ("a read without an answer is tried again", True, [SILENT, Unreachable("cut")], 3, None),
    ("but not for ever", True, [SILENT, SILENT, SILENT], 3, SILENT),
    ("a read that is refused is not", True, [NO], 1, NO),
    ("nor one of a bad file", True, [ConfigError("bad")], 1, ConfigError("bad")),
    ("a write never is", False, [SILENT], 1, SILENT),
]


@pytest.mark.parametrize(("story", "is_read", "problems", "asked", "raised"), TRIES, ids=[row[0] for row in TRIES])
def test_only_reads_are_tried_again(
    *,
    server: None,
    monkeypatch: pytest.MonkeyPatch,
    story: str,
    is_read: bool,
    problems: list[BaseException],
    asked: int,
    raised: BaseException | None,
) -> None:
    monkeypatch.setattr(tasks, "READ_RETRIES_AFTER_SECONDS", [0.0, 0.0])
    work = Answers(*problems)

    @flow(name="tries", persist_result=False)
    def tried() -> str:
        return Tasks()(Step(name="step", is_read=is_read), work)

    state = tried(return_state=True)
    assert work.asked == asked
    (run,) = _task_runs(state)
    assert run.run_count == asked
    if raised is None:
        assert run.state is not None
        assert run.state.message == "there"
    else:
        assert type(raised).__name__ in (state.message or "")


@pytest.mark.parametrize(("is_read", "raised"), [(True, OutcomeUnknown), (False, StepOverdue)])
def test_a_step_that_takes_too_long_is_one_line(server: None, is_read: bool, raised: type[Exception]) -> None:
    caught: list[BaseException] = []

    @flow(name="late", persist_result=False)
    def late() -> None:
        try:
            Tasks()(Step(name="fetch", is_read=is_read, seconds_max=0.2), lambda: time.sleep(30))
        except TandemError as problem:
            caught.append(problem)

    late()
    assert [type(problem) for problem in caught] == [raised]
    assert "fetch: not done within 0.2 s" in str(caught[0])


def test_what_takes_long_shows_how_far_it_is(server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)

    def work() -> None:
        with Bar("candles", lambda _: None) as bar:
            bar(1, 4)
            bar(3, 4)

    @flow(name="long-one", persist_result=False)
    def long_one() -> None:
        Tasks()(Step(name="fetch"), work)

    state = long_one(return_state=True)
    artifact = _artifact("long-one-fetch-progress")
    assert (artifact.type, artifact.data, artifact.description) == ("progress", 75.0, "candles: 3 of 4")
    assert artifact.task_run_id == _task_runs(state)[0].id


def test_no_step_that_writes_is_tried_again_or_cut_off() -> None:
    """By name, of every step that any feature has."""
    steps = {
        step.name: step
        for path in (ROOT / "flows").rglob("*.py")
        if path.parent.name not in {"stack", "live", "common", "engine"}
        for value in vars(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))).values()
        for step in (value if isinstance(value, tuple) else [value])
        if isinstance(step, Step)
    }
    reads = {"fetch", "load", "orders", "positions", "orders again", "positions again"}
    assert {name for name, step in steps.items() if step.is_read} == reads
    writes = {"write", "publish", "record", "report", "act", "live deployment", "decide", "compare"}
    assert {name for name, step in steps.items() if step.seconds_max is None} == writes
    assert solve_batch.retries == 0, "it computes: the same again is the same again"
    assert all(task_of(step).retries == (2 if name in reads else 0) for name, step in steps.items())
