"""Our adapter against a paper exchange, over real sockets, without an engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web
from scripted_market import ScriptedMarket

from domain.orders import LegName, OrderIntent, OrderType, Purpose, Side, TimeInForce
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId
from paper.faults import FaultSpec, Kind, Match, Parameters
from paper.options import ExchangeOptions
from paper.server import PaperExchange
from runner.clock import SystemClock
from runner.config import PAPER_SECRET, DataSettings, ExecutionSettings, Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import make_client
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.errors import ExchangeError
from runner.ports import Clock

D = Decimal
XRP, ETH = Symbol("XRP/USDT:USDT"), Symbol("ETH/USDT:USDT")
ORDER_SECONDS = 1.0


class Adapter:
    """What the engine would hold, and the exchange behind it."""

    def __init__(
        self,
        rest_url: str,
        *,
        key: str = "paper-key",
        secret: str = PAPER_SECRET,
        batch: bool = True,
        clock: Clock | None = None,
    ) -> None:
        settings = Settings(
            binance_api_key=key,
            binance_api_secret=secret,
            data=DataSettings(rest_url=rest_url, request_timeout_seconds=1.5),
            execution=ExecutionSettings(recv_window_ms=5000),
        )
        self.clock = clock or SystemClock()
        self.budget = Budget(self.clock)
        self.client = make_client(settings, self.budget)
        self.rules = ContractRules(self.client, self.budget, timeout_seconds=10, taker_fee_bps=5)
        self.adapter = BinanceExchange(
            self.client,
            self.rules,
            self.budget,
            request_timeout_seconds=1.5,
            reply_timeout_seconds=ORDER_SECONDS,
            batch=batch,
            on_rules_doubted=lambda _symbol, _code: None,
        )


@asynccontextmanager
async def adapted(rest_url: str, *, load: bool = True, **other: Any) -> AsyncIterator[Adapter]:
    rig = Adapter(rest_url, **other)
    try:
        if load:
            await _load(rig)
        yield rig
    finally:
        await rig.client.close()


async def _load(rig: Adapter) -> None:
    """As often as it takes: on a loaded machine the first reply may be later than the rig's short time-out."""
    for attempt in range(10):
        try:
            await rig.rules.load([XRP, ETH])
        except ExchangeError:
            if attempt == 9:
                raise
        else:
            return


@asynccontextmanager
async def trading(options: ExchangeOptions | None = None, **other: Any) -> AsyncIterator[tuple[PaperExchange, Adapter]]:
    """A paper exchange and an adapter that has read its rules."""
    async with PaperExchange(ScriptedMarket(), options) as exchange, adapted(exchange.rest_url, **other) as rig:
        yield exchange, rig


def fault(
    exchange: PaperExchange, kind: str, *, count: int | None = 1, parameters: dict[str, Any] | None = None, **match: Any
) -> None:
    exchange.board.add(
        FaultSpec(
            kind=Kind(kind), count=count, match=Match(**match), parameters=msgspec.convert(parameters or {}, Parameters)
        )
    )


def order(name: str = "tdm-1", **other: Any) -> OrderIntent:
    """A purchase of 20 XRP at up to 0.51; the book offers 0.5001."""
    intent = OrderIntent(
        client_order_id=ClientOrderId(name), trade_id=TradeId("1"), pair_id=PairId("P"), leg=LegName.A, purpose=Purpose.ENTRY,
        symbol=XRP, side=Side.BUY, order_type=OrderType.LIMIT, time_in_force=TimeInForce.IOC, quantity=D(20),
        limit_price=D("0.51"), reduce_only=False, attempt=0,
    )  # fmt: skip
    return msgspec.structs.replace(intent, **other)


@asynccontextmanager
async def answering(body: str, status: int = 200) -> AsyncIterator[str]:
    """A server that gives one and the same answer to everything."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
