"""Each flow on a real Prefect server: it runs, its artifact is there, its colour is right, its form reads well."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, TaskRunFilter, TaskRunFilterName
from prefect.exceptions import ParameterTypeError
from prefect.testing.utilities import prefect_test_harness
from prefect.utilities.callables import parameter_schema

from domain.statistics.scan import ScanResult
from domain.statistics.surrogates import independent_walks
from flows.backtest.flow import backtest
from flows.common.fan_out import FanOut
from flows.health.flow import health
from flows.recalibrate.flow import recalibrate
from flows.reconcile.flow import reconcile
from flows.scan.flow import scan
from flows.scan.job import options_of
from flows.scan.job import scan as scan_panel
from flows.scan.rules import ScanRules

pytestmark = pytest.mark.slow
FLOWS: list[Flow[..., Any]] = [recalibrate, health, reconcile, scan, backtest]


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


def _tasks(name: str) -> int:
    with get_client(sync_client=True) as client:
        return len(client.read_task_runs(task_run_filter=TaskRunFilter(name=TaskRunFilterName(like_=name))))


def test_recalibrate(server: None, here: dict[str, str]) -> None:
    fan_out = {"runner": "threads", "workers": 2, "batches": 2}
    state = recalibrate(rules={"window_days": 20}, fan_out=fan_out, **here, return_state=True)
    assert state.is_completed(), state.message
    assert _tasks("scan-batch") == 2
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


def test_backtest(server: None, here: dict[str, str]) -> None:
    state = backtest(rules={"days": 0.2}, pairs=["LTC_BCH"], **here, return_state=True)
    assert state.is_completed(), state.message
    assert "total" in _artifact("backtest").data
    assert "| LTC_BCH |" in _artifact("backtest-report").data


def test_reconcile(server: None, here: dict[str, str]) -> None:
    # No recorder ever ran here: there is no ledger, so nothing may be claimed.
    state = reconcile(rules={"settle_seconds": 0}, **here, return_state=True)
    assert state.is_failed()
    assert "incomplete" in (state.message or "")
    assert "our books cannot be read" in _artifact("reconciliation").data


def test_health(server: None, here: dict[str, str]) -> None:
    state = health(**here, return_state=True)
    assert state.is_completed(), state.message
    data = _artifact("health").data
    assert "never started here" in data
    assert "exchange" in data


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
        for name, field in model["properties"].items():
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
    with fan_out.over(len(PANEL.symbols)) as spread:
        return [scan_panel(PANEL, options_of(RULES), spread=spread).result]


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
