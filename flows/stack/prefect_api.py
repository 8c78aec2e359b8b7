"""The few calls of Prefect's REST API that the supervisor needs, without importing Prefect (1.7 s of CPU)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import aiohttp

NOT_OVER = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED")
BUSY_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
STARTED = ("PENDING", "RUNNING", "CANCELLING")


class ServerSilent(Exception):
    """The Prefect server did not answer, or answered with an error."""


class _ServerBusy(ServerSilent):
    """SQLite was locked for longer than Prefect waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRun:
    """One flow run as the supervisor sees it."""

    run_id: str
    name: str
    deployment: str
    state_type: str
    state_name: str
    message: str

    @property
    def is_over(self) -> bool:
        return self.state_type not in NOT_OVER


class PrefectApi:
    """A client of one Prefect server on loopback. Every call raises ServerSilent when there is no good answer."""

    def __init__(self, url: str, *, auth: str, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask, and ask again while the server's database is busy; every call here may be made twice."""
        for pause_s in BUSY_PAUSES_S:
            try:
                return await self._ask_once(method, path, body)
            except _ServerBusy:
                await asyncio.sleep(pause_s)
        return await self._ask_once(method, path, body)

    async def _ask_once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        assert self._session is not None, "use `async with`"
        try:
            async with self._session.request(method, self.url + path, json=body, allow_redirects=False) as reply:
                if reply.status >= 300:
                    kind = _ServerBusy if reply.status == 503 else ServerSilent
                    raise kind(f"{method} {path}: HTTP {reply.status} {(await reply.text())[:300]}")
                return await reply.json() if reply.status != 204 else None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServerSilent(f"{method} {path}: {type(error).__name__} {error}") from error

    async def has(self, path: str) -> bool:
        """Return whether a GET of the path is answered well."""
        try:
            await self._ask("GET", path)
        except ServerSilent:
            return False
        return True

    async def deployment_id(self, deployment: str) -> str:
        """Return the id of `flow/deployment`."""
        return str((await self._ask("GET", f"/deployments/name/{deployment}"))["id"])

    async def deployed_since(self, deployment: str, moment: datetime) -> bool:
        """Return whether `flow/deployment` was deployed after the moment, not only by an earlier stack."""
        try:
            row = await self._ask("GET", f"/deployments/name/{deployment}")
        except ServerSilent:
            return False
        return datetime.fromisoformat(str(row["updated"])) >= moment

    async def start(self, deployment: str, *, once: str, parameters: Mapping[str, Any] | None = None) -> FlowRun:
        """Create a run of `flow/deployment`; the same `once` never creates a second one."""
        deployment_id = await self.deployment_id(deployment)
        body = {"state": {"type": "SCHEDULED"}, "idempotency_key": once, "parameters": dict(parameters or {})}
        run = await self._ask("POST", f"/deployments/{deployment_id}/create_flow_run", body)
        return _flow_run(run, {deployment_id: deployment})

    async def runs(self, *, states: Sequence[str] = NOT_OVER, deployment: str | None = None) -> list[FlowRun]:
        """Return the runs in these states, of one deployment (its plain name) or of all; oldest first."""
        names = {str(row["id"]): str(row["name"]) for row in await self._ask("POST", "/deployments/filter", {})}
        body: dict[str, Any] = {"flow_runs": {"state": {"type": {"any_": list(states)}}}, "sort": "START_TIME_ASC"}
        if deployment is not None:
            body["deployments"] = {"name": {"any_": [deployment]}}
        return [_flow_run(run, names) for run in await self._ask("POST", "/flow_runs/filter", body)]

    async def read(self, run_id: str) -> FlowRun:
        """Return one run as it stands."""
        return _flow_run(await self._ask("GET", f"/flow_runs/{run_id}"), {})

    async def cancel(self, run: FlowRun) -> None:
        """Ask a run to stop: at once if it has not begun, gracefully if it has."""
        begun = run.state_type in {"RUNNING", "CANCELLING"}
        state = {"type": "CANCELLING"} if begun else {"type": "CANCELLED", "message": "the stack is stopping"}
        await self._set_state(run.run_id, state, force=False)

    async def mark_crashed(self, run: FlowRun, *, name: str, why: str) -> None:
        """Force a run whose process is gone to a final state of type CRASHED."""
        await self._set_state(run.run_id, {"type": "CRASHED", "name": name, "message": why}, force=True)

    async def _set_state(self, run_id: str, state: Mapping[str, Any], *, force: bool) -> None:
        await self._ask("POST", f"/flow_runs/{run_id}/set_state", {"state": dict(state), "force": force})

    async def forget_overdue(self, before: str) -> int:
        """Delete scheduled runs whose time (ISO 8601) passed while nothing ran; return how many."""
        filter_ = {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": {"before_": before}}
        gone = 0
        while deleted := (await self._ask("POST", "/flow_runs/bulk_delete", {"flow_runs": filter_}))["deleted"]:
            gone += len(deleted)
        return gone


def _flow_run(row: Mapping[str, Any], names: Mapping[str, str]) -> FlowRun:
    state = row.get("state") or {}
    return FlowRun(
        run_id=str(row["id"]),
        name=str(row["name"]),
        deployment=names.get(str(row.get("deployment_id")), ""),
        state_type=str(row.get("state_type")),
        state_name=str(row.get("state_name")),
        message=str(state.get("message") or ""),
    )
