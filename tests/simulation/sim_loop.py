"""Virtual time: a timeline of what the world does, and an event loop that never sleeps and never sees a socket.

When nothing is ready the loop jumps to the next timer or to the world's next deed, whichever comes first. Callbacks that are
ready at the same moment run in an order drawn by the seed, so that every run interleaves the tasks differently and
repeats exactly.
"""

import asyncio
import contextvars
import heapq
import random
import sys
from asyncio import events
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

STEPS_AT_ONE_MOMENT_MAX = 20_000


class Timeline:
    """Seconds since the story began, and what happens when. Belongs to the world: a process that dies does not stop it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0

    def at(self, when: float, deed: Callable[..., None], *facts: Any) -> None:
        self._serial += 1
        heapq.heappush(self._events, (max(when, self.now), self._serial, deed, facts))

    def after(self, seconds: float, deed: Callable[..., None], *facts: Any) -> None:
        self.at(self.now + seconds, deed, *facts)

    @property
    def next_at(self) -> float:
        """Infinity when the world has no plans."""
        return self._events[0][0] if self._events else float("inf")

    def run_next(self) -> None:
        when, _, deed, facts = heapq.heappop(self._events)
        self.now = when
        deed(*facts)

    def run_until(self, when: float) -> None:
        """The world alone, while no process runs."""
        while self.next_at <= when:
            self.run_next()
        self.now = max(self.now, when)


class Ended(Enum):
    """How a process came to its end."""

    FINISHED = "finished"
    KILLED = "killed"
    STUCK = "stuck"  # Everybody waits for ever.
    LIVELOCK = "livelock"  # Everybody runs for ever, and no time passes.


class Dead(BaseException):
    """Whatever a dead process tries ends here; not an Exception, so that no handler of last resort can live on."""


class _Task(asyncio.Task[Any]):
    """Hashed by its number: a set of tasks is walked in the same order in every run, wherever memory put them."""

    number = 0

    def __init__(self, *work: Any, context: contextvars.Context, **named: Any) -> None:
        super().__init__(*work, context=context, **named)
        self.context = context

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__


class VirtualLoop(asyncio.BaseEventLoop):
    """The event loop of one process. `steps` counts callbacks; `kill` ends it between two of them, without a word."""

    def __init__(self, timeline: Timeline, order: random.Random, *, before_step: Callable[[], bool]) -> None:
        super().__init__()
        self.timeline = timeline
        self._order = order
        self._before_step = before_step
        self.killed = False
        self.complaints: list[str] = []
        self.set_exception_handler(self._complain)
        self._tasks_made = 0
        self._made: list[_Task] = []  # Held here, to be taken apart by `bury`.

    def time(self) -> float:
        return self.timeline.now

    def create_task(self, work: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        if self.killed:
            work.close()
            raise Dead
        # Its number must be there before the constructor puts it into asyncio's own sets.
        self._tasks_made += 1
        _Task.number = self._tasks_made
        task = _Task(work, loop=self, name=name, context=context or contextvars.copy_context())
        task.number = self._tasks_made
        self._made.append(task)
        return task

    def create_future(self) -> "asyncio.Future[Any]":
        if self.killed:
            raise Dead
        return super().create_future()

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.killed:
            self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def kill(self) -> None:
        """kill -9: no further callback runs."""
        self.killed = True

    def run(self, main: Coroutine[Any, Any, None]) -> Ended:
        """Until `main` is over or the process is killed."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
        events._set_running_loop(self)
        try:
            task = self.create_task(main, name="main")
            idle_steps = 0
            moment = self.timeline.now
            while not task.done():
                if self._ready:
                    idle_steps += self._run_ready()
                elif not self._advance():
                    return Ended.STUCK
                if self.killed:
                    return Ended.KILLED
                if self.timeline.now > moment:
                    idle_steps, moment = 0, self.timeline.now
                elif idle_steps > STEPS_AT_ONE_MOMENT_MAX:
                    return Ended.LIVELOCK
            task.result()
            return Ended.FINISHED
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _run_ready(self) -> int:
        batch = list(self._ready)
        self._ready.clear()
        if len(batch) > 1:
            self._order.shuffle(batch)
        for handle in batch:
            if handle._cancelled:
                continue
            if self._before_step():
                self.kill()
                break
            handle._run()
        return len(batch)

    def _advance(self) -> bool:
        """To the next moment at which something happens. False when nothing ever will."""
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        when = scheduled[0]._when if scheduled else float("inf")
        next_deed = self.timeline.next_at
        if next_deed <= when:
            if next_deed == float("inf"):
                return False
            self.timeline.run_next()
            return True
        self.timeline.now = max(self.timeline.now, when)
        while scheduled and scheduled[0]._when <= self.timeline.now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)
        return True

    def mark_crashed(self) -> None:
        """Take the dead process's tasks apart. Its ports are dead by now: whatever their `finally` says reaches nobody."""
        self.killed = True
        events._set_running_loop(self)
        try:
            for task in self._made:
                if not task.done():
                    task._log_destroy_pending = False
                    task.context.run(_close, task.get_coro())
        finally:
            events._set_running_loop(None)
        self._ready.clear()
        self._scheduled.clear()
        self._made.clear()
        self.close()


def _close(coroutine: Any) -> None:
    for _ in range(50):  # A `finally` that awaits again and again.
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except (Exception, Dead):  # noqa: BLE001  (Last words of the dead.)
            return
        return


class VirtualClock:
    """Satisfies `runner.ports.Clock`: the wall clock of the runner's machine, which may be wrong and may jump."""

    EPOCH_MS = 1_790_000_000_000

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.skew_ms = 0

    def true_ms(self) -> int:
        """The exchange's clock."""
        return self.EPOCH_MS + int(self._timeline.now * 1000)

    def now_ms(self) -> int:
        return self.true_ms() + self.skew_ms

    def monotonic_ns(self) -> int:
        return int(self._timeline.now * 1e9)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SimExchangeClock:
    """Satisfies what the paper exchange asks of `paper.clock.ServerClock`."""

    skew_ms = 0

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def now_ms(self) -> int:
        return VirtualClock.EPOCH_MS + int(self._timeline.now * 1000)

    def monotonic_ms(self) -> int:
        return int(self._timeline.now * 1000)

    def monotonic_ns(self) -> int:
        return int(self._timeline.now * 1e9)
