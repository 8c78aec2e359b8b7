"""Orders that ought not to exist, or exist after all: proof of death, late news, external parties under our name, starts in the middle."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from execution_rig import BTC, ETH, PAIR, Rig, deep_market, eventually, running
from test_execution_corners import by_hand_order, planned, send_raw
from test_execution_stories import assert_no_id_was_sent_twice, by_hand

from domain.entries import OrderAdvanced, OrderIntended
from domain.errors import InvariantBroken
from domain.guards import DenialCode
from domain.order_resolution import LOOKS_MIN, SETTLE_MS
from domain.orders import LegName, OrderIntent, OrderStatus
from domain.pairs import PairConfig, SignalType, TradeStatus
from domain.refusals import RefusalKind
from domain.symbols import PairId
from domain.trades import OrderState, TradeState
from paper.server import PaperExchange
from runner.exchange.errors import Refused, Unreachable
from runner.exchange.port import Answer
from runner.execution import lifecycle
from runner.execution.orders.resolution import OrderResolution

EXTERNAL = "tdm-somebodyelse-ae0"
ELSEWHERE = PairConfig(
    pair_id=PairId("ETH_BTC"), leg_a=ETH, leg_b=BTC, hedge_ratio=20.0, entry_z=2.0, exit_z=0.0, stop_z=4.0,
    half_life_bars=5, half_life_bar_seconds=60,
)  # fmt: skip


def order_of(trade: TradeState, leg: LegName) -> OrderState:
    return next(order for order in trade.orders.values() if order.intent.leg is leg)


async def lost_entry(rig: Rig) -> TradeState:
    """Neither leg arrived, and nobody said so: proven dead, rolled back."""
    rig.fault("lost-dropped")
    assert not (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
    return list(rig.book.trades.values())[-1]


async def test_the_evidence_stands_with_the_dead(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await lost_entry(rig)
        rows = [e for _, e in rig.journal.replay(kinds=["order_advanced"]) if isinstance(e, OrderAdvanced)]
        dead = [row for row in rows if row.status is OrderStatus.DEAD]
        assert len(dead) == 2
        for row in dead:
            evidence = msgspec.json.decode(row.reason.removeprefix("proven absent: "))
            assert evidence["absences"] >= LOOKS_MIN
            assert evidence["absent_for_ms"] >= SETTLE_MS
            assert evidence["past_bound_ms"] > 0
            assert evidence["is_resting"] is False
            assert evidence["position_change"] == "0"


async def test_a_question_that_fails_is_no_absence(tmp_path: Path) -> None:
    """Long past the bound, and nobody has said that the order does not exist: it stays unknown, however often we asked."""
    async with running(tmp_path) as rig:
        rig.fault("lost-dropped", count=None, method="GET", path="/fapi/v1/order")
        rig.fault("lost-dropped")
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: len(rig.book.orders) == 2)
        bound_ns = rig.clock.monotonic_ns() + 4_000_000_000  # recvWindow 0.5 s, margin 1 s, settling 1 s, and some.
        await eventually(lambda: rig.clock.monotonic_ns() > bound_ns)
        assert {order.status for order in rig.book.orders.values()} == {OrderStatus.UNKNOWN}
        rig.paper.board.remove()
        assert not (await entering).executed
        assert {order.status for order in rig.book.orders.values()} == {OrderStatus.DEAD}


async def test_a_position_of_a_persons_own_is_no_evidence(tmp_path: Path) -> None:
    """Known since the start: neither a reason to doubt the death, nor touched."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        rig = Rig(market, exchange, tmp_path / "journal.sqlite")
        await by_hand(rig, "1MBABYDOGEUSDT", "777")
        await rig.start()
        try:
            async with asyncio.timeout(10):
                await lost_entry(rig)
            assert rig.at_exchange() == {"1MBABYDOGEUSDT": Decimal(777)}
        finally:
            await rig.stop()


