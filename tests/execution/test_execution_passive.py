"""Entries whose less liquid leg rests, over real sockets: filled whole, in pieces, never; chased, refused, ended by others."""

import asyncio
import itertools
from pathlib import Path

import pytest
from execution_rig import PAIR, eventually
from passive_rig import (
    ASK,
    BID,
    CAT,
    TICK,
    D,
    accepted,
    assert_hedged,
    assert_never_two_alive,
    at_rest,
    countdowns,
    enter,
    entered,
    quote_cat,
    quotes_of,
    resting,
    take,
    the_trade,
    told,
)
from test_execution_stories import assert_no_id_was_sent_twice

from domain.guards import DenialCode
from domain.orders import LegName
from domain.pairs import SignalType, TradeStatus


async def test_filled_whole(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        (order,) = at_rest(rig)
        assert (order.symbol, order.side, order.time_in_force, order.price) == (CAT, "SELL", "GTX", ASK)
        assert rig.at_exchange() == {}, "the other leg is not taken before this one fills"
        assert CAT in countdowns(rig)
        take(rig, order.quantity)
        assert (await entering).executed
        assert_hedged(rig)
        assert countdowns(rig) == {}
        trade = the_trade(rig)
        assert trade.held == {LegName.A: trade.plan.quantity_a, LegName.B: trade.plan.quantity_b}
        assert trade.plan.costs["resting_leg"] == "a"
        assert (told(rig)["ended"], told(rig)["quotes"], told(rig)["hedges"]) == ("filled", 1, 1)
        assert "legs_unequal" not in rig.log.events(), "the hedge was this entry's own, nobody had to complete it"
        (maker,) = [fill for fill in rig.paper.desk.books.portfolios["paper-key"].trades if fill.maker]
        assert maker.commission == pytest.approx(maker.price * maker.quantity * D("0.0002"), abs=D("1e-8"))
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}
        assert [order.time_in_force for order in accepted(rig)] == ["GTX"], "exits never rest"


async def test_filled_in_pieces_each_hedged_as_it_comes(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        whole = at_rest(rig)[0].quantity
        for share in ("0.25", "0.35"):
            before = rig.at_exchange().get("1MBABYDOGEUSDT", D(0))
            take(rig, (whole * D(share)).to_integral_value())
            await eventually(lambda before=before: rig.at_exchange().get("1MBABYDOGEUSDT", D(0)) > before)
            trade = the_trade(rig)
            await eventually(lambda trade=trade: trade.held[LegName.B] > 0 and trade.hedge_error < 0.001)
            assert len(at_rest(rig)) == 1
        take(rig, at_rest(rig)[0].remaining)
        assert (await entering).executed
        assert_hedged(rig)
        assert the_trade(rig).held[LegName.B] == the_trade(rig).plan.quantity_b
        assert told(rig)["hedges"] == 3
        assert_no_id_was_sent_twice(rig)


async def test_fills_too_small_to_hedge_add_up(tmp_path: Path) -> None:
    """100 a call for 2.33 USD of b: no order is allowed below 5 USD, so it takes several fills until one is sent."""
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        for seen in (100, 200):
            take(rig, 100)
            await eventually(lambda seen=seen: quotes_of(rig)[0].seen == seen)
        await asyncio.sleep(0.2)
        assert set(rig.at_exchange()) == {CAT}
        take(rig, 700)
        await eventually(lambda: "1MBABYDOGEUSDT" in rig.at_exchange())
        take(rig, at_rest(rig)[0].remaining)
        assert (await entering).executed
        assert_hedged(rig)


async def test_what_is_too_small_to_hedge_for_too_long_is_taken_back(tmp_path: Path) -> None:
    async with resting(tmp_path, limit_wait_seconds=1) as rig:
        entering = await entered(rig)
        take(rig, 100)
        assert not (await entering).executed
        assert rig.at_exchange() == rig.believed() == {}
        assert the_trade(rig).status is TradeStatus.ROLLED_BACK
        assert the_trade(rig).naked_seconds() > 0.5
        assert told(rig)["unhedged_usd_seconds"] > 0.5


async def test_the_naked_budget_ends_the_adding_up(tmp_path: Path) -> None:
    """1.23 USD alone: after half a second the budget is spent, long before the entry's time is up."""
    async with resting(tmp_path, naked_notional_usd_seconds_max=0.6) as rig:
        entering = await entered(rig)
        take(rig, 100)
        assert not (await asyncio.wait_for(entering, 10)).executed
        assert told(rig)["ended"] == "naked_budget"
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_hedge_without_an_answer_ends_the_resting(tmp_path: Path) -> None:
    """No more may fill until the fate of what shall cover it is known."""
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        rig.fault("executed-delayed", symbol="1MBABYDOGEUSDT", parameters={"delay_ms": 2500})
        take(rig, 8_000)
        await eventually(lambda: not at_rest(rig), 2.2)
        assert (await entering).executed
        assert told(rig)["ended"] == "hedge_slow"
        assert_hedged(rig)


async def test_nobody_comes(tmp_path: Path) -> None:
    async with resting(tmp_path, limit_wait_seconds=0.5) as rig:
        outcome = await asyncio.wait_for(enter(rig), 15)
        assert outcome.denial is DenialCode.NOT_FILLED
        assert at_rest(rig) == []
        assert countdowns(rig) == {}
        assert rig.book.positions() == {}
        assert told(rig)["ended"] == "waited"
        assert the_trade(rig).status is TradeStatus.ROLLED_BACK
        assert rig.engine.counters.rolled_back == 0, "nothing was rolled back: nothing ever was"
        assert rig.book.frozen_until_ms == {}
        assert rig.signals.told == ["opening", "failed"]


async def test_a_part_that_was_hedged_is_a_smaller_trade(tmp_path: Path) -> None:
    async with resting(tmp_path, limit_wait_seconds=1.5) as rig:
        entering = await entered(rig)
        take(rig, 8_000)
        assert (await entering).executed
        assert_hedged(rig)
        trade = the_trade(rig)
        assert D(7_900) < trade.held[LegName.A] <= D(8_000)
        assert told(rig)["ended"] == "waited"
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}


