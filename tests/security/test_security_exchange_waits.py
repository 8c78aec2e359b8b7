"""Whoever answers for the exchange may name any number: it keeps us waiting no longer than a real ban lasts."""

import pytest

from runner.clock import SystemClock
from runner.exchange.binance.budget import BAN_MARGIN_MS, BAN_MS_MAX, ORDERS_WINDOW_MS_MAX, Budget
from runner.exchange.priority import Priority

DAY_MS = 24 * 3_600_000
YEAR_SECONDS = 365 * 24 * 3600
BANS = {
    "a year": ({"Retry-After": str(YEAR_SECONDS)}, ""),
    "for ever": ({"Retry-After": "9" * 18}, ""),
    "until the year 2286": ({}, '{"code": -1003, "msg": "banned until 9999999999999."}'),
}


@pytest.mark.parametrize("status", [418, 429])
@pytest.mark.parametrize(("headers", "body"), BANS.values(), ids=list(BANS))
def test_a_ban_ends_within_the_longest_documented_time(status: int, headers: dict[str, str], body: str) -> None:
    budget = Budget(SystemClock())
    budget.observe(status, headers, body)
    assert 2 * DAY_MS < budget.blocked_ms() <= BAN_MS_MAX + BAN_MARGIN_MS
    budget.observe(status, headers, body)
    assert budget.blocked_ms() <= BAN_MS_MAX + BAN_MARGIN_MS, "said twice is not twice as long"


@pytest.mark.parametrize("header", ["Retry-After", "X-MBX-USED-WEIGHT-1M", "X-MBX-ORDER-COUNT-10S"])
@pytest.mark.parametrize("value", ["9" * 5000, "-1", "1e9", "\u0664", "", "NaN"], ids=lambda value: value[:4])
def test_a_number_that_is_none_is_passed_over(header: str, value: str) -> None:
    """A reply to an order is read by this, too; what cannot be read must not look like a request that failed."""
    budget = Budget(SystemClock())
    budget.observe(429, {header: value}, "")
    assert 0 < budget.blocked_ms() <= 60_000 + BAN_MARGIN_MS, "until the minute rolls, as without the header"


@pytest.mark.parametrize(
    "message",
    ["limit is 300 orders per 99999999 MINUTE", "per " + "9" * 4000 + " SECOND", "per 0 SECOND", "per MINUTE"],
)
def test_a_window_of_orders_rolls_soon(message: str) -> None:
    budget = Budget(SystemClock())
    budget.too_many_orders(message)
    assert 0 < budget.wait_ms(Priority.UNWIND, weight=1, orders=1) <= ORDERS_WINDOW_MS_MAX + 1_000


@pytest.mark.parametrize("limit", [float("inf"), float("nan"), "x", None, [], -5])
def test_limits_that_are_none_change_nothing(limit: object) -> None:
    budget = Budget(SystemClock())
    budget.limits_are([{"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": limit}])
    assert budget.wait_ms(Priority.UNWIND, weight=1, orders=5) == 0
