"""A leg rests and holds two symbols; somebody else wants them, or everything is to stop."""

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest
from execution_rig import PAIR, Rig, eventually
from passive_rig import (
    DEEP,
    D,
    assert_hedged,
    at_rest,
    countdowns,
    enter,
    entered,
    resting,
    take,
    the_trade,
    told,
)

from domain.guards import DenialCode
from domain.orders import Side
from domain.pairs import PairConfig, SignalType, TradeStatus, TradingSignal
from domain.symbols import PairId, Symbol
from storage import ledger
from storage.recorder import drain_once

XRP = Symbol("XRP/USDT:USDT")
SHARING = PairConfig(
    pair_id=PairId("CAT_XRP"), leg_a=PAIR.leg_a, leg_b=XRP, hedge_ratio=20.0, entry_z=2.0, exit_z=0.0, stop_z=4.0,
    half_life_bars=5, half_life_bar_seconds=60,
)  # fmt: skip


def signal_of(rig: Rig, pair: PairConfig, kind: SignalType) -> TradingSignal:
    """As the rig's, for another pair."""
    a, b = rig.quote(pair.leg_a), rig.quote(pair.leg_b)
    assert a is not None
    assert b is not None
    spread, std = b.mid - pair.hedge_ratio * a.mid, b.mid * 0.01
    z = {SignalType.SELL: -3.0, SignalType.BUY: 3.0}.get(kind, 0.0)
    own = rig.signal(kind)
    return msgspec.structs.replace(
        own, pair_id=pair.pair_id, spread=spread, spread_mean=spread - z * std, spread_std=std, z_score=z
    )


async def with_another_open(rig: Rig) -> None:
    """The pair that shares 1000CAT holds a trade; its own leg XRP rested and was taken."""
    rig.configure(PAIR, SHARING)
    rig.market.set_book("XRPUSDT", [("0.4995", DEEP)], [("0.5005", DEEP)])
    entering = asyncio.create_task(rig.engine.execute_signal(signal_of(rig, SHARING, SignalType.SELL)))
    await eventually(lambda: at_rest(rig))
    (order,) = at_rest(rig)
    assert order.symbol == "XRPUSDT", "the wider spread rests"
    rig.market.set_book("XRPUSDT", [("0.4990", DEEP)], [(order.price, order.quantity)])
    rig.market.set_book("XRPUSDT", [("0.4995", DEEP)], [("0.5005", DEEP)])
    assert (await entering).executed


