"""The desk every request passes: the exchange, its clock, budgets, faults and streams, and the one way to commit."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from paper.books import Books, Changes, Counters
from paper.clock import ServerClock
from paper.core import ExchangeCore
from paper.events import Event
from paper.faults import FaultBoard, FaultSpec
from paper.limits import Limits
from paper.options import ExchangeOptions
from paper.orders import Order
from paper.portfolio import Portfolio
from paper.tasks import cancel_all

ORDERS_LOGGED_MAX = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderArrival:
    """One request with new orders, as it was received: for benchmarks."""

    received_monotonic_ns: int
    path: str
    client_order_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that has passed the gate: who asks, what, when, and what shall go wrong with it."""

    portfolio: Portfolio
    params: Mapping[str, str]
    now_ms: int
    faults: Mapping[int, list[FaultSpec]]
    headers: dict[str, str] = field(default_factory=dict)


Store = Callable[[Changes, Counters], None]


class Listeners:
    """Who hears of what was committed: the streams, which are made after the desk that they serve."""

    def __init__(self) -> None:
        self._account: list[Callable[[str, Event], None]] = []
        self._liquidations: list[Callable[[Order], None]] = []

    def hear_accounts(self, listener: Callable[[str, Event], None]) -> None:
        """Called with an account's key and each of its events."""
        self._account.append(listener)

    def hear_liquidations(self, listener: Callable[[Order], None]) -> None:
        self._liquidations.append(listener)

    def account_event(self, key: str, event: Event) -> None:
        for listener in self._account:
            listener(key, event)

    def liquidation(self, order: Order) -> None:
        for listener in self._liquidations:
            listener(order)


class Desk:
    """Composition of one running exchange, without its sockets."""

    def __init__(
        self,
        core: ExchangeCore,
        clock: ServerClock,
        board: FaultBoard,
        limits: Limits,
        options: ExchangeOptions,
        *,
        store: Store = lambda _changes, _counters: None,
        on_store_failure: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """`store` keeps what a commit changed; when it fails the exchange must stop, and `on_store_failure` is called."""
        self.core = core
        self.clock = clock
        self.board = board
        self.options = options
        self.limits = limits
        self.listeners = Listeners()
        self.orders_log: deque[OrderArrival] = deque(maxlen=ORDERS_LOGGED_MAX)
        self._store = store
        self._on_store_failure = on_store_failure
        self._hidden_until_ms: dict[int, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def books(self) -> Books:
        """The exchange's books."""
        return self.core.books

    def commit(self) -> None:
        """Store what changed in one transaction, and only then tell the owners. Call it before answering."""
        changes = self.books.drain_changes()
        if changes:
            try:
                self._store(changes, self.books.counters)
            except Exception as error:
                # Memory is now ahead of the file: going on would promise what a restart forgets.
                self._on_store_failure(error)
                raise
        for key, event in self.books.drain_outbox():
            self.listeners.account_event(key, event)
        for order in self.books.drain_liquidations():
            self.listeners.liquidation(order)

    def hide(self, order_id: int, duration_ms: int) -> None:
        """Deny an order to queries for a while, as a lagging read replica does."""
        self._hidden_until_ms[order_id] = self.clock.monotonic_ms() + duration_ms

    def hidden(self, order_id: int) -> bool:
        """Whether queries must not see this order yet."""
        until_ms = self._hidden_until_ms.get(order_id)
        if until_ms is None:
            return False
        if self.clock.monotonic_ms() < until_ms:
            return True
        del self._hidden_until_ms[order_id]
        return False

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that outlives its request (a late order). Owned here, ended by close()."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End whatever outlives its request."""
        await cancel_all(*self._tasks)
