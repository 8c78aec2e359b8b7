"""The synthetic market: what it claims about its pairs, its past and its restarts is true."""

import asyncio
import math
import random
import statistics
from itertools import combinations, pairwise

import msgspec
import numpy as np
import pytest
from bare_exchange import until
from statsmodels.tsa.stattools import coint

from paper.market import Book
from paper.markets import KnownPair, SyntheticMarket, known_pairs, open_market
from paper.markets.history import Disturbance, autoregress, saturated
from paper.markets.listings import known_quotations
from paper.markets.world import World

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
DECOYS = ("BTCUSDT", "BNBUSDT", "LINKUSDT", "AVAXUSDT", "NEARUSDT", "TRXUSDT")


def hourly(market: SyntheticMarket, symbol: str) -> np.ndarray:
    bars = market.klines(symbol, HOUR_MS, start_ms=None, end_ms=None, limit=1_441)
    return np.array([float(bar.close) for bar in bars[:-1]])


def test_the_list(market: SyntheticMarket) -> None:
    assert len(market.listings) >= 24
    pairs = known_pairs()
    assert len(pairs) >= 10
    assert len({symbol for pair in pairs for symbol in (pair.symbol_a, pair.symbol_b)}) == 2 * len(pairs)
    assert (pairs[0].symbol_a, pairs[0].symbol_b) == ("1000CATUSDT", "1MBABYDOGEUSDT")
    assert set(DECOYS) == set(market.listings) - {s for pair in pairs for s in (pair.symbol_a, pair.symbol_b)}


@pytest.mark.parametrize("pair", known_pairs(), ids=lambda pair: pair.symbol_b)
def test_known_pairs_are_cointegrated(market: SyntheticMarket, pair: KnownPair) -> None:
    """Sixty days of hours: Engle-Granger below 1e-4, and least squares finds the true ratio."""
    price_a, price_b = hourly(market, pair.symbol_a), hourly(market, pair.symbol_b)
    assert len(price_a) == len(price_b) == 1_440
    assert coint(price_b, price_a)[1] < 1e-4
    slope = np.polyfit(price_a, price_b, 1)[0]
    assert slope == pytest.approx(pair.hedge_ratio, rel=0.05)


def test_decoys_are_not_cointegrated(market: SyntheticMarket) -> None:
    """Fifteen pairs of decoys: chance may like one, never as much as a true pair."""
    closes = {symbol: hourly(market, symbol) for symbol in DECOYS}
    p_values = [coint(closes[b], closes[a], maxlag=2, autolag=None)[1] for a, b in combinations(DECOYS, 2)]
    assert min(p_values) > 1e-3
    assert sum(p_value < 0.05 for p_value in p_values) <= 3


def test_decoys_may_be_correlated(market: SyntheticMarket) -> None:
    returns = {symbol: np.diff(np.log(hourly(market, symbol))) for symbol in DECOYS}
    assert np.corrcoef(returns["BTCUSDT"], returns["BNBUSDT"])[0, 1] > 0.2
    assert abs(np.corrcoef(returns["NEARUSDT"], returns["TRXUSDT"])[0, 1]) < 0.2


def test_past_is_long_and_consistent(market: SyntheticMarket) -> None:
    now_ms = market.now_ms()
    for symbol in ("ETHUSDT", "1000SATSUSDT"):
        oldest = market.klines(symbol, MINUTE_MS, start_ms=0, end_ms=None, limit=1)[0]
        assert now_ms - oldest.open_ms >= 90 * DAY_MS
        hours = market.klines(symbol, HOUR_MS, start_ms=None, end_ms=now_ms - HOUR_MS, limit=24)[:-1]
        for hour in hours:
            minutes = market.klines(symbol, MINUTE_MS, start_ms=hour.open_ms, end_ms=hour.close_ms, limit=60)
            assert len(minutes) == 60
            assert (hour.open, hour.close) == (minutes[0].open, minutes[-1].close)
            assert hour.high == max(bar.high for bar in minutes)
            assert hour.low == min(bar.low for bar in minutes)
            assert hour.trades == sum(bar.trades for bar in minutes)
            assert float(hour.volume) == pytest.approx(float(sum(bar.volume for bar in minutes)), rel=1e-3)
            assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in minutes)
            tick = market.listings[symbol].tick
            assert all(price % tick == 0 for bar in minutes for price in (bar.open, bar.high, bar.low, bar.close))


