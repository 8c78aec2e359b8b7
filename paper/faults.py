"""What shall go wrong: named faults with a match and a count, plus a seeded chaos that draws them by itself."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Literal

import msgspec

from paper.clock import ServerClock
from paper.limits import Limits

ORDER_PATHS = ("/fapi/v1/order", "/fapi/v1/batchOrders")


class Kind(Enum):
    """Every fault there is. The order outcomes are those of the reference sheet, section 6.3."""

    EXECUTED_503 = "executed-503"  # Placed, answered 503 -1000.
    EXECUTED_408 = "executed-408"  # Placed, answered 408 -1007.
    EXECUTED_1006 = "executed-1006"
    EXECUTED_DELAYED = "executed-delayed"  # Placed at once, answered after delay_ms.
    EXECUTED_DROPPED = "executed-dropped"
    EXECUTED_GARBAGE = "executed-garbage"
    EXECUTED_EMPTY = "executed-empty"
    LOST_503 = "lost-503"  # Looks exactly like executed-503, and nothing was placed.
    LOST_408 = "lost-408"
    LOST_1006 = "lost-1006"
    LOST_DELAYED = "lost-delayed"  # Silence for delay_ms, then 408; never placed.
    LOST_DROPPED = "lost-dropped"
    REFUSED_503 = "refused-503"  # Plain text.
    REFUSED_1008 = "refused-1008"
    REFUSED_1001 = "refused-1001"
    REFUSED_1021 = "refused-1021"
    REFUSED_429 = "refused-429"
    REFUSED_418 = "refused-418"
    REFUSED_403 = "refused-403"  # HTML, as the firewall speaks.
    LATE = "late"  # Answered as lost, reaches matching after delay_ms unless its window has passed.
    REJECTED = "rejected"  # One order refused with parameters.code.
    PARTIAL = "partial"  # One order meets only a part of the depth.
    POST_ONLY_EXPIRED = "post-only-expired"  # One GTX order is accepted, then found to take: EXPIRED, er 11.
    HIDDEN = "hidden"  # One order is -2013 to queries for delay_ms after it was placed.
    USER_DROPPED = "user-dropped"
    USER_FROZEN = "user-frozen"
    USER_DUPLICATED = "user-duplicated"
    USER_REORDERED = "user-reordered"
    USER_DELAYED = "user-delayed"
    USER_GARBAGE = "user-garbage"
    PUBLIC_DROPPED = "public-dropped"
    PUBLIC_FROZEN = "public-frozen"
    PUBLIC_GARBAGE = "public-garbage"
    CLOCK_SKEW = "clock-skew"
    BAN = "ban"


ELEMENT_KINDS = frozenset({Kind.REJECTED, Kind.PARTIAL, Kind.POST_ONLY_EXPIRED, Kind.HIDDEN})
USER_EVENT_KINDS = frozenset({Kind.USER_DUPLICATED, Kind.USER_REORDERED, Kind.USER_DELAYED})
IMMEDIATE_KINDS = frozenset(
    {
        Kind.USER_DROPPED,
        Kind.USER_FROZEN,
        Kind.USER_GARBAGE,
        Kind.PUBLIC_DROPPED,
        Kind.PUBLIC_FROZEN,
        Kind.PUBLIC_GARBAGE,
        Kind.CLOCK_SKEW,
        Kind.BAN,
    }
)
REQUEST_KINDS = tuple(k for k in Kind if k not in ELEMENT_KINDS | USER_EVENT_KINDS | IMMEDIATE_KINDS)
CHAOS_KINDS = (*REQUEST_KINDS, Kind.PARTIAL, Kind.REJECTED, Kind.HIDDEN)


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a fault hits. Without a path: new orders, single and batched."""

    method: str | None = None
    path: str | None = None
    symbol: str | None = None
    side: str | None = None
    client_order_id: str | None = None  # Regular expression, searched.
    element: int | None = None  # Index inside a batch; the fault then touches that element alone.
    skip: int = 0  # Let this many matching orders pass first.


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The knobs of a fault; each kind reads those it needs."""

    delay_ms: int = 1000
    duration_ms: int | None = None  # Of a freeze or a ban; None = until the fault is removed.
    code: int = -2019
    fraction: Decimal | None = None  # Of the order's quantity that may fill.
    quantity: Decimal | None = None  # The same, absolute.
    skew_ms: int = 0
    reply: Literal["dropped", "503", "408"] = "dropped"  # What the sender of a late order sees.
    text: str = '{"e":"garb\x00age'


class FaultSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault as it is asked for."""

    kind: Kind
    match: Match = Match()
    count: int | None = 1  # How many times; None = until removed.
    parameters: Parameters = Parameters()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFacts:
    """What a fault may look at in one order of a request."""

    symbol: str
    side: str
    client_order_id: str
    element: int


