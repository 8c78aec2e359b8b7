"""Engines with one safety taken out. A simulator that does not find them proves nothing about the whole one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sim_runner import SimRunner

from domain.orders import OrderChange, OrderReport
from domain.refusals import RefusalKind
from domain.trades import ZERO
from runner.exchange.errors import OutcomeUnknown, Refused
from runner.exchange.port import Position

Sabotage = Callable[[SimRunner], None]


def sends_before_it_journals(runner: SimRunner) -> None:
    """The intent becomes durable while its request is on the way."""
    store, journal = runner.store, runner.journal

    async def intend(*entries: Any) -> None:
        for entry in entries:
            runner.book.apply(entry)
        runner.kept = asyncio.ensure_future(journal.append(*entries))

    store.intend = intend


def takes_unknown_for_refused(runner: SimRunner) -> None:
    """What has no clear answer did not happen."""
    place = runner.adapter.place

    async def placed(intents: Sequence[Any]) -> Sequence[Any]:
        answers = await place(intents)
        return [
            Refused(RefusalKind.REJECTED, -1, "surely not") if isinstance(answer, OutcomeUnknown) else answer
            for answer in answers
        ]

    runner.adapter.place = placed


def takes_not_found_for_never_was(runner: SimRunner) -> None:
    """The first −2013 ends an order."""
    look_up = runner.adapter.look_up

    async def looked_up(symbol: Any, client_order_id: Any) -> Any:
        report = await look_up(symbol, client_order_id)
        if report is not None:
            return report
        return OrderReport(
            client_order_id=client_order_id, exchange_order_id="", symbol=symbol, change=OrderChange.REFUSED,
            filled=ZERO, average_price=None, at_ms=0,
        )  # fmt: skip

    runner.adapter.look_up = looked_up


def never_asks_for_positions(runner: SimRunner) -> None:
    """What the books say is what the exchange holds."""

    async def positions() -> Mapping[Any, Position]:
        return {
            symbol: Position(symbol=symbol, quantity=quantity, entry_price=ZERO, mark_price=ZERO)
            for symbol, quantity in runner.book.positions().items()
        }

    runner.adapter.positions = positions


def trusts_the_stream_for_fills(runner: SimRunner) -> None:
    """What the user stream does not bring never happened."""

    async def fills(*_: Any, **__: Any) -> list[Any]:
        return []

    runner.adapter.fills = fills


def counts_every_telling(runner: SimRunner) -> None:
    """An execution reported twice happened twice."""
    runner.book.knows_fill = lambda _fill: False


def forgets_what_it_sent(runner: SimRunner) -> None:
    """After a restart an order whose fate was open counts as never sent."""
    for order in list(runner.book.orders.values()):
        if not order.is_settled:
            order.status, order.reported = type(order.status).DEAD, order.seen


def keeps_what_it_reserved(runner: SimRunner) -> None:
    """Capital is promised and never given back."""
    release = runner.gate.capital._reserved

    class Hoard(dict[Any, Any]):
        def __delitem__(self, key: Any) -> None: ...

    runner.gate.capital._reserved = Hoard(release)


SABOTAGES: tuple[Sabotage, ...] = (
    sends_before_it_journals,
    takes_unknown_for_refused,
    takes_not_found_for_never_was,
    never_asks_for_positions,
    trusts_the_stream_for_fills,
    counts_every_telling,
    forgets_what_it_sent,
    keeps_what_it_reserved,
)
