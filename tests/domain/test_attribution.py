"""Executions that none of our orders made: whose holding they closed, and what is left of them."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trade_story import CAT, DOGE, A, B, Story

from domain.attribution import ExternalExecution, explain, held_at, readings
from domain.orders import Fill, OrderStatus, Purpose, Side
from domain.pairs import PairSide, TradeStatus
from domain.symbols import ClientOrderId, PairId, TradeId

D = Decimal


def execution(side: Side, quantity: str, at_ms: int = 5_000, fee: str = "0", number: str = "900") -> Fill:
    return Fill(
        symbol=CAT, exchange_trade_id=number, exchange_order_id="77", client_order_id=ClientOrderId("adl_autoclose"),
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


def told(story: Story, *externals: ExternalExecution, others_held: str = "0") -> list[tuple[str, str, str]]:
    """Trade, identity and quantity of the shares."""
    found = explain(CAT, story.book.trades.values(), externals, D(others_held)).shares
    return [(share.trade.trade_id, share.fill.exchange_trade_id, str(share.fill.quantity)) for share in found]


def forced(side: Side, quantity: str, at_ms: int = 5_000, number: str = "900", fee: str = "0") -> ExternalExecution:
    return ExternalExecution(execution(side, quantity, at_ms, number=number, fee=fee), is_forced=True)


def by_hand(side: Side, quantity: str, at_ms: int = 5_000, number: str = "900") -> ExternalExecution:
    return ExternalExecution(execution(side, quantity, at_ms, number=number), is_forced=False)


def test_the_oldest_holder_comes_first_and_nobody_gives_more_than_held() -> None:
    story = two_shorts()
    assert told(story, forced(Side.BUY, "60")) == [("t1", "900", "50"), ("t2", "900#2", "10")]
    assert told(story, forced(Side.BUY, "200")) == [("t1", "900", "50"), ("t2", "900#2", "30")]


def test_what_is_in_the_books_is_not_given_again() -> None:
    story = two_shorts()
    fill = execution(Side.BUY, "60")
    booked = msgspec.structs.replace(fill, quantity=D(50))
    story.share(booked, "t1", A)
    assert told(story, ExternalExecution(fill, is_forced=True, booked=(D(50),))) == [("t2", "900#2", "10")]


def test_an_execution_that_closes_nothing_of_ours_is_in_no_share() -> None:
    story = two_shorts()
    assert told(story, forced(Side.SELL, "60")) == []
    assert told(story, forced(Side.BUY, "60", at_ms=500)) == [], "before anybody of ours held"
    assert told(story, forced(Side.BUY, "60", at_ms=1_500)) == [("t1", "900", "50")]


def test_who_held_then_counts_though_the_trade_be_over_by_now() -> None:
    """t1 closed at 8 s what somebody had taken at 5 s: it was t2's that it closed, and t1 has to give it back."""
    story = two_shorts()
    name = story.order(A, Purpose.EXIT)
    story.fill(name, "50", at_ms=8_000)
    assert story.book.trades[TradeId("t1")].held[A] == 0
    assert told(story, forced(Side.BUY, "40")) == [("t1", "900", "40")]
    assert told(story, forced(Side.BUY, "40", at_ms=9_000)) == [("t2", "900", "30")]


def test_two_liquidations_and_an_exit_between_that_knew_of_none() -> None:
    """t1's exit bought what was gone already, so t1 was long by it; the second one sold that again, though t1 was an opener of
    shorts. Whoever gives the newest execution away first leaves 50 that nobody owns."""
    story = two_shorts()
    name = story.order(A, Purpose.EXIT)
    story.fill(name, "50", at_ms=6_000)
    first, second = forced(Side.BUY, "80", number="901"), forced(Side.SELL, "50", at_ms=7_000, number="902")
    found = explain(CAT, story.book.trades.values(), [first, second], D(0))
    assert told(story, first, second) == [("t1", "901", "50"), ("t2", "901#2", "30"), ("t1", "902", "50")]
    assert [moment.net for moment in found.moments] == [0, -50, -80, 0, 50, 0]
    assert all(moment.others_held == 0 for moment in found.moments)


def test_a_list_without_its_end_tells_the_same_beginning() -> None:
    story = two_shorts()
    both = [forced(Side.BUY, "60", number="901"), by_hand(Side.BUY, "20", at_ms=7_000, number="902")]
    assert told(story, *both)[:2] == told(story, both[0])


def test_executions_of_one_millisecond_go_by_their_number() -> None:
    """Told in any order."""
    story = two_shorts()
    opens, closes = by_hand(Side.SELL, "30", number="9"), forced(Side.BUY, "30", number="10")
    for externals in ((opens, closes), (closes, opens)):
        nets = [moment.net for moment in explain(CAT, story.book.trades.values(), externals, D(0)).moments]
        assert nets[-3:] == [-80, -110, -80]


# foreign before, who trades (+ buys), what our trades (short 80) give, what is foreign after
HANDS = (
    ("0", by_hand(Side.BUY, "20"), "20", "0"),  # Against what we hold, with nothing of their own: our exit.
    ("-30", by_hand(Side.BUY, "20"), "0", "-10"),  # Their own first ...
    ("-30", by_hand(Side.BUY, "50"), "20", "0"),  # ... then ours.
    ("-30", forced(Side.BUY, "50"), "50", "-30"),  # The exchange closes ours first.
    ("40", by_hand(Side.BUY, "50"), "50", "40"),
    ("-30", by_hand(Side.SELL, "20"), "0", "-50"),
    ("0", by_hand(Side.BUY, "100"), "80", "20"),  # What nobody held is a new holding of theirs.
)


