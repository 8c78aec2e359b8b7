"""The user stream: what the exchange reports the account, in order, and everything that may happen to it on the way.

Stands in for `runner.exchange.binance.user_stream.UserStream`: the same calls towards the engine, the same parsing of events.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sim_exchange import Exchange
from sim_faults import UserFate

from domain.symbols import Symbol
from runner.exchange.binance.wire import fill_of_event, report_of_event
from runner.exchange.port import UserNews

RECONNECT_SECONDS = (0.1, 0.5, 2.0, 6.0)
ROLL_OVER_SECONDS = 45.0
"""Twenty-three hours in the life of a real connection; a story is shorter."""


class Subscribers:
    """Who listens at the exchange's end: the connections that are open."""

    def __init__(self, exchange: Exchange) -> None:
        self._connections: list[SimUserStream] = []
        exchange.desk.listeners.hear_accounts(self._publish)

    def _publish(self, _key: str, event: Mapping[str, Any]) -> None:
        if event["e"] == "ORDER_TRADE_UPDATE":
            body = dict(event["o"])
            for connection in self._connections:
                connection.send(body)

    def add(self, connection: "SimUserStream") -> None:
        self._connections.append(connection)

    def remove(self, connection: "SimUserStream") -> None:
        if connection in self._connections:
            self._connections.remove(connection)


class SimUserStream:
    """One process's connection: opened, lost, opened again."""

    def __init__(
        self,
        exchange: Exchange,
        subscribers: Subscribers,
        symbol_of: Callable[[str], Symbol | None],
        *,
        on_news: Callable[[UserNews], None],
        on_gap: Callable[[str], None],
        on_up: Callable[[bool], None],
    ) -> None:
        self._exchange = exchange
        self._faults = exchange.faults
        self._timeline = exchange.timeline
        self._subscribers = subscribers
        self._symbol_of = symbol_of
        self._on_news = on_news
        self._on_gap = on_gap
        self._on_up = on_up
        self._generation = 0
        self._arrives_at = 0.0
        self._frozen_until = 0.0
        self.is_up = False
        self.dead = False

    def connect_soon(self) -> None:
        self._timeline.after(self._faults.latency() * 3, self._connect, self._generation)

    def _connect(self, generation: int) -> None:
        if self.dead or generation != self._generation or self.is_up:
            return
        self.is_up = True
        self._frozen_until = 0.0
        self._subscribers.add(self)
        self._timeline.after(ROLL_OVER_SECONDS, self.drop, self._generation)
        self._on_up(True)
        self._on_gap("user stream connected")

    def drop(self, generation: int | None = None) -> None:
        """The connection is lost; what was on its way is lost too."""
        if self.dead or not self.is_up or (generation is not None and generation != self._generation):
            return
        self.is_up = False
        self._generation += 1
        self._subscribers.remove(self)
        self._on_up(False)
        self._timeline.after(self._faults.seed.choice(RECONNECT_SECONDS), self._connect, self._generation)

    def mistrust(self) -> None:
        """The engine had to fetch what the stream should have told."""
        self.drop()

    def die(self) -> None:
        self.dead = True
        self._subscribers.remove(self)

    def send(self, body: Mapping[str, Any]) -> None:
        fate = self._faults.user()
        if fate is UserFate.DROP:
            self.drop()
        elif fate is UserFate.FREEZE:
            self._frozen_until = self._timeline.now + self._faults.seed.choice((0.5, 3.0, 15.0))
        if not self.is_up or fate is UserFate.LOST or self._timeline.now < self._frozen_until:
            return
        latency = self._faults.latency()
        if fate is UserFate.LATE:
            late = latency + self._faults.seed.choice((0.05, 0.5, 4.0, 9.0))
            self._timeline.after(late, self._tell, self._generation, body)
            return
        for _ in range(2 if fate is UserFate.DUPLICATED else 1):
            self._arrives_at = max(self._arrives_at, self._timeline.now + latency)
            self._timeline.at(self._arrives_at, self._tell, self._generation, body)

    def _tell(self, generation: int, body: Mapping[str, Any]) -> None:
        if self.dead or generation != self._generation:
            return
        news = UserNews(
            report_of_event(body, self._symbol_of), fill_of_event(body, self._symbol_of), bool(body.get("R"))
        )
        self._on_news(news)
