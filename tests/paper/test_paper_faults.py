"""Each fault of the reference sheet's section 6.3: was the order placed, and what does ccxt make of the reply?"""

import asyncio
from typing import Any

import aiohttp
import ccxt
import pytest
from ccxt_client import rest_client
from paper_control import bearer
from scripted_market import ScriptedMarket
from waiting import eventually

from paper.clock import ServerClock
from paper.faults import CHAOS_KINDS, FaultBoard, Kind, OrderFacts
from paper.limits import Limits
from paper.options import ExchangeOptions
from paper.outcomes import OUTCOMES
from paper.server import PaperExchange

BTC = "BTC/USDT:USDT"
CAT = "1000CAT/USDT:USDT"

# fault, was the order placed, what ccxt raises (None: a normal reply)
STORIES = [
    ("executed-503", True, ccxt.OperationFailed),
    ("executed-408", True, ccxt.RequestTimeout),
    ("executed-1006", True, ccxt.OperationFailed),
    ("executed-delayed", True, None),
    ("executed-dropped", True, ccxt.ExchangeNotAvailable),
    ("executed-garbage", True, None),
    ("executed-empty", True, None),
    ("lost-503", False, ccxt.OperationFailed),
    ("lost-408", False, ccxt.RequestTimeout),
    ("lost-1006", False, ccxt.OperationFailed),
    ("lost-delayed", False, ccxt.RequestTimeout),
    ("lost-dropped", False, ccxt.ExchangeNotAvailable),
    ("refused-503", False, ccxt.ExchangeNotAvailable),
    ("refused-1008", False, ccxt.OperationFailed),
    ("refused-1001", False, ccxt.OperationFailed),
    ("refused-1021", False, ccxt.InvalidNonce),
    ("refused-429", False, ccxt.DDoSProtection),
    ("refused-418", False, ccxt.DDoSProtection),
    ("refused-403", False, ccxt.ExchangeNotAvailable),
]


def with_token(exchange: PaperExchange) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=bearer(exchange.control_token))


async def post(exchange: PaperExchange, path: str, **body: Any) -> Any:
    """Ask the control endpoint."""
    async with with_token(exchange) as session, session.post(exchange.rest_url + path, json=body) as reply:
        assert reply.status == 200, await reply.text()
        return await reply.json()


async def get(exchange: PaperExchange, path: str) -> Any:
    async with with_token(exchange) as session, session.get(exchange.rest_url + path) as reply:
        return await reply.json()


def test_every_outcome_has_its_story() -> None:
    assert {kind for kind, _, _ in STORIES} == {kind.value for kind in OUTCOMES}


@pytest.mark.parametrize(("kind", "placed", "raises"), STORIES)
async def test_reply_faults(
    exchange: PaperExchange, client: Any, kind: str, placed: bool, raises: type[Exception] | None
) -> None:
    await post(exchange, "/paper/faults", kind=kind, parameters={"delay_ms": 20})
    sending = client.create_order(BTC, "market", "buy", 0.01, params={"clientOrderId": "lost"})
    if raises is None:
        await sending
    else:
        with pytest.raises(raises):
            await sending
    known = exchange.desk.books.portfolios["paper-key"].find("BTCUSDT", None, "lost")
    assert (known is not None) is placed
    row = (await get(exchange, "/paper/faults"))["faults"][0]
    assert (row["hits"], row["active"]) == (1, False)
    await client.create_order(BTC, "market", "buy", 0.01)  # The next one goes through.


@pytest.mark.parametrize(("reply", "raises"), [("dropped", ccxt.ExchangeNotAvailable), ("408", ccxt.RequestTimeout)])
async def test_a_late_order_appears_after_its_reply_was_lost(
    exchange: PaperExchange, client: Any, reply: str, raises: type[Exception]
) -> None:
    await post(exchange, "/paper/faults", kind="late", parameters={"delay_ms": 300, "reply": reply})
    with pytest.raises(raises):
        await client.create_order(BTC, "market", "buy", 0.01, params={"clientOrderId": "late"})
    portfolio = exchange.desk.books.portfolios["paper-key"]
    assert portfolio.find("BTCUSDT", None, "late") is None
    await eventually(lambda: portfolio.find("BTCUSDT", None, "late"))


