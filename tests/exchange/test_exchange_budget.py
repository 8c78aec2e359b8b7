"""The request budget: who may send when, told by the venue's clock; and a ban, in which nobody sends anything."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import web
from exchange_rig import XRP, Adapter, adapted, order, trading
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Refused, Unreachable
from domain.orders import LegName, OrderIntent, OrderReport, Purpose, client_order_id_of, purpose_of
from domain.symbols import TradeId
from paper.options import ExchangeOptions, LimitOptions
from paper.server import PaperExchange
from runner.exchange.budget import (
    BAN_MARGIN_MS,
    ROLL_MARGIN_MS,
    SHARES,
    Budget,
    HeldBack,
    Priority,
    orders_of,
    weight_of,
)
from runner.exchange.user_stream import UserStream

MINUTE_START_MS = 1_790_000_040_000


class HandClock:
    """Satisfies `runner.ports.Clock`; a test turns both of its hands."""

    def __init__(self) -> None:
        self.wall_ms = MINUTE_START_MS
        self.ticks_ns = 5_000_000_000

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_ns(self) -> int:
        return self.ticks_ns

    async def sleep(self, seconds: float) -> None:
        self.pass_ms(round(seconds * 1000))

    def pass_ms(self, ms: int) -> None:
        self.wall_ms += ms
        self.ticks_ns += ms * 1_000_000


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def budget(clock: HandClock) -> Budget:
    return Budget(clock)


def used(weight: int, orders_10s: int | None = None, orders_1m: int | None = None) -> dict[str, str]:
    told = {"X-MBX-USED-WEIGHT-1M": weight, "x-mbx-order-count-10s": orders_10s, "x-mbx-order-count-1m": orders_1m}
    return {name: str(value) for name, value in told.items() if value is not None}


# Weight used of 2400 -> who may still spend one more.
SHARED = [
    (0, list(Priority)),
    (1_439, list(Priority)),
    (1_440, [Priority.UNWIND, Priority.PROOF, Priority.ENTRY, Priority.ACCOUNT]),
    (1_680, [Priority.UNWIND, Priority.PROOF, Priority.ENTRY]),
    (1_800, [Priority.UNWIND, Priority.PROOF]),
    (2_208, [Priority.UNWIND]),
    (2_400, []),
]


@pytest.mark.parametrize(("weight", "served"), SHARED)
def test_the_less_urgent_leaves_more_of_the_minute(
    budget: Budget, clock: HandClock, weight: int, served: list[Priority]
) -> None:
    clock.pass_ms(10_000)
    budget.observe(200, used(weight), "{}")
    assert [priority for priority in Priority if budget.wait_ms(priority, 1) == 0] == served
    assert budget.wait_ms(Priority.UNWIND, 0, 1) == 0, "a single order weighs nothing: an exit always leaves"
    waits = [budget.wait_ms(priority, 1) for priority in Priority if priority not in served]
    assert set(waits) <= {50_000 + ROLL_MARGIN_MS}, "until the minute rolls"
    clock.pass_ms(50_000)
    assert all(budget.wait_ms(priority, 1) == 0 for priority in Priority)


@given(
    weight=st.integers(0, 3_000),
    short=st.integers(0, 400),
    long=st.integers(0, 1_500),
    cost=st.integers(0, 50),
    orders=st.integers(0, 5),
)
def test_nobody_overtakes_who_is_more_urgent(weight: int, short: int, long: int, cost: int, orders: int) -> None:
    budget = Budget(HandClock())
    budget.observe(200, used(weight, short, long), "")
    waits = [budget.wait_ms(priority, cost, orders) for priority in Priority]
    assert waits == sorted(waits)


def test_shares_are_ordered_as_the_priorities_are() -> None:
    rows = [SHARES[priority] for priority in Priority]
    assert rows == sorted(rows, key=lambda row: (row.weight_left, row.orders_left, row.after_ban_ms))


def test_an_entry_leaves_the_reserve_whole(budget: Budget) -> None:
    """What it may cost, look-ups included, is counted before it is sent."""
    budget.observe(200, used(1_770), "")
    assert budget.entry_wait_ms() == 0
    budget.observe(200, used(1_771), "")
    assert budget.entry_wait_ms() > 0


def test_order_counts_are_shared_too(budget: Budget, clock: HandClock) -> None:
    clock.pass_ms(3_000)
    budget.observe(200, used(0, orders_10s=197, orders_1m=200), "")
    assert budget.entry_wait_ms() == 7_000 + ROLL_MARGIN_MS
    assert budget.wait_ms(Priority.UNWIND, 0, 2) == 0
    clock.pass_ms(7_000)
    assert budget.entry_wait_ms() == 0


def test_what_is_on_its_way_counts(budget: Budget) -> None:
    budget.observe(200, used(1_700), "")
    with budget.spending(Priority.BACKGROUND, 0), budget.spending(Priority.ENTRY, 80):
        assert budget.used_weight == 1_780
        with pytest.raises(HeldBack) as held, budget.spending(Priority.ENTRY, 30):
            pytest.fail("sent")
        assert held.value.wait_ms > 0
    assert budget.used_weight == 1_700


def test_the_minute_is_the_venues(budget: Budget, clock: HandClock) -> None:
    """The machine's clock is 20 s behind; the venue's minute rolls when the venue says so."""
    venue_ms = clock.now_ms() + 20_000
    budget.venue_clock.measured(venue_ms, clock.monotonic_ns(), clock.monotonic_ns())
    budget.observe(200, used(2_400), "")
    assert budget.wait_ms(Priority.UNWIND, 1) == 40_000 + ROLL_MARGIN_MS
    clock.pass_ms(40_000)
    assert budget.wait_ms(Priority.BACKGROUND, 1) == 0


def test_a_count_of_the_old_minute_that_arrives_late_does_not_block_the_new_one(
    budget: Budget, clock: HandClock
) -> None:
    clock.pass_ms(59_900)
    budget.observe(200, used(2_300), "")
    clock.pass_ms(300)
    budget.observe(200, used(2_330), "")
    assert budget.used_weight == 0
    budget.observe(200, used(5), "")
    assert budget.used_weight == 5
    clock.pass_ms(5_000)
    budget.observe(200, used(2_000), "")
    assert budget.used_weight == 2_000, "later in the minute a jump is somebody else's"


def test_the_exchange_names_its_limits(budget: Budget) -> None:
    budget.limits_are([{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": "6000"}])
    budget.observe(200, used(4_000), "")
    assert budget.entry_wait_ms() == 0
    for nonsense in (
        None,
        7,
        [],
        [None],
        [{}],
        [{"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 1}],
    ):
        budget.limits_are(nonsense)
    assert budget.entry_wait_ms() == 0


# (status, Retry-After, body) -> milliseconds in which nothing may be asked, before the margin. The minute is 15 s old.
BANS: list[tuple[int, str | None, str, int]] = [
    (429, "7", '{"code":-1003,"msg":"Too many requests"}', 7_000),
    (429, None, '{"code":-1003,"msg":"Too many requests"}', 45_000),
    (429, "soon", "", 45_000),
    (418, "120", f'{{"code":-1003,"msg":"IP banned until {MINUTE_START_MS + 15_000 + 90_500}."}}', 120_000),
    (418, "1", f'{{"code":-1003,"msg":"IP banned until {MINUTE_START_MS + 15_000 + 90_500}."}}', 90_500),
    (418, None, f'{{"code":-1003,"msg":"IP banned until {MINUTE_START_MS + 15_000 + 3}."}}', 3),
    (418, None, "<html>", 120_000),
    (400, None, '{"code":-1003,"msg":"Too many requests; current limit is 2400 requests per minute."}', 45_000),
]


@pytest.mark.parametrize(("status", "retry_after", "body", "lasts_ms"), BANS)
def test_a_ban_lasts_as_long_as_it_says(  # noqa: PLR0917  (A row of the table.)
    budget: Budget, clock: HandClock, status: int, retry_after: str | None, body: str, lasts_ms: int
) -> None:
    clock.pass_ms(15_000)
    budget.observe(status, {} if retry_after is None else {"retry-after": retry_after}, body)
    assert budget.blocked_ms() == lasts_ms + BAN_MARGIN_MS
    clock.wall_ms += 3_600_000  # Somebody sets the machine's clock: the ban does not care.
    assert budget.blocked_ms() == lasts_ms + BAN_MARGIN_MS
    clock.pass_ms(lasts_ms + BAN_MARGIN_MS - 1)
    for priority in Priority:
        assert budget.wait_ms(priority, 0) == 1 + SHARES[priority].after_ban_ms
    clock.pass_ms(1)
    assert [p for p in Priority if budget.wait_ms(p, 0) == 0] == [Priority.UNWIND], "unwinding goes first"
    clock.pass_ms(3_000)
    assert all(budget.wait_ms(priority, 0) == 0 for priority in Priority)


RATES = [
    ("Too many new orders; current limit is 300 orders per 10 SECOND.", 6_000),
    ("Too many new orders; current limit is 1200 orders per 1 MINUTE.", 26_000),
    ("Too many new orders; current limit is 1200 orders per MINUTE.", 26_000),
    ("Too many new orders.", 6_000),
]


@pytest.mark.parametrize(("message", "lasts_ms"), RATES)
def test_too_many_orders_stop_orders_alone(budget: Budget, clock: HandClock, message: str, lasts_ms: int) -> None:
    clock.pass_ms(34_000)
    budget.too_many_orders(message)
    assert budget.wait_ms(Priority.UNWIND, 0, 1) == lasts_ms + ROLL_MARGIN_MS
    assert budget.wait_ms(Priority.BACKGROUND, 30) == 0
    assert budget.blocked_ms() == 0
    clock.pass_ms(lasts_ms + ROLL_MARGIN_MS)
    assert budget.wait_ms(Priority.UNWIND, 0, 1) == 0


COSTS = [
    ("POST", "/fapi/v1/order", {}, 0, 1),
    ("POST", "/fapi/v1/batchOrders", {}, 5, 5),
    ("GET", "/fapi/v1/order", {"symbol": "X"}, 1, 0),
    ("DELETE", "/fapi/v1/order", {"symbol": "X"}, 1, 0),
    ("GET", "/fapi/v1/openOrders", {}, 40, 0),
    ("GET", "/fapi/v1/openOrders", {"symbol": "X"}, 1, 0),
    ("GET", "/fapi/v1/klines", {"limit": "99"}, 1, 0),
    ("GET", "/fapi/v1/klines", {"limit": "1000"}, 5, 0),
    ("GET", "/fapi/v1/klines", {"limit": "1500"}, 10, 0),
    ("GET", "/fapi/v1/income", {}, 30, 0),
    ("PUT", "/fapi/v1/listenKey", {}, 1, 0),
]


@pytest.mark.parametrize(("method", "path", "parameters", "weight", "orders"), COSTS)
def test_what_a_request_costs(method: str, path: str, parameters: dict[str, Any], weight: int, orders: int) -> None:
    assert (weight_of(method, path, parameters), orders_of(method, path)) == (weight, orders)


@given(leg=st.sampled_from(LegName), purpose=st.sampled_from(Purpose), attempt=st.integers(0, 999))
def test_an_id_tells_what_the_order_is_for(leg: LegName, purpose: Purpose, attempt: int) -> None:
    assert purpose_of(client_order_id_of(TradeId("mabc0012xyz"), leg, purpose, attempt)) is purpose
    assert purpose_of("web_abc") is None
    assert purpose_of("tdm-x") is None


# Over real sockets.


class Knocks:
    """Counts what arrives at a paper exchange, refused requests included."""

    def __init__(self, exchange: Any) -> None:
        self.times: list[tuple[float, str]] = []
        charge = exchange.desk.limits.charge

        def counted(address: str, weight: int) -> int:
            self.times.append((asyncio.get_running_loop().time(), str(weight)))
            return int(charge(address, weight))

        exchange.desk.limits.charge = counted


async def five_seconds_into_a_minute(exchange: PaperExchange, adapter: Adapter) -> None:
    """Set the exchange's clock so that no window rolls while a test counts."""
    exchange.clock.skew_ms = 65_000 - exchange.clock.now_ms() % 60_000
    await adapter.venue.synchronise_clock()


