"""Closing over real sockets: refused in every way, shared symbols, dust, others who close our legs, and flat only when proven."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from execution_rig import CAT, PAIR, Rig, deep_market, eventually, running
from test_execution_stories import assert_no_id_was_sent_twice, by_hand, post

from domain.orders import LegName, OrderStatus, OrderType, Purpose, Side
from domain.pairs import ExitReason, PairConfig, SignalType, TradeStatus
from domain.symbols import PairId, Symbol
from domain.trades import OrderState, TradeState
from paper.server import PaperExchange
from runner.execution.exit import saga

XRP = Symbol("XRP/USDT:USDT")
OTHER = PairConfig(
    pair_id=PairId("CAT_XRP"),
    leg_a=CAT,
    leg_b=XRP,
    hedge_ratio=40.0,
    entry_z=2.0,
    exit_z=0.0,
    stop_z=4.0,
    half_life_bars=5,
    half_life_bar_seconds=60,
)
POSITIONS = {"path": "/fapi/v3/positionRisk", "method": "GET"}


def closing_orders(trade: TradeState, leg: LegName) -> list[OrderState]:
    return [o for o in trade.orders.values() if o.intent.leg is leg and o.intent.purpose is not Purpose.ENTRY]


async def opened(rig: Rig, signal_type: SignalType = SignalType.SELL, pair: PairConfig = PAIR) -> TradeState:
    rig.configure(pair)
    if pair is OTHER:
        rig.market.set_book("XRPUSDT", [("0.4999", 10_000_000)], [("0.5001", 10_000_000)])
    await eventually(lambda: not rig.engine._locks.busy(pair.symbols))
    outcome = await rig.engine.execute_signal(rig.signal(signal_type, pair))
    assert outcome.executed, rig.log.said
    return rig.book.open_by_pair[pair.pair_id]


async def test_what_still_holds_something_does_not_end(tmp_path: Path) -> None:
    """Whoever asks, and though nothing has gone wrong: a trade that ended with its legs open would be nobody's."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        exit_saga = rig.engine._lifecycle._exit_saga
        assert not await exit_saga.finish(trade, status=TradeStatus.CLOSED, reason=ExitReason.REVERTED, exit_z=0.0)
        assert trade.status is TradeStatus.OPEN
        assert rig.at_exchange() == rig.believed() != {}


# The refusal of leg a's exit -> what its next order is.
REFUSALS: list[tuple[int, str]] = [
    (-4131, "limit"),
    (-2027, "half"),
    (-2019, "half"),
    (-4005, "half"),
    (-4050, "half"),
    (-2020, "limit"),
    (-1013, "same"),  # No proof of anything: looked up first.
    (-1111, "same"),
    (-4023, "same"),
    (-4400, "same"),
    (-4140, "same"),
    (-4164, "same"),
    (-1121, "same"),
]


@pytest.mark.parametrize(("code", "then"), REFUSALS)
async def test_an_exit_is_refused(tmp_path: Path, code: int, then: str) -> None:
    """Whatever the code, both legs end flat; the other leg does not wait, and the next order is what the code asks for."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        rig.fault("rejected", symbol="1000CATUSDT", parameters={"code": code})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}
        assert trade.status is TradeStatus.CLOSED
        first, second = closing_orders(trade, LegName.A)[:2]
        assert first.failed_for is not None
        assert first.failed_for.code == str(code)
        assert (second.intent.order_type is OrderType.LIMIT) == (then == "limit")
        assert second.intent.quantity == (first.intent.quantity // 2 if then == "half" else first.intent.quantity)
        assert second.intent.reduce_only
        assert {order.status for order in closing_orders(trade, LegName.B)} == {OrderStatus.FILLED}
        assert_no_id_was_sent_twice(rig)


async def test_a_ladder_climbs_until_somebody_is_there(tmp_path: Path) -> None:
    """Nobody sells inside the first steps of the ladder; the limits go outward, never out of the band."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        rig.fault("rejected", symbol="1000CATUSDT", parameters={"code": -4131})
        rig.fault("partial", symbol="1000CATUSDT", count=3, parameters={"fraction": "0"}, skip=1)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}
        prices = [order.intent.limit_price for order in closing_orders(trade, LegName.A)]
        assert prices[0] is None
        limits = [price for price in prices[1:] if price is not None]
        assert limits == sorted(set(limits))
        assert limits[-1] <= Decimal("0.0123") * Decimal("1.05")


