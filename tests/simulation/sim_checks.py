"""What must hold once everything is at rest: the invariants of the design, each with a message that says what is wrong."""

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.entries import FillSeen, TradeAdvanced
from domain.orders import is_ours
from domain.pairs import TRADE_STEPS, TradeStatus
from domain.symbols import TradeId
from domain.trade_book import TradeBook
from domain.trades import TradeState
from runner.exchange.binance.symbols import exchange_id
from runner.execution.lifecycle import FORGET_AFTER_MS

if TYPE_CHECKING:
    from sim_world import World

ZERO = Decimal(0)
NAKED_SECONDS_TOLERANCE = 0.002
"""Both sides count in the exchange's milliseconds; only the order of executions within one millisecond may differ."""


def check_rest(world: "World") -> None:
    """Hedged or flat, and belief equals truth."""
    runner = world.runner
    assert runner is not None
    book = runner.book
    for trade in book.live_trades():
        if not trade.is_hedged:
            world.violate(f"{trade.trade_id} rests {trade.status} with a hedge error of {trade.hedge_error:.3f}")
        if min(trade.held.values()) < 0:
            world.violate(f"{trade.trade_id} has closed more than it held: {trade.held}")
    replayed = TradeBook(world.execution.hedge_error_max)
    for entry in world.disk.replay():
        replayed.apply(entry)
    _check_steps(world)
    _check_fills(world, replayed)
    _check_positions(world, book, replayed)
    _check_orders(world, replayed)
    _check_replay(world, book, replayed)
    _check_desk(world)
    _check_naked_seconds(world, replayed)
    if runner.gate.capital.reserved_usd:
        world.violate(f"capital is still reserved: {runner.gate.capital.reserved_usd} USD")


def check_flat(world: "World") -> None:
    """Everything of ours is closed; what is not ours is where its owner left it."""
    runner = world.runner
    assert runner is not None
    if live := list(runner.book.live_trades()):
        world.violate(f"not flat: {[(trade.trade_id, str(trade.status)) for trade in live]}")
    replayed = TradeBook(world.execution.hedge_error_max)
    for entry in world.disk.replay():
        replayed.apply(entry)
    foreign = _foreign_amounts(world, replayed)
    if world.exchange.positions() != foreign:
        world.violate(f"the exchange holds {world.exchange.positions()}, others than we explain {foreign}")


def _check_steps(world: "World") -> None:
    """Every trade went the ways that the table of a trade's life knows."""
    status: dict[TradeId, TradeStatus] = {}
    for entry in world.disk.replay():
        if isinstance(entry, TradeAdvanced):
            before = status.get(entry.trade_id, TradeStatus.OPENING)
            if entry.status not in TRADE_STEPS[before]:
                world.violate(f"{entry.trade_id} went from {before} to {entry.status}")
            status[entry.trade_id] = entry.status


def _foreign_amounts(world: "World", book: TradeBook) -> dict[str, Decimal]:
    """What the account holds by executions that no trade of ours has taken as its own."""
    names = {exchange_id(symbol): symbol for pair in world.pairs.values() for symbol in pair.symbols}
    booked: dict[
        tuple[str, str], Decimal
    ] = {}  # An execution may be shared among trades, and with external parties: 7, 7#2, 7#3.
    for entry in world.disk.replay():
        if isinstance(entry, FillSeen) and entry.trade_id is not None:
            identity = (entry.fill.symbol, entry.fill.exchange_trade_id.split("#")[0])
            booked[identity] = booked.get(identity, ZERO) + entry.fill.quantity
    amounts: dict[str, Decimal] = {}
    for trade in world.exchange.portfolio.trades:
        theirs = trade.quantity - booked.get((names.get(trade.symbol, ""), str(trade.trade_id)), ZERO)
        signed = theirs if trade.side == "BUY" else -theirs
        amounts[trade.symbol] = amounts.get(trade.symbol, ZERO) + signed
    return {symbol: amount for symbol, amount in amounts.items() if amount}


def _check_positions(world: "World", book: TradeBook, replayed: TradeBook) -> None:
    believed = {exchange_id(symbol): amount for symbol, amount in book.positions().items()}
    foreign = _foreign_amounts(world, replayed)  # The process may have forgotten old trades.
    truth = world.exchange.positions()
    for symbol in sorted(set(believed) | set(truth) | set(foreign)):
        expected = believed.get(symbol, ZERO) + foreign.get(symbol, ZERO)
        if truth.get(symbol, ZERO) != expected:
            world.violate(
                f"{symbol}: the exchange holds {truth.get(symbol, ZERO)}, our books say {believed.get(symbol, ZERO)}"
                f" and others hold {foreign.get(symbol, ZERO)}"
            )
        _check_foreign(world, symbol, foreign.get(symbol, ZERO))


