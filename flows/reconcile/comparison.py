"""Books against the exchange: pure comparison of two looks, a few seconds apart. Only what persists counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from domain.orders import TERMINAL, OrderStatus, is_ours
from domain.pairs import TradeStatus
from domain.symbols import PairId, Symbol
from flows.common.reads import RestingOrder
from storage.holdings import TradeHolding

ZERO = Decimal(0)
_IN_FLIGHT = frozenset({TradeStatus.OPENING, TradeStatus.CLOSING})


class Verdict(StrEnum):
    """From good to bad; `incomplete` means that nothing may be concluded."""

    MATCH = "match"
    EXPLAINED = "explained"
    MISMATCH = "mismatch"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedOrder:
    """One of our orders as the journal believes it to stand."""

    symbol: Symbol
    pair_id: PairId
    status: OrderStatus
    quantity: Decimal
    filled: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What we believe: the journal is exact to its last row, the published ledger may lag a second."""

    journal: Mapping[Symbol, Decimal]
    ledger: Mapping[Symbol, Decimal]
    trades: Sequence[TradeHolding]
    orders: Mapping[str, BookedOrder]
    journal_seq: int
    ledger_seq: int  # How far into the journal the published ledger has come.
    dust: Mapping[Symbol, Decimal] = field(default_factory=dict)  # What ended trades left, too small for any order.
    traded: frozenset[Symbol] = frozenset()  # Configured, or in the journal: a position there may well be ours.


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The exchange, between two readings of the books: nothing that was the same in both can have been missed."""

    before: Books
    positions: Mapping[Symbol, Decimal]
    orders: Sequence[RestingOrder]
    after: Books


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One difference. `is_mismatch` says whether it spoils the match."""

    symbol: Symbol
    pair_id: PairId | None
    ledger_quantity: Decimal
    exchange_quantity: Decimal
    explanation: str
    action: str
    is_mismatch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLine:
    """What one pair holds in its open trades, by our books."""

    pair_id: PairId
    status: str
    symbol_a: Symbol
    symbol_b: Symbol
    held_a: Decimal
    held_b: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The verdict and everything behind it."""

    verdict: Verdict
    items: tuple[Item, ...]
    symbols_checked: int
    detail: str
    pairs: tuple[PairLine, ...] = field(default=())


def compare(first: Look, second: Look, *, tolerance: float) -> Comparison:
    """`tolerance`: a difference up to this share of the larger quantity is rounding, not a difference."""
    share = Decimal(str(tolerance))
    items = [
        *_position_items(first, second, share),
        *_ledger_items(first, second),
        *_trade_items(first, second),
        *_order_items(first, second),
    ]
    symbols = {symbol for look in (first, second) for symbol in (*look.positions, *look.after.journal)}
    mismatches = [item for item in items if item.is_mismatch]
    verdict = Verdict.MISMATCH if mismatches else Verdict.EXPLAINED if items else Verdict.MATCH
    lines = tuple(
        PairLine(
            pair_id=trade.pair_id,
            status=str(trade.status),
            symbol_a=trade.symbol_a,
            symbol_b=trade.symbol_b,
            held_a=trade.held_a,
            held_b=trade.held_b,
        )
        for trade in second.after.trades
    )
    detail = f"{len(symbols)} symbols, {len(lines)} open trades, {len(second.orders)} resting orders"
    detail += f": {len(mismatches)} differ, {len(items) - len(mismatches)} explained" if items else ": all agree"
    return Comparison(verdict=verdict, items=tuple(items), symbols_checked=len(symbols), detail=detail, pairs=lines)


def incomplete(why: str) -> Comparison:
    """Something could not be read, so nothing is claimed."""
    return Comparison(verdict=Verdict.INCOMPLETE, items=(), symbols_checked=0, detail=why)


def _position_items(first: Look, second: Look, share: Decimal) -> list[Item]:
    items = []
    for symbol in sorted({*first.positions, *second.positions, *first.after.journal, *second.after.journal}):
        # A trade in flight moves both sides: a difference counts if no reading of the books explains it, twice.
        if _differs(first, symbol, share) is None or (difference := _differs(second, symbol, share)) is None:
            continue
        booked, held = second.after.journal.get(symbol, ZERO), second.positions.get(symbol, ZERO)
        trades = [trade for trade in second.after.trades if symbol in {trade.symbol_a, trade.symbol_b}]
        pairs = {trade.pair_id for trade in trades}
        pair_id = next(iter(pairs)) if len(pairs) == 1 else None
        among = f" ({', '.join(sorted(pairs))})" if len(pairs) > 1 else ""
        flying = [trade.trade_id for trade in trades if trade.status in _IN_FLIGHT]
        if flying:
            explanation, action, is_mismatch = (
                f"trade {', '.join(flying)} is in flight",
                "look again when it is over",
                False,
            )
        elif booked == ZERO and symbol not in second.after.traded:
            explanation, action, is_mismatch = "not ours: a position in a contract we never traded", "left alone", False
        elif booked == ZERO:
            explanation = "we hold nothing here by our books, the account does: opened by hand, or lost sight of"
            action, is_mismatch = (
                "left alone; compare the account's order history, close it by hand if it is nobody's",
                True,
            )
        else:
            explanation = f"the account holds {difference:+f} more than our books{among}"
            action, is_mismatch = "left alone; pause entries and look: a manual trade, ADL, or a fill we missed", True
        items.append(
            Item(
                symbol=symbol,
                pair_id=pair_id,
                ledger_quantity=booked,
                exchange_quantity=held,
                explanation=explanation,
                action=action,
                is_mismatch=is_mismatch,
            )
        )
    return items


def _differs(look: Look, symbol: Symbol, share: Decimal) -> Decimal | None:
    """Exchange minus books, when no reading of the books around the question agrees with it."""
    held = look.positions.get(symbol, ZERO)
    for books in (look.before, look.after):
        booked = books.journal.get(symbol, ZERO)
        if abs(held - booked) <= share * max(abs(held), abs(booked)):
            return None
    return held - look.after.journal.get(symbol, ZERO)


def _ledger_items(first: Look, second: Look) -> list[Item]:
    """The published ledger against the journal it is made from. Seconds behind is normal; a whole pause behind is not."""
    books = second.after
    is_current = books.ledger_seq == books.journal_seq
    if not is_current and books.ledger_seq >= first.before.journal_seq:
        return []
    why = (
        "although it has read all of it"
        if is_current
        else f"it stands at row {books.ledger_seq} of {books.journal_seq}"
    )
    action = (
        "move the ledger's files away; the recorder builds them anew" if is_current else "see that the recorder runs"
    )
    return [
        Item(
            symbol=symbol,
            pair_id=None,
            ledger_quantity=books.ledger.get(symbol, ZERO),
            exchange_quantity=second.positions.get(symbol, ZERO),
            explanation=f"the published ledger differs from the journal ({books.journal.get(symbol, ZERO)}): {why}",
            action=action,
            is_mismatch=True,
        )
        for symbol in sorted({*books.ledger, *books.journal})
        if books.ledger.get(symbol, ZERO) != books.journal.get(symbol, ZERO)
    ]


def _trade_items(first: Look, second: Look) -> list[Item]:
    """Within our own books: a pair on one leg, and what ended trades left over."""
    items = []
    settled_before = {trade.trade_id: trade for trade in first.after.trades}
    for trade in second.after.trades:
        before = settled_before.get(trade.trade_id)
        if before is None or trade.status in _IN_FLIGHT or before.status != trade.status:
            continue
        if (trade.held_a == ZERO) != (trade.held_b == ZERO):
            missing, there = (
                (trade.symbol_a, trade.symbol_b) if trade.held_a == ZERO else (trade.symbol_b, trade.symbol_a)
            )
            items.append(
                Item(
                    symbol=there,
                    pair_id=trade.pair_id,
                    ledger_quantity=second.after.journal.get(there, ZERO),
                    exchange_quantity=second.positions.get(there, ZERO),
                    explanation=f"trade {trade.trade_id} ({trade.status}) holds nothing of {missing}: an unhedged leg",
                    action="the runner unwinds it; look at once if it stays",
                    is_mismatch=True,
                )
            )
    for symbol in sorted(second.after.journal):
        rest = [_left_over(books, symbol) for books in (first.after, second.after)]
        is_dust = rest[1] == second.after.dust.get(symbol, ZERO)
        if rest[0] == rest[1] != ZERO:
            items.append(
                Item(
                    symbol=symbol,
                    pair_id=None,
                    ledger_quantity=second.after.journal[symbol],
                    exchange_quantity=second.positions.get(symbol, ZERO),
                    explanation=f"{rest[1]} of it is dust: less than a lot step, left by trades that are over"
                    if is_dust
                    else f"{rest[1]} of it belongs to no open trade: an ended one left it over",
                    action="left alone; the exchange's app can close it"
                    if is_dust
                    else "left alone; close it by hand, reduce-only",
                    is_mismatch=not is_dust,
                )
            )
    return items


def _left_over(books: Books, symbol: Symbol) -> Decimal:
    in_trades = sum(
        (trade.held_a for trade in books.trades if trade.symbol_a == symbol), ZERO
    ) + sum((trade.held_b for trade in books.trades if trade.symbol_b == symbol), ZERO)  # fmt: skip
    return books.journal.get(symbol, ZERO) - in_trades


def _order_items(first: Look, second: Look) -> list[Item]:
    items = []
    resting_before = {order.client_order_id for order in first.orders}
    resting = {order.client_order_id: order for order in second.orders}
    for client_id, order in sorted(resting.items()):
        if client_id not in resting_before:
            continue
        booked = second.after.orders.get(client_id)
        if not is_ours(client_id):
            explanation, is_mismatch = f"order {order.exchange_order_id} is not ours", False
        elif booked is None:
            explanation, is_mismatch = f"order {client_id} has our prefix, but our journal does not know it", True
        elif booked.status in TERMINAL and first.after.orders[client_id].status in TERMINAL:
            explanation, is_mismatch = f"order {client_id} still rests, though our books call it {booked.status}", True
        else:
            continue
        items.append(
            Item(
                symbol=order.symbol,
                pair_id=None if booked is None else booked.pair_id,
                ledger_quantity=ZERO if booked is None else booked.quantity - booked.filled,
                exchange_quantity=order.quantity - order.filled,
                explanation=explanation,
                action="another runner on this account? stop it" if is_mismatch and booked is None else "left alone",
                is_mismatch=is_mismatch,
            )
        )
    working = {OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED}
    for client_id, booked in sorted(second.after.orders.items()):
        before = first.before.orders.get(client_id)
        gone = client_id not in resting and client_id not in resting_before
        if gone and before is not None and before.status in working and booked.status in working:
            items.append(
                Item(
                    symbol=booked.symbol,
                    pair_id=booked.pair_id,
                    ledger_quantity=booked.quantity - booked.filled,
                    exchange_quantity=ZERO,
                    explanation=f"order {client_id} is {booked.status} in our books, but does not rest on the exchange",
                    action="the runner looks it up; restart it if this stays",
                    is_mismatch=True,
                )
            )
    return items
