"""The nine ways in which a comparable system lost money, each shut by a guard that its test names and needs."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from execution_rig import PAIR, Rig, deep_market, eventually, running

from domain.guards import DenialCode
from domain.orders import LegName, OrderStatus, Purpose
from domain.pairs import SignalType, TradeStatus
from paper.server import PaperExchange
from runner.exchange import user_stream

A, B = LegName.A, LegName.B


def sent_ids(rig: Rig) -> list[str]:
    return [name for arrival in rig.paper.desk.orders_log for name in arrival.client_order_ids]


def assert_books_agree(rig: Rig) -> None:
    assert rig.at_venue() == rig.believed()
    assert len(sent_ids(rig)) == len(set(sent_ids(rig)))


async def test_1_lock_released_before_the_orders_were_over(tmp_path: Path) -> None:
    """`SymbolLocks.hold_now` round the whole of `ExecutionEngine._enter`, by symbol: the other side is kept out, too."""
    async with running(tmp_path) as rig:
        rig.fault("executed-delayed", parameters={"delay_ms": 300})
        other = msgspec.structs.replace(PAIR, pair_id="OTHER")
        rig.pairs[other.pair_id] = other
        outcomes = await asyncio.gather(
            rig.engine.execute_signal(rig.signal(SignalType.SELL)),
            rig.engine.execute_signal(rig.signal(SignalType.BUY)),
            rig.engine.execute_signal(rig.signal(SignalType.BUY, other)),
        )
        assert [outcome.executed for outcome in outcomes] == [True, False, False]
        assert {outcome.denial for outcome in outcomes[1:]} <= {DenialCode.SYMBOL_BUSY, DenialCode.PAIR_BUSY}
        assert len(sent_ids(rig)) == 2
        assert_books_agree(rig)


@pytest.mark.parametrize("kind", ["executed-503", "lost-503", "executed-dropped", "lost-dropped"])
async def test_2_sent_again_after_an_error(tmp_path: Path, kind: str) -> None:
    """`Records.take_failure`: no answer is UNKNOWN, looked up by its own client id, never sent again."""
    async with running(tmp_path) as rig:
        rig.fault(kind)
        await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        entries = [o for o in rig.book.orders.values() if o.intent.purpose is Purpose.ENTRY]
        assert len(entries) == 2
        assert_books_agree(rig)


async def test_3_taken_for_absent_at_the_first_look(tmp_path: Path) -> None:
    """`domain.death.judge`: executed, its reply lost, denied by the first queries: found, adopted, and not unwound."""
    async with running(tmp_path) as rig:
        rig.fault("user-frozen", parameters={"duration_ms": 3000})
        rig.fault("hidden", parameters={"delay_ms": 600}, element=1)
        rig.fault("executed-dropped")
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert len(sent_ids(rig)) == 2
        assert_books_agree(rig)
        assert len(rig.at_venue()) == 2


@pytest.mark.parametrize("fraction", ["0.02", "0.4", "0.97"])
async def test_4_a_partial_fill_nobody_looked_at(tmp_path: Path, fraction: str) -> None:
    """`Opener.settle` goes by what is held, not by what was ordered: completed, trimmed or unwound."""
    async with running(tmp_path) as rig:
        rig.fault("partial", parameters={"fraction": fraction}, element=1)
        await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert all(trade.hedge_error <= 0.021 for trade in rig.book.live_trades())
        assert_books_agree(rig)


async def test_5_one_try_to_roll_back(tmp_path: Path) -> None:
    """`Closer.close` goes on until flat, each order with an id of its own and reduce-only, and `finish` asks the venue."""
    async with running(tmp_path) as rig:
        rig.fault("rejected", parameters={"code": -2019}, element=1)
        # Whatever tries to close is refused or lost for a while.
        rig.fault("rejected", count=3, parameters={"code": -1008}, client_order_id="-a[xu]")
        rig.fault("lost-408", client_order_id="-a[xu]", skip=3)
        assert not (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        (trade,) = rig.book.trades.values()
        await eventually(lambda: trade.status is TradeStatus.ROLLED_BACK, 20)
        closing = [order for order in trade.orders.values() if order.intent.purpose is not Purpose.ENTRY]
        assert len(closing) >= 3
        assert all(order.intent.reduce_only for order in closing)
        assert rig.at_venue() == {}
        assert_books_agree(rig)


@pytest.mark.parametrize("code", [-2022, -4131, -1007])
async def test_6_an_exit_whose_second_leg_failed(tmp_path: Path, code: int) -> None:
    """`Closer` holds what *remains* of each leg (`TradeState.held`): closed to the last piece, never beyond it."""
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.BUY))).executed
        (trade,) = rig.book.live_trades()
        entered = dict(trade.held)
        rig.fault("rejected", parameters={"code": code}, element=1)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_venue() == {}
        for leg in LegName:
            closed = sum(
                o.seen for o in trade.orders.values() if o.intent.leg is leg and o.intent.purpose is not Purpose.ENTRY
            )
            assert closed == entered[leg]
        assert_books_agree(rig)


async def test_7_positions_kept_in_memory(tmp_path: Path) -> None:
    """`Book` is the fold of the journal: after a restart the trade is known, with its prices, and its exit closes it."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        assert (await first.engine.execute_signal(first.signal(SignalType.SELL))).executed
        (before,) = first.book.live_trades()
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            (after,) = second.book.live_trades()
            assert (after.trade_id, after.held, after.cash_usd) == (before.trade_id, before.held, before.cash_usd)
            assert second.switches.unexplained_orders == set()
            assert_books_agree(second)
            assert (await second.engine.execute_signal(second.signal(SignalType.EXIT))).executed
            assert second.at_venue() == {}
        finally:
            await second.stop()


async def test_8_a_raw_amount_when_rounding_failed(tmp_path: Path) -> None:
    """`size_pair` and `order_problem`: what cannot be rounded to the filters is not sent; each contract has its own minimum."""
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        for order in rig.book.orders.values():
            instrument = rig.rules.instrument(order.intent.symbol)
            assert order.intent.quantity % instrument.quantity_step(order.intent.order_type) == 0
            assert order.intent.limit_price is not None
            assert order.intent.limit_price % instrument.tick == 0
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        before = len(sent_ids(rig))
        rig.engine._assessor._risk = rig.settings.risk.model_copy(update={"pair_notional_usd": Decimal("4.5")})
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert outcome.denial is DenialCode.SIZE_TOO_SMALL
        assert len(sent_ids(rig)) == before


async def test_9_no_set_up_and_a_stream_that_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AccountSetup.prepare` reads leverage and margin type back; `UserStream.run` reconnects for ever."""
    monkeypatch.setattr(user_stream, "BACKOFF_SECONDS", (0.05,))
    async with running(tmp_path) as rig:
        await rig.client.fapiPrivatePostMarginType({"symbol": "1000CATUSDT", "marginType": "ISOLATED"})
        assert await rig.venue.prepare(list(PAIR.symbols), rig.settings.risk.leverage) == {}
        (row,) = await rig.client.fapiPrivateGetSymbolConfig({"symbol": "1000CATUSDT"})
        assert (int(row["leverage"]), row["marginType"]) == (rig.settings.risk.leverage, "CROSSED")
        for _ in range(7):
            await asyncio.wait_for(rig.stream.connected.wait(), 10)
            rig.fault("user-dropped")
            await eventually(lambda: not rig.stream.connected.is_set())
        await asyncio.wait_for(rig.stream.connected.wait(), 10)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert all(order.status is OrderStatus.FILLED for order in rig.book.orders.values())
        assert_books_agree(rig)
