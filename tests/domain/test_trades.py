"""A trade is the fold of its entries: held, cash, unhedged time; and the book of many trades, live or replayed."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_story import CAT, DOGE, A, B, D, Story, replay, state_of

from domain.entries import FillSeen, FundingPaid, PairFrozen
from domain.orders import LegName, OrderStatus, Purpose, Side
from domain.pairs import ExitReason, PairSide, TradeStatus
from domain.refusals import Refusal, RefusalKind
from domain.symbols import PairId, Symbol
from domain.trade_book import TradeBook
from domain.trades import ZERO
from runner.exchange.binance.codes import kind_of_code

# One trade


def test_a_round_trip_by_hand() -> None:
    """Short 50 a at 2.00, long 100 b at 1.00; back at 1.90 and 1.05: 5 + 5 − fees 0.4 + funding 0.1."""
    story = Story()
    story.begin()
    a, b = story.order(A), story.order(B)
    story.fill(a, "50", "2", "0.1")
    story.fill(b, "100", "1", "0.1", at_ms=1_250)
    (trade,) = story.book.live_trades()
    assert story.book.positions() == {CAT: D(-50), DOGE: D(100)}
    assert trade.leg_skew_ms == 250.0
    assert trade.hedge_error == 0.0
    story.fill(story.order(A, Purpose.EXIT), "50", "1.9", "0.1")
    story.fill(story.order(B, Purpose.EXIT), "100", "1.05", "0.1")
    story.apply(FundingPaid(at_ms=1_500, trade_id=trade.trade_id, symbol=CAT, amount_usd=D("0.1"), transaction_id="f"))
    assert trade.is_flat
    assert story.book.positions() == {}
    assert trade.net_pnl_usd == D("9.7")


def test_naked_seconds_by_hand() -> None:
    """a at 1.0 s, b half at 1.4 s, b whole at 2.0 s: 1 s naked. Then a closed at 5.0 s, b at 5.5 s: half a second more."""
    story = Story()
    story.begin()
    a, b = story.order(A), story.order(B)
    story.fill(a, "50", at_ms=1_000)
    (trade,) = story.book.live_trades()
    assert trade.naked_seconds() == 0.0
    assert trade.naked_seconds(1_300) == 0.3
    story.fill(b, "50", at_ms=1_400)
    assert trade.naked_seconds() == 0.4
    story.fill(b, "50", at_ms=2_000)
    assert trade.naked_seconds(4_000) == 1.0
    story.fill(story.order(A, Purpose.EXIT), "50", at_ms=5_000)
    assert trade.naked_seconds(5_200) == 1.2
    story.fill(story.order(B, Purpose.EXIT), "100", at_ms=5_500)
    assert trade.naked_seconds(9_000) == 1.5


def test_naked_notional_by_hand() -> None:
    """50 a at 2 USD alone for 0.4 s; then 25 a's worth alone for 0.6 s; then b alone, 100 at 1 USD, for 0.5 s."""
    story = Story()
    story.begin()
    a, b = story.order(A), story.order(B)
    story.fill(a, "50", at_ms=1_000)
    (trade,) = story.book.live_trades()
    assert trade.naked_notional_usd == 100
    assert trade.naked_notional_usd_seconds(1_300) == pytest.approx(30.0)
    story.fill(b, "50", at_ms=1_400)
    assert trade.naked_notional_usd == 50
    story.fill(b, "50", at_ms=2_000)
    assert trade.naked_notional_usd == 0
    assert trade.naked_notional_usd_seconds(9_000) == pytest.approx(40.0 + 30.0)
    story.fill(story.order(A, Purpose.EXIT), "50", at_ms=5_000)
    assert trade.naked_notional_usd == 100
    story.fill(story.order(B, Purpose.EXIT), "100", at_ms=5_500)
    assert trade.naked_notional_usd_seconds(9_000) == pytest.approx(70.0 + 50.0)
    assert replay(story.timeline).trades[trade.trade_id].naked_notional_usd_seconds(9_000) == pytest.approx(120.0)


def test_a_choice_while_opening_is_counted_across_a_restart() -> None:
    story = Story()
    story.begin()
    story.trade(TradeStatus.OPENING, reason="complete", facts={"trim": {}})
    story.trade(TradeStatus.OPENING, reason="rested")
    story.trade(TradeStatus.OPENING, reason="trim")
    (trade,) = story.book.live_trades()
    assert trade.balancings == replay(story.timeline).trades[trade.trade_id].balancings == 2