def exit_order(name: str, **other: Any) -> OrderIntent:
    return order(name, purpose=Purpose.EXIT, **other)


async def everything(adapter: Adapter) -> None:
    """Whatever the runner asks, background and user stream included, as fast as it can."""
    calls = [
        lambda: adapter.venue.place([order("tdm-1"), order("tdm-2")]),
        lambda: adapter.venue.place([exit_order("tdm-3")]),
        lambda: adapter.venue.look_up(XRP, order("tdm-1").client_order_id),
        lambda: adapter.venue.cancel(XRP, order("tdm-1").client_order_id),
        adapter.venue.open_orders,
        adapter.venue.positions,
        adapter.venue.balance,
        lambda: adapter.venue.prepare([XRP], 3),
        adapter.venue.synchronise_clock,
        lambda: adapter.rules.load([]),
        lambda: adapter.rules.load_fees(XRP),
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
    async with trading() as (exchange, adapter):
        stream = UserStream(
            adapter.client, exchange.stream_url, adapter.rules.symbol_of, on_news=lambda _: None, on_gap=lambda _: None,
            on_funding=lambda: None, on_event=lambda *_: None, request_timeout_seconds=1.5,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        exchange.desk.limits.ban_everybody(1_500)
        assert await adapter.venue.place([order("tdm-0")]) != []
        assert adapter.venue.blocked_ms() > 1_000
        knocks = Knocks(exchange)
        ends = loop.time() + adapter.venue.blocked_ms() / 1000
        tasks = [asyncio.create_task(everything(adapter)), asyncio.create_task(stream.run())]
        await asyncio.sleep(adapter.venue.blocked_ms() / 1000 - 0.02)
        assert knocks.times == [], "not one request during the ban"
        await asyncio.sleep(adapter.venue.orders_blocked_ms(Purpose.UNWIND) / 1000)
        (answer,) = await adapter.venue.place([exit_order("tdm-x")])
        assert isinstance(answer, OrderReport)
        first = min(when for when, _ in knocks.times)
        assert 0 <= first - ends < 0.2, "to the moment"
        assert adapter.venue.orders_blocked_ms(Purpose.ENTRY) > 0, "entries wait a little longer"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_minute_used_up_by_others_stops_entries_but_no_exit() -> None:
    """Another process on this address has spent the minute; its count stands in the first reply that we get."""
    async with trading() as (exchange, adapter):
        await five_seconds_into_a_minute(exchange, adapter)
        assert adapter.venue.orders_blocked_ms(Purpose.ENTRY) == 0
        exchange.desk.limits.charge("127.0.0.1", 2_300)
        await adapter.venue.synchronise_clock()
        assert adapter.budget.used_weight > 2_300
        assert adapter.venue.orders_blocked_ms(Purpose.ENTRY) > 0
        with pytest.raises(Unreachable, match="held back"):
            await adapter.rules.load([])
        with pytest.raises(Unreachable, match="held back"):
            await adapter.venue.positions()
        exchange.desk.limits.charge("127.0.0.1", 93)
        await adapter.venue.look_up(XRP, client_order_id_of(TradeId("1"), LegName.A, Purpose.EXIT, 0))
        both = [exit_order("tdm-x1"), exit_order("tdm-x2")]
        answers = await adapter.venue.place(both)
        assert [type(answer) for answer in answers] == [OrderReport, OrderReport], "as two orders that weigh nothing"
        assert [arrival.path for arrival in exchange.desk.orders_log][-2:] == ["/fapi/v1/order"] * 2
        assert adapter.budget.bans == 0


async def test_the_order_rate_is_respected_by_its_own_words() -> None:
    options = ExchangeOptions(limits=LimitOptions(orders_per_10s_max=2))
    async with trading(options) as (exchange, adapter):
        await five_seconds_into_a_minute(exchange, adapter)
        for n in range(3):
            (answer,) = await adapter.venue.place([order(f"tdm-{n}")])
        assert isinstance(answer, Refused)
        assert answer.code == -1015
        sent = len(exchange.desk.orders_log)
        wait_ms = adapter.venue.orders_blocked_ms(Purpose.UNWIND)
        assert 0 < wait_ms <= 10_000 + ROLL_MARGIN_MS
        (answer,) = await adapter.venue.place([exit_order("tdm-x")])
        assert isinstance(answer, Unreachable)
        assert len(exchange.desk.orders_log) == sent, "no order leaves to be refused"
        assert await adapter.venue.positions() != {}, "everything else goes on"


async def test_paper_and_runner_agree_on_what_a_request_costs() -> None:
    """Every endpoint in our table, against the exchange's own."""
    from paper.limits import weight_of as charged  # noqa: PLC0415

    for method, path, parameters, weight, _ in COSTS:
        assert charged(method, path, parameters) == weight, (method, path)


async def test_a_request_is_stamped_with_the_venues_time() -> None:
    """The exchange's clock is an hour ahead: nothing is valid until it has been read, everything afterwards."""
    async with trading() as (exchange, adapter):
        exchange.clock.skew_ms = 3_600_000
        (answer,) = await adapter.venue.place([order("tdm-1")])
        assert isinstance(answer, Refused)
        assert answer.code == -1021
        assert adapter.venue.clock_is_off.is_set()
        await adapter.venue.synchronise_clock()
        assert not adapter.venue.clock_is_off.is_set()
        assert abs(adapter.budget.venue_clock.skew_ms() + 3_600_000) < 500
        (answer,) = await adapter.venue.place([order("tdm-2")])
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
        async with adapted(f"http://127.0.0.1:{runner.addresses[0][1]}", load=False) as adapter:
            with pytest.raises(Refused):
                await adapter.venue.synchronise_clock()
            with pytest.raises(Unreachable) as held:
                await adapter.venue.balance()
            assert re.search(r"held back for 6\d{4} ms", str(held.value))
            assert len(heard) == 1
    finally:
        await runner.cleanup()