async def test_the_unknown_leg_does_not_keep_the_refused_one_waiting(tmp_path: Path) -> None:
    """Leg a's reply is lost and its fate takes seconds to prove; leg b, refused at once, is closed long before."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        rig.fault("lost-1006", element=0)
        rig.fault("rejected", element=1, parameters={"code": -2027})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}
        lost, again = closing_orders(trade, LegName.A)
        assert lost.status is OrderStatus.DEAD
        assert closing_orders(trade, LegName.B)[-1].intended_ms < again.intended_ms - 500


async def test_two_pairs_on_opposite_sides_of_one_symbol(tmp_path: Path) -> None:
    """Short 21,480 in one pair, long 40,000 in the other: each closes what it holds, the other one's is untouched."""
    async with running(tmp_path) as rig:
        short = await opened(rig, SignalType.SELL)
        long = await opened(rig, SignalType.BUY, OTHER)
        assert short.signed_held(LegName.A) < 0 < long.signed_held(LegName.A)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange()["1000CATUSDT"] == long.held[LegName.A]
        assert rig.at_exchange() == rig.believed()
        assert not closing_orders(short, LegName.A)[0].intent.reduce_only, "the net position is long: nothing to reduce"
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT, OTHER))).executed
        assert rig.at_exchange() == rig.believed() == {}


async def test_the_net_position_is_smaller_than_what_we_close(tmp_path: Path) -> None:
    """Long 40,000 with a net of some 18,500: reduce-only so far, a plain order for the rest."""
    async with running(tmp_path) as rig:
        short = await opened(rig, SignalType.SELL)
        long = await opened(rig, SignalType.BUY, OTHER)
        net = rig.at_exchange()["1000CATUSDT"]
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT, OTHER))).executed
        orders = [(o.intent.quantity, o.intent.reduce_only) for o in closing_orders(long, LegName.A)]
        assert orders == [(net, True), (long.entered[LegName.A] - net, False)]
        assert rig.at_exchange() == rig.believed()
        assert rig.at_exchange()["1000CATUSDT"] == short.signed_held(LegName.A)


async def test_a_rest_too_small_for_a_plain_order_is_enlarged_first(tmp_path: Path) -> None:
    """180 of leg a are left, worth 2 USD, and the other pair holds the other way: no order of theirs would be accepted."""
    async with running(tmp_path) as rig:
        short = await opened(rig, SignalType.SELL)
        long = await opened(rig, SignalType.BUY, OTHER)
        almost = str(short.held[LegName.A] - 180)
        rig.fault("partial", symbol="1000CATUSDT", parameters={"quantity": almost})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert "leg_enlarged_to_close" in rig.log.events()
        assert short.status is TradeStatus.CLOSED
        assert rig.at_exchange() == rig.believed()
        assert rig.at_exchange()["1000CATUSDT"] == long.held[LegName.A]
        sides = [order.intent.side for order in closing_orders(short, LegName.A)]
        assert sides == [Side.BUY, Side.SELL, Side.BUY]