def test_within_tolerance_is_not_naked() -> None:
    story = Story()
    story.begin(hedge_error=0.05)
    story.fill(story.order(B), "100", at_ms=1_000)
    story.fill(story.order(A), "47.6", at_ms=1_000)  # 4.8 % off, and the plan's own rounding was 5 %.
    (trade,) = story.book.live_trades()
    assert trade.naked_seconds(60_000) == 0.0


def test_naked_time_is_the_same_however_the_fills_are_told() -> None:
    """b is told first, then the part of a that came half a second before it: that half second was naked too."""
    story = Story()
    story.begin()
    story.fill(story.order(B), "100", at_ms=2_000)
    a = story.order(A)
    story.fill(a, "25", at_ms=1_500)
    story.fill(a, "25", at_ms=2_300)
    (trade,) = story.book.live_trades()
    assert trade.naked_seconds(9_000) == 0.8
    assert trade.naked_notional_usd_seconds(9_000) > 0
    assert trade.leg_skew_ms == 500.0


def test_an_order_is_settled_only_with_all_its_executions() -> None:
    story = Story()
    story.begin()
    name = story.order(A)
    order = story.book.orders[name]
    story.advance(name, OrderStatus.EXPIRED, "30")
    assert order.is_over
    assert not order.is_settled
    story.fill(name, "20")
    assert not order.is_settled
    story.fill(name, "10")
    assert order.is_settled
    assert order.filled == 30
    story.advance(name, OrderStatus.EXPIRED, "10")  # Older news.
    assert order.filled == 30


def test_a_refusal_is_remembered_and_what_was_no_proof_is_kept_apart() -> None:
    story = Story()
    story.begin()
    name = story.order(A)
    order = story.book.orders[name]
    story.advance(name, OrderStatus.UNKNOWN, reason="no answer")
    assert order.refusal is None
    maybe: dict[str, Any] = {"reason": "HTTP 400", "refusal_kind": RefusalKind.FILTER, "refusal_code": "-1013"}
    story.advance(name, OrderStatus.UNKNOWN, **maybe)
    assert order.refused_for is order.failed_for is None
    story.advance(name, OrderStatus.DEAD, reason="proven absent")
    assert order.refused_for is None
    assert order.failed_for is not None
    assert order.failed_for.kind is RefusalKind.FILTER
    known: dict[str, Any] = {
        "reason": "-2019 no margin",
        "refusal_kind": RefusalKind.INSUFFICIENT_MARGIN,
        "refusal_code": "-2019",
    }
    story.advance(name, OrderStatus.REFUSED, **known)
    assert order.refused_for == Refusal(kind=RefusalKind.INSUFFICIENT_MARGIN, code="-2019", message="no margin")


def test_a_row_of_an_older_release_is_read_by_its_text() -> None:
    """It held "<code> <message>" and no kind; the exchange's table says what the code stands for."""
    story = Story()
    story.book = TradeBook(0.02, kind_of_code)
    story.begin()
    for text, kind in (
        ("-2019 Margin is insufficient.", RefusalKind.INSUFFICIENT_MARGIN),
        ("-98765 ?", RefusalKind.UNLISTED),
        ("0 Too many requests", RefusalKind.UNLISTED),
    ):
        name = story.order(A)
        story.advance(name, OrderStatus.REFUSED, reason=text)
        refusal = story.book.orders[name].refused_for
        assert refusal is not None
        assert (refusal.kind, str(refusal)) == (kind, text)


def test_attempts_count_by_leg_and_purpose() -> None:
    story = Story()
    story.begin()
    story.order(A)
    story.order(A, Purpose.UNWIND)
    story.order(A, Purpose.UNWIND)
    (trade,) = story.book.live_trades()
    assert [trade.attempts(A, purpose) for purpose in (Purpose.ENTRY, Purpose.UNWIND, Purpose.EXIT)] == [1, 2, 0]
    assert trade.attempts(B, Purpose.UNWIND) == 0


# What is true of any sequence