def _check_foreign(world: "World", symbol: str, foreign: Decimal) -> None:
    """A person's holding at the start, and what their resting order bought since, only ever becomes less."""
    portfolio = world.exchange.portfolio
    resting = [order for order in portfolio.orders.values() if order.client_order_id.startswith("person-")]
    bought = sum((order.filled * order.sign for order in resting if order.symbol == symbol), ZERO)
    bounds = sorted([ZERO, world.by_hand.get(symbol, ZERO), bought, world.by_hand.get(symbol, ZERO) + bought])
    if not bounds[0] <= foreign <= bounds[-1]:
        world.violate(
            f"{symbol}: a person may hold from {bounds[0]} to {bounds[-1]}, yet {foreign} is nobody's of ours:"
            " what others closed of our trades was not taken for their exit"
        )


def _check_fills(world: "World", replayed: TradeBook) -> None:
    """Every execution of an order of ours is in the journal, once; no other one claims to be."""
    names = {exchange_id(symbol): symbol for pair in world.pairs.values() for symbol in pair.symbols}
    portfolio = world.exchange.portfolio
    truth = {
        (names[trade.symbol], str(trade.trade_id))
        for trade in portfolio.trades
        if is_ours(portfolio.orders[trade.order_id].client_order_id)
    }
    journaled = replayed._fills  # A fill booked twice does not replay at all.
    lost = truth - journaled
    if lost:
        world.violate(f"{len(lost)} executions of ours are not in the journal: {sorted(lost)}")
    wholes = {(symbol, number.split("#")[0]) for symbol, number in journaled}
    for identity in wholes - truth - _foreign_identities(world, names):
        world.violate(f"the journal holds an execution that never was: {identity}")


def _foreign_identities(world: "World", names: dict[str, str]) -> set[tuple[str, str]]:
    portfolio = world.exchange.portfolio
    return {
        (names[trade.symbol], str(trade.trade_id))
        for trade in portfolio.trades
        if trade.symbol in names and not is_ours(portfolio.orders[trade.order_id].client_order_id)
    }


def _check_orders(world: "World", replayed: TradeBook) -> None:
    for order in world.exchange.our_orders():
        known = replayed.orders.get(order.client_order_id)
        if known is None:
            world.violate(f"{order.client_order_id} is at the exchange without an intent in the journal")
        elif order.open:
            world.violate(f"{order.client_order_id} still rests at the exchange")
        elif known.filled != order.filled:
            world.violate(f"{order.client_order_id} filled {order.filled}, our books say {known.filled}")
    for order in world.exchange.portfolio.orders.values():
        if order.client_order_id.startswith("person-") and order.status == "CANCELED":
            world.violate(f"a person's order {order.client_order_id} was touched: {order.status}")


def _check_replay(world: "World", book: TradeBook, replayed: TradeBook) -> None:
    """What the process believes is what the journal says."""
    forgettable_ms = world.clock.now_ms() - FORGET_AFTER_MS
    forgotten = {trade.trade_id for trade in replayed.trades.values() if (trade.ended_ms or 2**62) < forgettable_ms}
    if unknown := (book.trades.keys() ^ replayed.trades.keys()) - forgotten:
        world.violate(f"replay knows other trades: {unknown}")
        return
    for trade_id, trade in book.trades.items():
        again = replayed.trades[trade_id]
        if trade != again:
            differing = [name for name in trade.__slots__ if getattr(trade, name) != getattr(again, name)]
            world.violate(
                f"{trade_id} replays differently: "
                + ", ".join(f"{name} {getattr(trade, name)} / {getattr(again, name)}" for name in differing)
            )
    for name in ("open_by_pair", "frozen_until_ms", "executed"):
        if getattr(book, name) != getattr(replayed, name):
            world.violate(f"{name} replays differently")


def _check_desk(world: "World") -> None:
    """The signals must know what is open, or nobody will ever close it."""
    runner = world.runner
    assert runner is not None
    desk, open_by_pair = runner.signals, runner.book.open_by_pair
    for pair_id in world.pairs:
        if pair_id in open_by_pair and (pair_id not in desk.held or pair_id in desk.busy):
            world.violate(f"{pair_id} is open, and its signals think otherwise (busy: {pair_id in desk.busy})")
        if pair_id not in open_by_pair and (pair_id in desk.held or pair_id in desk.busy):
            world.violate(f"{pair_id} is flat, and its signals think otherwise (busy: {pair_id in desk.busy})")


def _check_naked_seconds(world: "World", replayed: TradeBook) -> None:
    """By the exchange's own times, executions in the order in which they happened."""
    fills: dict[TradeId, list[FillSeen]] = {}
    for entry in world.disk.replay("fill_seen"):
        fills.setdefault(entry.trade_id, []).append(entry)
    for trade in replayed.trades.values():
        if not trade.is_hedged:
            continue
        again = TradeState(plan=trade.plan, hedge_tolerance=trade.hedge_tolerance)
        told = fills.get(trade.trade_id, [])
        for entry in sorted(told, key=lambda entry: (entry.fill.at_ms, entry.fill.exchange_trade_id)):
            again.absorb(entry.fill, entry.leg, entry.purpose)
        truth, recorded = again.naked_seconds(), trade.naked_seconds()
        if abs(truth - recorded) > NAKED_SECONDS_TOLERANCE:
            world.violate(f"{trade.trade_id} stood unhedged for {truth:.3f} s, recorded are {recorded:.3f} s")
