"""An order of ours rests, and something takes us away from it: the network, a ban, a kill, a person, a broken journal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cut_road import CutRoad
from execution_rig import Rig, deep_market, eventually
from execution_victim import check, victim_of
from passive_rig import (
    CAT,
    D,
    accepted,
    assert_hedged,
    at_rest,
    countdowns,
    enter,
    entered,
    passive_settings,
    quotes_of,
    resting,
    take,
    the_trade,
    told,
)

from domain.errors import JournalBroken
from domain.guards import DenialCode
from domain.orders import LegName, OrderStatus
from domain.pairs import TradeStatus
from paper.options import ExchangeOptions, LimitOptions
from paper.server import PaperExchange

COUNTDOWN = "/fapi/v1/countdownCancelAll"
DOGE = "1MBABYDOGEUSDT"


@contextlib.asynccontextmanager
async def rig_behind_slow_network(tmp_path: Path, **execution: Any) -> AsyncIterator[tuple[Rig, CutRoad]]:
    market = deep_market()
    async with PaperExchange(market) as exchange:
        road = CutRoad(exchange)
        await road.is_mismatch()
        rig = Rig(market, road, tmp_path / "journal.sqlite", **passive_settings(**execution))  # type: ignore[arg-type]
        await rig.start()
        try:
            yield rig, road
        finally:
            await rig.stop()
            await road.cut()


async def test_the_network_is_cut_and_the_exchange_takes_the_order_away(tmp_path: Path) -> None:
    async with rig_behind_slow_network(tmp_path, dead_man_seconds=5) as (rig, road):
        entering = await entered(rig)
        await road.cut()
        await eventually(lambda: not at_rest(rig), 8)
        assert not entering.done(), "nothing is proven while nobody answers"
        await road.is_mismatch()
        assert (await asyncio.wait_for(entering, 30)).denial is DenialCode.NOT_FILLED
        assert quotes_of(rig)[0].status is OrderStatus.CANCELLED
        assert rig.at_exchange() == rig.believed() == {}


async def test_filled_in_part_while_the_network_was_cut(tmp_path: Path) -> None:
    """Nobody could hedge it meanwhile: measured, and hedged or taken back once there is a road again."""
    async with rig_behind_slow_network(tmp_path, dead_man_seconds=5) as (rig, road):
        entering = await entered(rig)
        await road.cut()
        take(rig, 8_000)
        await eventually(lambda: not at_rest(rig), 8)
        await road.is_mismatch()
        await asyncio.wait_for(entering, 30)
        assert rig.at_exchange() == rig.believed()
        trade = the_trade(rig)
        assert trade.status in {TradeStatus.OPEN, TradeStatus.ROLLED_BACK}
        assert trade.is_hedged
        assert trade.naked_seconds() > 2


async def test_banned_while_resting(tmp_path: Path) -> None:
    """The exchange listens to nobody here for a while; its own countdown runs all the same."""
    async with resting(tmp_path, dead_man_seconds=5) as rig:
        entering = await entered(rig)
        rig.fault("ban", parameters={"duration_ms": 7000})
        await eventually(lambda: not at_rest(rig), 8)
        assert (await asyncio.wait_for(entering, 30)).denial is DenialCode.NOT_FILLED
        assert rig.at_exchange() == rig.believed() == {}


async def test_without_the_switch_nothing_rests(tmp_path: Path) -> None:
    for kind in ("lost-503", "executed-dropped", "refused-1008"):
        async with resting(tmp_path / kind) as rig:
            rig.fault(kind, path=COUNTDOWN)
            assert (await enter(rig)).denial is DenialCode.DEAD_MAN
            assert accepted(rig) == []
            assert rig.book.trades == {}
            assert rig.signals.told == ["opening", "denied"]
            assert (await entered(rig)).done() is False, "the next one is armed"


async def test_switched_off_it_is_never_armed(tmp_path: Path) -> None:
    async with resting(tmp_path, dead_man_seconds=0, limit_wait_seconds=0.5) as rig:
        entering = await entered(rig)
        assert countdowns(rig) == {}
        assert (await entering).denial is DenialCode.NOT_FILLED


async def test_it_is_put_off_as_long_as_the_order_rests(tmp_path: Path) -> None:
    async with resting(tmp_path, dead_man_seconds=5) as rig:
        entering = await entered(rig)
        first = countdowns(rig)[CAT]
        await eventually(lambda: countdowns(rig)[CAT] > first, 4)
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert countdowns(rig) == {}


async def test_it_cannot_be_put_off(tmp_path: Path) -> None:
    """Withdrawn before the countdown ends: we take it away ourselves, in order."""
    async with resting(tmp_path, dead_man_seconds=5) as rig:
        entering = await entered(rig)
        rig.fault("lost-503", count=None, path=COUNTDOWN)
        assert (await entering).denial is DenialCode.NOT_FILLED
        assert told(rig)["ended"] == "dead_man_lapsed"
        assert rig.log.events().count("dead_man_renewal_failed") > 1
        assert "dead_man_disarming_failed" in rig.log.events()
        assert at_rest(rig) == []


async def test_a_person_cancels_it(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        take(rig, 8_000)
        await eventually(lambda: DOGE in rig.at_exchange())
        await rig.client.fapiPrivateDeleteOrder({"symbol": CAT, "orderId": at_rest(rig)[0].order_id})
        assert (await entering).executed, "what was hedged is a trade"
        assert told(rig)["ended"] == "cancelled_by_others"
        assert_hedged(rig)


async def test_a_broken_journal_leaves_nothing_resting(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)

        async def refuse(*_entries: Any) -> None:
            raise JournalBroken("the disk is full")

        rig.journal.append = refuse  # type: ignore[method-assign]
        take(rig, 8_000)
        assert not (await entering).executed
        assert rig.halted
        assert at_rest(rig) == []


# Killed with so much filled of the resting leg; then the next start. Whether its journal can hold a trade afterwards.
KILLS = [(0, False), (100, False), (8_000, True)]


@pytest.mark.parametrize(("filled", "hedged"), KILLS)
async def test_killed_while_it_rests(tmp_path: Path, filled: int, *, hedged: bool) -> None:
    """kill -9; the next process finds the order by its client id, withdraws it and settles what it has filled."""
    market = deep_market()
    journal = tmp_path / "journal.sqlite"
    unlimited = LimitOptions(weight_per_minute_max=0, orders_per_10s_max=0, orders_per_minute_max=0)
    async with PaperExchange(market, ExchangeOptions(limits=unlimited)) as exchange:
        portfolio = exchange.desk.books.portfolios["paper-key"]
        async with victim_of(exchange, journal) as victim:
            pid, first = await victim.fork("rest 60")
            await eventually(lambda: portfolio.open, 30)
            if filled:
                order = next(iter(portfolio.open.values()))
                market.set_book(CAT, [(order.price, filled)], [(order.price + D("0.000002"), 10_000_000)])
                await eventually(lambda: order.filled == filled)
            if hedged:
                await eventually(lambda: any(position.symbol == DOGE for position in portfolio.held()))
            victim.kill(pid)
            await victim.ended(first, 10)
            assert portfolio.open, "it rests with nobody there"
            assert portfolio.account.countdowns, "but the exchange counts"
            await victim.run_to_rest("settle")
            book = check(exchange, journal)
            assert not portfolio.open
            assert portfolio.account.countdowns == {}
            (trade,) = book.trades.values()
            assert (trade.status is TradeStatus.OPEN) is hedged
            assert trade.is_hedged
            await victim.run_to_rest("flatten")
            assert not check(exchange, journal).positions()


async def test_killed_and_gone_for_long(tmp_path: Path) -> None:
    """Nobody comes back within the countdown: the exchange takes the order away, the next start finds that."""
    market = deep_market()
    journal = tmp_path / "journal.sqlite"
    async with PaperExchange(market) as exchange, victim_of(exchange, journal) as victim:
        portfolio = exchange.desk.books.portfolios["paper-key"]
        pid, first = await victim.fork("rest 60")
        await eventually(lambda: portfolio.open, 30)
        victim.kill(pid)
        await victim.ended(first, 10)
        exchange.core.on_timer(portfolio.account.countdowns[CAT])
        assert not portfolio.open
        await victim.run_to_rest("settle")
        (trade,) = check(exchange, journal).trades.values()
        assert trade.status is TradeStatus.ROLLED_BACK
        assert trade.held == {LegName.A: 0, LegName.B: 0}