PRICES = st.decimals("0.01", "1000", places=2)
AMOUNTS = st.decimals("0.001", "100", places=3)
EXECUTIONS = st.lists(
    st.tuples(st.sampled_from(LegName), st.sampled_from(Purpose), AMOUNTS, PRICES, st.integers(1_000, 9_000)),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(EXECUTIONS, st.sampled_from(PairSide))
def test_cash_and_holdings_are_the_sums_of_the_executions(executions: list[Any], side: PairSide) -> None:
    """Profit by the fold equals cash out minus cash in, fees off; a restart comes to the very same state."""
    story = Story()
    story.begin(side=side)
    cash, fees, held = ZERO, ZERO, {A: ZERO, B: ZERO}
    for leg, purpose, quantity, price, at_ms in sorted(executions, key=lambda execution: execution[-1]):
        name = story.order(leg, purpose)
        story.fill(name, str(quantity), str(price), "0.01", at_ms)
        sold = story.book.orders[name].intent.side is Side.SELL
        cash += quantity * price if sold else -quantity * price
        held[leg] += -quantity if sold else quantity
        fees += D("0.01")
    (trade,) = story.book.live_trades()
    assert trade.cash_usd == cash
    assert trade.net_pnl_usd == cash - fees
    assert {leg: trade.signed_held(leg) for leg in LegName} == held
    assert 0.0 <= trade.hedge_error <= 1.0
    assert trade.naked_seconds(10_000) <= 9.0
    assert state_of(replay(story.timeline)) == state_of(story.book)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("begin", "fill", "advance", "trade", "fund", "freeze")),
        st.integers(0, 2),
        st.integers(0, 10**6),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_restart_comes_to_the_same_state(steps: list[tuple[str, int, int]]) -> None:
    """Any timeline of any number of trades: folding it live, or decoding it from the journal, is the same; positions add up."""
    story = Story()
    for number, (step, pair_number, draw) in enumerate(steps):
        pair = PairId(f"P{pair_number}")
        names = list(story.book.orders)
        trades = list(story.book.trades)
        if step == "begin" and pair not in story.book.open_by_pair:
            story.begin(f"t{number}", pair, (PairSide.SELL, PairSide.BUY)[draw % 2])
            story.order(A, trade=f"t{number}")
            story.order(B, trade=f"t{number}")
        elif step == "fill" and names:
            story.fill(names[draw % len(names)], str(draw % 97 + 1), str(draw % 13 + 1), at_ms=1_000 + number)
        elif step == "advance" and names:
            story.advance(names[draw % len(names)], list(OrderStatus)[draw % len(OrderStatus)], str(draw % 97))
        elif step == "trade" and trades:
            status = list(TradeStatus)[draw % len(TradeStatus)]
            story.trade(status, trades[draw % len(trades)], 2_000 + number, exit_reason=ExitReason.REVERTED, exit_z=0.5)
        elif step == "fund" and trades:
            story.apply(
                FundingPaid(
                    at_ms=3_000 + number,
                    trade_id=trades[draw % len(trades)],
                    symbol=CAT,
                    amount_usd=D(draw % 7),
                    transaction_id=f"{number}",
                )
            )
        elif step == "freeze":
            story.apply(PairFrozen(at_ms=number, pair_id=pair, until_ms=draw, reason="drawn"))
    book = story.book
    assert state_of(replay(story.timeline)) == state_of(book)
    live = [trade for trade in book.trades.values() if not trade.status.is_over]
    assert sorted(t.trade_id for t in book.live_trades()) == sorted(t.trade_id for t in live)
    assert set(book.open_by_pair) == {trade.pair_id for trade in live}
    # Held is held, also by a trade that was over when a late execution came.
    late = [trade for trade in book.trades.values() if trade.status.is_over and not trade.is_flat]
    assert sorted(t.trade_id for t in book.late_trades()) == sorted(t.trade_id for t in late)
    net: dict[Symbol, Decimal] = {}
    for trade in live + late:
        for leg in LegName:
            net[trade.symbol_of(leg)] = net.get(trade.symbol_of(leg), ZERO) + trade.signed_held(leg)
    assert book.positions() == {symbol: quantity for symbol, quantity in net.items() if quantity}
    ended = [trade for trade in book.trades.values() if trade.status.is_over]
    # A fill that no status followed yet is in the trade, not in the day's result: leave such timelines out of the sum.
    if not any(isinstance(entry, FillSeen) for entry in story.timeline):
        assert book.realized_since(0) == sum((trade.net_pnl_usd for trade in ended), ZERO)
