"""Budget, bans and order rates over real sockets, against the paper exchange."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import web
from exchange_rig import XRP, Adapter, adapted, order, trading
from test_exchange_budget import COSTS

from domain.orders import LegName, OrderIntent, OrderReport, Purpose, client_order_id_of
from domain.symbols import TradeId
from paper.options import ExchangeOptions, LimitOptions
from paper.server import PaperExchange
from runner.exchange.binance.budget import ROLL_MARGIN_MS
from runner.exchange.binance.user_stream import UserStream
from runner.exchange.errors import Refused, Unreachable


class Knocks:
    """Counts what arrives at a paper exchange, refused requests included."""

    def __init__(self, exchange: Any) -> None:
        self.times: list[tuple[float, str]] = []
        charge = exchange.desk.limits.charge

        def counted(address: str, weight: int) -> int:
            self.times.append((asyncio.get_running_loop().time(), str(weight)))
            return int(charge(address, weight))

        exchange.desk.limits.charge = counted


async def five_seconds_into_a_minute(exchange: PaperExchange, rig: Adapter) -> None:
    """Set the exchange's clock so that no window rolls while a test counts."""
    exchange.clock.skew_ms = 65_000 - exchange.clock.now_ms() % 60_000
    await rig.adapter.synchronise_clock()


def exit_order(name: str, **other: Any) -> OrderIntent:
    return order(name, purpose=Purpose.EXIT, **other)


async def everything(rig: Adapter) -> None:
    """Whatever the runner asks, background and user stream included, as fast as it can."""
    calls = [
        lambda: rig.adapter.place([order("tdm-1"), order("tdm-2")]),
        lambda: rig.adapter.place([exit_order("tdm-3")]),
        lambda: rig.adapter.look_up(XRP, order("tdm-1").client_order_id),
        lambda: rig.adapter.cancel(XRP, order("tdm-1").client_order_id),
        rig.adapter.open_orders,
        rig.adapter.positions,
        rig.adapter.balance,
        lambda: rig.adapter.prepare([XRP], 3),
        rig.adapter.synchronise_clock,
        lambda: rig.rules.load([]),
        lambda: rig.rules.load_fees(XRP),
    ]
    while True:
        for call in calls:
            try:
                await call()
            except Unreachable:
                continue
        await asyncio.sleep(0.01)