@pytest.mark.parametrize(("before", "external", "ours", "after"), HANDS)
def test_whose_it_was(before: str, external: ExternalExecution, ours: str, after: str) -> None:
    found = explain(CAT, two_shorts().book.trades.values(), [external], D(before))
    assert sum((share.fill.quantity for share in found.shares), D(0)) == D(ours)
    assert found.moments[-1].others_held == D(after)


@st.composite
def accounts(draw: st.DrawFn) -> tuple[Story, list[ExternalExecution], Decimal]:
    """Two shorts, exits of theirs at any time and of any size, and external parties of both kinds."""
    story = two_shorts()
    for trade in draw(st.lists(st.sampled_from(("t1", "t2")), max_size=3)):
        name = story.order(A, Purpose.EXIT, trade=trade)
        story.fill(name, str(draw(st.integers(1, 90))), at_ms=draw(st.integers(2_001, 9_000)))
    externals = [
        ExternalExecution(
            execution(
                draw(st.sampled_from(list(Side))), str(draw(st.integers(1, 150))), draw(st.integers(500, 9_000)),
                number=str(number), fee=str(D(draw(st.integers(0, 10**6))) / 10**7),
            ),
            is_forced=draw(st.booleans()),
        )
        for number in range(900, 900 + draw(st.integers(0, 5)))
    ]  # fmt: skip
    return story, externals, D(draw(st.integers(-60, 60)))


@given(accounts())
def test_nothing_is_lost_and_nothing_changes_sides(account: tuple[Story, list[ExternalExecution], Decimal]) -> None:
    """Shares and what is foreign add up to the account; a share only ever brings a holding towards nothing; fees stay whole."""
    story, externals, others_held = account
    trades = list(story.book.trades.values())
    found = explain(CAT, trades, externals, others_held)
    before = sum((trade.signed_held(A) for trade in trades), D(0))
    total = sum((external.left for external in externals), D(0))
    assert found.moments[-1].net == others_held + before + total
    for share in found.shares:
        story.share(share.fill, share.trade.trade_id, share.leg)
    assert found.moments[-1].net == found.moments[-1].others_held + sum(
        (trade.signed_held(A) for trade in trades), D(0)
    )
    booked = {each.fill.exchange_trade_id: story.book.shares_of(each.fill) for each in externals}
    again = [each._replace(booked=booked[each.fill.exchange_trade_id]) for each in externals]
    retold = explain(CAT, trades, [each for each in again if each.left], others_held)
    assert not retold.shares, "told once more, nobody has anything to give"
    assert retold.moments[-1] == found.moments[-1]
    for external in externals:
        mine = [share for share in found.shares if share.fill.exchange_order_id == external.fill.exchange_order_id]
        mine = [
            share for share in mine if share.fill.exchange_trade_id.split("#")[0] == external.fill.exchange_trade_id
        ]
        assert sum((share.fill.quantity for share in mine), D(0)) <= external.fill.quantity
        assert len({share.fill.exchange_trade_id for share in mine}) == len(mine)
        if sum((share.fill.quantity for share in mine), D(0)) == external.fill.quantity:
            assert sum((share.fill.fee for share in mine), D(0)) == external.fill.fee
        for share in mine:
            sign = share.trade.plan.side.side_of(share.leg).sign * share.fill.side.sign
            assert held_at(share.trade, share.leg, share.fill.at_ms) * sign <= 0, "never beyond nothing"


def test_a_position_may_be_older_news_than_the_list() -> None:
    """The list reports a liquidation at 5 s; a replica still shows what was held before: one of the readings is that."""
    story = two_shorts()
    trades, externals = list(story.book.trades.values()), [forced(Side.BUY, "80")]
    nets = [[moment.net for moment in each.moments] for each in readings(CAT, trades, externals, D(-80), 4_000)]
    assert nets == [[-80, -130, -160, -80], [0, -50, -80, 0]]
    assert len(list(readings(CAT, trades, externals, D(-80), 6_000))) == 1, "but not as old as that"


@pytest.mark.parametrize(
    ("net", "others_held", "from_ms", "to_ms", "passes"),
    [
        ("-50", "0", 1_500, 1_500, True),
        ("-50", None, 1_500, 1_500, True),
        ("-50", "7", 1_500, 1_500, False),
        ("-50", "0", 2_000, 2_500, False),  # From 2000 on it is 80.
        ("-50", "0", 1_999, 2_500, True),
        ("0", "0", 0, 999, True),
        ("-80", "0", 9_000, 9_000, True),
        ("-80", "0", 0, 1_999, False),
    ],
)
def test_what_the_account_held_at_a_moment(
    net: str, others_held: str | None, from_ms: int, to_ms: int, passes: bool
) -> None:
    found = explain(CAT, two_shorts().book.trades.values(), [], D(0))
    assert found.passes(D(net), None if others_held is None else D(others_held), from_ms, to_ms) is passes


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
