"""Executions that none of our orders made: whose holding they closed, and what is left of them."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from trade_story import CAT, DOGE, A, B, Story

from domain.attribution import share_out, suffix_explains
from domain.orders import Fill, OrderStatus, Purpose, Side
from domain.pairs import PairSide, TradeStatus
from domain.symbols import ClientOrderId, PairId, TradeId

D = Decimal


def execution(side: Side, quantity: str, at_ms: int = 5_000, fee: str = "0") -> Fill:
    return Fill(
        symbol=CAT, exchange_trade_id="900", exchange_order_id="77", client_order_id=ClientOrderId("adl_autoclose"),
        side=side, quantity=D(quantity), price=D(2), fee=D(fee), fee_asset="USDT", at_ms=at_ms,
    )  # fmt: skip


def two_shorts() -> Story:
    """t1 is short 50 of leg a since 1000 ms, t2 short 30 since 2000 ms."""
    story = Story()
    for trade, quantity, at_ms in (("t1", "50", 1_000), ("t2", "30", 2_000)):
        story.begin(trade, PairId(f"P-{trade}"), PairSide.SELL, at_ms=at_ms)
        for leg, of_leg in ((A, quantity), (B, "100")):
            name = story.order(leg, trade=trade)
            story.fill(name, of_leg, at_ms=at_ms)
            story.advance(name, OrderStatus.FILLED, of_leg)
        story.trade(TradeStatus.OPEN, trade)
    return story


def shares(story: Story, fill: Fill, quantity_max: str = "1000") -> list[tuple[str, str, str]]:
    found = share_out(fill, story.book.trades.values(), D(quantity_max), booked=story.book.shares_of(fill))
    return [(share.trade.trade_id, share.fill.exchange_trade_id, str(share.fill.quantity)) for share in found]


def test_the_oldest_holder_comes_first_and_nobody_gives_more_than_held() -> None:
    story = two_shorts()
    assert shares(story, execution(Side.BUY, "60")) == [("t1", "900", "50"), ("t2", "900#2", "10")]
    assert shares(story, execution(Side.BUY, "200")) == [("t1", "900", "50"), ("t2", "900#2", "30")]
    assert shares(story, execution(Side.BUY, "60"), "20") == [("t1", "900", "20")]


def test_an_execution_that_closes_nothing_of_ours_is_in_no_share() -> None:
    story = two_shorts()
    assert shares(story, execution(Side.SELL, "60")) == []
    assert shares(story, execution(Side.BUY, "60", at_ms=500)) == [], "before anybody of ours held"
    assert shares(story, execution(Side.BUY, "60", at_ms=1_500)) == [("t1", "900", "50")]


def test_who_held_then_counts_though_the_trade_be_over_by_now() -> None:
    """t1 closed at 8 s what somebody had taken at 5 s: it was t2's that it closed, and t1 has to give it back."""
    story = two_shorts()
    name = story.order(A, Purpose.EXIT)
    story.fill(name, "50", at_ms=8_000)
    assert story.book.trades[TradeId("t1")].held[A] == 0
    assert shares(story, execution(Side.BUY, "40")) == [("t1", "900", "40")]
    assert shares(story, execution(Side.BUY, "40", at_ms=9_000)) == [("t2", "900", "30")]


@given(
    quantity=st.integers(1, 200).map(D),
    wanted=st.integers(0, 200).map(D),
    fee=st.integers(0, 10**6).map(lambda number: D(number) / 10**7),
)
def test_nothing_is_lost_and_nothing_invented(quantity: Decimal, wanted: Decimal, fee: Decimal) -> None:
    story = two_shorts()
    fill = execution(Side.BUY, str(quantity), fee=str(fee))
    found = share_out(fill, story.book.trades.values(), wanted)
    total = sum((share.fill.quantity for share in found), D(0))
    assert total == min(quantity, wanted, D(80))
    if total == quantity:
        assert sum((share.fill.fee for share in found), D(0)) == fee
    assert len({share.fill.exchange_trade_id for share in found}) == len(found)


def test_the_latest_changes_explain_a_difference() -> None:
    changes = [D(-80), D(10), D(5)]
    assert suffix_explains(changes, D(15))
    assert suffix_explains(changes, D(-65))
    assert not suffix_explains(changes, D(10))
    assert not suffix_explains([], D(1))


def test_dust_stays_in_the_positions_and_the_trade_is_flat() -> None:
    """0.4 of leg a is left and declared; a late execution re-opens the trade with all of it; a replay says the same."""
    story = two_shorts()
    for leg, quantity in ((A, "49.6"), (B, "100")):
        name = story.order(leg, Purpose.EXIT)
        story.fill(name, quantity)
    trade = story.book.trades[TradeId("t1")]
    story.trade(TradeStatus.CLOSED, "t1", facts={"dust_a": "-0.4", "dust_a_usd": "0.8"})
    assert trade.is_flat
    assert story.book.positions() == {CAT: D("-30.4"), DOGE: D(100)}
    assert story.book.dust == {CAT: D("-0.4")}
    late = story.order(A, Purpose.EXIT)
    story.fill(late, "0.4")
    assert not trade.is_flat
    assert story.book.positions()[CAT] == D(-30)
    story.trade(TradeStatus.CLOSING, "t1")
    assert trade.is_flat
    assert story.book.positions()[CAT] == D(-30)
