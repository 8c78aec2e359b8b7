"""prefect.yaml against Prefect's own models: an unknown key there is ignored without a word."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.cli.deploy._triggers import DeploymentTriggerAdapter
from prefect.flows import Flow
from prefect.workers.process import ProcessJobConfiguration

from domain.errors import ConfigError
from flows.live.automations import SILENCE, silent_live
from flows.stack.deployments import deployments, others

TEXT = (Path(__file__).parents[2] / "prefect.yaml").read_text()
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
DEPLOYMENTS: list[dict[str, Any]] = DOCUMENT["deployments"]
BY_NAME = {row["name"]: row for row in DEPLOYMENTS}
each_deployment = pytest.mark.parametrize("row", DEPLOYMENTS, ids=[row["name"] for row in DEPLOYMENTS])


def test_the_six_deployments_of_the_contract() -> None:
    assert set(BY_NAME) >= {"recalibrate", "health", "reconcile", "live", "backtest", "scan"}
    assert BY_NAME["recalibrate"]["schedules"] == [{"cron": "30 0 * * *", "timezone": "UTC", "slug": "nightly"}]
    assert [row["interval"] for row in BY_NAME["health"]["schedules"]] == [300]
    assert [row["interval"] for row in BY_NAME["reconcile"]["schedules"]] == [900]
    assert all(BY_NAME[name]["schedules"] == [] for name in ("live", "backtest", "scan"))


def test_a_new_deployment_is_a_stanza(tmp_path: Path) -> None:
    """What `tandem up` deploys and runs once is read from the file: no table of ours has to learn of a new one."""
    (tmp_path / "prefect.yaml").write_text(f"{TEXT}\n  - name: report\n    entrypoint: flows.report.flow.report\n")
    assert deployments(tmp_path) == (*BY_NAME, "report")
    assert others(tmp_path) == ("health", "reconcile", "recalibrate", "scan", "backtest", "report")


@pytest.mark.parametrize("text", ["", "deployments: 3", "deployments: [{entrypoint: x}]", "deployments: [", None])
def test_a_file_without_deployments_is_one_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"prefect\.yaml: [^\n]+\Z"):
        deployments(tmp_path)


def test_top_level_keys() -> None:
    known = set(PrefectYamlModel.model_fields) | {"definitions", "prefect-version"}
    assert set(DOCUMENT) <= known
    PrefectYamlModel.model_validate(DOCUMENT)


@each_deployment
def test_every_key_is_one_that_prefect_knows(row: dict[str, Any]) -> None:
    assert set(row) <= set(DeploymentConfig.model_fields)
    assert set(row["work_pool"]) <= set(WorkPoolConfig.model_fields)
    assert set(row["work_pool"].get("job_variables", {})) <= set(ProcessJobConfiguration.model_fields)
    assert set(row.get("concurrency_limit", {})) <= set(ConcurrencyLimitSpec.model_fields)
    for schedule in row["schedules"]:
        RawScheduleConfig.model_validate(schedule)
    for trigger in row.get("triggers", []):
        DeploymentTriggerAdapter.validate_python(dict(trigger))
    DeploymentConfig.model_validate(row)


@each_deployment
def test_entrypoint_is_a_flow_with_described_parameters_that_validate(row: dict[str, Any]) -> None:
    module_name, _, name = str(row["entrypoint"]).rpartition(".")
    found = getattr(importlib.import_module(module_name), name)
    assert isinstance(found, Flow)
    assert found.name == row["name"]
    found.validate_parameters(row.get("parameters", {}))
    properties: dict[str, Any] = found.parameters.properties if hasattr(found.parameters, "properties") else {}
    assert all(facts.get("description") or "$ref" in facts or "allOf" in facts for facts in properties.values())


def test_live_has_no_lease_and_no_pipe() -> None:
    """A lease that cannot be renewed kills the flow; a pipe to the worker kills it when the worker dies."""
    live = BY_NAME["live"]
    assert "concurrency_limit" not in live
    assert live["work_pool"]["job_variables"]["stream_output"] is False
    (trigger,) = live["triggers"]
    assert trigger["expect"] == ["prefect.flow-run.Crashed"]
    assert trigger["schedule_after"] == 5


def test_no_path_of_a_machine() -> None:
    assert re.findall(r"directory: (.*)", TEXT) == ['"{{ $PWD }}"']


def test_silence_is_longer_than_any_outage_to_survive() -> None:
    assert SILENCE.total_seconds() > 2 * 600
    assert silent_live().trigger is not None
