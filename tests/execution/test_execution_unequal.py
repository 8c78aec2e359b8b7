"""Legs that fill unequally, over real sockets: which way out is taken, that it is journaled first, and what it leaves."""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from execution_rig import CAT, DOGE, PAIR, Rig, deep_market, eventually, running
from test_execution_stories import assert_no_id_was_sent_twice

from domain.entries import AnyEntry, OrderIntended, TradeAdvanced, TradeIntended
from domain.events import Event
from domain.orders import LegName, OrderStatus, Purpose, TimeInForce
from domain.pairs import SignalType, TradeStatus
from domain.quotes import Quote
from domain.symbols import Symbol
from domain.trades import TradeState
from paper.server import PaperExchange
from runner import events
from storage.journal import Journal

D = Decimal
A, B = LegName.A, LegName.B


def steps(rig: Rig) -> list[TradeAdvanced]:
    """The choices as the journal holds them."""
    return [
        entry
        for _, entry in rig.journal.replay()
        if isinstance(entry, TradeAdvanced) and entry.status is TradeStatus.OPENING
    ]


def the_trade(rig: Rig) -> TradeState:
    (trade,) = rig.book.trades.values()
    return trade


def assert_chosen_before_done(rig: Rig) -> None:
    """Every order of an entry but its first two stands behind the choice that made it."""
    orders = 0
    choices = 0
    for _, entry in rig.journal.replay():
        if isinstance(entry, TradeAdvanced) and entry.status is TradeStatus.OPENING:
            choices += 1
        elif isinstance(entry, OrderIntended) and entry.intent.purpose is not Purpose.EXIT:
            orders += 1
            assert orders <= 2 + choices


# What each leg's first order meets -> how the entry is brought to its end, and which leg is completed.
COMPLETED: list[tuple[str, dict[int, str], LegName]] = [
    ("b not at all", {1: "0"}, B),
    ("b 1 %", {1: "0.01"}, B),
    ("b 60 %", {1: "0.6"}, B),
    ("b 95 %", {1: "0.95"}, B),
    ("a not at all", {0: "0"}, A),
    ("a 1 %", {0: "0.01"}, A),
    ("a 60 %", {0: "0.6"}, A),
    ("both, a more", {0: "0.7", 1: "0.4"}, B),
    ("both, b more", {0: "0.3", 1: "0.8"}, A),
]


@pytest.mark.parametrize(("fractions", "leg"), [row[1:] for row in COMPLETED], ids=[row[0] for row in COMPLETED])
async def test_the_short_leg_is_completed_while_that_is_cheap(
    tmp_path: Path, fractions: dict[int, str], leg: LegName
) -> None:
    async with running(tmp_path) as rig:
        for element, fraction in fractions.items():
            rig.fault("partial", element=element, parameters={"fraction": fraction})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed, rig.log.said
        trade = the_trade(rig)
        assert rig.at_exchange() == rig.believed() != {}
        assert trade.is_hedged
        (step,) = steps(rig)
        assert step.reason == "complete"
        assert step.facts["complete"]["leg"] == leg
        assert set(step.facts["unwind"]) >= {"total_usd", "spread_usd", "fees_usd", "naked_risk_usd", "edge_kept_usd"}
        assert step.facts["complete"]["total_usd"] < step.facts["unwind"]["total_usd"]
        held = {leg: trade.held[leg] for leg in LegName}
        assert all(held[each] <= getattr(trade.plan, f"quantity_{each}") for each in LegName), "never beyond the plan"
        assert_chosen_before_done(rig)
        assert_no_id_was_sent_twice(rig)
        assert trade.naked_seconds() > 0
        assert trade.naked_notional_usd_seconds() > 0
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}


