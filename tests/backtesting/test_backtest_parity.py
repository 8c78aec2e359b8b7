"""The backtest decides what the live runner decides, signal by signal, on the same quotes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pytest
from backtest_live import Found, Live
from backtest_worlds import MINUTE, START_MS, pair, symbol, terms

from domain.edge import FundingTerms
from domain.klines import FundingRate
from domain.pairs import PairConfig
from flows.backtest.engine.market import Quotes, bars_of_quotes, with_funding
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.walk import Walk
from flows.backtest.engine.windows import statistics_at
from runner.config import SignalSettings

TICKS = Path(__file__).parents[2].parent / "shared" / "data" / "ticks_binance_um_2024-07-18" / "bookticker.parquet"
RATE, HOURS = 0.0001, 8


def stream(seed: int, minutes: int, *, names: Sequence[str] = ("S0", "S1", "S2", "S3"), pause: bool = True) -> Quotes:
    """Quotes at times of their own: each symbol's next one is a second or two away, and one of them is silent for two bars."""
    rng = np.random.default_rng(seed)
    rows = []
    steps = minutes * 60
    factor = np.cumsum(rng.normal(0, 0.01, steps))
    for place in range(len(names)):
        noise = np.zeros(steps)
        for second in range(1, steps):
            noise[second] = 0.995 * noise[second - 1] + rng.normal(0, 0.03)
        second = 0
        while second < steps:
            is_silent = pause and place == 1 and 20 * 60 <= second < 22 * 60 + 40
            if not is_silent:
                at_ms = START_MS + second * 1000 + int(rng.integers(0, 1000))
                mid = 100 + 10 * place + factor[second] + noise[second]
                half = 0.005 * (1 + rng.integers(0, 3))
                rows.append((at_ms, place, round(mid - half, 3), round(mid + half, 3)))
            second += int(rng.integers(1, 4))
    rows.sort()
    at_ms, place, bid, ask = (np.array(column) for column in zip(*rows, strict=True))
    return Quotes(symbols=tuple(symbol(name) for name in names), at_ms=at_ms, place=place, bid=bid, ask=ask)


def both(
    quotes: Quotes, given_terms: Terms, pairs: list[PairConfig], settings: SignalSettings, step_ms: int | None = None
) -> tuple[Live, Walk]:
    """Live and backtest over the same quotes, compared. `step_ms`: of the backtest's bars; None: of live's."""
    live = Live(given_terms, pairs, settings, FundingTerms(RATE, float(HOURS))).run(quotes)
    start_ms = int(quotes.at_ms[0])
    past = [FundingRate(start_ms - hours * 3_600_000, RATE) for hours in (2 * HOURS + 1, HOURS + 1)]
    bars = bars_of_quotes(quotes, step_ms or settings.bar_seconds * 1000)
    walk = Walk(with_funding(bars, quotes, dict.fromkeys(quotes.symbols, past)), given_terms, keep_signals=True)
    walk.configure(pairs, at_ms=0)
    walk.run(int(quotes.at_ms[-1]))
    found: list[Found] = [(s.pair_id, str(s.signal_type), s.at_ms, s.z_score, s.denial) for s in walk.signals]
    for one, other in zip(sorted(live.signals), sorted(found), strict=False):
        assert one[:3] == other[:3]
        assert one[3] == pytest.approx(other[3], abs=1e-9)
        assert one[4] == other[4]
    assert len(live.signals) == len(found)
    return live, walk


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("latency_ms", [0, 700])
def test_random_quotes(seed: int, latency_ms: int) -> None:
    """Pairs that share a symbol, a silent leg, fees, an edge to be paid, caps on notional and on the day's loss."""
    chosen = terms(
        taker_fee_rate=2e-4, min_edge_ratio=1.5, latency_ms=latency_ms, gross="5000", daily_loss="25", lookback_bars=10
    )
    pairs = [pair("S0", "S1", half_life_bars=2.0), pair("S1", "S2", exit_z=0.2), pair("S3", "S0", stop_z=2.8)]
    live, walk = both(stream(seed, 100), chosen, pairs, SignalSettings(lookback_bars=10, stop_loss_threshold=4.0))
    assert walk.trades
    assert sum(trade.net_usd for trade in walk.trades) == pytest.approx(live.net_usd, abs=1e-6)


