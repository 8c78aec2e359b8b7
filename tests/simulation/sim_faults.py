"""What goes wrong on the road to the exchange and inside it, drawn by the seed: every kind of the reference sheet's section 6.

Each seed switches some kinds off altogether and turns the others up or down, because a world in which everything always
fails hides as much as one in which nothing does. After `calm` nothing fails any more.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from paper.faults import FaultSpec, Kind, Parameters


class Road(StrEnum):
    """What becomes of one request as a whole."""

    FINE = "fine"
    UNREACHABLE = "unreachable"  # No connection was ever made.
    LOST = "request-lost"  # Left, never arrived; silence.
    LOST_DROPPED = "request-lost-dropped"  # The same, the connection breaks.
    LATE = "late"  # Arrives when the sender has long given up, perhaps beyond its window.
    SILENT = "reply-lost"  # Executed; silence.
    DROPPED = "reply-dropped"  # Executed; the connection breaks.
    EXECUTED_503 = "executed-503"
    EXECUTED_408 = "executed-408"
    EXECUTED_1006 = "executed-1006"
    EXECUTED_GARBAGE = "executed-garbage"
    EXECUTED_EMPTY = "executed-empty"
    EXECUTED_MANGLED = "executed-mangled"  # JSON, but not about what was asked.
    SLOW = "slow"  # Executed; the reply takes seconds.
    LOST_503 = "lost-503"
    LOST_408 = "lost-408"
    LOST_1006 = "lost-1006"
    PLAIN_503 = "plain-503"
    REFUSED_1001 = "refused-1001"
    REFUSED_1008 = "refused-1008"
    REFUSED_1021 = "refused-1021"
    REFUSED_429 = "refused-429"
    REFUSED_418 = "refused-418"
    FIREWALL_403 = "firewall-403"


ERRORS: dict[Road, tuple[int, int | None, str]] = {
    Road.EXECUTED_503: (503, -1000, "Unknown error, please check your request or try again later."),
    Road.EXECUTED_408: (408, -1007, "Timeout waiting for response from backend server."),
    Road.EXECUTED_1006: (400, -1006, "An unexpected response was received from the message bus."),
    Road.EXECUTED_GARBAGE: (200, None, "the body is not JSON"),
    Road.EXECUTED_EMPTY: (200, None, "the body is not JSON"),
    Road.LOST_503: (503, -1000, "Unknown error, please check your request or try again later."),
    Road.LOST_408: (408, -1007, "Timeout waiting for response from backend server."),
    Road.LOST_1006: (400, -1006, "An unexpected response was received from the message bus."),
    Road.PLAIN_503: (503, None, "Service Unavailable."),
    Road.REFUSED_1001: (503, -1001, "Internal error; unable to process your request. Please try again."),
    Road.REFUSED_1008: (503, -1008, "Request throttled by system-level protection."),
    Road.REFUSED_1021: (400, -1021, "Timestamp for this request is outside of the recvWindow."),
    Road.REFUSED_429: (429, -1003, "Too many requests."),
    Road.REFUSED_418: (418, -1003, "Way too many requests."),
    Road.FIREWALL_403: (403, None, "Forbidden: no JSON body"),
}
EXECUTED = frozenset(
    {
        Road.FINE, Road.SILENT, Road.DROPPED, Road.EXECUTED_503, Road.EXECUTED_408, Road.EXECUTED_1006,
        Road.EXECUTED_GARBAGE, Road.EXECUTED_EMPTY, Road.EXECUTED_MANGLED, Road.SLOW, Road.LATE,
    }
)  # fmt: skip
ROADS = tuple(road for road in Road if road is not Road.FINE)
ELEMENT_CODES = (-2019, -2022, -2027, -4131, -4164, -1008, -4118, -1111, -1007, -1006, -4140, -4087, -2010)
ELEMENT_KINDS = (Kind.REJECTED, Kind.PARTIAL, Kind.HIDDEN, Kind.EXECUTED_1006, Kind.LOST_1006)


class UserFate(StrEnum):
    """What becomes of one event of the user stream."""

    FINE = "user-fine"
    DUPLICATED = "user-duplicated"
    LATE = "user-late"  # Overtaken by whatever comes after it.
    LOST = "user-lost"
    FREEZE = "user-frozen"  # The socket stays open and tells nothing more for a while.
    DROP = "user-dropped"


USER_FATES = tuple(fate for fate in UserFate if fate is not UserFate.FINE)


@dataclass(slots=True)
class Intensity:
    """Chances, each per opportunity."""

    order: float = 0.0
    element: float = 0.0
    query: float = 0.0
    lag: float = 0.0
    user: float = 0.0


class Faults:
    """Draws what goes wrong, and counts it."""

    def __init__(self, seed: random.Random, intensity: Intensity | None = None) -> None:
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.calm = False
        self.tell: Callable[[str], None] = lambda _text: None
        levels = (0.0, 0.0, 0.02, 0.1, 0.3, 0.6)
        self.intensity = intensity or Intensity(
            order=seed.choice(levels), element=seed.choice(levels), query=seed.choice(levels),
            lag=seed.choice(levels), user=seed.choice(levels),
        )  # fmt: skip
        self.roads = self._some(ROADS)
        self.user_fates = self._some(USER_FATES)
        self.codes = self._some(ELEMENT_CODES)
        self.element_kinds = self._some(ELEMENT_KINDS)
        self.latency_seconds = seed.choice((0.0005, 0.005, 0.02, 0.08))
        self.planned_roads: list[Road] = []
        """What the coming order requests meet, before any chance is asked; FINE lets one pass."""
        self.planned_elements: list[dict[int, list[FaultSpec]]] = []

    def _some(self, kinds: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(self.seed.sample(kinds, self.seed.randint(1, len(kinds))))

    def hits(self, chance: float) -> bool:
        return chance > 0 and not self.calm and self.seed.random() < chance

    def count(self, kind: str) -> None:
        self.counts[kind] += 1
        self.tell(f"  !! {kind}")

    def latency(self) -> float:
        """One way, in seconds; now and then ten times as long."""
        base = self.latency_seconds * (0.5 + self.seed.random())
        return base * 10 if not self.calm and self.seed.random() < 0.02 else base

    def road(self, *, is_order: bool) -> Road:
        if is_order and self.planned_roads:
            return self.planned_roads.pop(0)
        if not self.hits(self.intensity.order if is_order else self.intensity.query):
            return Road.FINE
        road = self.seed.choice(self.roads)
        self.count(("order " if is_order else "query ") + road)
        return road

    def elements(self, orders: int) -> dict[int, list[FaultSpec]]:
        """What goes wrong with single orders of a request that arrives."""
        if self.planned_elements:
            return self.planned_elements.pop(0)
        found: dict[int, list[FaultSpec]] = {}
        for element in range(orders):
            if not self.hits(self.intensity.element):
                continue
            kind = self.seed.choice(self.element_kinds)
            code = self.seed.choice(self.codes)
            fraction = Decimal(self.seed.choice((0, 1, 10, 40, 60, 95, 99))) / 100
            delay_ms = self.seed.choice((20, 200, 800))  # Hidden from all lists too: see `lag_seconds`.
            self.count(f"element {kind.value}" + (f" {code}" if kind is Kind.REJECTED else ""))
            found[element] = [
                FaultSpec(kind=kind, parameters=Parameters(code=code, fraction=fraction, delay_ms=delay_ms))
            ]
        return found

    def lag_seconds(self, endpoint: str) -> float:
        """How old a reader's replica is. Only single orders are denied for longer than the margin within which the rest agrees."""
        if not self.hits(self.intensity.lag):
            return 0.0
        self.count("query lagging")
        return self.seed.choice((0.01, 0.1, 0.4, 0.8, *((1.5, 4.0) if endpoint == "GET order" else ())))

    def user(self) -> UserFate:
        if not self.hits(self.intensity.user):
            return UserFate.FINE
        fate = self.seed.choice(self.user_fates)
        self.count(fate)
        return fate
