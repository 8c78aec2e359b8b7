"""Blocking calls on files, kept off the event loop: a disk that hangs delays nothing but its own answer."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from storage.files import READ_SECONDS, FileHangs

_T = TypeVar("_T")


class OffLoop:
    """One call at a time, each in a daemon thread. A call that hangs is waited for, never repeated beside itself."""

    def __init__(self, *, seconds: float = READ_SECONDS) -> None:
        self._seconds = seconds
        self._gate = asyncio.Lock()
        self._thread: threading.Thread | None = None
        self._is_late = False

    async def call(self, where: Path, work: Callable[[], _T]) -> _T:
        """What `work` returns or raises. Raises: FileHangs when it takes too long, or an earlier call still does."""
        async with self._gate:
            return await self._call(where, work)

    async def _call(self, where: Path, work: Callable[[], _T]) -> _T:
        if self._thread is not None and self._thread.is_alive() and self._is_late:
            raise FileHangs(where, self._seconds)
        self._is_late = False
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()

        def run() -> None:
            try:
                found = work()
            except Exception as problem:  # noqa: BLE001 - the top of the thread; raised again by who waits.
                _in_loop(loop, _fail, answer, problem)
            else:
                _in_loop(loop, _succeed, answer, found)

        # Not the loop's executor: at the end of the process the loop waits for every thread of that one.
        self._thread = threading.Thread(target=run, name=f"read {where.name}", daemon=True)
        self._thread.start()
        try:
            return await asyncio.wait_for(answer, self._seconds)
        except TimeoutError:
            self._is_late = True
            raise FileHangs(where, self._seconds) from None


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:  # The loop is closed: nobody waits there any more.
        return


def _succeed(answer: "asyncio.Future[_T]", found: _T) -> None:
    if not answer.done():
        answer.set_result(found)


def _fail(answer: "asyncio.Future[Any]", problem: Exception) -> None:
    if not answer.done():
        answer.set_exception(problem)
