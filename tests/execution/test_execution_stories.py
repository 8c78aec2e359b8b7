"""What the exchange does -> what we end up holding, over real sockets with the real journal."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from execution_rig import PAIR, Rig, deep_market, eventually, running
from paper_control import bearer

from domain.guards import DenialCode
from domain.orders import is_ours
from domain.pairs import SignalType, TradeStatus
from paper.server import PaperExchange


async def test_a_trade_from_signal_to_flat(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert outcome.executed
        held = rig.at_exchange()
        assert held["1000CATUSDT"] < 0 < held["1MBABYDOGEUSDT"]
        assert held == rig.believed()
        (trade,) = rig.book.live_trades()
        assert trade.status is TradeStatus.OPEN
        assert trade.hedge_error <= 0.02
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.EXIT))
        assert outcome.executed
        assert rig.at_exchange() == rig.believed() == {}
        assert trade.status is TradeStatus.CLOSED
        assert trade.fees_usd > 0
        assert rig.signals.told == ["opening", "opened", "closing", "closed 0"]


# What the order request meets -> whether the entry ends as a hedged trade.
ENTRY_STORIES: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("executed-503", {}, {}, True),
    ("executed-408", {}, {}, True),
    ("executed-1006", {}, {}, True),
    ("executed-dropped", {}, {}, True),
    ("executed-garbage", {}, {}, True),
    ("executed-empty", {}, {}, True),
    ("executed-delayed", {}, {"delay_ms": 1500}, True),
    ("lost-503", {}, {}, False),
    ("lost-408", {}, {}, False),
    ("lost-dropped", {}, {}, False),
    ("refused-1008", {}, {}, False),
    ("refused-503", {}, {}, False),
    ("refused-1001", {}, {}, False),
    ("refused-1021", {}, {}, False),
    ("refused-429", {}, {}, False),
    ("refused-403", {}, {}, False),
    ("late", {}, {"delay_ms": 300}, True),
    ("hidden", {}, {"delay_ms": 400}, True),
    ("rejected", {"element": 0}, {"code": -2019}, False),
    ("rejected", {"element": 1}, {"code": -2019}, False),
    ("rejected", {"element": 1}, {"code": -4131}, False),
    (
        "rejected",
        {"element": 1},
        {"code": -1007},
        True,
    ),  # Proven dead, then completed: cheaper than taking back the other.
    ("partial", {"element": 1}, {"fraction": "0.4"}, True),
    ("partial", {"element": 0}, {"fraction": "0.4"}, True),
]


@pytest.mark.parametrize(("kind", "match", "parameters", "hedged"), ENTRY_STORIES)
async def test_an_entry_meets_trouble(
    tmp_path: Path, kind: str, match: dict[str, Any], parameters: dict[str, Any], hedged: bool
) -> None:
    """Whatever the reply was: hedged or flat, our books equal the exchange's, and no id was sent twice."""
    async with running(tmp_path) as rig:
        rig.fault(kind, parameters=parameters, **match)
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        assert outcome.executed is hedged, rig.log.said
        assert rig.at_exchange() == rig.believed()
        assert bool(rig.at_exchange()) is hedged
        assert not rig.halted
        assert_no_id_was_sent_twice(rig)
        if hedged:
            (trade,) = rig.book.live_trades()
            assert trade.hedge_error <= 0.021
            assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
            assert rig.at_exchange() == rig.believed() == {}


EXIT_STORIES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("executed-503", {}, {}),
    ("executed-dropped", {}, {}),
    ("lost-408", {}, {}),
    ("lost-dropped", {}, {}),
    ("refused-1008", {}, {}),
    ("refused-1021", {}, {}),
    ("refused-429", {}, {}),
    ("late", {}, {"delay_ms": 300}),
    ("rejected", {"element": 0}, {"code": -2022}),
    ("rejected", {"element": 1}, {"code": -4131}),
    ("rejected", {"element": 1}, {"code": -1007}),
    ("partial", {"element": 1}, {"fraction": "0.4"}),
]


@pytest.mark.parametrize(("kind", "match", "parameters"), EXIT_STORIES)
async def test_an_exit_meets_trouble(
    tmp_path: Path, kind: str, match: dict[str, Any], parameters: dict[str, Any]
) -> None:
    """An exit ends flat, on both legs, whatever happens on the way."""
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.BUY))).executed
        rig.fault(kind, parameters=parameters, **match)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.STOP))).executed
        assert rig.at_exchange() == rig.believed() == {}, rig.log.said
        assert rig.signals.told[-1] == "closed 1"
        assert_no_id_was_sent_twice(rig)


@pytest.mark.parametrize("kind", ["user-frozen", "user-dropped"])
async def test_without_a_user_stream_queries_bring_the_fills(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path) as rig:
        rig.fault(kind, count=1)
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert rig.at_exchange() == rig.believed() != {}


@pytest.mark.parametrize("kind", ["user-duplicated", "user-reordered", "user-delayed"])
async def test_events_in_any_order_and_number(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path) as rig:
        rig.fault(kind, count=None, parameters={"delay_ms": 100})
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.at_exchange() == rig.believed() == {}


async def test_a_second_entry_of_the_same_pair_is_denied(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        outcome = await rig.engine.execute_signal(rig.signal(SignalType.BUY))
        assert outcome.denial is DenialCode.PAIR_BUSY


async def test_what_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    """A person holds 1000 of leg a by hand; a whole trade passes and the 1000 are still there."""
    async with running(tmp_path) as rig:
        await by_hand(rig, "1000CATUSDT", "1000")
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
        assert rig.believed() == {}
        assert {symbol: str(quantity) for symbol, quantity in rig.at_exchange().items()} == {"1000CATUSDT": "1000"}


async def test_a_leg_taken_by_the_exchange_closes_its_other_leg(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        await post(rig, "/paper/adl", symbol="1MBABYDOGEUSDT")
        await eventually(lambda: rig.at_exchange() == {} == rig.believed())
        await eventually(lambda: "closed 0" in rig.signals.told)


async def test_a_restart_takes_up_what_it_finds(tmp_path: Path) -> None:
    """Stop with a trade open, start again from the journal alone, close it."""
    market = deep_market()
    async with PaperExchange(market) as exchange:
        first = Rig(market, exchange, tmp_path / "journal.sqlite")
        await first.start()
        assert (await first.engine.execute_signal(first.signal(SignalType.SELL))).executed
        await first.stop()
        second = Rig(market, exchange, tmp_path / "journal.sqlite")
        await second.start()
        try:
            assert second.believed() == second.at_exchange() != {}
            assert PAIR.pair_id in second.signals.held
            assert (await second.engine.execute_signal(second.signal(SignalType.EXIT))).executed
            assert second.at_exchange() == second.believed() == {}
        finally:
            await second.stop()


def assert_no_id_was_sent_twice(rig: Rig) -> None:
    sent = [
        order.client_order_id
        for order in rig.paper.desk.books.portfolios["paper-key"].orders.values()
        if is_ours(order.client_order_id)
    ]
    assert len(sent) == len(set(sent))


async def by_hand(rig: Rig, symbol: str, quantity: str) -> None:
    await post(rig, "/paper/position", symbol=symbol, quantity=quantity)


async def post(rig: Rig, path: str, **body: Any) -> None:
    headers = bearer(rig.paper.control_token)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(rig.paper.rest_url + path, json=body) as reply,
    ):
        assert reply.status == 200, await reply.text()


async def test_a_leg_taken_while_we_were_away_is_noticed_at_the_next_start(tmp_path: Path) -> None:
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
        finally:
            await second.stop()
