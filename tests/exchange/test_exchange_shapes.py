"""A reply of another shape is no answer: an empty object must not read as "nothing is held", and a bad row is named."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from exchange_rig import XRP, Adapter, adapted, answering

from domain.symbols import Symbol
from runner.exchange.binance.shapes import list_of, object_of, rows_of
from runner.exchange.binance.symbols import exchange_id, stream_name
from runner.exchange.binance.weights import FUNDING_POOL, Cost, cost_of
from runner.exchange.errors import ExchangeError, OutcomeUnknown
from runner.exchange.port import Reading

LISTS: dict[str, Callable[[Adapter], Awaitable[Any]]] = {
    "fills": lambda a: a.adapter.fills(XRP, since_ms=0),
    "open_orders": lambda a: a.adapter.open_orders(),
    "positions": lambda a: a.adapter.positions(),
    "klines": lambda a: a.adapter.klines(XRP, interval="1m", limit=2),
    "funding_payments": lambda a: a.adapter.funding_payments(since_ms=0),
    "rules": lambda a: a.rules.load([]),
    "funding": lambda a: a.rules.load_funding(),
}


@pytest.mark.parametrize("body", ["{}", '{"239999": "The system is under maintenance"}', "null", '""', "0"])
async def test_what_is_no_list_never_means_nothing(body: str) -> None:
    async with answering(body) as url, adapted(url, load=False) as rig:
        for read in LISTS.values():
            with pytest.raises(ExchangeError):
                await read(rig)


def test_an_empty_list_does() -> None:
    assert rows_of("positionRisk", [], lambda row: row["symbol"]) == []


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ({}, "positionRisk: expected a list, not an object"),
        (None, "positionRisk: expected a list, not null"),
        ("[]", "positionRisk: expected a list, not a text"),
        ([{"symbol": "A"}, {}], "positionRisk, row 1: unreadable (KeyError)"),
        ([{"symbol": "A"}, {"symbol": "B"}, None], "positionRisk, row 2: unreadable (TypeError)"),
    ],
)
def test_the_line_says_what_was_wrong_and_where(reply: Any, says: str) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        rows_of("positionRisk", reply, lambda row: row["symbol"])
    assert caught.value.why == says


def test_objects_and_lists_are_not_taken_for_each_other() -> None:
    assert list_of("x", [1]) == [1]
    assert object_of("x", {"a": 1}) == {"a": 1}
    with pytest.raises(OutcomeUnknown, match="expected an object, not a list"):
        object_of("x", [])


@pytest.mark.parametrize(
    ("symbol", "listed", "stream"),
    [
        ("BTC/USDT:USDT", "BTCUSDT", "btcusdt"),
        ("1000CAT/USDT:USDT", "1000CATUSDT", "1000catusdt"),
        ("1MBABYDOGE/USDT:USDT", "1MBABYDOGEUSDT", "1mbabydogeusdt"),
        ("ETH/USDC:USDC", "ETHUSDC", "ethusdc"),
        ("0G/USDT:USDT", "0GUSDT", "0gusdt"),
    ],
)
def test_names(symbol: str, listed: str, stream: str) -> None:
    assert (exchange_id(Symbol(symbol)), stream_name(Symbol(symbol))) == (listed, stream)
    assert exchange_id(Symbol("1000CAT/USDT:USDT")) != exchange_id(Symbol("CAT/USDT:USDT"))


def test_settled_funding_has_a_pool_of_its_own() -> None:
    assert cost_of("/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}) == Cost(0, FUNDING_POOL)
    assert cost_of("/fapi/v1/ticker/24hr", {}) == Cost(40)
    assert cost_of("/fapi/v1/klines", {"limit": 499}) == Cost(2)


async def test_what_is_read_beside_the_trading_leaves_its_share_to_trading() -> None:
    async with answering("[]") as url, adapted(url, load=False) as rig:
        assert all(rig.adapter.has_room(reading) for reading in Reading)
        rig.budget.observe(200, {"x-mbx-used-weight-1m": "1500"}, "")  # Of 2,400.
        left = {reading for reading in Reading if rig.adapter.has_room(reading)}
        assert left == {Reading.BALANCE, Reading.SETTINGS}


async def test_the_exchange_knows_its_own_orders() -> None:
    async with answering("[]") as url, adapted(url, load=False) as rig:
        names = ["autoclose-1", "adl_autoclose", "settlement_autoclose-9", "tdm-1-ae0", "web_1", ""]
        assert [rig.adapter.is_forced(name) for name in names] == [True, True, True, False, False, False]
