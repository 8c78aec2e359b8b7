"""A start with an open trade in a contract that the exchange lists no more: the whole bot, over the paper exchange."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from execution_rig import BTC, ETH, PAIR, Rig, deep_market, eventually

from domain.entries import EventLogged
from domain.orders import LegName
from domain.pairs import PairConfig, SignalType, TradeStatus
from domain.symbols import PairId
from paper.liquidation import force_close
from paper.server import PaperExchange
from runner.bot import TradingBot
from storage.entries_file import replay

GONE = "1000CATUSDT"
OTHER = PairConfig(
    pair_id=PairId("ETH_BTC"), leg_a=ETH, leg_b=BTC, hedge_ratio=27.5, entry_z=2.0, exit_z=0.0, stop_z=4.0,
    half_life_bars=5, half_life_bar_seconds=60,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BINANCE_API_KEY", "paper-key")
    monkeypatch.setenv("BINANCE_API_SECRET", "paper-secret")


@asynccontextmanager
async def bot_of(rig: Rig, folder: Path, pairs: list[PairConfig]) -> AsyncIterator[TradingBot]:
    """The bot as `tandem run` starts it, on the journal that the rig has left."""
    data = {"rest_url": rig.paper.rest_url, "stream_url": rig.paper.stream_url, "request_timeout_seconds": 2}
    config: dict[str, Any] = {
        "data": data, "control": {"port": 0}, "storage": {"journal": str(rig.journal_path)}, "risk": {"min_edge_ratio": 0},
        "execution": {"recv_window_ms": 500},
    }  # fmt: skip
    rows = [
        {"pair_id": pair.pair_id, "leg_a": pair.leg_a, "leg_b": pair.leg_b, "hedge_ratio": pair.hedge_ratio,
         "z_score_threshold": 2.0, "stop_loss_z": 4.0, "half_life_candles": 5}
        for pair in pairs
    ]  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "pairs_config.json").write_text(json.dumps({"pairs": rows}))
    bot, stop = TradingBot(folder / "config.json", folder / "pairs_config.json"), asyncio.Event()
    running = asyncio.create_task(bot.run(stop))
    try:
        await eventually(lambda: running.done() or _trades(bot), 60)
        if running.done():
            running.result()
        yield bot
    finally:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)


def _trades(bot: TradingBot) -> bool:
    parts = getattr(bot, "_parts", None)
    return parts is not None and bool(parts.generator._callbacks) and not parts.execution.gate.recovering


def said(path: Path) -> list[str]:
    """The log as the journal keeps it."""
    return [entry.event for _, entry in replay(path, kinds=("event_logged",)) if isinstance(entry, EventLogged)]


async def test_the_other_trades_are_managed(tmp_path: Path) -> None:
    """The leg that is there still is closed, the other one pages and stays, its pair is left out; entries elsewhere go on."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        rig = Rig(market, exchange, tmp_path / "journal.sqlite")
        await rig.start()
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        await rig.stop()
        _delist(rig)
        async with bot_of(rig, tmp_path, [PAIR, OTHER]) as bot:
            parts = bot._parts
            trade = next(iter(parts.book.live_trades()))
            await eventually(lambda: trade.status is TradeStatus.ATTENTION and trade.held[LegName.B] == 0, 30)
            assert trade.held[LegName.A] > 0, "nobody has said what became of it"
            assert rig.at_exchange() == {}
            assert [pair.pair_id for pair in bot.pairs] == [OTHER.pair_id]
            await eventually(lambda: not parts.execution.gate.unprepared and _quoted(rig, bot), 30)
            assert (await parts.execution.engine.execute_signal(rig.signal(SignalType.SELL, OTHER))).executed
            assert set(rig.at_exchange()) == {"ETHUSDT", "BTCUSDT"}
        told = said(rig.journal_path)
        assert {"contract_not_listed", "pair_not_listed"} <= set(told)
        assert told.count("leg_close_stuck") == 1, "a person is called once"


def _quoted(rig: Rig, bot: TradingBot) -> bool:
    """The scripted market speaks when it is moved."""
    for name, price, step in (("BTCUSDT", Decimal(82500), Decimal("0.1")), ("ETHUSDT", Decimal(3000), Decimal("0.01"))):
        rig.market.set_book(name, [(price - step, 1000)], [(price + step, 1000)])
    return all(bot._parts.generator.quote_of(symbol) is not None for symbol in (BTC, ETH))


def _delist(rig: Rig) -> None:
    """The exchange settles what is held at the mark price, and forgets the contract."""
    books = rig.paper.desk.books
    portfolio = books.portfolios["paper-key"]
    held = portfolio.account.position(GONE, "BOTH").amount
    force_close(
        books, portfolio, symbol=GONE, position_side="BOTH", signed_quantity=-held,
        now_ms=rig.paper.clock.now_ms(), client_id_prefix="settlement_autoclose-",
    )  # fmt: skip
    rig.paper.desk.commit()
    assert set(rig.at_exchange()) == {"1MBABYDOGEUSDT"}
    del rig.market._listings[GONE]


async def test_an_order_of_the_last_run_in_it_holds_up_nothing(tmp_path: Path) -> None:
    """Nobody can name that order any more: its other leg is unwound, a person is called once, the symbols are free for others."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        rig = Rig(market, exchange, tmp_path / "journal.sqlite")
        await rig.start()
        rig.fault("executed-delayed", parameters={"delay_ms": 600_000}, path="/fapi/v1/batchOrders")
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: bool(rig.paper.desk.orders_log))
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        await rig.engine.disconnect(0)
        await rig.stop()
        _delist(rig)
        async with bot_of(rig, tmp_path, [PAIR, OTHER]) as bot:
            parts = bot._parts
            (trade,) = parts.book.live_trades()
            await eventually(lambda: trade.status is TradeStatus.ATTENTION and trade.held[LegName.B] == 0, 30)
            assert rig.at_exchange() == {}
            await eventually(lambda: not parts.execution.engine._locks._held, 30)
            await eventually(lambda: not parts.execution.gate.unprepared and _quoted(rig, bot), 30)
            assert (await parts.execution.engine.execute_signal(rig.signal(SignalType.SELL, OTHER))).executed
        told = said(rig.journal_path)
        assert told.count("leg_close_stuck") == 1
        assert "pair_failed" not in told