async def test_the_touch_runs_away_and_is_followed(tmp_path: Path) -> None:
    """Others offer for less, twice: withdrawn, proven over, quoted anew at the new touch."""
    async with resting(tmp_path, limit_wait_seconds=6, limit_chases_max=29) as rig:
        entering = await entered(rig)
        for step in (1, 2):
            quote_cat(rig, BID - TICK * step, ASK - TICK * step)
            await eventually(lambda step=step: at_rest(rig) and at_rest(rig)[0].price == ASK - TICK * step)
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert_hedged(rig)
        assert told(rig)["quotes"] == 3
        assert_never_two_alive(rig)
        assert_no_id_was_sent_twice(rig)
        assert [order.intent.attempt for order in quotes_of(rig)] == [0, 1, 2]


async def test_a_touch_that_comes_nearer_is_let_come(tmp_path: Path) -> None:
    async with resting(tmp_path, limit_wait_seconds=1, limit_chases_max=20) as rig:
        entering = await entered(rig)
        quote_cat(rig, BID + TICK, ASK + TICK)
        assert not (await entering).executed
        assert told(rig)["quotes"] == 1


async def test_a_flicker_is_not_chased(tmp_path: Path) -> None:
    """Each quote has its share of the time: 30 s for six of them."""
    async with resting(tmp_path, limit_wait_seconds=30, limit_chases_max=5) as rig:
        entering = await entered(rig)
        quote_cat(rig, BID - TICK, ASK - TICK)
        await asyncio.sleep(0.3)
        quote_cat(rig, BID, ASK)
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert told(rig)["quotes"] == 1


async def test_an_unfilled_entry_that_cannot_be_verified_is_finished_later(tmp_path: Path) -> None:
    """Refused, and at once a ban: the account cannot be asked whether it is flat. Nobody forgets the trade."""
    async with resting(tmp_path) as rig:
        rig.fault("refused-418")
        assert (await asyncio.wait_for(enter(rig), 20)).denial is DenialCode.NOT_FILLED
        await eventually(lambda: the_trade(rig).status is TradeStatus.ROLLED_BACK, 20)
        assert rig.book.open_by_pair == {}


