"""Automations beyond prefect.yaml's triggers, set up idempotently after every deploy."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from prefect.automations import Automation, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState

SILENT_LIVE = "live: a run without heartbeat is dead"
SILENCE = timedelta(minutes=30)
"""Longer than any outage of the server that the runner must survive: on its return the server judges by heartbeats
that are still under way, and would end a healthy run."""


def silent_live() -> Automation:
    """Return the automation that marks a live run as Crashed once its heartbeats stop, which restarts it."""
    return Automation(
        name=SILENT_LIVE,
        description="Worker and flow died together, so nobody reported the crash. The restart trigger does the rest.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "deployment", "prefect.resource.name": "live"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, name=None, force=False, message="no heartbeat for 30 minutes")
        ],
    )


def set_up() -> None:
    """Create our automations, replacing those of an earlier version."""
    asyncio.run(_replace_all())


async def _replace_all() -> None:
    for automation in (silent_live(),):
        with contextlib.suppress(ValueError):
            await (await Automation.aread(name=automation.name)).adelete()
        await automation.acreate()
