"""A refused element of a batch names no order: its place does, and only as long as every other element stands in its own."""

from decimal import Decimal
from typing import Any, cast

import pytest

from domain.orders import LegName, OrderIntent, OrderReport, OrderType, Purpose, Side
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId
from runner.clock import SystemClock
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.errors import OutcomeUnknown, Refused

SYMBOLS = {"XRPUSDT": Symbol("XRP/USDT:USDT"), "SOLUSDT": Symbol("SOL/USDT:USDT")}


class Telling:
    """A client whose next batch is answered as told."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    async def fapiPrivatePostBatchOrders(self, _parameters: Any) -> Any:  # noqa: N802
        return self._rows


class Names:
    def symbol_of(self, listed_id: str) -> Symbol | None:
        return SYMBOLS.get(listed_id)


def exit_of(leg: LegName, listed_id: str) -> OrderIntent:
    return OrderIntent(
        client_order_id=ClientOrderId(f"tdm-t-{leg}x0"), trade_id=TradeId("t"), pair_id=PairId("P"), leg=leg,
        purpose=Purpose.EXIT, symbol=SYMBOLS[listed_id], side=Side.SELL, order_type=OrderType.MARKET, time_in_force=None,
        quantity=Decimal(1), limit_price=None, reduce_only=True, attempt=0,
    )  # fmt: skip


def filled(leg: str, listed_id: str) -> dict[str, Any]:
    return {
        "clientOrderId": f"tdm-t-{leg}x0", "orderId": 7, "symbol": listed_id, "status": "FILLED", "executedQty": "1",
        "updateTime": 1,
    }  # fmt: skip


A, B = filled("a", "XRPUSDT"), filled("b", "SOLUSDT")
NO = {"code": -2022, "msg": "ReduceOnly Order is rejected."}

# The reply's elements -> what is believed of leg a and of leg b.
REPLIES: list[tuple[list[Any], tuple[type, type]]] = [
    ([A, B], (OrderReport, OrderReport)),
    ([A, NO], (OrderReport, Refused)),
    ([NO, B], (Refused, OrderReport)),
    ([NO, NO], (Refused, Refused)),
    ([NO, A], (OutcomeUnknown, OutcomeUnknown)),  # Leg a was filled; by its place it would be refused.
    ([B, NO], (OutcomeUnknown, OutcomeUnknown)),
    ([B, A], (OutcomeUnknown, OutcomeUnknown)),
    ([A, A], (OrderReport, OutcomeUnknown)),
    ([A, None], (OrderReport, OutcomeUnknown)),
    ([A], (OutcomeUnknown, OutcomeUnknown)),
    ([A, B, NO], (OutcomeUnknown, OutcomeUnknown)),
]


@pytest.mark.parametrize(("rows", "believed"), REPLIES)
async def test_what_a_batch_reply_says_of_each_leg(rows: list[Any], believed: tuple[type, type]) -> None:
    adapter = BinanceExchange(
        cast("Any", Telling(rows)),
        cast("Any", Names()),
        Budget(SystemClock()),
        request_timeout_seconds=1,
        reply_timeout_seconds=1,
        batch=True,
        on_rules_doubted=lambda _symbol, _code: None,
    )
    answers = await adapter.place([exit_of(LegName.A, "XRPUSDT"), exit_of(LegName.B, "SOLUSDT")])
    for answer, kind in zip(answers, believed, strict=True):
        assert isinstance(answer, kind), answers
