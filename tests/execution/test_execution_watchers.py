"""What watches the world beside the trades, with the real engine over real sockets: contracts, clock, set-up, account, silence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from execution_rig import CAT, DOGE, PAIR, Rig, eventually, running

from domain.guards import DenialCode
from domain.orders import LegName
from domain.pairs import ExitReason, SignalType, TradeStatus
from domain.reasons import SetUpCode
from domain.refusals import RefusalKind
from domain.trades import TradeState
from domain.units import HOUR_MS
from paper.control import Delisting
from runner.exchange.binance.contract_stream import ContractStream
from runner.execution.venue.clock import ClockMonitor
from runner.execution.venue.contracts import ContractMonitor

BOTH = frozenset({CAT, DOGE})


class Watched:
    """A rig and its watchers, running as the bot runs them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.contracts = ContractMonitor(
            rig.context,
            rules=rig.rules,
            gate=rig.gate,
            exchange_clock=rig.budget.exchange_clock,
            symbols=lambda: BOTH,
            close=rig.engine.abandon,
            delivery_lead_ms=24 * HOUR_MS,
        )
        self.hints = ContractStream(rig.clock, rig.paper.stream_url, rig.rules.symbol_of, self.contracts.hint)
        self.clock = ClockMonitor(
            rig.context,
            exchange=rig.adapter,
            exchange_clock=rig.budget.exchange_clock,
            gate=rig.gate,
            skew_ms_max=5_000,
        )
        self.account = rig.account
        self.account.set_up._retry_seconds = 0.05

    async def denied(self) -> DenialCode | None:
        await eventually(
            lambda: not self.rig.engine.in_flight
        )  # What closed a trade may hold its symbols' locks still.
        return (await self.rig.engine.execute_signal(self.rig.signal(SignalType.SELL))).denial

    async def open_trade(self) -> TradeState:
        assert (await self.rig.engine.execute_signal(self.rig.signal(SignalType.SELL))).executed
        return self.rig.book.open_by_pair[PAIR.pair_id]

    def said(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.rig.log.said if name == event]

    def announce(self, status: str, delivery_ms: int | None = None) -> None:
        """What the exchange does to leg a's contract."""
        asked = Delisting(symbol="1000CATUSDT", status=status, delivery_ms=delivery_ms, settle=False)
        self.rig.market.set_status(asked.symbol, asked.status, asked.delivery_ms)


@asynccontextmanager
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with running(tmp_path) as rig:
        watch = Watched(rig)
        await rig.adapter.synchronise_clock()
        runs = (watch.contracts.run(), watch.hints.run(), watch.clock.run(), watch.account.run())
        tasks = [asyncio.create_task(run) for run in runs]
        try:
            await asyncio.wait_for(watch.hints.connected.wait(), 5)
            await eventually(lambda: watch.contracts.refreshes == 1)  # The stream's first word.
            yield watch
            assert [task for task in tasks if task.done()] == [], "no watcher has died"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


# Contracts


async def test_an_announced_end_is_close_only_at_once_and_closes_in_time(tmp_path: Path) -> None:
    """First far off: no entries, the trade stays. Then near: the trade is closed ahead of it, both legs."""
    async with watched(tmp_path) as watch:
        rig = watch.rig
        trade = await watch.open_trade()
        watch.announce("TRADING", rig.paper.clock.now_ms() + 240 * HOUR_MS)
        await eventually(lambda: watch.said("contract_close_only"))
        assert trade.status is TradeStatus.OPEN
        watch.announce("TRADING", rig.paper.clock.now_ms() + 23 * HOUR_MS)
        await eventually(lambda: trade.status is TradeStatus.CLOSED)
        assert trade.exit_reason is ExitReason.DELISTED
        assert rig.at_exchange() == rig.believed() == {}
        assert watch.said("closing_before_delivery")[0]["trade_id"] == trade.trade_id
        assert await watch.denied() is DenialCode.SYMBOL_NOT_TRADING