async def test_a_persons_position_looks_like_the_lost_order_after_a_crash(tmp_path: Path) -> None:
    """On the order's side and smaller: only the journal can tell that it was there before the order was."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await by_hand(first, "1MBABYDOGEUSDT", "777")
        await first.start()
        await eventually(lambda: first.execution.positions.learned(PAIR.leg_b) is not None)
        first.fault("lost-dropped")
        entering = asyncio.create_task(first.engine.execute_signal(first.signal(SignalType.SELL)))
        await eventually(lambda: {o.status for o in first.book.orders.values()} == {OrderStatus.UNKNOWN})
        entering.cancel()
        await first.engine.disconnect(0)
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            assert second.book.orders
            await eventually(lambda: {o.status for o in second.book.orders.values()} == {OrderStatus.DEAD})
            assert second.at_exchange() == {"1MBABYDOGEUSDT": Decimal(777)}
        finally:
            await second.stop()


async def test_what_a_person_trades_meanwhile_is_explained(tmp_path: Path) -> None:
    """On both sides of both symbols while the order's fate is open."""
    async with running(tmp_path) as rig:
        rig.fault("lost-dropped")
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: {o.status for o in rig.book.orders.values()} == {OrderStatus.UNKNOWN})
        await by_hand_order(rig, "1MBABYDOGEUSDT", "BUY", "5000")
        await by_hand_order(rig, "1000CATUSDT", "SELL", "900")
        await by_hand_order(rig, "1MBABYDOGEUSDT", "SELL", "7000")
        async with asyncio.timeout(10):
            assert not (await entering).executed
        assert rig.at_exchange() == {"1MBABYDOGEUSDT": Decimal(-2000), "1000CATUSDT": Decimal(-900)}


@pytest.mark.parametrize("leg", LegName)
async def test_a_late_order_of_a_trade_long_forgotten(tmp_path: Path, leg: LegName) -> None:
    """Six hours later, in effect: its trade is read back from the journal, the execution adopted and taken back."""
    async with running(tmp_path) as rig:
        old = await lost_entry(rig)
        rig.book.forget_ended_before(rig.clock.now_ms() + 1)
        assert not rig.book.trades
        await send_raw(rig, order_of(old, leg).intent)
        await eventually(lambda: old.trade_id in rig.book.trades and rig.book.trades[old.trade_id].fill_ids)
        await eventually(lambda: rig.at_exchange() == rig.believed() == {} and rig.engine.in_flight == 0)
        again = rig.book.trades[old.trade_id]
        assert again.status is TradeStatus.ROLLED_BACK
        assert again.is_flat
        assert not rig.gate.foreign_orders
        assert "order_not_in_journal" not in rig.log.events()
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed


async def test_a_known_execution_told_again_long_after(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        told: list[Any] = []
        rig.engine.on_news, keep = told.append, rig.engine.on_news  # type: ignore[method-assign]
        rig.stream._on_news = lambda news: (told.append(news), keep(news))  # type: ignore[assignment]
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        await eventually(lambda: any(news.fill is not None for news in told))
        (trade,) = rig.book.trades.values()
        result = trade.net_pnl_usd
        rig.book.forget_ended_before(rig.clock.now_ms() + 1)
        for news in told:
            keep(news)
        await eventually(lambda: trade.trade_id in rig.book.trades)
        await eventually(rig.engine._inbox._queue.empty)
        again = rig.book.trades[trade.trade_id]
        assert again.is_flat
        assert again.status is TradeStatus.CLOSED
        assert again.net_pnl_usd == result
        assert rig.engine.in_flight == 0
        assert not rig.gate.foreign_orders


async def test_a_dead_order_that_came_true_while_we_were_down(tmp_path: Path) -> None:
    """No event of it was ever seen: the position tells, the order is asked for again and taken back."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        old = await lost_entry(first)
        first.fault("user-frozen")
        await send_raw(first, order_of(old, LegName.B).intent)
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            await eventually(lambda: second.at_exchange() == {} == second.believed())
            assert second.book.trades[old.trade_id].fill_ids
            assert_no_id_was_sent_twice(second)
        finally:
            await second.stop()


async def test_an_execution_journaled_and_nothing_done_about_it(tmp_path: Path) -> None:
    """The late fill was booked, then the process died: held is held at the next start, though the trade is over."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        old = await lost_entry(first)
        first.context.notices.trade_changed._handlers.clear()  # It died before anything could be done.
        await send_raw(first, order_of(old, LegName.A).intent)
        await eventually(lambda: bool(old.fill_ids))
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            await eventually(lambda: second.at_exchange() == {} == second.believed())
        finally:
            await second.stop()


async def test_somebody_under_our_name_stops_entries_until_explained(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        resting = {"symbol": "1000CATUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1000"}
        await rig.client.fapiPrivatePostOrder({**resting, "price": "0.0115", "newClientOrderId": EXTERNAL})
        await eventually(lambda: rig.gate.foreign_orders == 1)
        assert rig.log.events().count("order_not_in_journal") == 1
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed, "exits go on"
        denied = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert denied.denial is DenialCode.FOREIGN_ORDERS
        assert await rig.engine.explain_orders() == {EXTERNAL}
        await rig.client.fapiPrivateDeleteOrder({"symbol": "1000CATUSDT", "origClientOrderId": EXTERNAL})
        await eventually(rig.engine._inbox._queue.empty)
        assert await rig.engine.explain_orders() == frozenset()
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed


async def test_entries_wait_at_start_until_every_order_has_an_end(tmp_path: Path) -> None:
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        plan, intents = planned(first, first.signal(SignalType.SELL))
        at_ms = first.clock.now_ms()
        await first.journal.append(plan, *(OrderIntended(at_ms=at_ms, intent=intent) for intent in intents))
        await send_raw(first, intents[0])  # One leg left, the other did not; then the process died.
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            assert second.gate.recovering
            trade = second.book.trades[plan.trade_id]
            second.configure(PAIR, ELSEWHERE)
            early = await second.engine.execute_signal(second.signal(SignalType.SELL, ELSEWHERE))
            assert early.denial is DenialCode.RECOVERING
            assert "not judged" not in second.signals.told
            await eventually(lambda: not second.gate.recovering)
            assert second.signals.told.count("not judged") == 1, "it may come again at once"
            assert all(order.is_settled for order in trade.orders.values() if order.intent in intents)
            await eventually(lambda: trade.status is not TradeStatus.OPENING and second.engine.in_flight == 0)
            assert second.at_exchange() == second.believed()
            assert trade.is_hedged
        finally:
            await second.stop()


async def test_what_cannot_be_decided_does_not_keep_other_pairs_out_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look-up of one order fails: entries of others go on after the bound, its own symbols stay locked."""
    monkeypatch.setattr("runner.execution.engine.RECOVERY_SECONDS", 0.2)
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        plan, intents = planned(first, first.signal(SignalType.SELL))
        at_ms = first.clock.now_ms()
        await first.journal.append(plan, *(OrderIntended(at_ms=at_ms, intent=intent) for intent in intents))
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        second.fault("refused-503", count=None, path="/fapi/v1/order", method="GET")
        await second.start()
        try:
            await eventually(lambda: not second.gate.recovering)
            assert "recovery_incomplete" in second.log.events()
            assert all(order.status is OrderStatus.INTENDED for order in second.book.orders.values())
            assert second.engine._locks.busy(PAIR.symbols)
            pre_trade_check, lever = second.engine._pre_trade_check, second.settings.risk.leverage
            planned_usd = plan.quantity_a * plan.price_a + plan.quantity_b * plan.price_b
            assert pre_trade_check.exposure.gross_notional_usd() == pytest.approx(planned_usd, rel=Decimal("0.001")), (
                "it may yet fill"
            )
            now = pre_trade_check.snapshot(second.signal(SignalType.SELL), PAIR, journal_broken=False)
            assert second.gate.balance is not None
            assert second.gate.balance.available_usd - now.margin_free_usd == pytest.approx(planned_usd / lever)
            assert second.book.last_plans[PAIR.pair_id].signal_ms == plan.signal_ms is not None
        finally:
            second.paper.board.remove()
            await second.stop()


@pytest.mark.parametrize("ending", [SignalType.EXIT, SignalType.STOP])
async def test_an_exit_during_the_opening_is_not_lost(tmp_path: Path, ending: SignalType) -> None:
    """It waits for the locks and closes what the opening became; an entry of the other side is denied meanwhile."""
    async with running(tmp_path) as rig:
        rig.fault("executed-delayed", parameters={"delay_ms": 400})
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: bool(rig.book.orders))
        leaving = asyncio.create_task(rig.engine.execute_signal(rig.signal(ending)))
        opposite = await rig.engine.execute_signal(rig.signal(SignalType.BUY))
        assert opposite.denial is DenialCode.PAIR_BUSY
        assert (await entering).executed
        assert (await leaving).executed
        assert rig.at_exchange() == rig.believed() == {}
        (trade,) = rig.book.trades.values()
        assert trade.status is TradeStatus.CLOSED
        assert rig.signals.told[-1].startswith("closed")


async def test_flatten_during_the_opening_closes_it_when_open(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.fault("executed-delayed", parameters={"delay_ms": 400})
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: bool(rig.book.orders))
        assert await rig.engine.flatten([PAIR.pair_id], wait_seconds=5) == {PAIR.pair_id: "closed"}
        assert (await entering).executed
        assert rig.at_exchange() == rig.believed() == {}


async def test_two_identical_signals_at_once_are_one_trade(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        signal = rig.signal(SignalType.SELL)
        outcomes = await asyncio.gather(rig.engine.execute_signal(signal), rig.engine.execute_signal(signal))
        assert sorted(outcome.executed for outcome in outcomes) == [False, True]
        assert len(rig.book.trades) == 1


async def test_a_trade_whose_driver_failed_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the middle of an entry: the pair is frozen, and the legs are brought to hedged all the same."""
    monkeypatch.setattr(lifecycle, "TAKE_UP_SECONDS", (0.05,))
    monkeypatch.setattr("runner.execution.engine.TAKE_UP_SECONDS", (0.05,))
    async with running(tmp_path) as rig:
        settle, failures = rig.engine._entry_saga.settle, [InvariantBroken("a bug"), RuntimeError("another")]

        async def fails_twice(trade: TradeState) -> Any:
            if failures:
                raise failures.pop()
            return await settle(trade)

        monkeypatch.setattr(rig.engine._entry_saga, "settle", fails_twice)
        monkeypatch.setattr(rig.engine._lifecycle._post_only_saga, "settle", fails_twice)
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert outcome.denial is DenialCode.INTERNAL
        await eventually(lambda: rig.signals.told[-1] == "opened")
        assert rig.at_exchange() == rig.believed() != {}
        assert PAIR.pair_id in rig.book.frozen_until_ms
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_refusal_of_an_order_that_the_stream_has_shown_alive(tmp_path: Path) -> None:
    """A reply whose elements stand in each other's place, and no element names an order: the stream knows better."""
    async with running(tmp_path) as rig:
        place = rig.adapter.place

        async def overtaken(intents: Sequence[OrderIntent]) -> Sequence[Answer]:
            await place(intents)
            await eventually(lambda: all(order.is_over for order in rig.book.orders.values()))
            return [Refused(RefusalKind.REDUCE_ONLY_REJECTED, -2022, "whose?"), Unreachable("nobody's")]

        rig.engine._entry_saga._tracker._exchange.place = overtaken  # type: ignore[method-assign]
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert rig.log.events().count("reply_contradicts_stream") == 2
        assert rig.at_exchange() == rig.believed() != {}


class JumpingClock:
    """A wall clock that jumps, beside a monotonic one that does not."""

    def __init__(self) -> None:
        self.wall_ms, self.elapsed_ms = 1_700_000_000_000, 0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_ns(self) -> int:
        return self.elapsed_ms * 1_000_000


@pytest.mark.parametrize("jump_ms", [0, 10_000, -10_000, 86_400_000])
async def test_no_jump_of_the_wall_clock_moves_the_bound(tmp_path: Path, jump_ms: int) -> None:
    """Not for what was sent, nor for what a predecessor may have sent until the journal was ours."""
    async with running(tmp_path) as rig:
        _, (intent, other) = planned(rig, rig.signal(SignalType.SELL))
    clock: Any = JumpingClock()
    context = replace(rig.context, clock=clock)
    proof = OrderResolution(
        context, rig.adapter, rig.execution.positions, recv_window_ms=2_000, alone_since_ns=100_000_000
    )
    clock.elapsed_ms = 500
    proof.sent_until_ns[intent.client_order_id] = clock.monotonic_ns()
    sent, found = (OrderState(intent=each, intended_ms=clock.wall_ms) for each in (intent, other))
    clock.wall_ms += jump_ms
    for elapsed_ms, of_sent, of_found in ((3_099, -401, -1), (3_100, -400, 0), (3_501, 1, 401)):
        clock.elapsed_ms = elapsed_ms
        assert (proof.past_bound_ms(sent), proof.past_bound_ms(found)) == (of_sent, of_found)