async def test_a_late_order_never_arrives_beyond_its_window(exchange: PaperExchange, client: Any) -> None:
    client.options["recvWindow"] = 50
    await post(exchange, "/paper/faults", kind="late", parameters={"delay_ms": 120})
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await client.create_order(BTC, "market", "buy", 0.01, params={"clientOrderId": "late"})
    await eventually(lambda: not exchange.desk._tasks)
    assert exchange.desk.books.portfolios["paper-key"].find("BTCUSDT", None, "late") is None


async def test_a_placed_order_can_hide_from_queries(exchange: PaperExchange, client: Any) -> None:
    await post(exchange, "/paper/faults", kind="hidden", parameters={"delay_ms": 400})
    await client.create_order(BTC, "market", "buy", 0.01, params={"clientOrderId": "shy"})
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await client.fetch_order(None, BTC, {"origClientOrderId": "shy"})

    async def shown() -> bool:
        try:
            return bool(await client.fetch_order(None, BTC, {"origClientOrderId": "shy"}))
        except ccxt.OrderNotFound:
            return False

    await eventually(shown)


async def test_a_partial_fill_expires_the_rest(exchange: PaperExchange, client: Any) -> None:
    await post(exchange, "/paper/faults", kind="partial", parameters={"fraction": "0.35"})
    order = await client.create_order(BTC, "market", "buy", 0.01)
    assert (order["status"], order["filled"]) == ("expired", 0.003)


async def test_a_rejected_leg_is_picked_by_symbol_side_id_and_turn(exchange: PaperExchange, client: Any) -> None:
    match = {"symbol": "1000CATUSDT", "side": "SELL", "client_order_id": "^leg-b", "skip": 1}
    await post(exchange, "/paper/faults", kind="rejected", match=match, parameters={"code": -2027})
    await client.create_order(CAT, "market", "sell", 1000, params={"clientOrderId": "leg-b-1"})
    await client.create_order(CAT, "market", "buy", 1000, params={"clientOrderId": "leg-b-2"})
    await client.create_order(CAT, "market", "sell", 1000, params={"clientOrderId": "leg-a-1"})
    with pytest.raises(ccxt.OperationRejected, match="-2027"):
        await client.create_order(CAT, "market", "sell", 1000, params={"clientOrderId": "leg-b-3"})
    await client.create_order(CAT, "market", "sell", 1000, params={"clientOrderId": "leg-b-4"})


@pytest.mark.parametrize(
    ("kind", "placed", "code"),
    [
        ("executed-408", True, -1007),
        ("lost-408", False, -1007),
        ("executed-503", True, -1000),
        ("refused-1008", False, -1008),
    ],
)
async def test_one_element_of_a_batch_fails_alone(
    exchange: PaperExchange, client: Any, kind: str, placed: bool, code: int
) -> None:
    await post(exchange, "/paper/faults", kind=kind, match={"element": 1})
    replies = await client.fapiPrivatePostBatchOrders({
        "batchOrders": [
            {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "newClientOrderId": "a"},
            {"symbol": "ETHUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.1", "newClientOrderId": "b"},
        ]
    })  # fmt: skip
    assert replies[0]["clientOrderId"] == "a"
    assert int(replies[1]["code"]) == code
    assert (exchange.desk.books.portfolios["paper-key"].find("ETHUSDT", None, "b") is not None) is placed


async def test_faults_can_hit_any_path(exchange: PaperExchange, client: Any) -> None:
    await post(exchange, "/paper/faults", kind="refused-503", match={"path": "/fapi/v3/positionRisk"}, count=2)
    for _ in range(2):
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await client.fapiPrivateV3GetPositionRisk()
    assert await client.fapiPrivateV3GetPositionRisk() == []


