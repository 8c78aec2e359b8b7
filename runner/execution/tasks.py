"""The engine's tasks: known by name, awaited at the end, and never lost in silence."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from runner.tasks import cancel_all

STANDING = frozenset({"inbox", "watch"})
"""Tasks that run for as long as the engine does; all others end by themselves."""


class Tasks:
    """`halt` is called when one of them dies of something nobody foresaw."""

    def __init__(self, halt: Callable[[str], None]) -> None:
        self._halt = halt
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @property
    def in_flight(self) -> set[asyncio.Task[Any]]:
        """Those that bring something to its end."""
        return {task for task in self._tasks if task.get_name() not in STANDING}

    async def cancel(self) -> None:
        """End all of them now."""
        await cancel_all(*self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._halt(f"{task.get_name()}: {task.exception()!r}")
