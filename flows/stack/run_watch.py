"""A flow run's own view of the Prefect server: has somebody cancelled me, and here is my status page.

Silence of the server is never a reason to stop, and nobody waits for it: every call has a timeout and is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Self
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from flows.stack import status_page
from runner import events
from runner.logs import emit_line


class RunWatch:
    """Talks to the server for one flow run. One client for its whole life: making one costs the loop milliseconds."""

    def __init__(self, run_id: UUID, *, poll_s: float = 5.0, page_s: float = 45.0) -> None:
        self._run_id = run_id
        self._poll_s = poll_s
        self._page_s = page_s
        self._client: PrefectClient | None = None
        self._pages: dict[str, UUID] = {}
        self.why = ""

    async def __aenter__(self) -> Self:
        self._client = await get_client(httpx_settings={"timeout": self._poll_s}).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.__aexit__(None, None, None)

    async def until_cancelled(self, stop: asyncio.Event) -> None:
        """Set `stop` once the server says that this run is being cancelled, or is over.

        The worker's own signal comes sooner as a rule; after an outage of a minute it never comes.
        """
        assert self._client is not None
        silent = False
        while not stop.is_set():
            try:
                async with asyncio.timeout(self._poll_s):
                    state = (await self._client.read_flow_run(self._run_id)).state
            except Exception as error:  # noqa: BLE001 - whatever the server does, the runner trades on.
                if not silent:
                    emit_line(events.PREFECT_UNREACHABLE, error=type(error).__name__)
                silent = True
            else:
                if silent:
                    emit_line(events.PREFECT_RECOVERED)
                silent = False
                if state is not None and (state.is_cancelling() or state.is_final()):
                    self.why = f"the run was set to {state.name}"
                    stop.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._poll_s)

    async def keep_page(self, key: str, title: str, latest: Callable[[], Mapping[str, Any]]) -> None:
        """Write the page at once, then again and again, until cancelled."""
        while True:
            await self.write_page(key, title, latest())
            await asyncio.sleep(self._page_s)

    async def write_page(self, key: str, title: str, status: Mapping[str, Any]) -> None:
        """Create the artifact, or replace its text; a page that cannot be written is dropped."""
        assert self._client is not None
        try:
            page = status_page.render(title, status)
            async with asyncio.timeout(self._poll_s):
                if key in self._pages:
                    await self._client.update_artifact(self._pages[key], ArtifactUpdate(data=page))
                else:
                    artifact = ArtifactCreate(
                        type="markdown", key=key, description=title, data=page, flow_run_id=self._run_id
                    )
                    self._pages[key] = (await self._client.create_artifact(artifact)).id
        except Exception as error:  # noqa: BLE001 - a status page is worth no pause in trading.
            emit_line(events.STATUS_PAGE_DROPPED, key=key, error=type(error).__name__)