def test_autoregression_equals_the_naive_loop() -> None:
    shocks = np.random.default_rng(1).standard_normal(1_000)
    for keep in (0.0, 0.3, 0.999, 1.0 - 1e-9):
        value, naive = 2.5, []
        for shock in shocks:
            value = keep * value + shock
            naive.append(value)
        assert np.allclose(naive, autoregress(shocks, keep, 2.5))


def test_saturation_has_unit_deviation() -> None:
    rng = random.Random(1)  # noqa: S311
    assert statistics.stdev(saturated(rng.gauss(0, 1)) for _ in range(200_000)) == pytest.approx(1.0, abs=0.01)


def test_step_keeps_the_stationary_deviation() -> None:
    rng = random.Random(1)  # noqa: S311
    disturbance = Disturbance(name="x", sd=0.3, half_life_seconds=5.0)
    value, values = 0.0, []
    for _ in range(100_000):
        value = disturbance.step(value, 7.0, rng.gauss(0, 1))
        values.append(value)
    assert statistics.stdev(values) == pytest.approx(0.3, rel=0.03)


def first_entries(seed: int) -> tuple[list[float | None], int, int, float]:
    """Trade ten pairs by the default rules for ten minutes of six ticks a second.

    Returns the seconds until each pair's first entry, how many trades ended at the mean and at the stop, and the
    mean profit of a trade, as a fraction of leg b's notional after four taker fees.
    """
    rng = random.Random(seed)  # noqa: S311
    base_prices = {quotation.listing.symbol: quotation.base_price for quotation in known_quotations()}
    world = World(base_prices=base_prices, pairs=known_pairs(), rng=rng, known=None)
    pairs = {pair.symbol_b: pair for pair in known_pairs()}
    groups = [group for group in world.groups if group.follower is not None]
    now_ms = 0
    windows: dict[str, list[float]] = {symbol: [] for symbol in pairs}
    entered: dict[str, float | None] = dict.fromkeys(pairs)
    holding: dict[str, tuple[int, float, float, float]] = {}
    moments: dict[str, tuple[float, float]] = {}
    profits: list[float] = []
    stops = 0
    start_ms = 60 * MINUTE_MS
    while now_ms < start_ms + 600_000:
        minute_start = now_ms % MINUTE_MS == 0 and now_ms > 0
        warm = now_ms >= start_ms
        now_ms += 167 if warm else MINUTE_MS
        if warm and now_ms // MINUTE_MS != (now_ms - 167) // MINUTE_MS:
            minute_start = True
        world.move_common(now_ms)
        for group in groups:
            (_, price_a), (leg, price_b) = world.move(group, now_ms)
            symbol, pair = leg.symbol, pairs[leg.symbol]
            spread = price_b - pair.hedge_ratio * price_a
            window = windows[symbol]
            if not warm:
                window.append(spread)
                continue
            if minute_start:
                windows[symbol] = window = [*window[-59:], spread]
                moments.pop(symbol, None)
            if symbol in holding:
                side, entry, mean, deviation = holding[symbol]
                z = (spread - mean) / deviation
                if side * z <= 0 or abs(z) >= 4:
                    stops += abs(z) >= 4
                    profits.append(side * (entry - spread) / price_b - 4 * 0.0005)
                    del holding[symbol]
                continue
            if symbol not in moments:
                moments[symbol] = statistics.fmean(window), statistics.stdev(window)
            mean, deviation = moments[symbol]
            z = (spread - mean) / deviation
            if 2 <= abs(z) < 4:
                holding[symbol] = (int(math.copysign(1, z)), spread, mean, deviation)
                if entered[symbol] is None:
                    entered[symbol] = (now_ms - start_ms) / 1_000
    return list(entered.values()), len(profits), stops, statistics.fmean(profits)


def test_ten_pairs_trade_within_two_minutes_and_earn_their_fees() -> None:
    """Default rules, six seeds: nearly every pair enters within 120 s, stops are rare, a trade pays four fees."""
    seeds = range(6)
    late, trades, stops, profits = 0, 0, 0, []
    for seed in seeds:
        entries, count, stopped, profit = first_entries(seed)
        late += sum(entry is None or entry > 120 for entry in entries)
        trades, stops = trades + count, stops + stopped
        profits.append(profit)
    assert late <= 0.1 * 10 * len(seeds)
    assert trades >= 10 * len(seeds) * 5  # About one in two minutes for each pair, at least.
    assert stops <= 0.01 * trades
    assert min(profits) > 0.003


