"""The dead-man switch of the exchange, asked for over real sockets."""

import pytest
from exchange_rig import ETH, XRP, D, fault, order, trading

from domain.orders import OrderReport, TimeInForce
from domain.symbols import Symbol
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.errors import OutcomeUnknown, Refused

COUNTDOWN = "/fapi/v1/countdownCancelAll"


async def test_it_cancels_the_symbol_it_was_armed_for_and_no_other() -> None:
    async with trading() as (exchange, rig):
        resting = order("tdm-x", limit_price=D("0.49"), time_in_force=TimeInForce.GTX)
        other = order("tdm-e", symbol=ETH, quantity=D("0.01"), limit_price=D(2990), time_in_force=TimeInForce.GTX)
        answers = await rig.adapter.place([resting, other])
        assert all(isinstance(answer, OrderReport) for answer in answers)
        await rig.adapter.arm_dead_man(XRP, 60_000)
        portfolio = exchange.desk.books.portfolios["paper-key"]
        due_ms = portfolio.account.countdowns["XRPUSDT"]
        exchange.core.on_timer(due_ms - 1)
        assert len(await rig.adapter.open_orders()) == 2
        exchange.core.on_timer(due_ms)
        assert [report.client_order_id for report in await rig.adapter.open_orders()] == ["tdm-e"]


async def test_it_is_put_off_and_disarmed() -> None:
    async with trading() as (exchange, rig):
        countdowns = exchange.desk.books.portfolios["paper-key"].account.countdowns
        await rig.adapter.arm_dead_man(XRP, 5_000)
        first = countdowns["XRPUSDT"]
        await rig.adapter.arm_dead_man(XRP, 60_000)
        assert countdowns["XRPUSDT"] >= first + 55_000
        await rig.adapter.arm_dead_man(XRP, 0)
        assert countdowns == {}


async def test_what_is_not_confirmed_is_not_armed() -> None:
    async with trading() as (exchange, rig):
        with pytest.raises(Refused, match="-1121"):
            await rig.adapter.arm_dead_man(Symbol("NOBODY/USDT:USDT"), 5_000)
        for kind in ("lost-503", "executed-dropped", "executed-garbage", "executed-empty"):
            fault(exchange, kind, path=COUNTDOWN)
            with pytest.raises(OutcomeUnknown):
                await rig.adapter.arm_dead_man(XRP, 5_000)


async def test_both_fees_are_the_accounts_own_once_they_are_read() -> None:
    async with trading() as (_, rig):
        rules = ContractRules(rig.client, rig.budget, timeout_seconds=1.5, taker_fee_bps=9, maker_fee_bps=-1)
        assert (rules.taker_fee_rate(XRP), rules.maker_fee_rate(XRP)) == (0.0009, -0.0001)
        await rules.load_fees(XRP)
        assert (rules.taker_fee_rate(XRP), rules.maker_fee_rate(XRP)) == (0.0005, 0.0002)