@pytest.mark.parametrize("code", [-2019, -2027, -4164, -1111])
async def test_a_leg_refused_for_good_is_answered_at_once(tmp_path: Path, code: int) -> None:
    """Margin, leverage, or rules that are not ours any more: no second try, and whoever keeps the rules is told."""
    async with running(tmp_path) as rig:
        doubted: list[tuple[Symbol, str]] = []
        rig.context.notices.rules_doubted.subscribe(lambda symbol, code: doubted.append((symbol, code)))
        rig.fault("rejected", element=1, parameters={"code": code})
        assert not (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        trade = the_trade(rig)
        assert rig.at_exchange() == rig.believed() == {}
        (step,) = steps(rig)
        assert step.reason == "unwind"
        assert step.facts["complete"]["obstacle"] == "refused"
        assert trade.attempts(B, Purpose.ENTRY) == 1
        assert trade.naked_seconds() < 2
        assert doubted == ([] if code == -2019 else [(DOGE, str(code))])


def moving(rig: Rig, symbol: Symbol, share: float) -> Callable[[Symbol], Quote | None]:
    """Quotes that have moved by the time anything was ordered."""
    present = rig.quote

    def quote(asked: Symbol) -> Quote | None:
        now = present(asked)
        if now is None or asked != symbol or not rig.book.orders:
            return now
        return msgspec.structs.replace(now, bid=now.bid * (1 + share), ask=now.ask * (1 + share))

    return quote


def quotes_of(rig: Rig, quote: Callable[[Symbol], Quote | None]) -> None:
    rig.engine._entry_saga._planner._quote_of = quote


async def test_the_price_is_gone_so_the_excess_goes_back(tmp_path: Path) -> None:
    """Leg b has 60 %, and the rest would cost 0.2 % more than at the decision."""
    async with running(tmp_path) as rig:
        quotes_of(rig, moving(rig, DOGE, 0.002))
        rig.fault("partial", element=1, parameters={"fraction": "0.6"})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed, rig.log.said
        trade = the_trade(rig)
        (step,) = steps(rig)
        assert step.reason == "trim"
        assert step.facts["complete"]["obstacle"] == "slippage"
        assert trade.held[B] == trade.plan.quantity_b * D("0.6") // 1
        assert trade.is_hedged
        assert rig.at_exchange() == rig.believed()


async def test_a_trim_that_expires_partly_filled_is_followed_by_another(tmp_path: Path) -> None:
    """A market order, too, may fill in part: what is left in excess is weighed again."""
    async with running(tmp_path) as rig:
        quotes_of(rig, moving(rig, DOGE, 0.002))
        rig.fault("partial", element=1, parameters={"fraction": "0.6"})
        rig.fault("partial", path="/fapi/v1/order", method="POST", parameters={"fraction": "0.5"})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed, rig.log.said
        trims = [order for order in the_trade(rig).orders.values() if order.intent.purpose is Purpose.UNWIND]
        assert [order.status for order in trims] == [OrderStatus.EXPIRED, OrderStatus.FILLED]
        assert the_trade(rig).is_hedged
        assert rig.at_exchange() == rig.believed()
        assert_no_id_was_sent_twice(rig)


async def test_stale_quotes_open_nothing_more(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:

        def stale(symbol: Symbol) -> Quote | None:
            quote = rig.quote(symbol)
            return (
                None if quote is None else msgspec.structs.replace(quote, received_ns=time.monotonic_ns() - 3 * 10**9)
            )

        quotes_of(rig, stale)
        rig.fault("partial", element=0, parameters={"fraction": "0"})
        assert not (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        (step,) = steps(rig)
        assert step.facts["complete"]["obstacle"] == "quote_stale"
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_completion_that_keeps_failing_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.fault("partial", element=1, parameters={"fraction": "0"})
        rig.fault("partial", path="/fapi/v1/order", method="POST", side="BUY", count=None, parameters={"fraction": "0"})
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: any(step.reason == "unwind" for step in steps(rig)))
        rig.paper.board.remove()  # Taking back is a purchase, too.
        assert not (await entering).executed
        assert [step.reason for step in steps(rig)] == ["complete"] * 4 + ["unwind"]
        assert rig.at_exchange() == rig.believed() == {}


@pytest.mark.parametrize("kind", ["user-duplicated", "user-reordered", "user-delayed"])
async def test_parts_told_in_any_order_and_number(tmp_path: Path, kind: str) -> None:
    """Filled over several levels, in part, the rest completed: each execution is booked once, whoever tells it first."""
    async with running(tmp_path) as rig:
        levels = [("0.0023278", 40_000), ("0.0023279", 40_000), ("0.0023280", 10_000_000)]
        rig.market.set_book("1MBABYDOGEUSDT", [("0.0023276", 10_000_000)], levels)
        rig.fault(kind, count=None, parameters={"delay_ms": 100})
        rig.fault("partial", element=1, parameters={"fraction": "0.5"})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed, rig.log.said
        trade = the_trade(rig)
        assert len(trade.fill_ids) >= 4
        assert rig.at_exchange() == rig.believed() != {}
        assert D(0) <= trade.plan.quantity_b - trade.held[B] < 10, "to the hedge of leg a, which is rounded"
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}


@pytest.mark.parametrize("kind", ["user-frozen", "user-dropped"])
async def test_parts_that_only_queries_tell(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path) as rig:
        rig.fault(kind, count=1)
        rig.fault("partial", element=0, parameters={"fraction": "0.5"})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed, rig.log.said
        assert rig.at_exchange() == rig.believed() != {}
        assert the_trade(rig).held[A] == the_trade(rig).plan.quantity_a


# What becomes of leg b's order while nobody answers -> what it had filled when the dust settled.
@pytest.mark.parametrize(
    ("kind", "parameters"), [("lost-1006", {}), ("executed-1006", {}), ("late", {"delay_ms": 450})]
)
async def test_a_spent_budget_closes_the_held_leg_without_waiting(
    tmp_path: Path, kind: str, parameters: dict[str, Any]
) -> None:
    """About 250 USD of leg a may stand alone for 0.2 s; leg b's fate is told only after seconds. Whatever it was, all is flat."""
    async with running(tmp_path, naked_notional_usd_seconds_max=50.0) as rig:
        rig.fault("user-frozen", count=1)
        rig.fault(kind, element=1, parameters=parameters)
        rig.fault("hidden", element=1, parameters={"delay_ms": 1500})
        rig.fault("lost-503", method="GET", path="/fapi/v1/order", symbol="1MBABYDOGEUSDT", count=6)
        rig.fault("lost-delayed", method="DELETE", path="/fapi/v1/order", parameters={"delay_ms": 1500})
        closing_when_cancel_failed: list[bool] = []

        emit = rig.log.emit

        def emitted(event: Event, /, **facts: Any) -> None:
            emit(event, **facts)
            if event is events.CANCEL_OUTCOME_UNKNOWN:
                closing_when_cancel_failed.append(the_trade(rig).attempts(A, Purpose.EXIT) > 0)

        rig.log.emit = emitted  # type: ignore[method-assign]
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert not outcome.executed, rig.log.said
        assert rig.at_exchange() == rig.believed() == {}
        assert rig.log.events().count("unhedged_budget_exceeded") == 1
        assert closing_when_cancel_failed == [True], "a cancel without an answer keeps nothing waiting"
        closed_a = next(
            order for order in the_trade(rig).orders.values() if order.intent.leg is A and order.intent.side == "buy"
        )
        ended_b = next(order for order in the_trade(rig).orders.values() if order.intent.leg is B)
        order_ms = first_known_ms(rig, ended_b.intent.client_order_id)
        assert closed_a.intended_ms < order_ms, "it did not wait"
        assert_no_id_was_sent_twice(rig)


def first_known_ms(rig: Rig, client_order_id: str) -> int:
    """When the fate of an order was first known for sure."""
    ends = {OrderStatus.FILLED, OrderStatus.EXPIRED, OrderStatus.DEAD}
    return next(
        entry.at_ms
        for _, entry in rig.journal.replay()
        if getattr(entry, "client_order_id", None) == client_order_id and getattr(entry, "status", None) in ends
    )


async def test_a_restart_decides_again_and_buys_nothing_twice(tmp_path: Path) -> None:
    """The process died after the completion's intent was on disk and before its request left: it is proven dead, then asked anew."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        first.fault("partial", element=1, parameters={"fraction": "0.4"})
        assert (await first.engine.execute_signal(first.signal(SignalType.SELL))).executed
        completed = first.at_exchange()
        timeline = [entry for _, entry in first.journal.replay()]
        await first.stop()
        # What the journal held just before the completion was sent.
        cut = 1 + max(n for n, entry in enumerate(timeline) if isinstance(entry, OrderIntended))
        assert isinstance(timeline[cut - 1], OrderIntended)
        second = Rig(market, exchange, tmp_path / "second.sqlite")
        await write_down(second, timeline[:cut])
        await second.start()
        try:
            (trade,) = second.book.live_trades()
            await eventually(lambda: trade.status is TradeStatus.OPEN)
            assert second.at_exchange() == second.believed() == completed
            assert trade.attempts(B, Purpose.ENTRY) == 2, "found, not sent again"
        finally:
            await second.stop()


async def write_down(rig: Rig, timeline: list[AnyEntry]) -> None:
    journal = Journal.open(rig.journal_path)
    await journal.append(*timeline)
    await journal.close()


async def test_where_somebody_holds_the_other_way_a_leg_is_all_or_nothing(tmp_path: Path) -> None:
    """A person is long what we sell: a part of it could not be bought back reduce-only, so there are no parts."""
    async with running(tmp_path) as rig:
        for part in (rig.engine._pre_trade_check, rig.engine._entry_saga._planner):
            part._external_of = lambda symbol: D(3000) if symbol == CAT else D(0)
        rig.fault("partial", element=0, parameters={"fraction": "0.4"})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed, rig.log.said
        trade = the_trade(rig)
        of_a = [order for order in trade.orders.values() if order.intent.leg is A]
        assert [order.intent.time_in_force for order in of_a] == [TimeInForce.FOK, TimeInForce.FOK]
        assert [order.refused_for and order.refused_for.code for order in of_a] == ["-5021", None]
        assert trade.held[A] == trade.plan.quantity_a
        plan = next(entry for _, entry in rig.journal.replay() if isinstance(entry, TradeIntended))
        assert plan.pair_id == PAIR.pair_id


# naked now, USD | of 50 USD·s spent | seconds until the next look
LOOKS = [(0.0, 0.0, 0.25), (500.0, 0.0, 0.1), (1.0, 0.0, 0.25), (500.0, 50.0, 0.25), (500.0, 50.0 - 1e-9, 0.001)]


async def test_the_budget_is_looked_at_in_time_and_not_in_a_busy_loop(tmp_path: Path) -> None:
    """Found by simulation: a billionth of the budget left, a clock of milliseconds, and 400,000 looks at the same moment."""
    async with running(tmp_path, naked_notional_usd_seconds_max=50.0) as rig:
        for naked_usd, spent, seconds in LOOKS:
            trade: Any = SimpleNamespace(
                naked_notional_usd=D(naked_usd), naked_notional_usd_seconds=lambda _now_ms, spent=spent: spent
            )
            assert rig.engine._entry_saga._look_seconds(trade) == pytest.approx(seconds)
