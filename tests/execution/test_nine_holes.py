"""The nine ways in which a comparable system lost money, each shut by a guard that its test names and needs."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from execution_rig import CAT, PAIR, Rig, deep_market, eventually, running
from test_execution_stories import post

from domain.guards import DenialCode
from domain.orders import LegName, OrderStatus, Purpose
from domain.pairs import SignalType, TradeStatus
from domain.trade_book import TradeBook
from paper.server import PaperExchange
from runner.exchange.binance import user_stream
from runner.execution.account import funding
from runner.execution.exit import saga

THEIRS = 70_000
LATER_SECONDS = 60.0
"""Longer than a test waits: what comes so late does not count."""


def sent_ids(rig: Rig) -> list[str]:
    return [name for arrival in rig.paper.desk.orders_log for name in arrival.client_order_ids]


def replayed(rig: Rig) -> TradeBook:
    """What a start would know."""
    book = TradeBook(rig.settings.execution.hedge_error_max)
    for _, entry in rig.journal.replay():
        book.apply(entry)
    return book


def assert_books_agree(rig: Rig) -> None:
    assert rig.at_exchange() == rig.believed()
    assert len(sent_ids(rig)) == len(set(sent_ids(rig)))


async def test_1_lock_released_before_the_orders_were_over(tmp_path: Path) -> None:
    """`SymbolLocks.hold_now` round the whole of `ExecutionEngine._enter`, by symbol: the other side is kept out, too."""
    async with running(tmp_path) as rig:
        rig.fault("executed-delayed", parameters={"delay_ms": 300})
        other = msgspec.structs.replace(PAIR, pair_id="OTHER")
        rig.configure(PAIR, other)
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
    """`TradeStore.take_failure`: no answer is UNKNOWN, looked up by its own client id, never sent again."""
    async with running(tmp_path) as rig:
        rig.fault(kind)
        await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        entries = [o for o in rig.book.orders.values() if o.intent.purpose is Purpose.ENTRY]
        assert len(entries) == 2
        assert_books_agree(rig)


@pytest.mark.parametrize(
    "denied_ms",
    [
        600,  # `Proof.absent` and the first rows of `judge`, which say the same: too early, too few looks.
        5500,  # Longer than both: the rest of `judge`. Executions and position say what the order query denies.
    ],
)
async def test_3_taken_for_absent(tmp_path: Path, denied_ms: int) -> None:
    """`domain.order_resolution.judge`: executed, its reply lost, denied by every query for a while: found, adopted, and not unwound."""
    async with running(tmp_path) as rig:
        rig.fault("user-frozen", parameters={"duration_ms": denied_ms + 2000})
        rig.fault("hidden", parameters={"delay_ms": denied_ms}, element=1)
        rig.fault("executed-dropped")
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert len(sent_ids(rig)) == 2
        assert_books_agree(rig)
        assert len(rig.at_exchange()) == 2


@pytest.mark.parametrize("fraction", ["0.02", "0.4", "0.97"])
async def test_4_a_partial_fill_nobody_looked_at(tmp_path: Path, fraction: str) -> None:
    """`EntrySaga.settle` goes by what is held, not by what was ordered: completed, trimmed or unwound."""
    async with running(tmp_path) as rig:
        rig.fault("partial", parameters={"fraction": fraction}, element=1)
        await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert all(trade.hedge_error <= 0.021 for trade in rig.book.live_trades())
        assert_books_agree(rig)


async def test_5_one_try_to_roll_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ExitSaga.close` goes on until flat, each order with an id of its own and reduce-only. The second layer, the rounds of
    `Lifecycle` that begin again where a close has ended, is too slow here to help."""
    monkeypatch.setattr(saga, "ROUND_PAUSES_SECONDS", (LATER_SECONDS,))
    async with running(tmp_path) as rig:
        rig.fault("rejected", parameters={"code": -2019}, element=1)
        # Whatever tries to close is refused or lost for a while.
        rig.fault("rejected", count=2, parameters={"code": -4131}, client_order_id="-a[xu]")
        rig.fault("lost-408", client_order_id="-a[xu]", skip=2)
        assert not (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        (trade,) = rig.book.trades.values()
        await eventually(lambda: trade.status is TradeStatus.ROLLED_BACK)
        unwinding = [order for order in trade.orders.values() if order.intent.purpose is not Purpose.ENTRY]
        assert len(unwinding) >= 4
        assert all(order.intent.reduce_only for order in unwinding)
        assert rig.at_exchange() == {}
        assert_books_agree(rig)


async def test_5_called_flat_without_asking(tmp_path: Path) -> None:
    """`ExitSaga.finish` ends a rollback only once the exchange's positions agree; while they cannot be read it is not over."""
    async with running(tmp_path) as rig:
        rig.fault("lost-503", count=None, method="GET", path="/fapi/v3/positionRisk")
        rig.fault("rejected", parameters={"code": -2019}, element=1)
        entering = asyncio.create_task(rig.engine.execute_signal(rig.signal(SignalType.SELL)))
        await eventually(lambda: rig.log.events().count("positions_unreadable") >= 3)
        (trade,) = rig.book.trades.values()
        assert (trade.is_flat, trade.status) == (True, TradeStatus.CLOSING)
        rig.paper.board.remove()
        assert not (await entering).executed
        await eventually(lambda: trade.status is TradeStatus.ROLLED_BACK)
        assert_books_agree(rig)


@pytest.mark.parametrize("code", [-2019, -4131, -1007])
async def test_6_an_exit_whose_second_leg_failed(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ExitSaga.close`: a leg that failed is tried again at once, for what *remains* of it (`TradeState.held`), never for more:
    a person holds the same contract, so no reduce-only flag would stop an order that closes too much."""
    monkeypatch.setattr(saga, "ROUND_PAUSES_SECONDS", (LATER_SECONDS,))
    async with running(tmp_path) as rig:
        await post(rig, "/paper/position", symbol="1000CATUSDT", quantity=str(THEIRS))
        await eventually(lambda: rig.execution.positions.external(CAT) == THEIRS)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.BUY))).executed
        (trade,) = rig.book.live_trades()
        entered = dict(trade.held)
        rig.fault("partial", parameters={"fraction": "0.4"}, element=0)
        rig.fault("rejected", parameters={"code": code}, element=1)
        leaving = rig.engine.execute_signal(rig.signal(SignalType.EXIT))
        assert (await asyncio.wait_for(leaving, LATER_SECONDS / 2)).executed
        assert rig.at_exchange() == {"1000CATUSDT": THEIRS}
        for leg in LegName:
            closing_orders = [
                order
                for order in trade.orders.values()
                if order.intent.leg is leg and order.intent.purpose is not Purpose.ENTRY
            ]
            left = entered[leg]
            for order in closing_orders:
                assert order.intent.quantity <= left
                left -= order.seen
            assert left == 0
        assert rig.believed() == {}


async def test_7_positions_kept_in_memory(tmp_path: Path) -> None:
    """`TradeBook` is the fold of the journal: after a restart the trade is known, with its prices, and its exit closes it."""
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
            assert second.gate.unexplained_orders == set()
            assert_books_agree(second)
            assert (await second.engine.execute_signal(second.signal(SignalType.EXIT))).executed
            assert second.at_exchange() == {}
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
        rig.engine._pre_trade_check._risk = rig.settings.risk.model_copy(update={"pair_notional_usd": Decimal("4.5")})
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert outcome.denial is DenialCode.SIZE_TOO_SMALL
        assert len(sent_ids(rig)) == before


async def test_9_no_set_up_and_a_stream_that_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AccountSetup.prepare` reads leverage and margin type back; `UserStream.run` reconnects for ever."""
    monkeypatch.setattr(user_stream, "BACKOFF_SECONDS", (0.05,))
    async with running(tmp_path) as rig:
        await rig.client.fapiPrivatePostMarginType({"symbol": "1000CATUSDT", "marginType": "ISOLATED"})
        assert await rig.adapter.prepare(list(PAIR.symbols), rig.settings.risk.leverage) == {}
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


async def test_9_funding_that_nobody_booked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`FundingBooker.book`: told by the stream, read from the income, booked to the trade that held the symbol, once."""
    monkeypatch.setattr(funding, "FUNDING_AFTER_EVENT_SECONDS", 0.05)
    async with running(tmp_path) as rig:
        watching = asyncio.create_task(rig.account.funding.run())
        try:
            assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
            (trade,) = rig.book.live_trades()
            portfolio = rig.paper.desk.books.portfolios["paper-key"]
            before = portfolio.account.wallet
            rig.market.settle("1000CATUSDT", "0.003")
            charged = portfolio.account.wallet - before
            assert charged > 0, "short, so it receives"
            await eventually(lambda: trade.funding_usd)
            await rig.account.funding.book()
            assert trade.funding_usd == charged
            await eventually(lambda: replayed(rig).trades[trade.trade_id].funding_usd == charged)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
