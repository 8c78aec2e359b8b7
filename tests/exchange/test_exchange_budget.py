"""The request budget: who may send when, told by the exchange's clock; and a ban, in which nobody sends anything."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.orders import LegName, Purpose, client_order_id_of, purpose_of
from domain.symbols import TradeId
from runner.exchange.binance.budget import BAN_MARGIN_MS, ROLL_MARGIN_MS, SHARES, Budget, HeldBack
from runner.exchange.binance.weights import orders_of, weight_of
from runner.exchange.priority import Priority

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


def test_the_minute_is_the_exchanges(budget: Budget, clock: HandClock) -> None:
    """The machine's clock is 20 s behind; the exchange's minute rolls when the exchange says so."""
    exchange_ms = clock.now_ms() + 20_000
    budget.exchange_clock.measured(exchange_ms, clock.monotonic_ns(), clock.monotonic_ns())
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