async def test_it_is_chased_so_often_and_no_more(tmp_path: Path) -> None:
    async with resting(tmp_path, limit_wait_seconds=1.2, limit_chases_max=2) as rig:
        entering = await entered(rig)
        for step in (1, 2, 3):
            quote_cat(rig, BID - TICK * step, ASK - TICK * step)
            await eventually(
                lambda step=step: entering.done() or (at_rest(rig) and at_rest(rig)[0].price == ASK - TICK * step)
            )
        assert (await entering).denial is DenialCode.NOT_FILLED
        assert told(rig)["quotes"] == 3
        assert told(rig)["ended"] in {"chases", "waited"}
        assert at_rest(rig) == []


async def test_post_only_refused_is_quoted_again_and_counted(tmp_path: Path) -> None:
    """The market was faster than our quote: the exchange says -5022 in its reply."""
    async with resting(tmp_path) as rig:
        rig.fault("rejected", count=2, parameters={"code": -5022})
        entering = await entered(rig)
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert_hedged(rig)
        assert (told(rig)["post_only_refused"], told(rig)["quotes"]) == (2, 3)
        asked_ms = [order.intended_ms for order in quotes_of(rig)]
        assert min(then - first for first, then in itertools.pairwise(asked_ms)) > 400, (
            "not the same price in one breath"
        )


async def test_post_only_that_expires_after_it_was_accepted(tmp_path: Path) -> None:
    """The same race, lost inside the matching engine: accepted, then EXPIRED (er 11)."""
    async with resting(tmp_path) as rig:
        rig.fault("post-only-expired")
        entering = await entered(rig)
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert (told(rig)["post_only_refused"], told(rig)["quotes"]) == (1, 2)


async def test_post_only_refused_for_ever_ends(tmp_path: Path) -> None:
    async with resting(tmp_path, limit_chases_max=2, limit_wait_seconds=1) as rig:
        rig.fault("rejected", count=None, parameters={"code": -5022})
        assert (await enter(rig)).denial is DenialCode.NOT_FILLED
        assert told(rig)["post_only_refused"] <= 3
        assert rig.at_exchange() == {}
        assert countdowns(rig) == {}


async def test_refused_for_another_reason_is_not_tried_again(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        rig.fault("rejected", parameters={"code": -2019})
        assert not (await enter(rig)).executed
        assert (told(rig)["ended"], told(rig)["quotes"]) == ("refused", 1)
        assert rig.at_exchange() == {}


@pytest.mark.parametrize(
    ("switch", "ended"),
    [
        ({"user_stream_down": True}, "USER_STREAM_DOWN"),
        ({"paused_because": "tandem pause"}, "PAUSED"),
        ({"unexplained_orders": {"tdm-somebodyelse-ae0"}}, "FOREIGN_ORDERS"),
    ],
)
async def test_what_stops_entries_ends_one_that_rests(tmp_path: Path, switch: dict[str, object], ended: str) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        for name, value in switch.items():
            setattr(rig.gate, name, value)
        assert (await entering).denial is DenialCode.NOT_FILLED
        assert told(rig)["ended"] == ended
        assert at_rest(rig) == []


async def test_nothing_rests_where_a_part_could_not_be_closed_again(tmp_path: Path) -> None:
    """A person is long what we would sell: a small part's close would be no reduce-only order. Both legs whole, at once."""
    async with resting(tmp_path) as rig:
        rig.engine._pre_trade_check._external_of = lambda symbol: D(50_000) if symbol == PAIR.leg_a else D(0)
        assert (await enter(rig)).executed
        assert accepted(rig) == []
        assert_hedged(rig)


async def test_it_no_longer_rests_when_a_part_could_not_be_closed_again(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        rig.engine._pre_trade_check._external_of = lambda symbol: D(50_000) if symbol == PAIR.leg_a else D(0)
        assert (await entering).denial is DenialCode.NOT_FILLED
        assert told(rig)["ended"] == "SIZE_TOO_SMALL"


async def test_the_signal_goes_away(tmp_path: Path) -> None:
    """The other leg has run: at executable prices z is inside its threshold again."""
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        rig.market.set_book("1MBABYDOGEUSDT", [("0.0023876", 10_000_000)], [("0.0023878", 10_000_000)])
        assert (await entering).denial is DenialCode.NOT_FILLED
        assert told(rig)["ended"] == "Z_NOT_EXECUTABLE"
        assert at_rest(rig) == []
