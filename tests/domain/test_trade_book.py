"""What our books believe of all trades at once: positions, results, freezes, and what may be forgotten."""

import pytest
from trade_story import CAT, DOGE, PAIR, A, B, D, Story, replay, state_of

from domain.entries import FillSeen, FundingPaid, PairFrozen
from domain.errors import InvariantBroken
from domain.orders import OrderStatus, Purpose
from domain.pairs import PairSide, TradeStatus
from domain.symbols import PairId, TradeId
from domain.trades import ZERO

# The book


def test_an_execution_twice_is_a_contradiction() -> None:
    story = Story()
    story.begin()
    name = story.order(A)
    story.fill(name, "1")
    with pytest.raises(InvariantBroken, match="twice"):
        story.book.apply(story.timeline[-1])


def test_a_pair_has_one_trade_at_a_time() -> None:
    story = Story()
    story.begin()
    with pytest.raises(InvariantBroken, match="open trade"):
        story.begin("t2")


def test_two_pairs_on_one_symbol_net() -> None:
    story = Story()
    story.begin("t1", PairId("P1"), PairSide.SELL)
    story.begin("t2", PairId("P2"), PairSide.BUY)
    story.fill(story.order(A, trade="t1"), "50")
    story.fill(story.order(A, trade="t2"), "50")
    assert story.book.positions() == {}
    story.fill(story.order(B, trade="t2"), "30")
    assert story.book.positions() == {DOGE: D(-30)}


def test_a_late_fill_reopens_what_was_over() -> None:
    story = Story()
    story.begin()
    name = story.order(A)
    story.advance(name, OrderStatus.DEAD)
    story.trade(TradeStatus.ROLLED_BACK)
    assert story.book.positions() == {}
    story.advance(name, OrderStatus.FILLED, "50")
    story.fill(name, "50")
    story.trade(TradeStatus.CLOSING)
    assert story.book.positions() == {CAT: D(-50)}
    assert PAIR in story.book.open_by_pair
    story.fill(story.order(A, Purpose.UNWIND), "50")
    story.trade(TradeStatus.ROLLED_BACK)
    assert not list(story.book.live_trades())


def test_a_late_fill_of_an_old_trade_hides_no_new_one() -> None:
    """The pair trades again already: both are live, both are counted, and the new one is the pair's own."""
    story = Story()
    story.begin("t1")
    late = story.order(A)
    story.advance(late, OrderStatus.DEAD)
    story.trade(TradeStatus.ROLLED_BACK)
    story.begin("t2")
    story.fill(story.order(A, trade="t2"), "50")
    story.fill(story.order(B, trade="t2"), "100")
    story.trade(TradeStatus.OPEN, "t2")
    story.fill(late, "50")
    story.trade(TradeStatus.CLOSING)
    assert story.book.positions() == {CAT: D(-100), DOGE: D(100)}
    assert story.book.open_by_pair[PAIR].trade_id == "t2"
    story.fill(story.order(A, Purpose.UNWIND), "50")
    story.trade(TradeStatus.ROLLED_BACK)
    assert story.book.open_by_pair[PAIR].trade_id == "t2"
    assert story.book.positions() == {CAT: D(-50), DOGE: D(100)}
    assert state_of(replay(story.timeline)) == state_of(story.book)


def test_an_old_trade_still_closing_keeps_the_pair_after_the_new_one_ended() -> None:
    story = Story()
    story.begin("t1")
    late = story.order(A)
    story.advance(late, OrderStatus.DEAD)
    story.trade(TradeStatus.ROLLED_BACK)
    story.begin("t2")
    story.fill(late, "50")
    story.trade(TradeStatus.CLOSING)
    story.trade(TradeStatus.ROLLED_BACK, "t2")
    assert story.book.open_by_pair[PAIR].trade_id == "t1"
    with pytest.raises(InvariantBroken):
        story.begin("t3")


def test_realized_counts_a_trade_once_though_it_ended_twice() -> None:
    story = Story()
    story.round_trip("t1", cost="4", ended_ms=5_000)
    assert story.book.realized_since(0) == D(-4)
    assert story.book.realized_since(5_000) == D(-4)
    assert story.book.realized_since(5_001) == ZERO
    story.trade(TradeStatus.CLOSING, at_ms=6_000)
    assert story.book.realized_since(0) == ZERO, "it is live again and counted as such"
    story.fill(story.order(A, Purpose.UNWIND), "1", fee="1")
    story.fill(story.order(A), "1", fee="1")
    story.trade(TradeStatus.CLOSED, at_ms=7_000)
    assert story.book.realized_since(0) == D(-6)


def test_funding_booked_after_the_end_counts_too() -> None:
    story = Story()
    story.round_trip("t1", cost="4")
    story.apply(FundingPaid(at_ms=3_000, trade_id=TradeId("t1"), symbol=CAT, amount_usd=D("-1.5"), transaction_id="f"))
    assert story.book.realized_since(0) == D("-5.5")
    assert story.book.knows_funding(f"funding:{CAT}:f:t1")


def test_rollbacks_that_cost_nothing_freeze_nobody() -> None:
    story = Story()
    for number in range(3):
        story.begin(f"free{number}")
        story.trade(TradeStatus.ROLLED_BACK, f"free{number}", 1_000 + number)
    assert story.book.rollbacks.get(PAIR, []) == []
    for number in range(2):
        story.begin(f"dear{number}")
        story.fill(story.order(A, trade=f"dear{number}"), "50", fee="0.1")
        story.fill(story.order(A, Purpose.UNWIND, trade=f"dear{number}"), "50", fee="0.1")
        story.trade(TradeStatus.ROLLED_BACK, f"dear{number}", 3_000 + number)
    assert story.book.rollbacks[PAIR] == [3_000, 3_001]
    story.round_trip("good")
    assert PAIR not in story.book.rollbacks


def test_a_freeze_lasts_until_its_moment() -> None:
    story = Story()
    story.apply(PairFrozen(at_ms=1, pair_id=PAIR, until_ms=77, reason="x"))
    assert story.book.frozen_until_ms == {PAIR: 77}


def test_what_ended_long_ago_is_forgotten_and_what_lives_is_not() -> None:
    story = Story()
    story.round_trip("old", ended_ms=1_000)
    story.round_trip("new", ended_ms=9_000)
    story.begin("live")
    last_of_old = next(e.fill for e in reversed(story.timeline) if isinstance(e, FillSeen) and e.trade_id == "old")
    story.book.forget_ended_before(5_000)
    assert set(story.book.trades) == {"new", "live"}
    assert all(order.intent.trade_id != "old" for order in story.book.orders.values())
    assert not story.book.knows_fill(last_of_old)
    assert story.book.realized_since(0) == D(-2), "today's result stays"
    assert [trade.trade_id for trade in story.book.live_trades()] == ["live"]


def test_what_was_reopened_is_not_forgotten() -> None:
    story = Story()
    story.round_trip("old", ended_ms=1_000)
    story.trade(TradeStatus.CLOSING, "old", 8_000)
    story.book.forget_ended_before(5_000)
    story.trade(TradeStatus.CLOSED, "old", 9_000)
    assert set(story.book.trades) == {"old"}


def test_months_of_trades_leave_little_behind() -> None:
    story = Story()
    day_ms = 86_400_000
    for number in range(50):
        story.round_trip(f"t{number}", ended_ms=number * day_ms)
        story.book.forget_ended_before(number * day_ms)
    assert len(story.book.trades) <= 2
    assert len(story.book._closed) <= 3
    assert story.book.realized_since(49 * day_ms) == D(-1)
