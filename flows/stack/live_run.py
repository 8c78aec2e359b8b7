"""The live run seen from outside: start it once, mark dead runs as crashed, and never let it go without a word."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from flows.stack import identity
from flows.stack.prefect_api import STARTED, FlowRun, PrefectApi, ServerSilent
from flows.stack.steps import Steps

LIVE = "live"
CANCEL_WITHIN_S = 10.0
GRACE_S = 30.0
"""Prefect kills a cancelled flow's process group after this; the flow itself is out within 25 s."""


async def mark_crashed_runs(api: PrefectApi, runs: Path, *, state_name: str, everything: bool) -> list[FlowRun]:
    """Force started runs whose process is gone to a final state; return them.

    `state_name` "Crashed" makes the restart trigger fire, another name does not. `everything`: nothing of ours runs,
    so other flows' runs are dead too, whatever the server believes.
    """
    alive = {run_id for run_id, _ in identity.live_processes(runs)}
    dead = [
        run
        for run in await api.runs(states=STARTED, deployment=None if everything else LIVE)
        # A run still pending has no process to show yet; while a worker lives, only it knows.
        if run.run_id not in alive and (everything or run.state_type != "PENDING")
    ]
    for run in dead:
        await api.mark_crashed(run, name=state_name, why="its process is gone; found by the supervisor")
    return dead


async def start_once(api: PrefectApi, *, once: str) -> FlowRun:
    """Return the live run that is not over, or a new one."""
    running = await api.runs(deployment=LIVE)
    return running[0] if running else await api.start(f"{LIVE}/{LIVE}", once=once)


class LiveStop:
    """Stops the live run: a cancel through Prefect, a SIGTERM when Prefect is silent, never a SIGKILL before 30 s."""

    def __init__(self, runs: Path, steps: Steps) -> None:
        self._runs = runs
        self._steps = steps

    async def stop(self, api: PrefectApi | None) -> str:
        """Return what happened, for the terminal."""
        cancelled = await self._cancel(api) if api is not None else []
        alive = identity.live_processes(self._runs)
        if not alive and not cancelled:
            return "none was running"
        if not cancelled:
            self._terminate("Prefect is silent")
        gone = await self._until_gone(GRACE_S)
        if not gone and cancelled:
            # The worker's observer may have died in an outage, and the flow's own look may have met silence.
            self._terminate("the cancel did not reach it")
            gone = await self._until_gone(GRACE_S)
        if api is not None and cancelled:
            await self._until_final(api, cancelled)
        return "stopped" if gone else "DID NOT LEAVE"

    async def _cancel(self, api: PrefectApi) -> list[FlowRun]:
        try:
            async with asyncio.timeout(CANCEL_WITHIN_S):
                runs = await api.runs(deployment=LIVE)
                for run in runs:
                    await api.cancel(run)
        except (ServerSilent, TimeoutError) as error:
            self._steps.warn(f"live: no cancel through Prefect ({type(error).__name__} {error})")
            return []
        return runs

    def _terminate(self, why: str) -> None:
        for run_id, process in identity.live_processes(self._runs):
            self._steps.warn(f"live {run_id}: {why}; SIGTERM to pid {process.pid}")
            process.send(signal.SIGTERM)

    async def _until_gone(self, seconds: float) -> bool:
        deadline_s = time.monotonic() + seconds
        while identity.live_processes(self._runs):
            if time.monotonic() > deadline_s:
                return False
            await asyncio.sleep(0.1)
        return True

    async def _until_final(self, api: PrefectApi, runs: list[FlowRun]) -> None:
        """Let the worker report the end, so that no run is left as Cancelling."""
        deadline_s = time.monotonic() + 10.0
        for run in runs:
            while time.monotonic() < deadline_s:
                try:
                    if (await api.read(run.run_id)).is_over:
                        break
                except ServerSilent:
                    return
                await asyncio.sleep(0.25)
