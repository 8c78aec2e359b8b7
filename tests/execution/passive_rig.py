"""A rig whose entries rest, and the hands that move the market under them. Selling a (1000CAT) rests; buying b is taken."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from execution_rig import PAIR, Rig, eventually, running

from domain.orders import TimeInForce
from domain.pairs import SignalType
from domain.trades import OrderState, TradeState
from paper.orders import Order
from runner.execution.signal_port import Outcome

D = Decimal
CAT = "1000CATUSDT"
DEEP = 10_000_000
TICK = D("0.000001")
BID, ASK = D("0.012299"), D("0.012301")


@asynccontextmanager
async def resting(tmp_path: Path, **execution: Any) -> AsyncIterator[Rig]:
    async with running(tmp_path, **passive_settings(**execution)) as rig:
        yield rig


def passive_settings(**execution: Any) -> dict[str, Any]:
    # A stalled machine must not make a request older than its window: the entry would end before the test begins.
    return {
        "use_limit_orders": True,
        "limit_wait_seconds": 30,
        "limit_chases_max": 59,
        "recv_window_ms": 5_000,
    } | execution


def enter(rig: Rig) -> asyncio.Task[Outcome]:
    return asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))


async def entered(rig: Rig) -> asyncio.Task[Outcome]:
    """An entry whose first quote rests at the exchange and is known to rest."""
    entering = enter(rig)
    await eventually(lambda: entering.done() or (at_rest(rig) and quotes_of(rig) and not quotes_of(rig)[-1].is_over))
    assert not entering.done(), entering.result()
    return entering


def at_rest(rig: Rig) -> list[Order]:
    return list(rig.paper.desk.books.portfolios["paper-key"].open.values())


def accepted(rig: Rig) -> list[Order]:
    """Every post-only order the exchange ever took."""
    orders = rig.paper.desk.books.portfolios["paper-key"].orders.values()
    return [order for order in orders if order.time_in_force == "GTX"]


def the_trade(rig: Rig) -> TradeState:
    return list(rig.book.trades.values())[-1]


def quotes_of(rig: Rig) -> list[OrderState]:
    """Our post-only orders of the newest trade, as the journal has them."""
    if not rig.book.trades:
        return []
    return [o for o in the_trade(rig).orders.values() if o.intent.time_in_force is TimeInForce.GTX]


def quote_cat(rig: Rig, bid: object = BID, ask: object = ASK) -> None:
    rig.market.set_book(CAT, [(bid, DEEP)], [(ask, DEEP)])


def take(rig: Rig, quantity: object) -> None:
    """Somebody buys so much from what we offer, and is gone again."""
    price = at_rest(rig)[0].price
    rig.market.set_book(CAT, [(price, quantity)], [(price + D("0.000002"), DEEP)])
    quote_cat(rig, price - D("0.000002"), price)


def told(rig: Rig) -> dict[str, Any]:
    """The facts of the last `limit_entry_ended`."""
    return next(facts for event, facts in reversed(rig.log.said) if event == "limit_entry_ended")


def countdowns(rig: Rig) -> dict[str, int]:
    return dict(rig.paper.desk.books.portfolios["paper-key"].account.countdowns)


def assert_never_two_alive(rig: Rig) -> None:
    """By the exchange's own books: each post-only order was over before the next one came."""
    orders = accepted(rig)
    assert not [first for first, then in itertools.pairwise(orders) if first.open or first.updated_ms > then.created_ms]


def assert_hedged(rig: Rig) -> None:
    (trade,) = rig.book.live_trades()
    assert trade.pair_id == PAIR.pair_id
    assert trade.hedge_error <= max(0.02, trade.plan.hedge_error)
    assert rig.at_exchange() == rig.believed() != {}