async def test_what_is_below_a_lot_step_ends_with_the_trade(tmp_path: Path) -> None:
    """The exchange makes its step ten times coarser meanwhile; the odd rest is declared, and stays in our positions."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        odd = trade.held[LegName.A] % 10 or Decimal(10)
        coarser = rig.rules.instrument(CAT)
        rig.rules._instruments[CAT] = msgspec.structs.replace(
            coarser,
            step=Decimal(10),
            market_step=Decimal(10),
            quantity_min=Decimal(10),
            market_quantity_min=Decimal(10),
        )
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert trade.status is TradeStatus.CLOSED
        if odd == 10:
            assert rig.at_exchange() == {}
            return
        assert rig.at_exchange() == rig.believed() == {"1000CATUSDT": -odd}
        assert "dust_left" in rig.log.events()
        assert trade.is_flat
        assert rig.book.open_by_pair == {}


async def test_one_deleveraging_closes_a_part_of_two_trades(tmp_path: Path) -> None:
    """Both pairs are short the symbol; the exchange takes all of it in one execution: both other legs are closed."""
    async with running(tmp_path) as rig:
        first = await opened(rig, SignalType.SELL)
        second = await opened(rig, SignalType.SELL, OTHER)
        await post(rig, "/paper/adl", symbol="1000CATUSDT")
        await eventually(lambda: first.status.is_over and second.status.is_over)
        assert rig.at_exchange() == rig.believed() == {}
        assert {first.exit_reason, second.exit_reason} == {ExitReason.OTHER_LEG_LOST}
        assert rig.log.events().count("leg_closed_externally") == 2
        assert_no_id_was_sent_twice(rig)


@pytest.mark.parametrize("fractions", [["0.3"], ["0.3", "0.5", "1"]])
async def test_deleveraged_in_part_and_in_pieces(tmp_path: Path, fractions: list[str]) -> None:
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        for fraction in fractions:
            await post(rig, "/paper/adl", symbol="1MBABYDOGEUSDT", fraction=fraction)
        await eventually(lambda: trade.status.is_over)
        assert rig.at_exchange() == rig.believed() == {}
        assert trade.exit_reason is ExitReason.OTHER_LEG_LOST


async def test_deleveraged_while_the_exit_is_in_flight(tmp_path: Path) -> None:
    """The exit of leg b never arrives, and before that is proven the exchange has taken the leg."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        rig.fault("lost-1006", element=1)
        leaving = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.EXIT)))
        await eventually(lambda: bool(closing_orders(trade, LegName.B)))
        await post(rig, "/paper/adl", symbol="1MBABYDOGEUSDT")
        await leaving
        await eventually(lambda: rig.engine.in_flight == 0)
        assert rig.at_exchange() == rig.believed() == {}
        assert trade.status is TradeStatus.CLOSED
        assert "leg_closed_externally" in rig.log.events()


async def test_a_person_closes_a_leg_and_the_stream_says_nothing(tmp_path: Path) -> None:
    """Found when our own exit is refused: it is adopted, and nothing is sold that is not there."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        rig.fault("user-frozen", count=1)
        await by_hand(rig, "1000CATUSDT", str(-trade.signed_held(LegName.A)))
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}
        (refused,) = closing_orders(trade, LegName.A)
        assert refused.refused_for is not None
        assert refused.refused_for.code == "-2022"


async def test_a_position_that_cannot_be_read_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reduce-only is refused, for a person has closed the leg, and the exchange does not report: no plain order opens the opposite."""
    monkeypatch.setattr(saga, "PERSISTS_SECONDS", 0.05)
    monkeypatch.setattr(saga, "ROUND_PAUSES_SECONDS", (0.1,))
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        rig.fault("user-frozen", count=1)
        await by_hand(rig, "1000CATUSDT", str(-trade.signed_held(LegName.A)))
        rig.fault("lost-503", count=None, **POSITIONS)
        leaving = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.EXIT)))
        await eventually(lambda: leaving.done() or rig.log.events().count("positions_unreadable") >= 6)
        assert all(order.intent.reduce_only for order in closing_orders(trade, LegName.A))
        assert "1000CATUSDT" not in rig.at_exchange()
        rig.paper.board.remove()
        assert (await asyncio.wait_for(leaving, 30)).executed
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_person_holds_more_of_the_same(tmp_path: Path) -> None:
    """Deleveraged by a tenth: of 100,000 we hold a fifth. Ours are booked first; what was theirs stays theirs."""
    async with running(tmp_path) as rig:
        await by_hand(rig, "1000CATUSDT", "-80000")
        await rig.stop()
        again = Rig(rig.market, rig.paper, rig.journal_path)
        await again.start()
        try:
            trade = await opened(again)
            ours = trade.held[LegName.A]
            await post(again, "/paper/adl", symbol="1000CATUSDT", fraction="0.1")
            gone = 80_000 + ours + again.at_exchange()["1000CATUSDT"]
            await eventually(lambda: trade.status.is_over)
            assert again.believed() == {}
            assert again.at_exchange() == {"1000CATUSDT": -80_000}
            assert 0 < gone < ours
        finally:
            await again.stop()
            await rig.start()  # The rig's own end wants something to stop.


