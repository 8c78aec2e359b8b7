"""The simulated exchange and the paper exchange over real sockets answer one conversation alike, under the same adapter."""

import asyncio
import random
from decimal import Decimal
from typing import Any

from scripted_market import ScriptedMarket
from sim_exchange import Exchange, Wire
from sim_faults import Faults, Intensity
from sim_loop import Ended, Timeline, VirtualClock, VirtualLoop
from sim_market import SimRules

from domain.orders import Fill, LegName, OrderIntent, OrderReport, OrderType, Purpose, Side, TimeInForce
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId
from paper.options import CoreOptions, ExchangeOptions
from paper.server import PaperExchange
from runner.clock import SystemClock
from runner.config import DataSettings, Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import make_client
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.errors import OutcomeUnknown, Refused, Unreachable

XRP, BTC = Symbol("XRP/USDT:USDT"), Symbol("BTC/USDT:USDT")
BALANCE = Decimal(20_000)
OPTIONS = ExchangeOptions(core=CoreOptions(balance_usdt=BALANCE))


def intent(name: str, symbol: Symbol, side: Side, quantity: str, **changes: Any) -> OrderIntent:
    """A market order unless told otherwise."""
    told: dict[str, Any] = {
        "client_order_id": ClientOrderId(f"tdm-{name}"), "trade_id": TradeId("t"), "pair_id": PairId("P"), "leg": LegName.A,
        "purpose": Purpose.EXIT, "symbol": symbol, "side": side, "order_type": OrderType.MARKET, "time_in_force": None,
        "quantity": Decimal(quantity), "limit_price": None, "reduce_only": False, "attempt": 0,
    }  # fmt: skip
    return OrderIntent(**told | changes)


def limit(price: str, time_in_force: TimeInForce) -> dict[str, Any]:
    return {"order_type": OrderType.LIMIT, "time_in_force": time_in_force, "limit_price": Decimal(price)}


def market() -> ScriptedMarket:
    made = ScriptedMarket()
    made.set_book("XRPUSDT", [("0.4999", 3000)], [("0.5001", 400), ("0.5002", 300), ("0.5100", 5000)])
    made.set_book("BTCUSDT", [("82499.9", 5)], [("82500.1", 5)])
    return made


def told(answer: Any) -> Any:
    """An answer without what differs from run to run: ids and times of the exchange."""
    if isinstance(answer, OrderReport):
        return (answer.client_order_id, answer.symbol, answer.change, answer.filled)
    if isinstance(answer, Fill):
        return (answer.symbol, answer.side, answer.quantity, answer.price, answer.fee, answer.fee_asset)
    if isinstance(answer, Refused):
        return ("refused", answer.code, answer.http_status)
    if isinstance(answer, OutcomeUnknown | Unreachable):
        return type(answer).__name__
    return answer