async def test_clock_skew_and_resync(exchange: PaperExchange, client: Any) -> None:
    fault = await post(exchange, "/paper/faults", kind="clock-skew", parameters={"skew_ms": -5000})
    with pytest.raises(ccxt.InvalidNonce, match="ahead of the server"):
        await client.fetch_balance()
    await client.load_time_difference()
    await client.fetch_balance()
    async with (
        with_token(exchange) as session,
        session.delete(f"{exchange.rest_url}/paper/faults/{fault['id']}") as reply,
    ):
        assert (await reply.json()) == {"removed": 1}
    assert exchange.clock.skew_ms == 0


async def test_a_ban_ends(exchange: PaperExchange, client: Any) -> None:
    await post(exchange, "/paper/faults", kind="ban", parameters={"duration_ms": 300})
    with pytest.raises(ccxt.DDoSProtection, match="banned until"):
        await client.fetch_balance()
    assert client.last_response_headers["Retry-After"] == "1"

    async def free_again() -> bool:
        try:
            return bool(await client.fetch_balance())
        except ccxt.DDoSProtection:
            return False

    await eventually(free_again)


async def test_a_bad_fault_is_refused_with_a_reason(exchange: PaperExchange) -> None:
    for body in (
        {"kind": "nonsense"},
        {"kind": "late", "extra": 1},
        {"kind": "late", "match": {"client_order_id": "("}},
    ):
        async with (
            with_token(exchange) as session,
            session.post(exchange.rest_url + "/paper/faults", json=body) as reply,
        ):
            assert reply.status == 400
            assert (await reply.json())["error"]


def test_chaos_is_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[Kind | None]:
        board = FaultBoard(
            ServerClock(), Limits(ExchangeOptions().limits, ServerClock()), chaos_seed=seed, chaos_rate=0.3
        )
        order = OrderFacts(symbol="BTCUSDT", side="BUY", client_order_id="", element=0)
        specs = [board.take_request("POST", "/fapi/v1/order", (order,)) for _ in range(400)]
        return [None if spec is None else spec.kind for spec in specs]

    assert drawn(3) == drawn(3) != drawn(4)
    assert set(drawn(3)) == {None, *CHAOS_KINDS}


async def test_chaos_leaves_a_lively_exchange(market: ScriptedMarket) -> None:
    """Whatever is drawn, what the exchange says afterwards adds up."""
    async with PaperExchange(market, ExchangeOptions(chaos_seed=11, chaos_rate=0.5)) as exchange:
        client = rest_client(exchange.rest_url, exchange.stream_url)
        try:
            for number in range(40):
                try:
                    await client.create_order(BTC, "market", "buy", 0.001, params={"clientOrderId": f"c{number}"})
                except ccxt.BaseError:
                    continue
            await asyncio.wait_for(asyncio.gather(*exchange.desk._tasks), 10)
            portfolio = exchange.desk.books.portfolios["paper-key"]
            assert portfolio.account.amount("BTCUSDT") == sum(trade.quantity for trade in portfolio.trades)
            assert sum((await get(exchange, "/paper/faults"))["chaos"].values()) > 5
        finally:
            await client.close()


async def test_orders_are_logged_with_their_arrival(exchange: PaperExchange, client: Any) -> None:
    await client.create_order(BTC, "market", "buy", 0.01, params={"clientOrderId": "timed"})
    (row,) = await get(exchange, "/paper/orders-log")
    assert row["client_order_ids"] == ["timed"]
    assert row["received_monotonic_ns"] > 0


async def test_a_market_that_plays_by_itself_is_not_played_by_hand(exchange: PaperExchange) -> None:
    async with (
        with_token(exchange) as session,
        session.post(exchange.rest_url + "/paper/play", json={"until_ms": 1}) as reply,
    ):
        assert reply.status == 400
        assert "--market replay --speed 0" in (await reply.json())["error"]