async def test_an_exit_of_a_pair_that_shares_a_symbol_ends_it_at_once(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        await with_another_open(rig)
        entering = await entered(rig)
        take(rig, 8_000)
        await eventually(lambda: the_trade(rig).is_hedged and not the_trade(rig).is_flat)
        began = time.monotonic()
        outcome = await rig.engine.execute_signal(signal_of(rig, SHARING, SignalType.EXIT))
        assert outcome.executed
        assert time.monotonic() - began < 3
        assert (await entering).executed, "what was hedged stays a trade"
        assert told(rig)["ended"] == "exit_waits"
        assert at_rest(rig) == []
        assert_hedged(rig)


async def test_a_flatten_of_a_pair_that_shares_a_symbol_ends_it_at_once(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        await with_another_open(rig)
        entering = await entered(rig)
        assert await rig.engine.flatten([SHARING.pair_id], wait_seconds=5) == {SHARING.pair_id: "closed"}
        assert (await entering).denial is DenialCode.NOT_FILLED
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_flatten_of_its_own_pair(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        take(rig, 8_000)
        await eventually(lambda: the_trade(rig).is_hedged and not the_trade(rig).is_flat)
        assert await rig.engine.flatten([PAIR.pair_id], wait_seconds=5) == {PAIR.pair_id: "closed"}
        await entering
        assert at_rest(rig) == []
        assert rig.at_exchange() == rig.believed() == {}
        assert the_trade(rig).status is TradeStatus.CLOSED


async def test_another_entry_in_the_symbol_is_denied_and_ends_nothing(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        rig.configure(PAIR, SHARING)
        rig.market.set_book("XRPUSDT", [("0.4995", DEEP)], [("0.5005", DEEP)])
        entering = await entered(rig)
        outcome = await rig.engine.execute_signal(signal_of(rig, SHARING, SignalType.SELL))
        assert outcome.denial is DenialCode.SYMBOL_BUSY
        take(rig, at_rest(rig)[0].quantity)
        assert (await entering).executed
        assert told(rig)["quotes"] == 1


async def test_a_shutdown_while_nothing_has_filled(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        await rig.engine.disconnect(5)
        assert (await entering).denial is DenialCode.NOT_FILLED
        assert at_rest(rig) == []
        assert countdowns(rig) == {}
        assert "shutdown_incomplete" not in rig.log.events()


async def test_a_shutdown_while_a_part_has_filled(tmp_path: Path) -> None:
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        take(rig, 8_000)
        await rig.engine.disconnect(5)
        assert (await entering).executed
        assert at_rest(rig) == []
        assert_hedged(rig)
        assert "shutdown_incomplete" not in rig.log.events()


async def test_the_other_way_round_it_rests_to_buy(tmp_path: Path) -> None:
    """A BUY of the pair: the resting leg joins the bid."""
    async with resting(tmp_path) as rig:
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.BUY)))
        await eventually(lambda: at_rest(rig))
        (order,) = at_rest(rig)
        assert (order.side, order.price) == (Side.BUY.value.upper(), D("0.012299"))
        rig.market.set_book("1000CATUSDT", [("0.012297", DEEP)], [(order.price, order.quantity)])
        assert (await entering).executed
        assert_hedged(rig)


async def test_the_world_changes_while_the_switch_is_being_armed(tmp_path: Path) -> None:
    """Arming takes its time; then the operator has paused: nothing is placed, the switch is off again."""
    async with resting(tmp_path) as rig:
        rig.fault("executed-delayed", path="/fapi/v1/countdownCancelAll", parameters={"delay_ms": 500})
        entering = enter(rig)
        await eventually(lambda: countdowns(rig))
        rig.gate.paused_because = "tandem pause"
        assert (await entering).denial is DenialCode.PAUSED
        assert rig.book.trades == {}
        assert countdowns(rig) == {}
        assert rig.signals.told == ["opening", "denied"]


async def test_the_ledger_tells_how_it_was_entered(tmp_path: Path) -> None:
    """From the real engine through the real recorder: which leg rested, for what fee, at what gain, and how it went."""
    async with resting(tmp_path) as rig:
        entering = await entered(rig)
        take(rig, 8_000)
        await eventually(lambda: the_trade(rig).is_hedged and not the_trade(rig).is_flat)
        take(rig, at_rest(rig)[0].remaining)
        assert (await entering).executed
        trade = the_trade(rig)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
    path = tmp_path / "ledger.duckdb"
    assert drain_once(tmp_path / "journal.sqlite", tmp_path / "flows.sqlite", path)
    table = ledger.read(path, "SELECT * FROM pair_trades")
    (row,) = [dict(zip(table.columns, values, strict=True)) for values in table.rows]
    assert (row["entered_by"], row["passive_leg"], row["passive_orders"], row["entry_orders"]) == (
        "post_only",
        "a",
        1,
        3,
    )
    assert row["maker_fees_usd"] == pytest.approx(trade.plan.quantity_a * D("0.012301") * D("0.0002"), abs=D("1e-6"))
    assert row["entry_slippage_bps_a"] == pytest.approx(-1.626, abs=0.01), "sold at the offer instead of the bid"
    told_of = json.loads(row["limit_entry"])
    assert (told_of["ended"], told_of["quotes"], told_of["hedges"], told_of["resting_leg"]) == ("filled", 1, 2, "a")
    assert row["completion"] is None
