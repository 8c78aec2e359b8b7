"""The desk every request passes: the venue, its clock, budgets, faults and streams, and the one way to commit."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from paper.books import Books, Changes, Counters
from paper.clock import ServerClock
from paper.events import Event
from paper.faults import FaultBoard, FaultSpec
from paper.limits import Limits
from paper.options import ExchangeOptions
from paper.orders import Order
from paper.portfolio import Portfolio
from paper.venue import Venue

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


class Desk:
    """Composition of one running exchange, without its sockets."""

    def __init__(self, venue: Venue, clock: ServerClock, board: FaultBoard, options: ExchangeOptions) -> None:
        self.venue = venue
        self.clock = clock
        self.board = board
        self.options = options
        self.limits = Limits(options.limits, clock)
        self.orders_log: deque[OrderArrival] = deque(maxlen=ORDERS_LOGGED_MAX)
        self.store: Callable[[Changes, Counters], None] | None = None
        self.publish: Callable[[str, Event], None] | None = None
        self.publish_liquidation: Callable[[Order], None] | None = None
        self.on_store_failure: Callable[[Exception], None] | None = None
        self._hidden_until_ms: dict[int, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        board.on_ban = self.limits.ban_everybody
        board.on_unban = self.limits.lift_bans

    @property
    def books(self) -> Books:
        """The venue's books."""
        return self.venue.books

    def commit(self) -> None:
        """Store what changed in one transaction, and only then tell the owners. Call it before answering."""
        changes = self.books.drain_changes()
        if changes and self.store is not None:
            try:
                self.store(changes, self.books.counters)
            except Exception as error:
                # Memory is now ahead of the file: going on would promise what a restart forgets.
                if self.on_store_failure is not None:
                    self.on_store_failure(error)
                raise
        for key, event in self.books.drain_outbox():
            if self.publish is not None:
                self.publish(key, event)
        for order in self.books.drain_liquidations():
            if self.publish_liquidation is not None:
                self.publish_liquidation(order)

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
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
