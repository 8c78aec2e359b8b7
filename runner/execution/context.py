"""What every part of the engine shares, and the notices with which one part wakes another that is made later."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, Protocol

from domain.symbols import PairId, Symbol, TradeId
from domain.trade_book import TradeBook
from domain.trades import TradeState
from runner import events
from runner.ports import Clock

_P = ParamSpec("_P")


class Log(Protocol):
    """One readable line per event, and the same as a row in the journal."""

    def emit(self, event: events.Event, **facts: Any) -> None: ...


class Notice(Generic[_P]):
    """Something that one part notices and others act on, synchronously, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._handlers: list[Callable[_P, None]] = []

    def subscribe(self, handler: Callable[_P, None]) -> None:
        self._handlers.append(handler)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
        for handler in self._handlers:
            handler(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Notices:
    """Made before any part, so that no part has to be changed once it is made."""

    trade_changed: Notice[[TradeId]] = field(default_factory=Notice)
    """An order changed of a trade that nobody drives, or whoever drove it has let go of it."""
    leg_lost: Notice[[TradeState]] = field(default_factory=Notice)
    """An open trade lost a part of a leg to others and is not hedged any more."""
    stream_silent: Notice[[]] = field(default_factory=Notice)
    """Executions had to be fetched again and again that the user stream should have brought."""
    pair_failed: Notice[[PairId]] = field(default_factory=Notice)
    """The signals of a pair failed: it cannot judge its own exits any more."""
    rules_doubted: Notice[[Symbol, str]] = field(default_factory=Notice)
    """The exchange refused, with this code, what the contract's rules as we know them allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Handed to every part of the engine. `halt` is called when going on would be unsafe for all pairs."""

    book: TradeBook
    clock: Clock
    log: Log
    halt: Callable[[str], None]
    notices: Notices = field(default_factory=Notices)
