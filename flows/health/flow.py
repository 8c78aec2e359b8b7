"""The `health` flow: every five minutes, every part probed once, and the live runner started again if nothing else did."""

from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectException
from prefect.states import Completed, Crashed, Failed
from prefect.variables import Variable

from flows.common import facts
from flows.common.bars import Say
from flows.common.parameters import TIME, ConfigFile, PairsFile, files, named, run_id, sayer
from flows.common.steps import MINUTES, Step
from flows.common.tasks import Tasks
from flows.health import job, probes
from flows.health.probes import Probe, ProbeStatus
from flows.health.report import summary_of, table_of
from flows.health.restart import LiveRun, Restart, judge
from flows.health.rules import HealthRules
from flows.stack import identity
from runner.config import load_settings
from runner.keys import Purpose

ARTIFACT_KEY = "health"
LIVE = "live"
LIVE_ENABLED = "live_enabled"
RUNS = Path("var/run")
"""Where the flow `live` leaves its pid, relative to the project folder."""
RUNS_LOOKED_AT = 20
LIVE_RUNS = Step(name="live runs", seconds_max=2 * MINUTES)
LIVE_DEPLOYMENT = Step(name="live deployment")  # It may start a run: neither tried again nor cut off.


@flow(name="health", flow_run_name=named("health", TIME), retries=0, persist_result=False)
def health(
    rules: HealthRules = HealthRules(),  # noqa: B008 - frozen; the form's defaults.
    restart_live: bool = True,
    config_file: ConfigFile = "config.json",
    pairs_file: PairsFile = "pairs_config.json",
) -> State[Any]:
    """Probe runner, journal, ledger, recorder, exchange, pairs file, disk and the live deployment.

    Fails when a probe failed. The Prefect variable `live_enabled` set to false keeps the runner off.

    Args:
        rules: When something is called bad.
        restart_live: Start the deployment `live` again when it should run and does not.
        config_file: The configuration, relative to the project folder.
        pairs_file: The pairs, relative to the project folder.
    """
    config, pairs_path = files(config_file, pairs_file)
    settings = load_settings(config, Purpose.READ)
    say = sayer()
    run = Tasks()
    restart = run(LIVE_RUNS, lambda: _judged(probes.runner_pid(settings), say), lambda found: found.reason)
    probe = run(
        LIVE_DEPLOYMENT, lambda: _acted(restart, restart_live=restart_live, say=say), lambda one: job.seen([one])
    )
    result = job.check(
        settings, pairs_path, rules, run_id=run_id(), say=say, is_wanted=restart.is_wanted, extra=[probe], run=run
    )
    summary = summary_of(result)
    create_table_artifact(key=ARTIFACT_KEY, table=table_of(result), description=summary)
    return Failed(message=summary) if result.has_failed else Completed(message=summary)


def _judged(lock_holder: int | None, say: Say) -> Restart:
    """What to do about the live runner. A server that does not answer is no reason to do anything."""
    try:
        with get_client(sync_client=True) as client:
            runs = _live_runs(client)
        enabled = Variable.get(LIVE_ENABLED, default=True)
    except (PrefectException, httpx.HTTPError, OSError, RuntimeError) as problem:
        say(f"the Prefect server cannot be asked about live runs: {type(problem).__name__}")
        return Restart(
            start=False, is_wanted=True, is_alive=False, reason="unknown: the Prefect server does not answer"
        )
    return judge(enabled=_is_on(enabled), lock_holder=lock_holder, runs=runs)


def _is_on(value: Any) -> bool:
    """A variable typed into the UI may be false, "false", 0 or "off"."""
    return str(value).strip().lower() not in {"false", "0", "off", "no"}


def _live_runs(client: SyncPrefectClient) -> list[LiveRun]:
    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[LIVE])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=RUNS_LOOKED_AT,
    )
    alive = {run for run, _ in identity.live_processes(RUNS)}
    return [_as_live_run(run, alive) for run in found]


def _as_live_run(run: FlowRun, alive: set[str]) -> LiveRun:
    since = run.state.timestamp.timestamp() if run.state is not None else 0.0
    return LiveRun(
        run_id=str(run.id),
        state_type=run.state_type.value if run.state_type is not None else "SCHEDULED",
        state_name=run.state_name or "",
        message=(run.state.message or "") if run.state is not None else "",
        state_age_seconds=max(0.0, facts.now_ms() / 1000 - since),
        has_process=str(run.id) in alive,
    )


def _acted(restart: Restart, *, restart_live: bool, say: Say) -> Probe:
    """Start the live deployment if it is called for and allowed; the probe says what was done."""
    name = "live deployment"
    if not restart.start:
        status = ProbeStatus.OK if restart.is_alive or not restart.is_wanted else ProbeStatus.DEGRADED
        return Probe(name=name, status=status, detail=restart.reason)
    if not restart_live:
        return Probe(name=name, status=ProbeStatus.FAILED, detail=f"{restart.reason}: not allowed by restart_live")
    say(restart.reason)
    try:
        run = run_deployment(f"{LIVE}/{LIVE}", timeout=0, as_subflow=False, idempotency_key=restart.once)
        if restart.mark_crashed is not None:
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(
                    UUID(restart.mark_crashed),
                    Crashed(message="its process is gone; found by the health check"),
                    force=True,
                )
    except (PrefectException, httpx.HTTPError, OSError, RuntimeError) as problem:
        detail = f"{restart.reason}: could not be started ({type(problem).__name__})"
        return Probe(name=name, status=ProbeStatus.FAILED, detail=detail)
    return Probe(name=name, status=ProbeStatus.DEGRADED, detail=f"{restart.reason} (run {getattr(run, 'name', run)})")
