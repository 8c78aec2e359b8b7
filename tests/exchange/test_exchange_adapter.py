"""Each thing the exchange may do with a request -> the one word we have for it, over real sockets."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from exchange_rig import ETH, ORDER_SECONDS, XRP, Adapter, D, adapted, answering, fault, order, trading

from domain.errors import ConfigError
from domain.orders import LegName, OrderChange, OrderReport, OrderType, Side, TimeInForce
from domain.symbols import ClientOrderId
from paper.options import CoreOptions, ExchangeOptions
from runner.exchange.binance.budget import BAN_MARGIN_MS
from runner.exchange.binance.client import _point_at
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.errors import ExchangeError, OutcomeUnknown, Refused, Unreachable
from runner.exchange.priority import Priority

REPORT, REFUSED, UNKNOWN = OrderReport, Refused, OutcomeUnknown
# fault -> our word, and whether the exchange executed it
OUTCOMES: list[tuple[str, dict[str, Any], type, bool]] = [
    ("executed-503", {}, UNKNOWN, True),
    ("executed-408", {}, UNKNOWN, True),
    ("executed-1006", {}, UNKNOWN, True),
    ("executed-delayed", {"delay_ms": 100}, REPORT, True),
    ("executed-delayed", {"delay_ms": 2500}, UNKNOWN, True),  # Beyond our own time-out.
    ("executed-dropped", {}, UNKNOWN, True),
    ("executed-garbage", {}, UNKNOWN, True),
    ("executed-empty", {}, UNKNOWN, True),
    ("lost-503", {}, UNKNOWN, False),
    ("lost-408", {}, UNKNOWN, False),
    ("lost-1006", {}, UNKNOWN, False),
    ("lost-dropped", {}, UNKNOWN, False),
    ("refused-503", {}, UNKNOWN, False),  # Its words are not on the list of proofs.
    ("refused-403", {}, UNKNOWN, False),
    ("refused-1001", {}, UNKNOWN, False),
    ("refused-1008", {}, REFUSED, False),
    ("refused-1021", {}, REFUSED, False),
    ("refused-429", {}, REFUSED, False),
    ("refused-418", {}, REFUSED, False),
    ("rejected", {"code": -2019}, REFUSED, False),
    ("rejected", {"code": -1007}, UNKNOWN, False),
    ("partial", {"fraction": "0.5"}, REPORT, True),
]


@pytest.mark.parametrize("batch", [True, False], ids=["batch", "single"])
@pytest.mark.parametrize(("kind", "parameters", "word", "executed"), OUTCOMES)
async def test_one_word_for_each_outcome(
    kind: str, parameters: dict[str, Any], word: type, *, executed: bool, batch: bool
) -> None:
    async with trading() as (exchange, rig):
        fault(exchange, kind, parameters=parameters)
        intents = [order("tdm-1"), order("tdm-2")] if batch else [order("tdm-1")]
        began = asyncio.get_running_loop().time()
        answers = await rig.adapter.place(intents)
        assert asyncio.get_running_loop().time() - began < ORDER_SECONDS + 5
        assert len(answers) == len(intents)
        element_only = kind in {"rejected", "partial"}
        for answer in answers if not element_only else answers[:1]:
            assert type(answer) is word, answer
        exists = exchange.desk.books.portfolios["paper-key"].find("XRPUSDT", None, "tdm-1") is not None
        assert exists is executed
        assert bool(rig.budget.blocked_ms()) is (kind in {"refused-429", "refused-418"})
        assert rig.adapter.clock_is_off.is_set() is (kind == "refused-1021")


async def test_answers_come_in_the_order_of_the_request() -> None:
    """Whichever element fails, its own leg hears of it."""
    async with trading() as (exchange, rig):
        for element in (0, 1):
            fault(exchange, "rejected", element=element, parameters={"code": -2019})
            names = [f"tdm-{element}0", f"tdm-{element}1"]
            answers = await rig.adapter.place([order(name) for name in names])
            assert isinstance(answers[element], Refused)
            other = answers[1 - element]
            assert isinstance(other, OrderReport)
            assert other.client_order_id == names[1 - element]


async def test_an_order_lives_and_is_looked_up() -> None:
    async with trading() as (_, rig):
        resting = order("tdm-r", limit_price=D("0.49"), time_in_force=TimeInForce.GTC)
        (answer,) = await rig.adapter.place([resting])
        assert isinstance(answer, OrderReport)
        assert answer.change is OrderChange.ACCEPTED
        looked = await rig.adapter.look_up(XRP, ClientOrderId("tdm-r"))
        assert looked is not None
        assert looked.exchange_order_id == answer.exchange_order_id
        assert await rig.adapter.owner_of(XRP, answer.exchange_order_id) == "tdm-r"
        assert [report.client_order_id for report in await rig.adapter.open_orders()] == ["tdm-r"]
        cancelled = await rig.adapter.cancel(XRP, ClientOrderId("tdm-r"))
        assert cancelled is not None
        assert cancelled.change is OrderChange.CANCELLED
        assert await rig.adapter.cancel(XRP, ClientOrderId("tdm-r")) is None
        assert await rig.adapter.open_orders() == []


async def test_absence_is_what_the_exchange_says_and_nothing_else() -> None:
    async with trading() as (exchange, rig):
        assert await rig.adapter.look_up(XRP, ClientOrderId("tdm-none")) is None
        assert await rig.adapter.owner_of(XRP, "123456789") is None
        for kind in ("lost-503", "lost-408", "lost-dropped", "refused-1008", "refused-429", "refused-403"):
            fault(
                exchange, kind, count=2, path="/fapi/v1/order", method="GET"
            )  # aiohttp itself repeats a dropped GET once.
            with pytest.raises((OutcomeUnknown, Unreachable)):
                await rig.adapter.look_up(XRP, ClientOrderId("tdm-none"))
            exchange.board.remove()


async def test_executions_and_positions() -> None:
    async with trading() as (_, rig):
        bought = order("tdm-b", order_type=OrderType.MARKET, time_in_force=None, limit_price=None)
        sold = order("tdm-s", symbol=ETH, side=Side.SELL, leg=LegName.B, quantity=D("0.1"), limit_price=D(2990))
        reports = await rig.adapter.place([bought, sold])
        held = await rig.adapter.positions()
        assert {symbol: position.quantity for symbol, position in held.items()} == {XRP: D(20), ETH: D("-0.1")}
        report = reports[0]
        assert isinstance(report, OrderReport)
        (fill,) = await rig.adapter.fills(XRP, since_ms=0, exchange_order_id=report.exchange_order_id)
        assert (fill.side, fill.quantity, fill.price) == (Side.BUY, D(20), D("0.5001"))
        assert fill.fee == D(20) * D("0.5001") * D("0.0005")
        balance = await rig.adapter.balance()
        assert balance.wallet_usd < 10_000
        assert balance.available_usd < balance.wallet_usd


# Whatever a reply says -> an ExchangeError (or a ConfigError where there is something to correct), never anything else.
NONSENSE = [
    "[]",
    "{}",
    "[{}]",
    "null",
    "7",
    '"text"',
    '[{"symbol": 1}]',
    '{"code": 0}',
    "[[]]",
    "[null]",
    '{"symbols": [{}]}',
]
CALLS: dict[str, Callable[[Adapter], Awaitable[Any]]] = {
    "look_up": lambda a: a.adapter.look_up(XRP, ClientOrderId("x")),
    "owner_of": lambda a: a.adapter.owner_of(XRP, "1"),
    "cancel": lambda a: a.adapter.cancel(XRP, ClientOrderId("x")),
    "fills": lambda a: a.adapter.fills(XRP, since_ms=0),
    "open_orders": lambda a: a.adapter.open_orders(),
    "positions": lambda a: a.adapter.positions(),
    "balance": lambda a: a.adapter.balance(),
    "klines": lambda a: a.adapter.klines(XRP, interval="1m", limit=2),
    "funding_payments": lambda a: a.adapter.funding_payments(since_ms=0),
    "prepare": lambda a: a.adapter.prepare([XRP], 3),
    "rules": lambda a: a.rules.load([]),
    "funding": lambda a: a.rules.load_funding(),
    "fees": lambda a: a.rules.load_fees(XRP),
    "clock": lambda a: a.adapter.synchronise_clock(),
}


@pytest.mark.parametrize("body", NONSENSE)
async def test_nonsense_is_an_answer_we_did_not_understand(body: str) -> None:
    async with answering(body) as url, adapted(url, load=False) as rig:
        for answer in await rig.adapter.place([order("tdm-1"), order("tdm-2")]):
            assert isinstance(answer, OutcomeUnknown)
        (alone,) = await rig.adapter.place([order("tdm-3")])
        assert isinstance(alone, OutcomeUnknown)
        for name, call in CALLS.items():
            try:
                await call(rig)
            except (ExchangeError, ConfigError):
                continue
            except Exception as error:  # noqa: BLE001  (Naming the culprit is the test.)
                pytest.fail(f"{name}: {error!r}")


async def test_nobody_listens() -> None:
    """A connection that was never made proves that nothing left."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with adapted(f"http://127.0.0.1:{taken.getsockname()[1]}", load=False) as rig:
            for answer in await rig.adapter.place([order("tdm-1"), order("tdm-2")]):
                assert isinstance(answer, Unreachable)
            with pytest.raises(Unreachable):
                await rig.adapter.positions()


