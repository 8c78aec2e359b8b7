"""The requests of a job: an event loop on a thread of its own, so that several threads ask at once and share one budget."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from domain.refusals import RefusalKind
from runner.clock import SystemClock
from runner.config import Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import make_client
from runner.exchange.binance.requests import send
from runner.exchange.binance.shapes import reading
from runner.exchange.binance.weights import Cost, Pool
from runner.exchange.errors import ExchangeError, OutcomeUnknown, Refused, Unreachable
from runner.exchange.priority import Priority
from runner.tasks import cancel_all

# None: no answer. A wrong key, an unknown symbol or a bad parameter stays wrong however often it is sent.
_PASSING_KINDS = frozenset({None, RefusalKind.THROTTLED, RefusalKind.UNAVAILABLE, RefusalKind.CLOCK})
_T = TypeVar("_T")
_REPORTED_FROM_SECONDS = 5.0
_STOP_SECONDS_MAX = 10.0
SILENCE_SECONDS_MAX = 60.0
"""Without any answer, and one question's patience exhausted: nothing else is sent. 500 symbols of 40 s each would be hours."""


class _Window:
    """What was sent lately of one pool. Used by the loop's own thread alone."""

    def __init__(self, pool: Pool) -> None:
        self._seconds = pool.seconds
        self._sent: deque[float] = deque(maxlen=pool.requests)
        self.turn = asyncio.Lock()

    def wait_seconds(self, now: float) -> float:
        """Until one more may leave."""
        if len(self._sent) < (self._sent.maxlen or 0):
            return 0.0
        return max(0.0, self._sent[0] + self._seconds - now)

    def sent(self, now: float) -> None:
        self._sent.append(now)


class Silent(Unreachable):
    """Not sent, because nothing was answered for so long."""


class RequestLoop:
    """Asks patiently, in the order of asking, until the exchange has been silent for `silence_seconds`.

    `patience_seconds`: the longest ban that is waited for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        attempts: int,
        patience_seconds: float,
        say: Callable[[str], None],
        silence_seconds: float = SILENCE_SECONDS_MAX,
    ) -> None:
        self._timeout = settings.data.request_timeout_seconds
        self._attempts, self._patience, self._say = attempts, patience_seconds, say
        self._silence = silence_seconds
        self.clock = SystemClock()
        self.budget = Budget(self.clock)
        self._abandoned = False
        self._leaving = 0
        """Weight let through and not answered. What the budget already counts of it is counted twice: no more than a few requests."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="requests", daemon=True)
        self._thread.start()
        try:
            self.client: Any = self.run(lambda: _made(settings, self.budget, self._open_gates))
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise

    def _open_gates(self) -> None:
        # One waits for the budget, the others for their turn: nobody is overtaken for ever.
        self._gate = asyncio.Lock()
        self._windows: dict[Pool, _Window] = {}
        self._unanswered = 0  # Tries in a row,
        self._silent_from: float | None = None  # when the first of them began, by the monotonic clock,
        self._silent_seconds = 0.0  # and how long after that the last one ended.

    def run(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Await this on the loop, from any thread. Raises: what it raises; CancelledError once abandoned."""
        if self._abandoned:
            raise CancelledError
        return asyncio.run_coroutine_threadsafe(_awaited(work), self._loop).result()

    async def send(
        self,
        what: str,
        request: Callable[[], Awaitable[Any]],
        priority: Priority,  # noqa: ARG002  (A job is never urgent.)
        cost: Cost,
    ) -> Any:
        """The parsed reply, waited for with patience. Raises: ExchangeError once that is exhausted."""
        patience = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.25, max=8),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        return await patience(self._once, what, request, cost)

    def abandon(self) -> None:
        """Whoever waits for an answer, or asks from now on, gets CancelledError instead."""
        self._abandoned = True
        self._loop.call_soon_threadsafe(self._cancel_all)

    def close(self) -> None:
        """Nothing is sent any more."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_SECONDS_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS_MAX)
        if not self._thread.is_alive():
            self._loop.close()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _close(self) -> None:
        await cancel_all(*asyncio.all_tasks() - {asyncio.current_task()})
        await self.client.close()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    async def _once(self, what: str, request: Callable[[], Awaitable[Any]], cost: Cost) -> Any:
        if self._unanswered >= self._attempts and self._silent_seconds > self._silence:
            raise Silent(
                f"{what}: not asked, the exchange gave no answer for {self._silent_seconds:.0f} s; run it again"
            )
        if cost.pool is not None:
            window = self._windows.setdefault(cost.pool, _Window(cost.pool))
            async with window.turn:
                await self._sleep(what, window.wait_seconds(self._seconds()))
                window.sent(self._seconds())
        async with self._gate:
            # Let the minute pass rather than eat into the share that unwinding may need.
            while (wait_ms := self.budget.wait_ms(Priority.BACKGROUND, cost.weight + self._leaving)) > 0:
                pause = wait_ms / 1000
                if pause > self._patience:
                    raise Unreachable(
                        f"{what}: the request budget of this address is used up, or it is banned; try again in {pause:.0f} s"
                    )
                await self._sleep(what, pause)
            self._leaving += cost.weight
        asked_at = self._seconds()
        try:
            reply = await send(what, request, timeout_seconds=self._timeout)
        except ExchangeError as problem:
            self._heard(asked_at, is_answer=isinstance(problem, Refused) or getattr(problem, "code", None) is not None)
            if isinstance(problem, Refused) and problem.kind is RefusalKind.CLOCK:
                await self._set_clock()
            raise
        else:
            self._heard(asked_at, is_answer=True)
            return reply
        finally:
            self._leaving -= cost.weight

    def _heard(self, asked_at: float, *, is_answer: bool) -> None:
        if is_answer or self.budget.blocked_ms() > 0:  # A ban is an answer, too.
            self._unanswered, self._silent_from, self._silent_seconds = 0, None, 0.0
            return
        self._unanswered += 1
        self._silent_from = asked_at if self._silent_from is None else self._silent_from
        # Up to the end of a try, so that a pause in which nothing was sent does not count.
        self._silent_seconds = self._seconds() - self._silent_from

    async def _sleep(self, what: str, seconds: float) -> None:
        if seconds >= _REPORTED_FROM_SECONDS:
            self._say(f"{what}: waiting {seconds:.0f} s for the exchange's request budget")
        await self.clock.sleep(seconds)

    def _seconds(self) -> float:
        """Of the monotonic clock: for durations only."""
        return self.clock.monotonic_ns() / 1e9

    async def _set_clock(self) -> None:
        """Our timestamps are refused: from now on they are the exchange's. When it cannot be asked, the next try asks again."""
        ticks = self.budget.exchange_clock.ticks_ns
        with contextlib.suppress(ExchangeError):
            asked_ns = ticks()
            reply = await send("time", self.client.fapiPublicGetTime, timeout_seconds=self._timeout)
            with reading("time"):
                self.budget.exchange_clock.measured(int(reply["serverTime"]), asked_ns, ticks())


async def _awaited(work: Callable[[], Awaitable[_T]]) -> _T:
    return await work()


async def _made(settings: Settings, budget: Budget, before: Callable[[], None]) -> Any:
    """Inside the loop, because ccxt binds its session to the running one."""
    before()
    return make_client(settings, budget)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, OutcomeUnknown | Refused):
        return error.kind in _PASSING_KINDS
    return isinstance(error, Unreachable) and not isinstance(error, Silent)