@pytest.mark.parametrize("seed", [1, 4])
def test_pairs_with_bars_of_their_own_size(seed: int) -> None:
    """Three sizes on shared symbols; signal for signal, and the statistics after the last quote to the last bit."""
    pairs = [
        pair("S0", "S1", bar_seconds=60, half_life_bars=2.0),
        pair("S1", "S2", bar_seconds=180, exit_z=0.2),
        pair("S3", "S0", bar_seconds=300, stop_z=2.8),
        pair("S2", "S3"),
    ]
    chosen = terms(taker_fee_rate=2e-4, min_edge_ratio=1.0, lookback_bars=6, bar_ms=3 * MINUTE)
    settings = SignalSettings(lookback_bars=6, bar_seconds=180)
    live, walk = both(stream(seed, 120), chosen, pairs, settings, step_ms=MINUTE)
    assert {signal.pair_id for signal in walk.signals} == {one.pair_id for one in pairs}
    for one in pairs:
        timeline, slot = walk.timeline_of(one), live.generator.calculator.slots[one.pair_id]
        found = statistics_at(
            timeline.closes_a,
            timeline.closes_b,
            one.hedge_ratio,
            first_bar=timeline.first_bar,
            end=int(timeline.bar[-1]),
            size=6,
        )
        assert found == slot.statistics


@pytest.mark.parametrize("minutes", [2, 3, 5])
def test_longer_bars_are_those_of_the_quotes(minutes: int) -> None:
    quotes = stream(3, 23)
    ours, theirs = bars_of_quotes(quotes, MINUTE).of_size(minutes * MINUTE), bars_of_quotes(quotes, minutes * MINUTE)
    assert (ours.first_bar, ours.step_ms) == (theirs.first_bar, theirs.step_ms)
    assert np.array_equal(ours.closes, theirs.closes, equal_nan=True)


def test_it_is_not_an_empty_comparison() -> None:
    """All the words are said: under a cheap fee, under a fee that ruins the day, and where nothing pays."""
    pairs = [pair("S0", "S1", half_life_bars=2.0), pair("S1", "S2", exit_z=0.2), pair("S3", "S0", stop_z=2.8)]
    said: Counter[str] = Counter()
    for minutes, changes in (
        (120, {"taker_fee_rate": 2e-4, "min_edge_ratio": 2.5, "gross": "5000"}),
        (60, {"taker_fee_rate": 5e-4, "min_edge_ratio": 0.3, "daily_loss": "5"}),
        (60, {"taker_fee_rate": 5e-4, "min_edge_ratio": 4.0}),
    ):
        chosen = terms(lookback_bars=10, **changes)
        live, _ = both(stream(2, minutes), chosen, pairs, SignalSettings(lookback_bars=10))
        said.update(found[1] for found in live.signals)
        said.update(found[4] for found in live.signals)
    assert {"SELL", "BUY", "EXIT", "STOP", "TIME_STOP"} <= set(said)
    assert {"", "EDGE_TOO_SMALL", "Z_NOT_EXECUTABLE", "GROSS_NOTIONAL", "DAILY_LOSS", "SYMBOL_BUSY"} <= set(said)


@pytest.mark.skipif(not TICKS.is_file(), reason="the real quotes are not beside this clone")
def test_eight_minutes_of_real_quotes() -> None:
    """BTC against ETH, 99,588 quotes as they came off the wire."""
    with duckdb.connect(config={"threads": 1}) as connection:
        rows = connection.execute(
            f"SELECT E_ms AS at_ms, symbol = 'ETHUSDT' AS is_eth, bid, ask FROM '{TICKS}' ORDER BY E_ms, local_ns"
        ).fetchnumpy()
    quotes = Quotes(
        symbols=(symbol("BTC"), symbol("ETH")),
        at_ms=rows["at_ms"].astype(np.int64),
        place=rows["is_eth"].astype(np.int64),
        bid=rows["bid"].astype(np.float64),
        ask=rows["ask"].astype(np.float64),
    )
    pairs = [pair("BTC", "ETH", hedge_ratio=0.0535, entry_z=1.2, half_life_bars=0.2)]
    live, walk = both(quotes, terms(lookback_bars=3, latency_ms=100), pairs, SignalSettings(lookback_bars=3))
    assert len(live.signals) >= 4
    assert walk.trades


def test_bars_are_closed_as_live_closes_them() -> None:
    """Every pair's statistics after the last quote, to the last bit; one leg of the first has been silent for two bars."""
    quotes = stream(5, 23)
    pairs = [pair("S0", "S1"), pair("S2", "S3")]
    live, walk = both(quotes, terms(lookback_bars=10), pairs, SignalSettings(lookback_bars=10))
    for one in pairs:
        slot = live.generator.calculator.slots[one.pair_id]
        timeline = walk.timeline_of(one)
        ours = statistics_at(
            timeline.closes_a,
            timeline.closes_b,
            one.hedge_ratio,
            first_bar=timeline.first_bar,
            end=int(timeline.bar[-1]),
            size=10,
        )
        assert ours is not None
        assert slot.statistics == ours
    assert quotes.at_ms[-1] - START_MS > 22 * MINUTE
