"""A limit entry whose quote, cancel, fill or hedge is lost, late or refused."""

from pathlib import Path

import pytest
from execution_rig import eventually
from passive_rig import (
    ASK,
    BID,
    CAT,
    TICK,
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

from domain.guards import DenialCode
from domain.orders import LegName, OrderStatus


@pytest.mark.parametrize(("kind", "delay_ms"), [("executed-503", 0), ("executed-delayed", 4000), ("hidden", 300)])
async def test_the_reply_to_the_quote_is_lost(tmp_path: Path, kind: str, delay_ms: int) -> None:
    """The user stream has told that it rests, so nothing is unknown."""
    async with resting(tmp_path) as rig:
        rig.fault(kind, parameters={"delay_ms": delay_ms})
        entering = await entered(rig)
        await eventually(lambda: quotes_of(rig)[-1].status is OrderStatus.OPEN)
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert_hedged(rig)
        assert told(rig)["quotes"] == 1


@pytest.mark.parametrize("kind", ["executed-503", "executed-dropped", "executed-garbage"])
async def test_reply_and_stream_are_lost(tmp_path: Path, kind: str) -> None:
    """It rests where nobody watches: looked up, withdrawn, proven over, quoted anew. Never two alive."""
    async with resting(tmp_path) as rig:
        rig.fault("user-frozen", count=1)
        rig.fault(kind)
        entering = enter(rig)
        await eventually(lambda: len(quotes_of(rig)) == 2 and quotes_of(rig)[1].status is OrderStatus.OPEN)
        assert_never_two_alive(rig)
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert_hedged(rig)


async def test_the_quote_never_arrived(tmp_path: Path) -> None:
    """Lost on its way: dead only once it can no longer be accepted, and not tried again."""
    async with resting(tmp_path) as rig:
        rig.fault("lost-dropped")
        assert (await enter(rig)).denial is DenialCode.NOT_FILLED
        assert told(rig)["ended"] == "lost"
        assert quotes_of(rig)[0].status is OrderStatus.DEAD


async def test_a_fill_before_the_reply_is_hedged_before_the_reply(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        rig.fault("executed-delayed", parameters={"delay_ms": 1200})
        entering = enter(rig)
        await eventually(lambda: at_rest(rig))
        take(rig, 8_000)
        await eventually(lambda: "1MBABYDOGEUSDT" in rig.at_exchange(), 1.0)
        await eventually(lambda: quotes_of(rig)[-1].status is OrderStatus.PARTIALLY_FILLED)
        take(rig, at_rest(rig)[0].remaining)
        assert (await entering).executed
        assert_hedged(rig)


async def test_the_cancel_races_a_fill(tmp_path: Path) -> None:
    """The touch moves away, the cancel leaves, and a fill is faster: -2011, looked up, hedged."""
    async with resting(tmp_path, limit_wait_seconds=6, limit_chases_max=29) as rig:
        entering = await entered(rig)
        rig.fault("lost-delayed", method="DELETE", path="/fapi/v1/order", parameters={"delay_ms": 500})
        quote_cat(rig, BID - TICK, ASK - TICK)
        await eventually(lambda: bool(rig.paper.board.rows()) and rig.paper.board.rows()[0]["hits"] == 1)
        order = at_rest(rig)[0]
        rig.market.set_book(CAT, [(ASK, order.quantity)], [(ASK + TICK * 2, 1_000_000)])
        assert (await entering).executed
        assert_hedged(rig)
        assert the_trade(rig).held[LegName.A] == the_trade(rig).plan.quantity_a


async def test_a_cancel_that_gets_lost_is_asked_for_again(tmp_path: Path) -> None:
    async with resting(tmp_path, limit_wait_seconds=0.5) as rig:
        rig.fault("lost-503", count=2, method="DELETE", path="/fapi/v1/order")
        assert (await enter(rig)).denial is DenialCode.NOT_FILLED
        assert at_rest(rig) == []


@pytest.mark.parametrize("code", [-2019, -4131])
async def test_the_hedge_is_refused(tmp_path: Path, code: int) -> None:
    """The resting leg has filled in part, the other cannot be bought: withdrawn and taken back, at once."""
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        rig.fault("rejected", symbol="1MBABYDOGEUSDT", parameters={"code": code})
        take(rig, 8_000)
        assert not (await entering).executed
        assert at_rest(rig) == []
        assert rig.at_exchange() == rig.believed() == {}
        assert told(rig)["ended"] == "hedge_refused"
        assert the_trade(rig).naked_seconds() < 5
        assert countdowns(rig) == {}


async def test_a_hedge_that_is_proven_dead_is_asked_for_again(tmp_path: Path) -> None:
    """Its fate was unknown: nothing rests any more, and once it is proven dead, completing is cheaper than taking back."""
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        rig.fault("rejected", symbol="1MBABYDOGEUSDT", parameters={"code": -1007})
        take(rig, 8_000)
        assert (await entering).executed
        assert told(rig)["ended"] == "hedge_unknown"
        assert at_rest(rig) == []
        assert rig.at_exchange() == rig.believed() != {}
        assert countdowns(rig) == {}


async def test_the_hedge_finds_only_a_part(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        rig.fault("partial", symbol="1MBABYDOGEUSDT", parameters={"fraction": "0.5"})
        take(rig, 8_000)
        await entering
        assert told(rig)["ended"] == "hedge_short"
        assert at_rest(rig) == []
        assert rig.at_exchange() == rig.believed()
        for trade in rig.book.live_trades():
            assert trade.is_hedged


@pytest.mark.parametrize("kind", ["user-frozen", "user-dropped"])
async def test_the_user_stream_tells_nothing(tmp_path: Path, kind: str) -> None:
    """The socket is open and silent: the look-up beside it finds the fill, and it is hedged."""
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        rig.fault(kind, count=1)
        take(rig, 8_000)
        await eventually(lambda: "1MBABYDOGEUSDT" in rig.at_exchange(), 5.0)
        take(rig, at_rest(rig)[0].remaining)
        assert (await entering).executed
        assert_hedged(rig)