async def test_a_halt_stops_entries_and_leaves_a_hedged_trade_alone(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        trade = await watch.open_trade()
        watch.announce("BREAK")
        await eventually(lambda: watch.said("contract_close_only"))
        assert trade.status is TradeStatus.OPEN
        assert not watch.rig.rules.instrument(CAT).may_enter
        watch.announce("TRADING")
        await eventually(lambda: watch.said("contract_reopened"))
        assert (await watch.rig.engine.execute_signal(watch.rig.signal(SignalType.EXIT))).executed
        await watch.open_trade()


async def test_a_refusal_that_contradicts_the_rules_makes_them_read_anew(tmp_path: Path) -> None:
    """The exchange has raised a minimum since we looked: one refused entry, then the guards know."""
    async with watched(tmp_path) as watch:
        rig = watch.rig
        listings = dict(rig.market.listings)
        raised = replace(listings["1000CATUSDT"], notional_min=Decimal(100_000))
        rig.market._listings["1000CATUSDT"] = raised
        rig.fault("lost-503", count=2, path="/fapi/v1/exchangeInfo", method="GET")
        assert await watch.denied() is DenialCode.EXCHANGE_REFUSED
        assert rig.at_exchange() == rig.believed() == {}
        assert watch.said("rules_doubted")[0] == {"symbol": CAT, "code": "-4164"}
        assert await watch.denied() is DenialCode.RULES_DOUBTED
        await eventually(lambda: CAT not in rig.gate.rules_doubted, seconds=20)
        assert rig.rules.instrument(CAT).notional_min_usd == 100_000
        assert watch.said("rules_refreshed")[-1] == {"doubted": [CAT], "changed": [CAT]}
        assert await watch.denied() is DenialCode.SIZE_TOO_SMALL


async def test_rules_that_cannot_be_read_stay_doubted(tmp_path: Path) -> None:
    """A contract whose present row makes no sense is closed by its older rules, and not entered."""
    async with watched(tmp_path) as watch:
        rig = watch.rig
        rig.market._listings["1000CATUSDT"] = replace(
            rig.market.listings["1000CATUSDT"], percent_price_up=Decimal("NaN")
        )
        watch.contracts.doubt(CAT, "-1111")
        await eventually(lambda: watch.contracts.refreshes == 2)
        assert await watch.denied() is DenialCode.RULES_DOUBTED


async def test_a_contract_that_is_no_longer_listed_does_not_trade(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        rig = watch.rig
        trade = await watch.open_trade()
        del rig.market._listings["1000CATUSDT"]
        watch.contracts.hint()
        await eventually(lambda: watch.said("contract_close_only"))
        assert not rig.rules.instrument(CAT).may_enter
        assert trade.status is TradeStatus.OPEN, "closing it is for whoever knows what became of it"


# Clock


async def test_an_exit_refused_for_the_clock_is_decided_again_after_it_is_set_right(tmp_path: Path) -> None:
    """The exchange's clock moves by twenty seconds: the first order is refused, the clock read, a new order closes."""
    async with watched(tmp_path) as watch:
        rig = watch.rig
        trade = await watch.open_trade()
        rig.fault("clock-skew", parameters={"skew_ms": 20_000})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        await eventually(lambda: trade.status is TradeStatus.CLOSED)
        assert rig.at_exchange() == rig.believed() == {}
        refused = [
            order
            for order in trade.orders.values()
            if order.refusal is not None and order.refusal.kind is RefusalKind.CLOCK
        ]
        assert refused, "it was refused, not sent again as it was"
        assert len({order.intent.client_order_id for order in trade.orders.values()}) == len(trade.orders)
        assert len(watch.said("timestamp_refused")) >= 1
        assert abs(rig.budget.exchange_clock.skew_ms() + 20_000) < 500
        assert await watch.denied() is DenialCode.CLOCK_UNFIT, (
            "twenty seconds: requests are fine, the ledger's times are not"
        )
        assert watch.said("clock_unfit")
        rig.paper.board.remove()
        await rig.adapter.synchronise_clock()
        await eventually(lambda: rig.gate.clock_problem is None)
        await watch.open_trade()


async def test_a_jump_of_the_wall_clock_is_noticed_and_disturbs_no_request(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        rig = watch.rig
        real = rig.clock.now_ms
        rig.clock.now_ms = lambda: real() + 90_000  # type: ignore[method-assign]
        assert rig.budget.exchange_clock.jumped_ms() == pytest.approx(90_000, abs=50)
        await rig.adapter.positions()
        await eventually(lambda: watch.said("clock_jumped"))
        await eventually(lambda: rig.gate.clock_problem is not None)
        assert not rig.adapter.clock_is_off.is_set(), "no request was refused"
        assert await watch.denied() is DenialCode.CLOCK_UNFIT
        rig.clock.now_ms = real  # type: ignore[method-assign]
        await eventually(lambda: rig.gate.clock_problem is None)


async def test_an_exit_in_a_ban_leaves_at_its_end(tmp_path: Path) -> None:
    """The exchange hears nothing from anybody for as long as it said, then the exit, and the trade is flat."""
    async with watched(tmp_path) as watch:
        rig = watch.rig
        trade = await watch.open_trade()
        rig.paper.desk.limits.ban_everybody(1_500)
        await asyncio.gather(rig.engine.execute_signal(rig.signal(SignalType.EXIT)), _banned_silence(rig))
        await eventually(lambda: trade.status is TradeStatus.CLOSED)
        assert rig.at_exchange() == rig.believed() == {}
        assert rig.budget.bans == 1, "nobody knocked twice"


async def _banned_silence(rig: Rig) -> None:
    """From the first refusal to the end of the ban: not one request, then within a moment an order."""
    await eventually(lambda: rig.adapter.blocked_ms() > 0)
    loop = asyncio.get_running_loop()
    knocks: list[float] = []
    charge = rig.paper.desk.limits.charge

    def counted(address: str, weight: int) -> int:
        knocks.append(loop.time())
        return charge(address, weight)

    rig.paper.desk.limits.charge = counted  # type: ignore[method-assign]
    ends = loop.time() + rig.adapter.blocked_ms() / 1000
    sent = len(rig.paper.desk.orders_log)
    await eventually(lambda: len(rig.paper.desk.orders_log) > sent)
    assert loop.time() - ends < 1.0
    assert min(knocks) >= ends - 0.001


# Set-up


async def test_a_symbol_that_could_not_be_prepared_is_not_entered_and_tried_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        rig = watch.rig
        account = rig.paper.desk.books.portfolios["paper-key"].account
        account.isolated.add("1000CATUSDT")
        rig.fault("lost-503", count=3, path="/fapi/v1/marginType", method="POST")
        await watch.account.set_up.prepare([CAT, DOGE])
        assert set(rig.gate.unprepared) == {CAT}
        assert await watch.denied() is DenialCode.SYMBOL_NOT_PREPARED
        assert watch.said("symbol_not_prepared")[0]["symbol"] == CAT
        await eventually(lambda: not rig.gate.unprepared)
        assert account.isolated == set()
        await watch.open_trade()


async def test_a_setting_that_somebody_else_changes_is_set_back_before_the_next_entry(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        rig = watch.rig
        account = rig.paper.desk.books.portfolios["paper-key"].account
        rig.fault("lost-503", count=2, path="/fapi/v1/symbolConfig", method="GET")
        await rig.client.fapiPrivatePostLeverage({"symbol": "1000CATUSDT", "leverage": 20})  # type: ignore[arg-type]
        watch.account.set_up.settings_changed(CAT, 20)
        assert await watch.denied() is DenialCode.SYMBOL_NOT_PREPARED
        await eventually(lambda: not rig.gate.unprepared)
        assert account.leverages["1000CATUSDT"] == rig.settings.risk.leverage
        watch.account.set_up.settings_changed(CAT, rig.settings.risk.leverage)
        assert not rig.gate.unprepared, "our own change is no news"


async def test_multi_assets_mode_switched_on_while_running_stops_entries(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        rig = watch.rig
        await rig.client.fapiPrivatePostMultiAssetsMargin({"multiAssetsMargin": "true"})  # type: ignore[attr-defined]
        watch.account.set_up.settings_changed(None, None)
        await eventually(lambda: watch.said("account_not_prepared"))
        assert await watch.denied() is DenialCode.SYMBOL_NOT_PREPARED
        assert rig.gate.unprepared[CAT].code is SetUpCode.ACCOUNT_MODES
        await rig.client.fapiPrivatePostMultiAssetsMargin({"multiAssetsMargin": "false"})  # type: ignore[attr-defined]
        await eventually(lambda: not rig.gate.unprepared)


# The account


async def test_margin_that_the_balance_does_not_know_of_yet_is_counted(tmp_path: Path) -> None:
    """The balance was read before the last trade took its margin: what is left is less than it says."""
    async with watched(tmp_path) as watch:
        rig = watch.rig
        await watch.account.sampler.sample()
        before = rig.engine._pre_trade_check.snapshot(rig.signal(SignalType.SELL), PAIR, journal_broken=False)
        await asyncio.sleep(0.01)
        trade = await watch.open_trade()
        after = rig.engine._pre_trade_check.snapshot(rig.signal(SignalType.SELL), PAIR, journal_broken=False)
        held = sum(
            trade.held[leg] * price
            for leg, price in zip(LegName, (trade.plan.price_a, trade.plan.price_b), strict=True)
        )
        taken = before.margin_free_usd - after.margin_free_usd
        assert abs(taken - held / rig.settings.risk.leverage) < Decimal("1e-9")
        await watch.account.sampler.sample()
        fresh = rig.engine._pre_trade_check.snapshot(rig.signal(SignalType.SELL), PAIR, journal_broken=False)
        assert rig.gate.balance is not None
        assert fresh.margin_free_usd == rig.gate.balance.available_usd, "it is in the balance now, and counted once"


async def test_a_balance_that_is_too_old_is_no_balance(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        await watch.account.sampler.sample()
        reading = watch.rig.gate.reading
        assert reading is not None
        watch.rig.gate.reading = replace(reading, asked_ns=reading.asked_ns - 61_000_000_000)
        assert await watch.denied() is DenialCode.BALANCE_STALE
        await watch.account.sampler.sample()
        await watch.open_trade()


# Silence


async def test_a_leg_lost_while_the_stream_is_silent_is_found_by_looking(tmp_path: Path) -> None:
    """The socket is open and says nothing; the exchange deleverages one leg: the regular look finds it, the other leg is closed."""
    async with watched(tmp_path) as watch:
        rig = watch.rig
        trade = await watch.open_trade()
        rig.fault("user-frozen", parameters={"duration_ms": None})
        portfolio = rig.paper.desk.books.portfolios["paper-key"]
        rig.paper.core.auto_deleverage(portfolio, "1000CATUSDT", Decimal(1), rig.paper.clock.now_ms())
        await asyncio.sleep(0.2)
        assert trade.status is TradeStatus.OPEN, "nobody has said anything"
        rig.engine.look_for_lost_legs()
        rig.engine.look_for_lost_legs()
        await eventually(lambda: trade.status is TradeStatus.CLOSED)
        assert trade.exit_reason is ExitReason.OTHER_LEG_LOST
        assert rig.at_exchange() == rig.believed() == {}