async def test_during_a_ban_nothing_is_sent_and_after_it_the_unwind_is_first() -> None:
    """Everybody wants to ask all the time; the exchange hears nobody for two seconds, then first of all the exit."""
    async with trading() as (exchange, rig):
        stream = UserStream(
            rig.clock, rig.client, exchange.stream_url, rig.rules.symbol_of, on_news=lambda _: None, on_gap=lambda _: None,
            on_funding=lambda: None, on_event=lambda *_: None, request_timeout_seconds=1.5,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        exchange.desk.limits.ban_everybody(1_500)
        assert await rig.adapter.place([order("tdm-0")]) != []
        assert rig.adapter.blocked_ms() > 1_000
        knocks = Knocks(exchange)
        ends = loop.time() + rig.adapter.blocked_ms() / 1000
        tasks = [asyncio.create_task(everything(rig)), asyncio.create_task(stream.run())]
        await asyncio.sleep(rig.adapter.blocked_ms() / 1000 - 0.02)
        assert knocks.times == [], "not one request during the ban"
        await asyncio.sleep(rig.adapter.orders_blocked_ms(Purpose.UNWIND) / 1000)
        (answer,) = await rig.adapter.place([exit_order("tdm-x")])
        assert isinstance(answer, OrderReport)
        first = min(when for when, _ in knocks.times)
        assert 0 <= first - ends < 0.2, "to the moment"
        assert rig.adapter.orders_blocked_ms(Purpose.ENTRY) > 0, "entries wait a little longer"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_minute_used_up_by_others_stops_entries_but_no_exit() -> None:
    """Another process on this address has spent the minute; its count stands in the first reply that we get."""
    async with trading() as (exchange, rig):
        await five_seconds_into_a_minute(exchange, rig)
        assert rig.adapter.orders_blocked_ms(Purpose.ENTRY) == 0
        exchange.desk.limits.charge("127.0.0.1", 2_300)
        await rig.adapter.synchronise_clock()
        assert rig.budget.used_weight > 2_300
        assert rig.adapter.orders_blocked_ms(Purpose.ENTRY) > 0
        with pytest.raises(Unreachable, match="held back"):
            await rig.rules.load([])
        with pytest.raises(Unreachable, match="held back"):
            await rig.adapter.positions()
        exchange.desk.limits.charge("127.0.0.1", 93)
        await rig.adapter.look_up(XRP, client_order_id_of(TradeId("1"), LegName.A, Purpose.EXIT, 0))
        both = [exit_order("tdm-x1"), exit_order("tdm-x2")]
        answers = await rig.adapter.place(both)
        assert [type(answer) for answer in answers] == [OrderReport, OrderReport], "as two orders that weigh nothing"
        assert [arrival.path for arrival in exchange.desk.orders_log][-2:] == ["/fapi/v1/order"] * 2
        assert rig.budget.bans == 0


async def test_the_order_rate_is_respected_by_its_own_words() -> None:
    options = ExchangeOptions(limits=LimitOptions(orders_per_10s_max=2))
    async with trading(options) as (exchange, rig):
        await five_seconds_into_a_minute(exchange, rig)
        for n in range(3):
            (answer,) = await rig.adapter.place([order(f"tdm-{n}")])
        assert isinstance(answer, Refused)
        assert answer.code == -1015
        sent = len(exchange.desk.orders_log)
        wait_ms = rig.adapter.orders_blocked_ms(Purpose.UNWIND)
        assert 0 < wait_ms <= 10_000 + ROLL_MARGIN_MS
        (answer,) = await rig.adapter.place([exit_order("tdm-x")])
        assert isinstance(answer, Unreachable)
        assert len(exchange.desk.orders_log) == sent, "no order leaves to be refused"
        assert await rig.adapter.positions() != {}, "everything else goes on"


async def test_paper_and_runner_agree_on_what_a_request_costs() -> None:
    """Every endpoint in our table, against the exchange's own."""
    from paper.limits import weight_of as charged  # noqa: PLC0415

    for method, path, parameters, weight, _ in COSTS:
        assert charged(method, path, parameters) == weight, (method, path)


async def test_a_request_is_stamped_with_the_exchanges_time() -> None:
    """The exchange's clock is an hour ahead: nothing is valid until it has been read, everything afterwards."""
    async with trading() as (exchange, rig):
        exchange.clock.skew_ms = 3_600_000
        (answer,) = await rig.adapter.place([order("tdm-1")])
        assert isinstance(answer, Refused)
        assert answer.code == -1021
        assert rig.adapter.clock_is_off.is_set()
        await rig.adapter.synchronise_clock()
        assert not rig.adapter.clock_is_off.is_set()
        assert abs(rig.budget.exchange_clock.skew_ms() + 3_600_000) < 500
        (answer,) = await rig.adapter.place([order("tdm-2")])
        assert isinstance(answer, OrderReport)


async def test_what_a_server_says_about_a_ban_is_read_from_any_reply() -> None:
    """Also from a reply to something else than an order, and whatever its body is."""

    async def answer(_request: web.Request) -> web.Response:
        heard.append(1)
        return web.Response(text="<html>", status=418, headers={"Retry-After": "60"})

    heard: list[int] = []
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with adapted(f"http://127.0.0.1:{runner.addresses[0][1]}", load=False) as rig:
            with pytest.raises(Refused):
                await rig.adapter.synchronise_clock()
            with pytest.raises(Unreachable) as held:
                await rig.adapter.balance()
            assert re.search(r"held back for 6\d{4} ms", str(held.value))
            assert len(heard) == 1
    finally:
        await runner.cleanup()
