"""Unsigned REST: klines chosen as a naive reading of the sheet chooses them, refusals by code, shapes by field."""

from itertools import pairwise

import aiohttp
import pytest
from bare_exchange import BareExchange
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.units import MINUTE_MS
from paper.market import Kline
from paper.markets import SyntheticMarket
from paper.public_rest import INTERVALS_MS


async def get(exchange: BareExchange, path: str, **query: object) -> tuple[int, object]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{exchange.rest_url}/fapi/v1/{path}", params={k: str(v) for k, v in query.items()}) as reply,
    ):
        return reply.status, await reply.json()


def choose(bars: list[Kline], start_ms: int | None, end_ms: int | None, limit: int) -> list[Kline]:
    """The oracle: filter, then take the first ones from a start, else the last ones."""
    chosen = [
        bar
        for bar in bars
        if (start_ms is None or bar.open_ms >= start_ms) and (end_ms is None or bar.open_ms <= end_ms)
    ]
    return chosen[-limit:] if start_ms is None else chosen[:limit]


@pytest.fixture(scope="module")
def short() -> SyntheticMarket:
    """Two days of past and a market that stands still: nothing happens between two questions."""
    market = SyntheticMarket(seed=2, speed=1e-6, history_days=2)
    assert len(market.klines("ETHUSDT", MINUTE_MS, start_ms=0, end_ms=None, limit=10_000)) > 2_880
    return market


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    interval=st.sampled_from(sorted(INTERVALS_MS)),
    start=st.none() | st.integers(-500, 3_500),
    end=st.none() | st.integers(-500, 3_500),
    limit=st.integers(1, 1_500),
)
def test_selection_equals_the_naive_oracle(
    short: SyntheticMarket, interval: str, start: int | None, end: int | None, limit: int
) -> None:
    """Times are minutes from the oldest bar, some before it and some in the future."""
    oldest_ms = short.klines("ETHUSDT", MINUTE_MS, start_ms=0, end_ms=None, limit=1)[0].open_ms
    start_ms, end_ms = (None if at is None else oldest_ms + at * MINUTE_MS + 17 for at in (start, end))
    interval_ms = INTERVALS_MS[interval]
    bars = list(short.klines("ETHUSDT", interval_ms, start_ms=0, end_ms=None, limit=10_000))
    chosen = short.klines("ETHUSDT", interval_ms, start_ms=start_ms, end_ms=end_ms, limit=limit)
    assert choose(bars, start_ms, end_ms, limit) == list(chosen)


@pytest.mark.parametrize("interval", sorted(INTERVALS_MS))
def test_bars_follow_each_other(market: SyntheticMarket, interval: str) -> None:
    """Without a gap, aligned, and the last one is still open."""
    bars = market.klines("1000CATUSDT", INTERVALS_MS[interval], start_ms=None, end_ms=None, limit=300)
    assert all(before.close_ms + 1 == after.open_ms for before, after in pairwise(bars))
    assert bars[-1].open_ms <= market.now_ms() <= bars[-1].close_ms
    if interval == "1w":
        assert bars[-1].open_ms // 86_400_000 % 7 == 4  # 1970-01-01 was a Thursday, so Mondays leave 4.


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("klines", {"interval": "1m"}, -1102),
        ("klines", {"symbol": "ETHUSDT"}, -1102),
        ("klines", {"symbol": "NOSUCH", "interval": "1m"}, -1121),
        ("klines", {"symbol": "ETHUSDT", "interval": "1s"}, -1120),
        ("klines", {"symbol": "ETHUSDT", "interval": "1m", "limit": 1501}, -1130),
        ("klines", {"symbol": "ETHUSDT", "interval": "1m", "limit": 0}, -1130),
        ("klines", {"symbol": "ETHUSDT", "interval": "1m", "limit": "ten"}, -1100),
        ("klines", {"symbol": "ETHUSDT", "interval": "1m", "startTime": 2, "endTime": 1}, -1023),
        ("depth", {"symbol": "ETHUSDT", "limit": 7}, -4021),
        ("depth", {}, -1102),
        ("ticker/bookTicker", {"symbol": "NOSUCH"}, -1121),
        ("premiumIndex", {"symbol": "NOSUCH"}, -1121),
        ("fundingRate", {"symbol": "ETHUSDT", "limit": 1001}, -1130),
    ],
)
async def test_refusals(exchange: BareExchange, path: str, query: dict, code: int) -> None:
    status, body = await get(exchange, path, **query)
    assert (status, body["code"], set(body)) == (400, code, {"code", "msg"})


async def test_klines_defaults_and_columns(exchange: BareExchange) -> None:
    _, rows = await get(exchange, "klines", symbol="1MBABYDOGEUSDT", interval="1m")
    assert len(rows) == 500
    assert [int, *[str] * 5, int, str, int, str, str, str] == [type(column) for column in rows[-1]]
    assert rows[-1][6] > exchange.market.now_ms()
    assert "e" not in rows[-1][4].lower()
    assert len(rows[-1][4].split(".")[1]) == 7


async def test_exchange_info(exchange: BareExchange) -> None:
    _, info = await get(exchange, "exchangeInfo")
    assert len(info["symbols"]) == len(exchange.market.listings)
    for row in info["symbols"]:
        assert len(row["filters"]) == 7
        assert (row["contractType"], row["deliveryDate"]) == ("PERPETUAL", 4133404800000)
    cat = next(row for row in info["symbols"] if row["symbol"] == "1000CATUSDT")
    filters = {row["filterType"]: row for row in cat["filters"]}
    assert (filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]) == ("0.000001", "1")
    assert filters["MIN_NOTIONAL"]["notional"] == "5"


async def test_the_other_answers(exchange: BareExchange) -> None:
    count = len(exchange.market.listings)
    assert await get(exchange, "ping") == (200, {})
    assert set((await get(exchange, "time"))[1]) == {"serverTime"}
    for path in ("ticker/bookTicker", "ticker/price", "ticker/24hr", "premiumIndex"):
        assert len((await get(exchange, path))[1]) == count
        assert (await get(exchange, path, symbol="SOLUSDT"))[1]["symbol"] == "SOLUSDT"
    _, info = await get(exchange, "fundingInfo")
    assert {row["symbol"]: row["fundingIntervalHours"] for row in info} == {"1000CATUSDT": 4, "1MBABYDOGEUSDT": 4}
    _, rates = await get(exchange, "fundingRate", symbol="SOLUSDT", limit=10)
    times = [row["fundingTime"] for row in rates]
    assert len(times) == 10
    assert times == sorted(times)
    assert all(0 <= at % 28_800_000 < 10 for at in times)
    _, from_start = await get(exchange, "fundingRate", symbol="SOLUSDT", startTime=times[3], limit=3)
    assert [row["fundingTime"] for row in from_start] == times[3:6]
    _, depth = await get(exchange, "depth", symbol="SOLUSDT", limit=5)
    assert (len(depth["bids"]), len(depth["asks"])) == (5, 5)
    assert float((await get(exchange, "openInterest", symbol="SOLUSDT"))[1]["openInterest"]) > 0
