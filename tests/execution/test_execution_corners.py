"""Rare meetings: a late order of an old trade, a slow replica, a leg lost while nobody looked, a stalled last request."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from execution_rig import PAIR, Rig, deep_market, eventually, running
from test_execution_stories import assert_no_id_was_sent_twice, post

from domain.entries import OrderIntended
from domain.guards import Approved, review
from domain.orders import LegName, OrderStatus, Purpose, client_order_id_of
from domain.pairs import SignalType, TradeStatus
from domain.trades import TradeState
from paper.server import PaperExchange
from runner.exchange.binance.wire import order_parameters


async def send_raw(rig: Rig, order: Any) -> None:
    """The request of an intent reaches the exchange, by whatever road."""
    await rig.client.fapiPrivatePostOrder(order_parameters(order))


async def test_a_late_order_of_an_old_trade_beside_a_new_one(tmp_path: Path) -> None:
    """Both legs of the first entry were lost. The pair trades again; then a leg of the first one turns up after all."""
    async with running(tmp_path) as rig:
        rig.fault("lost-503")
        assert not (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        (old,) = rig.book.trades.values()
        await eventually(
            lambda: rig.engine.in_flight == 0
        )  # The look at lost legs after the start holds the symbols, too.
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        new = rig.book.open_by_pair[PAIR.pair_id]
        held = rig.at_exchange()
        await send_raw(rig, old.orders[client_order_id_of(old.trade_id, LegName.A, Purpose.ENTRY, 0)].intent)
        await eventually(
            lambda: old.status is TradeStatus.ROLLED_BACK and "late_fill" in rig.log.events() and old.is_flat
        )
        await eventually(lambda: rig.engine.in_flight == 0)
        assert rig.at_exchange() == rig.believed() == held
        assert rig.book.open_by_pair[PAIR.pair_id] is new
        assert rig.signals.told[-1] == "opened", "the signals are about the new trade again"
        assert PAIR.pair_id in rig.signals.held
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_replica_slower_than_the_receive_window(tmp_path: Path) -> None:
    """Executed, the reply lost, the user stream silent, and queries deny the order for seconds: an execution that nobody
    explains keeps the order alive until the exchange names its owner."""
    async with running(tmp_path) as rig:
        rig.fault("user-frozen", count=1)
        rig.fault("hidden", element=0, parameters={"delay_ms": 3500})
        rig.fault("executed-dropped")
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert rig.at_exchange() == rig.believed()
        assert outcome.executed


async def test_executions_of_an_external_party_do_not_keep_a_dead_order_alive(tmp_path: Path) -> None:
    """A person buys the same symbol by hand while our order is lost: theirs stays theirs, ours is dead."""
    async with running(tmp_path) as rig:
        rig.fault("lost-dropped", client_order_id="tdm-")
        signal = rig.signal(SignalType.SELL)
        entering = asyncio.create_task(rig.engine.execute_signal(signal))
        await eventually(lambda: {o.status for o in rig.book.orders.values()} == {OrderStatus.UNKNOWN})
        await by_hand_order(rig, "1MBABYDOGEUSDT", "BUY", "5000")
        assert not (await entering).executed
        assert rig.believed() == {}
        assert rig.at_exchange() == {"1MBABYDOGEUSDT": Decimal(5000)}


async def test_a_leg_lost_while_the_runner_was_down(tmp_path: Path) -> None:
    """Auto-deleveraged overnight: the next start books it and closes the other leg."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        assert (await first.engine.execute_signal(first.signal(SignalType.SELL))).executed
        await first.stop()
        await post(first, "/paper/adl", symbol="1MBABYDOGEUSDT")
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            await eventually(lambda: second.at_exchange() == {} == second.believed())
            assert_no_id_was_sent_twice(second)
        finally:
            await second.stop()


async def test_the_last_request_of_a_dead_process_may_still_be_on_its_way(tmp_path: Path) -> None:
    """Its disk stalled: the intent is a minute old, the request left a moment before the end. Not dead before its window is."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        signal = first.signal(SignalType.SELL)
        first.gate.recovering = False
        plan, intents = planned(first, signal)
        old_ms = first.clock.now_ms() - 60_000
        await first.journal.append(plan, *(OrderIntended(at_ms=old_ms, intent=intent) for intent in intents))
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        started_ms = second.clock.now_ms()
        try:
            (trade,) = second.book.live_trades()
            await eventually(lambda: all(order.status is OrderStatus.DEAD for order in trade.orders.values()))
            assert second.clock.now_ms() - started_ms > second.settings.execution.recv_window_ms
        finally:
            await second.stop()


def planned(rig: Rig, signal: Any) -> tuple[Any, Any]:
    """What an approved signal would journal, without sending it."""
    pre_trade_check = rig.engine._pre_trade_check
    verdict = review(pre_trade_check.snapshot(signal, PAIR, journal_broken=False), pre_trade_check.limits)
    assert isinstance(verdict, Approved)
    return pre_trade_check.plan(verdict, PAIR)


async def by_hand_order(rig: Rig, symbol: str, side: str, quantity: str) -> None:
    await rig.client.fapiPrivatePostOrder({"symbol": symbol, "side": side, "type": "MARKET", "quantity": quantity})


async def test_a_trim_that_turns_up_late_closes_the_trade(tmp_path: Path) -> None:
    """A trim was proven absent, a second one hedged; then the first one is executed after all: not hedged any more."""
    async with running(tmp_path) as rig:
        rig.fault("partial", element=1, parameters={"fraction": "0.4"})
        rig.fault("lost-503", path="/fapi/v1/order", method="POST")
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        trade: TradeState = rig.book.open_by_pair[PAIR.pair_id]
        dead = next(order for order in trade.orders.values() if order.status is OrderStatus.DEAD)
        await send_raw(rig, dead.intent)
        await eventually(lambda: trade.status.is_over)
        await eventually(lambda: rig.at_exchange() == rig.believed() == {})


@pytest.mark.parametrize("code", ["not a number", "-2019 ", None])
async def test_a_batch_element_of_another_shape_is_unknown(tmp_path: Path, code: Any) -> None:
    async with running(tmp_path) as rig:
        _, intents = planned(rig, rig.signal(SignalType.SELL))
        answer = rig.adapter._answer_of(intents[0], {"code": code, "msg": "?"})
        assert type(answer).__name__ == ("Refused" if code == "-2019 " else "OutcomeUnknown")
