"""Where in a trade's life the live process is struck: how each moment is held open, and how it is told afterwards."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.orders import Purpose
from domain.pairs import TradeStatus
from domain.trades import TradeState
from paper.faults import Kind
from runner.exchange.binance.symbols import exchange_id


class Phase(StrEnum):
    """What exchange and journal tell of a trade whose process is gone."""

    ENTRY_UNSENT = "intent journaled, not sent"
    ENTRY_SENT = "entry sent, nothing filled"
    ENTRY_ONE_LEG = "one leg filled"
    ENTRY_BOTH_LEGS = "both legs filled, not yet open"
    OPEN = "open and hedged"
    EXIT_UNSENT = "exit journaled, not sent"
    EXIT_SENT = "exit sent, nothing closed"
    EXIT_ONE_LEG = "one leg closed"
    EXIT_BOTH_LEGS = "both legs closed, not yet over"
    ROLLBACK = "rollback"
    STARTING = "just started"  # Whatever it was about to take up.
    NOTHING = "nothing under way"


ENTRY, EXIT, TAKING_BACK = r"-[ab]e\d", r"-[ab]x\d", r"-[ab][xu]\d"
LONG_MS = 4000
"""A reply takes so long: time enough to see what has happened behind it."""


def _fault(kind: Kind, client_order_id: str, *, element: int | None = None, **parameters: Any) -> dict[str, Any]:
    match = {"client_order_id": client_order_id, "element": element}
    return {"kind": kind.value, "match": match, "parameters": parameters}


_F = tuple[dict[str, Any], ...]
_REJECTED_B = _fault(Kind.REJECTED, ENTRY, element=1, code=-2019)

HELD_OPEN_BY: Mapping[Phase, tuple[_F, ...]] = {
    Phase.ENTRY_SENT: (
        (_fault(Kind.LATE, ENTRY, delay_ms=1000),),
        (_fault(Kind.LOST_DELAYED, ENTRY, delay_ms=LONG_MS),),
    ),
    Phase.EXIT_ONE_LEG: ((_fault(Kind.LATE, EXIT, element=0, delay_ms=1500),),),
    Phase.ENTRY_UNSENT: ((),),
    Phase.ROLLBACK: tuple(
        (_REJECTED_B, _fault(kind, TAKING_BACK, delay_ms=LONG_MS))
        for kind in (Kind.LOST_DELAYED, Kind.EXECUTED_DELAYED)
    ),
    Phase.ENTRY_ONE_LEG: tuple((_fault(Kind.LATE, ENTRY, element=leg, delay_ms=1500),) for leg in (0, 1)),
    Phase.STARTING: ((_fault(Kind.EXECUTED_DELAYED, ENTRY, delay_ms=LONG_MS),),),
    Phase.EXIT_SENT: ((_fault(Kind.LATE, EXIT, delay_ms=1000),), (_fault(Kind.LOST_DELAYED, EXIT, delay_ms=LONG_MS),)),
    Phase.ENTRY_BOTH_LEGS: ((_fault(Kind.EXECUTED_DELAYED, ENTRY, delay_ms=LONG_MS),),),
    Phase.OPEN: ((),),
    Phase.EXIT_UNSENT: ((),),
    Phase.EXIT_BOTH_LEGS: ((_fault(Kind.EXECUTED_DELAYED, EXIT, delay_ms=LONG_MS),),),
    Phase.NOTHING: ((),),  # Not aimed at all: whatever is under way at some moment.
}
"""What makes a moment last, one way or another. Two milliseconds are enough for the others: the journal is watched."""

RACES = frozenset({Phase.ENTRY_UNSENT, Phase.EXIT_UNSENT})
"""Moments that nothing can hold open: the journal is watched for the intent."""


def phase_of(trade: TradeState, *, was_open: bool, received: Collection[str], held: Mapping[str, Decimal]) -> Phase:
    """Of one trade that is not over. `received`: the orders that reached the exchange; `held`: what the account holds there."""
    closing = [name for name, order in trade.orders.items() if order.intent.purpose is not Purpose.ENTRY]
    legs = sum(exchange_id(symbol) in held for symbol in trade.symbols)
    if closing and not was_open:
        return Phase.ROLLBACK
    if closing:
        if not any(name in received for name in closing):
            return Phase.EXIT_UNSENT
        return (Phase.EXIT_BOTH_LEGS, Phase.EXIT_ONE_LEG, Phase.EXIT_SENT)[legs]
    if trade.status is TradeStatus.OPEN:
        return Phase.OPEN
    if not any(name in received for name in trade.orders):
        return Phase.ENTRY_UNSENT
    return (Phase.ENTRY_SENT, Phase.ENTRY_ONE_LEG, Phase.ENTRY_BOTH_LEGS)[legs]