async def conversation(adapter: BinanceExchange, since_ms: int) -> list[Any]:
    """Everything the engine says to a exchange, with its answers."""
    heard: list[Any] = []

    async def place(*intents: OrderIntent) -> None:
        heard.append([told(answer) for answer in await adapter.place(intents)])

    await adapter.synchronise_clock()
    await place(
        intent("a", XRP, Side.BUY, "1000", **limit("0.5002", TimeInForce.IOC)), intent("b", BTC, Side.SELL, "0.006")
    )
    await place(
        intent("c", XRP, Side.SELL, "1000", reduce_only=True), intent("d", BTC, Side.SELL, "1", reduce_only=True)
    )
    await place(intent("e", XRP, Side.BUY, "1"))  # Below the smallest notional.
    await place(intent("f", BTC, Side.BUY, "0.0001"), intent("g", XRP, Side.BUY, "10.05"))
    await place(intent("h", BTC, Side.BUY, "900"))  # Beyond margin and filters.
    await place(intent("i", XRP, Side.BUY, "20", **limit("0.4900", TimeInForce.GTC)))
    await place(intent("i", XRP, Side.BUY, "20", **limit("0.4900", TimeInForce.GTC)))  # The same id while it rests.
    await place(intent("j", XRP, Side.BUY, "100", **limit("0.5200", TimeInForce.GTX)))
    await place(intent("k", XRP, Side.BUY, "90000", **limit("0.5002", TimeInForce.FOK)))
    heard.append(sorted(str(told(report)) for report in await adapter.open_orders()))
    heard += [told(await adapter.look_up(XRP, ClientOrderId(f"tdm-{name}"))) for name in "abcdehijk"]
    report = await adapter.look_up(BTC, ClientOrderId("tdm-b"))
    assert report is not None
    heard.append(await adapter.owner_of(BTC, report.exchange_order_id))
    heard.append(await adapter.owner_of(BTC, "1"))
    executions = await adapter.fills(BTC, since_ms=0, exchange_order_id=report.exchange_order_id)
    heard.append([told(fill) for fill in executions])
    heard.append([told(fill) for fill in await adapter.fills(XRP, since_ms=since_ms)])
    heard.append(told(await adapter.cancel(XRP, ClientOrderId("tdm-i"))))
    heard.append(told(await adapter.cancel(XRP, ClientOrderId("tdm-i"))))
    heard.append(told(await adapter.cancel(XRP, ClientOrderId("tdm-never"))))
    await adapter.arm_dead_man(XRP, 60_000)
    await adapter.arm_dead_man(XRP, 0)
    positions = await adapter.positions()
    heard.append({symbol: (held.quantity, held.entry_price, held.mark_price) for symbol, held in positions.items()})
    balance = await adapter.balance()
    heard.append((balance.wallet_usd, balance.unrealized_usd, balance.available_usd))
    heard.append(adapter.blocked_ms())
    return heard


async def over_sockets() -> list[Any]:
    async with PaperExchange(market(), OPTIONS) as exchange:
        settings = Settings(
            binance_api_key="paper-key",
            binance_api_secret="paper-secret",
            data=DataSettings(rest_url=exchange.rest_url, stream_url=exchange.stream_url),
        )
        budget = Budget(SystemClock())
        client = make_client(settings, budget)
        try:
            rules = ContractRules(client, budget, timeout_seconds=5, taker_fee_bps=5)
            await rules.load([XRP, BTC])
            adapter = BinanceExchange(
                client,
                rules,
                budget,
                request_timeout_seconds=5,
                reply_timeout_seconds=5,
                batch=True,
                on_rules_doubted=lambda _symbol, _code: None,
            )
            return await conversation(adapter, since_ms=SystemClock().now_ms() - 60_000)
        finally:
            await client.close()


def in_simulation() -> list[Any]:
    timeline = Timeline()
    clock = VirtualClock(timeline)
    scripted = market()
    exchange = Exchange(timeline, scripted, Faults(random.Random(1), Intensity()), balance_usd=BALANCE)
    budget = Budget(clock)
    heard: list[Any] = []
    loop = VirtualLoop(timeline, random.Random(1), before_step=lambda: False)
    wire = Wire(exchange, budget, recv_window_ms=2_500, on_leaving=lambda _ids: None)
    rules: Any = SimRules(scripted)
    adapter = BinanceExchange(
        wire,
        rules,
        budget,
        request_timeout_seconds=5,
        reply_timeout_seconds=5,
        batch=True,
        on_rules_doubted=lambda _symbol, _code: None,
    )

    async def main() -> None:
        heard.extend(await conversation(adapter, since_ms=clock.now_ms() - 60_000))

    try:
        assert loop.run(main()) is Ended.FINISHED
    finally:
        loop.mark_crashed()
    return heard


async def test_one_conversation_two_exchanges() -> None:
    """Answer by answer."""
    from_sockets = await over_sockets()
    # A loop cannot run inside the test's own; a thread has none yet.
    simulated = await asyncio.to_thread(in_simulation)
    assert len(from_sockets) > 20
    for number, (real, pretended) in enumerate(zip(from_sockets, simulated, strict=True)):
        assert real == pretended, f"answer {number}"
