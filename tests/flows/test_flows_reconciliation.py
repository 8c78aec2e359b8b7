"""Books against the exchange: one row, one story of two looks, and the verdict."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.orders import OrderStatus
from domain.pairs import TradeStatus
from domain.symbols import PairId, Symbol, TradeId
from flows.common.reads import RestingOrder
from flows.reconcile.comparison import BookedOrder, Books, Comparison, Look, Verdict, compare
from storage.holdings import TradeHolding

A, B, X = Symbol("A/USDT:USDT"), Symbol("B/USDT:USDT"), Symbol("X/USDT:USDT")


def _trade(status: TradeStatus = TradeStatus.OPEN, a: str = "3", b: str = "-2") -> TradeHolding:
    return TradeHolding(
        trade_id=TradeId("t1"),
        pair_id=PairId("A_B"),
        status=status,
        symbol_a=A,
        symbol_b=B,
        held_a=Decimal(a),
        held_b=Decimal(b),
    )


HELD = {A: Decimal(3), B: Decimal(-2)}


def _books(
    journal: dict[Symbol, Decimal] | None = None,
    trades: tuple[TradeHolding, ...] = (),
    *,
    ledger: dict[Symbol, Decimal] | None = None,
    orders: dict[str, BookedOrder] | None = None,
    seq: tuple[int, int] = (10, 10),
) -> Books:
    journal = {} if journal is None else journal
    return Books(
        journal=journal,
        ledger=journal if ledger is None else ledger,
        trades=trades,
        orders=orders or {},
        journal_seq=seq[0],
        ledger_seq=seq[1],
        traded=frozenset({A, B}),
    )


def _look(
    books: Books, positions: dict[Symbol, Decimal], orders: tuple[RestingOrder, ...] = (), after: Books | None = None
) -> Look:
    return Look(before=books, positions=positions, orders=orders, after=after or books)


def _order(client_id: str) -> RestingOrder:
    return RestingOrder(
        symbol=A, client_order_id=client_id, exchange_order_id="9", quantity=Decimal(1), filled=Decimal(0)
    )


def _booked(status: OrderStatus) -> BookedOrder:
    return BookedOrder(symbol=A, pair_id=PairId("A_B"), status=status, quantity=Decimal(1), filled=Decimal(0))


OPEN = _books(HELD, (_trade(),))
NOTHING = _books()
NAKED = _books({A: Decimal(3)}, (_trade(b="0"),))
LEFT_OVER = _books({A: Decimal(1)})
FLYING = _books({A: Decimal(3)}, (_trade(TradeStatus.OPENING, b="0"),))
OURS_ENDED = {"tdm-1": _booked(OrderStatus.CANCELLED)}
OURS_WORKS = {"tdm-1": _booked(OrderStatus.OPEN)}
MANUAL_HELP = {**HELD, A: Decimal(5)}

# fmt: off
STORIES: list[tuple[str, Look, Look, Verdict]] = [
    ("nothing anywhere", _look(NOTHING, {}), _look(NOTHING, {}), Verdict.MATCH),
    ("one pair, all agree", _look(OPEN, HELD), _look(OPEN, HELD), Verdict.MATCH),
    ("closed between the looks", _look(OPEN, HELD), _look(NOTHING, {}), Verdict.MATCH),
    ("filled while we asked", _look(NOTHING, HELD, after=OPEN), _look(OPEN, HELD), Verdict.MATCH),
    ("a difference that heals", _look(OPEN, {}), _look(OPEN, HELD), Verdict.MATCH),
    ("a manual position elsewhere", _look(NOTHING, {X: Decimal(1)}), _look(NOTHING, {X: Decimal(1)}), Verdict.EXPLAINED),
    ("a position of nobody in our contract", _look(NOTHING, HELD), _look(NOTHING, HELD), Verdict.MISMATCH),
    ("the exchange lost what we hold", _look(OPEN, {}), _look(OPEN, {}), Verdict.MISMATCH),
    ("more than we know", _look(OPEN, MANUAL_HELP), _look(OPEN, MANUAL_HELP), Verdict.MISMATCH),
    ("differs, but a trade is in flight", _look(FLYING, HELD), _look(FLYING, HELD), Verdict.EXPLAINED),
    ("an open trade on one leg", _look(NAKED, {A: Decimal(3)}), _look(NAKED, {A: Decimal(3)}), Verdict.MISMATCH),
    ("an ended trade left something", _look(LEFT_OVER, {A: Decimal(1)}), _look(LEFT_OVER, {A: Decimal(1)}), Verdict.MISMATCH),
    ("a foreign order", _look(NOTHING, {}, (_order("web_1"),)), _look(NOTHING, {}, (_order("web_1"),)), Verdict.EXPLAINED),
    ("our prefix, unknown", _look(NOTHING, {}, (_order("tdm-9"),)), _look(NOTHING, {}, (_order("tdm-9"),)), Verdict.MISMATCH),
    ("our prefix, gone at the second look", _look(NOTHING, {}, (_order("tdm-9"),)), _look(NOTHING, {}), Verdict.MATCH),
    ("rests though we call it ended", _look(_books(orders=OURS_ENDED), {}, (_order("tdm-1"),)),
     _look(_books(orders=OURS_ENDED), {}, (_order("tdm-1"),)), Verdict.MISMATCH),
    ("works on both sides", _look(_books(orders=OURS_WORKS), {}, (_order("tdm-1"),)),
     _look(_books(orders=OURS_WORKS), {}, (_order("tdm-1"),)), Verdict.MATCH),
    ("works in our books alone", _look(_books(orders=OURS_WORKS), {}), _look(_books(orders=OURS_WORKS), {}), Verdict.MISMATCH),
    ("the ledger is a little behind", _look(OPEN, HELD), _look(_books(HELD, (_trade(),), ledger={}, seq=(20, 15)), HELD), Verdict.MATCH),
    ("the ledger is far behind", _look(OPEN, HELD), _look(_books(HELD, (_trade(),), ledger={}, seq=(20, 5)), HELD), Verdict.MISMATCH),
    ("the ledger has read all and errs", _look(OPEN, HELD), _look(_books(HELD, (_trade(),), ledger={}, seq=(20, 20)), HELD), Verdict.MISMATCH),
]
# fmt: on


@pytest.mark.parametrize(("story", "first", "second", "verdict"), STORIES, ids=[row[0] for row in STORIES])
def test_stories(story: str, first: Look, second: Look, verdict: Verdict) -> None:
    result = compare(first, second, tolerance=0.0)
    assert result.verdict is verdict, result.items
    assert (verdict is Verdict.MATCH) == (not result.items)
    assert all(item.explanation and item.action for item in result.items)


def _both(books: Books, positions: dict[Symbol, Decimal], **options: Any) -> Comparison:
    look = _look(books, positions)
    return compare(look, look, **options)


def test_tolerance_is_a_share_of_the_larger_quantity() -> None:
    nearly = {**HELD, A: Decimal("3.0001")}
    assert _both(OPEN, nearly, tolerance=0.0).verdict is Verdict.MISMATCH
    assert _both(OPEN, nearly, tolerance=0.001).verdict is Verdict.MATCH


def test_an_item_names_its_pair_and_both_quantities() -> None:
    (item,) = _both(OPEN, {B: Decimal(-2)}, tolerance=0.0).items
    assert (item.symbol, item.pair_id) == (A, "A_B")
    assert (item.ledger_quantity, item.exchange_quantity) == (Decimal(3), Decimal(0))


@pytest.mark.parametrize(("dust", "verdict"), [("0.4", Verdict.EXPLAINED), ("0.3", Verdict.MISMATCH)])
def test_dust_of_trades_that_are_over_is_explained(dust: str, verdict: Verdict) -> None:
    """Less than a lot step, declared at the trade's end. Any other rest of an ended trade is to be repaired."""
    rest = {A: Decimal("0.4")}
    books = replace(_books(rest), dust={A: Decimal(dust)})
    look = Look(before=books, positions=rest, orders=(), after=books)
    assert compare(look, look, tolerance=0.0).verdict is verdict