@dataclass(slots=True, kw_only=True)
class Armed:
    """A fault on the board with its counters."""

    fault_id: int
    spec: FaultSpec
    hits: int = 0
    skipped: int = 0
    pattern: re.Pattern[str] | None = None
    removed: bool = False

    @property
    def spent(self) -> bool:
        """True when its count is used up."""
        return self.removed or (self.spec.count is not None and self.hits >= self.spec.count)

    def admits(self, method: str, path: str) -> bool:
        """Whether this request's method and path are the ones the fault is about."""
        match = self.spec.match
        if match.path is None:
            return path in ORDER_PATHS and method == (match.method or "POST")
        return path == match.path and match.method in (None, method)

    def fits(self, order: OrderFacts) -> bool:
        """Whether this order is one the fault is about."""
        match = self.spec.match
        return (
            (match.symbol is None or match.symbol == order.symbol)
            and (match.side is None or match.side == order.side)
            and (match.element is None or match.element == order.element)
            and (self.pattern is None or self.pattern.search(order.client_order_id) is not None)
        )

    def hit(self) -> bool:
        """Count a match. Returns False while the fault still lets orders pass."""
        if self.skipped < self.spec.match.skip:
            self.skipped += 1
            return False
        self.hits += 1
        return True


StreamCallback = Callable[[str], None]


@dataclass(slots=True)
class StreamFaults:
    """What a set of websocket streams must do wrong now: ask `frozen`, and listen for "drop" and "garbage"."""

    clock: ServerClock
    _frozen_until_ms: float = 0.0
    _listeners: dict[str, list[StreamCallback]] = field(default_factory=dict)

    @property
    def frozen(self) -> bool:
        """True while nothing may be sent although the sockets stay open."""
        return self._frozen_until_ms > 0.0 and self.clock.monotonic_ms() < self._frozen_until_ms

    def on(self, kind: Literal["drop", "garbage"], callback: StreamCallback) -> None:
        """Call back with the text to send ("garbage") or with nothing ("drop": abort every connection)."""
        self._listeners.setdefault(kind, []).append(callback)

    def fire(self, kind: Literal["drop", "garbage"], text: str = "") -> None:
        """Tell the listeners."""
        for callback in self._listeners.get(kind, ()):
            callback(text)

    def freeze(self, duration_ms: int | None) -> None:
        """Go silent. None = until the fault is removed."""
        self._frozen_until_ms = float("inf") if duration_ms is None else float(self.clock.monotonic_ms() + duration_ms)

    def unfreeze(self) -> None:
        """Speak again."""
        self._frozen_until_ms = 0.0