async def test_a_rollback_is_not_over_until_the_exchange_says_so(tmp_path: Path) -> None:
    """Positions cannot be read: the trade stays unended, its pair busy, its symbols free; then it ends by itself."""
    async with running(tmp_path) as rig:
        rig.fault("lost-503", count=None, **POSITIONS)
        rig.fault("rejected", element=1, parameters={"code": -2019})
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: any(t.is_flat and t.status is TradeStatus.CLOSING for t in rig.book.live_trades()))
        await eventually(lambda: rig.log.events().count("positions_unreadable") >= 5)
        await eventually(lambda: not rig.engine._locks.busy(PAIR.symbols))
        (trade,) = rig.book.live_trades()
        assert trade.status is TradeStatus.CLOSING
        denied = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert not denied.executed
        rig.paper.board.remove()
        assert not (await entering).executed
        await eventually(lambda: trade.status is TradeStatus.ROLLED_BACK)
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_difference_that_nothing_explains(tmp_path: Path) -> None:
    """A position vanishes without an execution: attention and a call, no plain order, no end; until it agrees again."""
    async with running(tmp_path) as rig:
        trade = await opened(rig)
        rig.fault("rejected", symbol="1000CATUSDT", count=None, parameters={"code": -2022})
        position = rig.paper.desk.books.portfolios["paper-key"].account.position("1000CATUSDT", "BOTH")
        held, position.amount = position.amount, Decimal(0)
        leaving = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.EXIT)))
        await eventually(lambda: trade.status is TradeStatus.ATTENTION)
        assert all(order.intent.reduce_only for order in closing_orders(trade, LegName.A))
        position.amount = held
        rig.paper.board.remove()
        assert (await asyncio.wait_for(leaving, 20)).executed
        assert rig.at_exchange() == rig.believed() == {}
        called = [said for event, said in rig.log.said if event == "position_unexplained" and "trade_id" in said]
        assert len(called) == 1


async def test_a_restart_goes_on_where_the_failures_were(tmp_path: Path) -> None:
    """Refused again and again, a person called; a restart neither calls anew nor starts small; then the way is free."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        trade = await opened(first)
        first.fault("rejected", symbol="1000CATUSDT", count=None, parameters={"code": -2027})
        leaving = asyncio.create_task(first.engine.execute_signal(first.signal(SignalType.EXIT)))
        await eventually(lambda: "leg_close_stuck" in first.log.events())
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await first.stop()
        tried = len(closing_orders(trade, LegName.A))
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            (resumed,) = second.book.live_trades()
            await eventually(lambda: len(closing_orders(resumed, LegName.A)) > tried + 1)
            assert resumed.status is TradeStatus.ATTENTION
            assert "leg_close_stuck" not in second.log.events()
            sizes = [order.intent.quantity for order in closing_orders(resumed, LegName.A)]
            assert sizes == sorted(sizes, reverse=True)
            assert sizes[tried] < sizes[0]
            exchange.board.remove()
            await eventually(lambda: resumed.status.is_over, 30)
            assert second.at_exchange() == second.believed() == {}
            assert_no_id_was_sent_twice(second)
        finally:
            await second.stop()


async def test_a_close_that_waits_long_leaves_the_symbols_to_others(tmp_path: Path) -> None:
    """Leg b's contract is halted for this account: the pair that shares leg a leaves all the same."""
    async with running(tmp_path) as rig:
        halted = await opened(rig, SignalType.SELL)
        await opened(rig, SignalType.SELL, OTHER)
        rig.fault("rejected", symbol="1MBABYDOGEUSDT", count=None, parameters={"code": -4141})
        leaving = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.EXIT)))
        await eventually(lambda: halted.status is TradeStatus.ATTENTION and halted.held[LegName.A] == 0)
        assert (await asyncio.wait_for(rig.engine.execute_signal(rig.signal(SignalType.EXIT, OTHER)), 10)).executed
        assert set(rig.at_exchange()) == {"1MBABYDOGEUSDT"}
        rig.paper.board.remove()
        assert (await asyncio.wait_for(leaving, 30)).executed
        assert rig.at_exchange() == rig.believed() == {}