async def test_somebody_listens_and_never_answers() -> None:
    """Unknown, within the bound that was given, not a moment of ccxt's own."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with adapted(f"http://127.0.0.1:{silent.getsockname()[1]}", load=False) as rig:
            began = asyncio.get_running_loop().time()
            (answer,) = await rig.adapter.place([order()])
            assert isinstance(answer, OutcomeUnknown)
            assert asyncio.get_running_loop().time() - began < ORDER_SECONDS + 2


async def test_hedge_mode_is_refused_with_the_remedy() -> None:
    async with trading() as (_, rig):
        await rig.client.fapiPrivatePostPositionSideDual({"dualSidePosition": "true"})
        with pytest.raises(ConfigError, match="one-way mode"):
            await rig.adapter.prepare([XRP], 3)


async def test_leverage_beyond_the_bracket_names_the_key_to_lower() -> None:
    async with trading() as (_, rig):
        assert await rig.adapter.prepare([XRP], 3) == {}
        problems = await rig.adapter.prepare([XRP], 126)
        assert "risk.leverage" in problems[XRP].why
        assert (refusal := problems[XRP].refusal) is not None
        assert refusal.code == "-4028"


@pytest.mark.parametrize(("key", "secret"), [("wrong-key", "paper-secret"), ("paper-key", "wrong-secret")])
async def test_wrong_keys_are_refused_and_never_shown(key: str, secret: str) -> None:
    async with trading() as (exchange, _), adapted(exchange.rest_url, load=False, key=key, secret=secret) as rig:
        with pytest.raises(OutcomeUnknown) as caught:
            await rig.adapter.balance()
        assert caught.value.code in {-2014, -2015, -1022}
        (answer,) = await rig.adapter.place([order()])
        assert isinstance(answer, Refused | OutcomeUnknown)
        for text in (str(caught.value), repr(caught.value), str(answer), repr(answer)):
            assert_shows_no_secret(text, key, secret)


def assert_shows_no_secret(text: str, *secrets: str) -> None:
    assert "signature" not in text.lower().replace("signature for this request is not valid", "")
    for secret in secrets:
        assert secret not in text


@pytest.mark.parametrize(
    "kind", ["lost-503", "lost-408", "lost-dropped", "lost-delayed", "refused-403", "executed-garbage", "refused-503"]
)
async def test_no_error_tells_what_was_signed(kind: str) -> None:
    """Neither text, nor repr, nor the chain of causes that a traceback would print."""
    async with trading() as (exchange, rig):
        fault(exchange, kind, parameters={"delay_ms": 2500})
        (answer,) = await rig.adapter.place([order()])
        assert isinstance(answer, Exception)
        shown: BaseException | None = answer
        while shown is not None:
            assert_shows_no_secret(f"{shown} {shown!r}", "paper-key", "paper-secret")
            shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


async def test_a_ban_is_respected_to_its_end() -> None:
    """While it lasts nothing is sent at all."""
    async with trading() as (exchange, rig):
        fault(exchange, "refused-418")
        (answer,) = await rig.adapter.place([order("tdm-1")])
        assert isinstance(answer, Refused)
        assert 0 < rig.adapter.blocked_ms() <= 2_000 + BAN_MARGIN_MS
        assert rig.budget.wait_ms(Priority.BACKGROUND, 1) > 0
        before = len(exchange.desk.orders_log)
        (answer,) = await rig.adapter.place([order("tdm-2")])
        assert isinstance(answer, Unreachable)
        assert len(exchange.desk.orders_log) == before
        await asyncio.sleep(rig.adapter.blocked_ms() / 1000 + 0.05)
        (answer,) = await rig.adapter.place([order("tdm-3")])
        assert isinstance(answer, OrderReport)
        assert rig.budget.bans == 1


async def test_unlisted_symbols_are_named() -> None:
    async with trading() as (_, rig):
        with pytest.raises(ConfigError, match=r"pairs_config\.json.*NONE/USDT:USDT"):
            await rig.rules.load([XRP, "NONE/USDT:USDT"])


async def test_a_resting_order_in_a_contract_that_is_not_ours_blocks_nobody() -> None:
    """A person rests an order in a delivery contract: start and look-ups must still be able to read the list."""
    quarterly = '[{"symbol":"BTCUSDT_261225","clientOrderId":"web_1","orderId":7,"status":"NEW"}]'
    async with trading() as (_, rig), answering(quarterly) as url:
        _point_at(rig.client, url)
        assert await rig.adapter.open_orders() == []


async def test_a_contract_without_its_filters_is_left_out_alone() -> None:
    async with trading() as (_, rig):
        info = await rig.client.fapiPublicGetExchangeInfo()
        for row in info["symbols"]:
            if row["symbol"] == "ETHUSDT":
                row["filters"] = []
        fresh = ContractRules(rig.client, rig.budget, timeout_seconds=1.5, taker_fee_bps=5)
        fresh._read(info)
        assert fresh.instrument(XRP).step == D("0.1")
        with pytest.raises(KeyError):
            fresh.instrument(ETH)
        rig.rules._read(info)
        assert rig.rules.instrument(ETH).step == D("0.001"), "what was read before still holds"


async def test_our_reading_of_the_wire_agrees_with_ccxt() -> None:
    """ccxt's own parsers on the same raw rows: ids, quantities, prices, fees, sides, status."""
    statuses = {
        OrderChange.ACCEPTED: "open", OrderChange.PARTIALLY_FILLED: "open", OrderChange.FILLED: "closed",
        OrderChange.CANCELLED: "canceled", OrderChange.EXPIRED: "expired",
    }  # fmt: skip
    options = ExchangeOptions(core=CoreOptions(replies_carry_average_price=True))
    async with trading(options) as (exchange, rig):
        fault(exchange, "partial", client_order_id="tdm-3", parameters={"fraction": "0.5"})
        intents = [
            order("tdm-1"),
            order("tdm-2", limit_price=D("0.49"), time_in_force=TimeInForce.GTC),
            order("tdm-3"),
            order("tdm-4", symbol=ETH, side=Side.SELL, quantity=D("0.123"), limit_price=D(2990)),
        ]
        for intent in intents:
            await rig.adapter.place([intent])
        await rig.adapter.cancel(XRP, ClientOrderId("tdm-2"))
        oracle = rig.client
        await oracle.load_markets()
        for intent in intents:
            raw = await oracle.fapiPrivateGetOrder(
                {"symbol": intent.symbol.split(":")[0].replace("/", ""), "origClientOrderId": intent.client_order_id}
            )
            theirs, ours = oracle.parse_order(raw), await rig.adapter.look_up(intent.symbol, intent.client_order_id)
            assert ours is not None
            assert ours.client_order_id == theirs["clientOrderId"]
            assert ours.exchange_order_id == theirs["id"]
            assert ours.symbol == theirs["symbol"]
            assert statuses[ours.change] == theirs["status"]
            assert float(ours.filled) == theirs["filled"]
            assert (float(ours.average_price) if ours.average_price else None) == theirs["average"]
            fills = await rig.adapter.fills(intent.symbol, since_ms=0, exchange_order_id=ours.exchange_order_id)
            rows = await oracle.fapiPrivateGetUserTrades({"symbol": raw["symbol"], "orderId": raw["orderId"]})
            assert len(fills) == len(rows) == (0 if intent.client_order_id == "tdm-2" else 1)
            for fill, row in zip(fills, rows, strict=True):
                trade = oracle.parse_trade(row)
                assert fill.exchange_trade_id == trade["id"]
                assert fill.exchange_order_id == trade["order"]
                assert (str(fill.side), float(fill.quantity), float(fill.price)) == (
                    trade["side"],
                    trade["amount"],
                    trade["price"],
                )
                assert (float(fill.fee), fill.fee_asset) == (trade["fee"]["cost"], trade["fee"]["currency"])
                assert fill.at_ms == trade["timestamp"]
