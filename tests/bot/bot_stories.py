"""Every fault the paper exchange knows, each in the middle of an entry or an exit of the live process: one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from paper.faults import IMMEDIATE_KINDS, USER_EVENT_KINDS, Kind


class During(StrEnum):
    """Which orders a story is about, and how their client ids read."""

    ENTRY = r"-[ab]e\d"
    EXIT = r"-[ab][xu]\d"
    RESTING = r"-[ab]e0"  # `use_limit_orders`: the first leg rests, post-only.


class Ends(StrEnum):
    """What must have become of the trade that was struck."""

    OPENED = "opened"  # Its entry was executed: found, adopted, and not taken back.
    NEVER_WAS = "never was"  # Nothing was executed, nothing is held.
    SETTLED = "settled"  # Hedged or flat; which of them is the market's business.


CARRIER: dict[str, Any] = {"kind": Kind.EXECUTED_DELAYED.value, "parameters": {"delay_ms": 700}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One fault, when it strikes, and what else makes it bite."""

    kind: Kind
    during: During
    ends: Ends = Ends.SETTLED
    parameters: dict[str, Any] = field(default_factory=dict)
    element: int | None = None  # Of the batch: that order alone.
    before: tuple[dict[str, Any], ...] = ()  # Faults of the same orders, armed first.

    @property
    def strikes_by_itself(self) -> bool:
        """At once, without a request: it is sent while the reply to an order of its trade is on its way."""
        return self.kind in IMMEDIATE_KINDS

    def own(self, symbols: Sequence[str]) -> dict[str, Any]:
        """The fault as the board takes it."""
        match = {} if self.strikes_by_itself or self.kind in USER_EVENT_KINDS else self._match(symbols)
        return {"kind": self.kind.value, "match": match, "parameters": self.parameters}

    def others(self, symbols: Sequence[str]) -> list[dict[str, Any]]:
        """What is armed before it, of the same orders; for one that strikes by itself the reply that it interrupts comes first."""
        carriers = (CARRIER,) if self.strikes_by_itself else ()
        match = self._match(symbols)
        return [{**fault, "match": {**match, **fault.get("match", {})}} for fault in (*carriers, *self.before)]

    def _match(self, symbols: Sequence[str]) -> dict[str, Any]:
        match: dict[str, Any] = {"client_order_id": self.during.value}
        if self.during is not During.RESTING:  # Either leg may be the one that rests.
            match["symbol"] = symbols[self.element or 0]
        return match if self.element is None else {**match, "element": self.element}


def entry(kind: Kind, ends: Ends, **parameters: Any) -> Story:
    return Story(kind=kind, during=During.ENTRY, ends=ends, parameters=parameters)


def exits(kind: Kind, **parameters: Any) -> Story:
    return Story(kind=kind, during=During.EXIT, parameters=parameters)


def leg_b(kind: Kind, during: During, ends: Ends = Ends.SETTLED, **parameters: Any) -> Story:
    return Story(kind=kind, during=during, ends=ends, parameters=parameters, element=1)


# The whole batch is struck unless a leg is named. Those of a wave strike side by side, each a pair of its own.
WAVES: Mapping[str, tuple[Story, ...]] = {
    "entries": (
        entry(Kind.EXECUTED_503, Ends.OPENED),
        entry(Kind.EXECUTED_DELAYED, Ends.OPENED, delay_ms=600),
        entry(Kind.EXECUTED_DROPPED, Ends.OPENED),
        entry(Kind.EXECUTED_GARBAGE, Ends.OPENED),
        entry(Kind.LOST_408, Ends.NEVER_WAS),
        entry(Kind.LOST_DROPPED, Ends.NEVER_WAS),
        entry(Kind.REFUSED_1008, Ends.NEVER_WAS),
        leg_b(Kind.REJECTED, During.ENTRY, code=-2019),
        leg_b(Kind.PARTIAL, During.ENTRY, fraction="0.4"),
        leg_b(Kind.LOST_1006, During.ENTRY),
    ),
    "exits": (
        exits(Kind.EXECUTED_408),
        exits(Kind.EXECUTED_1006),
        exits(Kind.EXECUTED_EMPTY),
        exits(Kind.LOST_503),
        exits(Kind.REFUSED_1001),
        exits(Kind.REFUSED_1021),
        exits(Kind.REFUSED_403),
        leg_b(Kind.REJECTED, During.EXIT, code=-2022),
        leg_b(Kind.PARTIAL, During.EXIT, fraction="0.3"),
        leg_b(Kind.LOST_408, During.EXIT),
    ),
    # One throttles or bans the whole address: what the others do then is part of it.
    "throttled": (
        entry(Kind.REFUSED_503, Ends.NEVER_WAS),
        entry(Kind.REFUSED_429, Ends.NEVER_WAS),
        exits(Kind.REFUSED_418),
    ),
    "user events": (
        entry(Kind.USER_DUPLICATED, Ends.OPENED),
        entry(Kind.USER_REORDERED, Ends.OPENED),
        entry(Kind.USER_DELAYED, Ends.OPENED, delay_ms=800),
    ),
    "dropped streams": (entry(Kind.USER_DROPPED, Ends.OPENED), exits(Kind.PUBLIC_DROPPED)),
    "silent streams": (
        entry(Kind.USER_FROZEN, Ends.OPENED, duration_ms=1500),
        exits(Kind.PUBLIC_FROZEN, duration_ms=2500),
    ),
    "garbage in streams": (entry(Kind.USER_GARBAGE, Ends.OPENED), exits(Kind.PUBLIC_GARBAGE)),
    "ban": (exits(Kind.BAN, duration_ms=1500),),
    # kill -9 as soon as all of them are under way: they go on while nobody is there.
    "killed": (
        entry(Kind.LATE, Ends.SETTLED, delay_ms=700),
        leg_b(Kind.LATE, During.ENTRY, delay_ms=900),
        leg_b(Kind.LATE, During.EXIT, delay_ms=900),
        entry(Kind.LOST_DELAYED, Ends.NEVER_WAS, delay_ms=8000),
        entry(Kind.EXECUTED_DELAYED, Ends.OPENED, delay_ms=8000),
        Story(
            kind=Kind.HIDDEN, during=During.ENTRY, ends=Ends.OPENED, element=1, parameters={"delay_ms": 2500},
            before=({"kind": Kind.EXECUTED_DROPPED.value, "match": {"element": None}},),
        ),
    ),
    "clock": (exits(Kind.CLOCK_SKEW, skew_ms=3000),),
    # With limit entries: the process is started anew for it.
    "resting": (Story(kind=Kind.POST_ONLY_EXPIRED, during=During.RESTING),),
}  # fmt: skip