class FaultBoard:
    """Faults in the order they were asked for; the first that matches is the one that hits."""

    def __init__(
        self, clock: ServerClock, limits: Limits, *, chaos_seed: int | None = None, chaos_rate: float = 0.0
    ) -> None:
        self.clock = clock
        self.public = StreamFaults(clock)
        self.user = StreamFaults(clock)
        self._limits = limits
        self.chaos_hits: dict[str, int] = {}
        self._armed: list[Armed] = []
        self._history: list[Armed] = []
        self._next_id = 1
        self._chaos = None if chaos_seed is None else random.Random(chaos_seed)  # noqa: S311 - reproducible.
        self._chaos_rate = chaos_rate

    @property
    def idle(self) -> bool:
        """True when no request can be hit: the fast path."""
        return not self._armed and self._chaos is None

    def add(self, spec: FaultSpec) -> Armed:
        """Put a fault on the board; stream faults, skew and bans take effect at once.

        Raises: re.error for a bad pattern.
        """
        pattern = None if spec.match.client_order_id is None else re.compile(spec.match.client_order_id)
        armed = Armed(fault_id=self._next_id, spec=spec, pattern=pattern)
        self._next_id += 1
        self._history.append(armed)
        if spec.kind in IMMEDIATE_KINDS:
            armed.hits = 1
            self._strike(spec)
        else:
            self._armed.append(armed)
        return armed

    def _strike(self, spec: FaultSpec) -> None:
        """Carry out a fault that waits for no request."""
        streams = self.user if spec.kind.value.startswith("user") else self.public
        match spec.kind:
            case Kind.USER_DROPPED | Kind.PUBLIC_DROPPED:
                streams.fire("drop")
            case Kind.USER_GARBAGE | Kind.PUBLIC_GARBAGE:
                streams.fire("garbage", spec.parameters.text)
            case Kind.USER_FROZEN | Kind.PUBLIC_FROZEN:
                streams.freeze(spec.parameters.duration_ms)
            case Kind.CLOCK_SKEW:
                self.clock.skew_ms = spec.parameters.skew_ms
            case _:
                self._limits.ban_everybody(spec.parameters.duration_ms)

    def remove(self, fault_id: int | None = None) -> int:
        """Take one fault (or all) off the board, undoing freezes, skew and bans. Returns how many were removed."""
        removed = 0
        for armed in self._history:
            if armed.removed or (fault_id is not None and armed.fault_id != fault_id):
                continue
            armed.removed = True
            removed += 1
            match armed.spec.kind:
                case Kind.USER_FROZEN:
                    self.user.unfreeze()
                case Kind.PUBLIC_FROZEN:
                    self.public.unfreeze()
                case Kind.CLOCK_SKEW:
                    self.clock.skew_ms = 0
                case Kind.BAN:
                    self._limits.lift_bans()
                case _:
                    pass
        self._drop_spent()
        return removed

    def rows(self) -> list[Mapping[str, object]]:
        """Every fault ever asked for, with its hits."""
        return [
            {
                "id": armed.fault_id,
                "hits": armed.hits,
                "active": not armed.spent,
                "fault": msgspec.to_builtins(armed.spec),
            }
            for armed in self._history
        ]

    def take_request(self, method: str, path: str, orders: tuple[OrderFacts, ...]) -> FaultSpec | None:
        """The fault that hits this whole request, if any; chaos draws when none was asked for."""
        for armed in self._armed:
            whole = armed.spec.kind in REQUEST_KINDS and armed.spec.match.element is None
            if not whole or not armed.admits(method, path):
                continue
            if any(armed.fits(order) for order in orders) and armed.hit():
                self._drop_spent()
                return armed.spec
        if self._chaos is not None and method == "POST" and path in ORDER_PATHS:
            return self._draw(self._chaos)
        return None

    def take_orders(self, method: str, path: str, orders: tuple[OrderFacts, ...]) -> dict[int, list[FaultSpec]]:
        """The faults that hit single orders of this request, by element."""
        hits: dict[int, list[FaultSpec]] = {}
        for order in orders:
            for armed in self._armed:
                by_element = armed.spec.kind in ELEMENT_KINDS or (
                    armed.spec.kind in REQUEST_KINDS and armed.spec.match.element is not None
                )
                if by_element and not armed.spent and armed.admits(method, path) and armed.fits(order) and armed.hit():
                    hits.setdefault(order.element, []).append(armed.spec)
        if hits:
            self._drop_spent()
        return hits

    def take_user_event(self) -> FaultSpec | None:
        """The fault that hits the next event of the user stream, if any."""
        for armed in self._armed:
            if armed.spec.kind in USER_EVENT_KINDS and armed.hit():
                self._drop_spent()
                return armed.spec
        return None

    def _drop_spent(self) -> None:
        self._armed = [armed for armed in self._armed if not armed.spent]

    def _draw(self, chaos: random.Random) -> FaultSpec | None:
        if chaos.random() >= self._chaos_rate:
            return None
        kind = chaos.choice(CHAOS_KINDS)
        delay_ms = chaos.randrange(50, 2500)
        fraction = Decimal(chaos.randrange(0, 100)) / 100
        code = chaos.choice((-2019, -2022, -2027, -4131))
        self.chaos_hits[kind.value] = self.chaos_hits.get(kind.value, 0) + 1
        return FaultSpec(kind=kind, parameters=Parameters(delay_ms=delay_ms, fraction=fraction, code=code))