async def test_live_goes_on_from_the_past() -> None:
    """The first ticks are where the past ended, bars close by market time, ids rise, and mids are bars."""
    market = SyntheticMarket(seed=5, speed=60.0, history_days=2)
    last = {
        symbol: float(market.klines(symbol, MINUTE_MS, start_ms=None, end_ms=None, limit=2)[0].close)
        for symbol in market.listings
    }
    started_ms = market.now_ms()
    books: list[Book] = []
    running = asyncio.create_task(market.run(books.append, lambda _: None))
    await until(lambda: market.now_ms() > started_ms + 200_000)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for symbol in ("BTCUSDT", "ETHUSDT", "1MBABYDOGEUSDT"):
        own = [book for book in books if book.symbol == symbol]
        assert len(own) >= 15
        middles = [float(book.bids[0][0] + book.asks[0][0]) / 2 for book in own]
        assert middles[0] == pytest.approx(last[symbol], rel=0.03)
        assert all(before.update_id < after.update_id for before, after in pairwise(own))
        assert all(before.event_ms <= after.event_ms for before, after in pairwise(own))
        closes = {book.event_ms // MINUTE_MS * MINUTE_MS: middle for book, middle in zip(own, middles, strict=True)}
        bars = market.klines(symbol, MINUTE_MS, start_ms=started_ms, end_ms=None, limit=100)
        assert len(bars) >= 2
        assert all(after.open_ms - before.open_ms == MINUTE_MS for before, after in pairwise(bars))
        for bar in bars[:-1]:
            if bar.open_ms in closes:
                assert float(bar.close) == pytest.approx(closes[bar.open_ms], rel=1e-9)


def test_recent_minutes_look_live(market: SyntheticMarket) -> None:
    """The last hour's spread deviates as the live spread will, or the first z-scores would be nonsense."""
    for pair in known_pairs():
        bars = [
            [
                float(bar.close)
                for bar in market.klines(symbol, MINUTE_MS, start_ms=None, end_ms=market.now_ms(), limit=61)
            ]
            for symbol in (pair.symbol_a, pair.symbol_b)
        ]
        spread = [b - pair.hedge_ratio * a for a, b in zip(*bars, strict=True)]
        deviation = statistics.stdev(spread) / bars[1][-1]
        assert 0.6 * pair.spread_sd < deviation < 1.6 * pair.spread_sd


def test_same_seed_same_past() -> None:
    first, second, other = (SyntheticMarket(seed=seed, history_days=2) for seed in (3, 3, 4))
    window = {"start_ms": None, "end_ms": first.now_ms() - 2 * MINUTE_MS, "limit": 50}
    assert [bar.close for bar in first.klines("ETHUSDT", DAY_MS // 24, **window)] != [
        bar.close for bar in other.klines("ETHUSDT", DAY_MS // 24, **window)
    ]
    assert first.book("ETHUSDT").bids[0][0] == second.book("ETHUSDT").bids[0][0]


def test_same_seed_and_start_same_market_whenever_it_is_opened() -> None:
    start_ms = 1_772_625_690_000
    told = []
    for speed in (1.0, 1e-6):
        market = SyntheticMarket(seed=3, speed=speed, start_ms=start_ms, history_days=1)
        assert start_ms <= market.now_ms() < start_ms + MINUTE_MS
        bars = market.klines("ETHUSDT", MINUTE_MS, start_ms=None, end_ms=start_ms, limit=1_000)
        assert bars[-1].open_ms == start_ms // MINUTE_MS * MINUTE_MS
        told.append((bars, market.book("ETHUSDT")))
    assert told[0] == told[1]


async def test_restart_goes_on_at_the_same_prices() -> None:
    """Prices, ids and the past before the first start survive; the stretch in between joins both ends."""
    first = SyntheticMarket(seed=3, speed=600.0, history_days=3)
    anchor_ms = first.now_ms()
    running = asyncio.create_task(first.run(lambda _: None, lambda _: None))
    await asyncio.sleep(1.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    saved = first.snapshot()
    assert len(saved) < 20_000
    second = SyntheticMarket(seed=99, speed=600.0, history_days=3, snapshot=saved)
    assert second.now_ms() >= msgspec.json.decode(saved)["at_ms"]
    before = {"start_ms": anchor_ms - DAY_MS, "end_ms": anchor_ms - MINUTE_MS, "limit": 1_500}
    for symbol in first.listings:
        old, new = first.book(symbol), second.book(symbol)
        assert float(new.bids[0][0]) == pytest.approx(
            float(old.bids[0][0]), rel=1e-2
        )  # The market goes on while it restarts.
        assert new.update_id > old.update_id
        past, again = (market.klines(symbol, MINUTE_MS, **before) for market in (first, second))
        assert [bar.close for bar in past] == [bar.close for bar in again]
        joint = second.klines(
            symbol, MINUTE_MS, start_ms=anchor_ms - 5 * MINUTE_MS, end_ms=anchor_ms + 5 * MINUTE_MS, limit=10
        )
        assert all(abs(float(after.close / bar.close) - 1) < 0.04 for bar, after in pairwise(joint))


@pytest.mark.parametrize(
    "raw", [b"{}", b"\xff", b'{"version":2,"seed":1,"at_ms":1,"now":{},"anchor_ms":1,"anchor":{}}']
)
def test_bad_snapshots_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        SyntheticMarket(snapshot=raw, history_days=1)


async def test_funding_is_settled_and_remembered() -> None:
    """A short interval: settlements arrive for every contract, as predicted, and history shows them."""
    market = SyntheticMarket(seed=3, speed=60.0, history_days=1, funding_interval_seconds=60.0)
    predicted = {symbol: market.mark(symbol) for symbol in market.listings}
    settled: list = []
    running = asyncio.create_task(market.run(lambda _: None, settled.append))
    await until(lambda: len({row.symbol for row in settled}) == len(market.listings))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for row in settled[: len(market.listings)]:
        mark = predicted[row.symbol]
        if 0 <= row.settled_ms - mark.next_funding_ms < 10:
            assert row.rate == mark.funding_rate
        assert abs(row.rate) < 0.001
    last = next(row for row in reversed(settled) if row.symbol == "BTCUSDT")
    history = market.fundings("BTCUSDT", start_ms=None, end_ms=None, limit=5)
    assert last.settled_ms in [row.settled_ms for row in history]
    assert len(history) == 5
    assert all(before.settled_ms < after.settled_ms for before, after in pairwise(history))


def test_a_halted_contract_keeps_its_book(market: SyntheticMarket) -> None:
    market.set_status("TRXUSDT", "SETTLING")
    assert market.listings["TRXUSDT"].status == "SETTLING"
    assert market.book("TRXUSDT").bids
    market.set_status("TRXUSDT", "TRADING")


def test_depth_is_bounded_and_tight(market: SyntheticMarket) -> None:
    for symbol in market.listings:
        book = market.book(symbol)
        for side in (book.bids, book.asks):
            notionals = [float(price * quantity) for price, quantity in side]
            assert len(notionals) == 10
            assert 30_000 < sum(notionals) < 250_000
            assert sum(notionals[:2]) > 500
        middle = (book.bids[0][0] + book.asks[0][0]) / 2
        spread = float((book.asks[0][0] - book.bids[0][0]) / middle)
        assert spread <= max(2.5e-4, 2.1 * float(market.listings[symbol].tick / middle))
        assert all(upper[0] > lower[0] for upper, lower in pairwise(book.bids))
        assert all(upper[0] < lower[0] for upper, lower in pairwise(book.asks))


async def test_extra_symbols_and_bad_options() -> None:
    market = SyntheticMarket(seed=1, extra_symbols=30, history_days=1)
    assert len(market.listings) == 56
    assert len(market.klines("T0030USDT", MINUTE_MS, start_ms=None, end_ms=None, limit=100)) == 100
    with pytest.raises(ValueError, match="speed"):
        SyntheticMarket(speed=0.0)
    with pytest.raises(ValueError, match="unknown market"):
        await open_market(
            "moon",
            seed=1,
            speed=1.0,
            data=None,
            upstream_rest=None,
            upstream_stream=None,
            snapshot=None,
            funding_interval_seconds=None,
        )
