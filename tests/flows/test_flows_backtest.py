"""The backtest: one trade by hand, no look-ahead, funding, and real bars."""

import math
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pytest

from domain.pairs import PairConfig, PairSide
from domain.symbols import PairId, Symbol
from flows.jobs.backtest import drawdown, summarise, unbounded
from flows.jobs.backtest_engine import END_OF_DATA, BacktestTrade, Costs, PairBars, Plan, run_pair
from storage.market import FundingRate

A, B = Symbol("A/USDT:USDT"), Symbol("B/USDT:USDT")
MINUTE = 60_000
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "binance_um_2025_1m_typhonun"


def _plan(**changes: object) -> Plan:
    pair = PairConfig(
        pair_id=PairId("P"),
        leg_a=A,
        leg_b=B,
        hedge_ratio=float(changes.pop("hedge_ratio", 1.0)),  # type: ignore[arg-type]
        entry_z=2.0,
        exit_z=0.0,
        stop_z=4.0,
        half_life_bars=changes.pop("half_life_bars", None),  # type: ignore[arg-type]
        half_life_bar_seconds=60,
    )
    given: dict[str, object] = {
        "pair": pair,
        "lookback_bars": 10,
        "notional_usd": Decimal(1000),
        "min_edge_ratio": 0.0,
        "hedge_error_max": 0.02,
        "costs": Costs(taker_fee_rate=0.0, half_spread=0.0),
        "instrument_a": unbounded(A),
        "instrument_b": unbounded(B),
    }
    return Plan(**{**given, **changes})  # type: ignore[arg-type]


def _bars(close_b: list[float], *, close_a: list[float] | None = None, start_ms: int = 0) -> PairBars:
    """Leg a stays at 100 unless given; a bar opens where the one before closed."""
    b = np.asarray(close_b, dtype=np.float64)
    a = np.full(b.size, 100.0) if close_a is None else np.asarray(close_a, dtype=np.float64)
    times = start_ms + np.arange(b.size, dtype=np.int64) * MINUTE
    opens = [np.concatenate((series[:1], series[:-1])) for series in (a, b)]
    return PairBars(times=times, step_ms=MINUTE, open_a=opens[0], close_a=a, open_b=opens[1], close_b=b)


CALM = [100.0, 100.2, 99.8, 100.1, 99.9, 100.2, 99.8, 100.1, 99.9, 100.0]


def test_one_trade_by_hand() -> None:
    """b falls two and a half deviations, we sell a and buy b at the next open, it comes back, we leave at the next open."""
    low = 100 - 2.5 * float(np.std(CALM, ddof=1))
    bars = _bars([*CALM, low, low, 100.5, 100.5, 100.5])
    (trade,) = run_pair(bars, _plan(costs=Costs(taker_fee_rate=0.001, half_spread=0.0))).trades
    assert trade.side is PairSide.SELL
    assert (trade.opened_ms, trade.closed_ms) == (11 * MINUTE, 13 * MINUTE)
    assert (trade.entry_price_b, trade.exit_price_b) == (low, 100.5)
    units = 1000 / low
    assert trade.quantity_b == pytest.approx(units, abs=1e-6)
    assert trade.quantity_a == pytest.approx(trade.quantity_b, abs=1e-7)
    assert trade.gross_usd == pytest.approx(units * (100.5 - low), rel=1e-6)
    assert trade.fees_usd == pytest.approx(0.001 * units * (100 + 100 + low + 100.5), rel=1e-6)
    assert trade.net_usd == trade.gross_usd - trade.fees_usd
    assert trade.exit_reason == "reverted"
    assert trade.entry_z == pytest.approx(-2.5)


def test_half_the_spread_is_paid_on_every_fill() -> None:
    low = 100 - 3 * float(np.std(CALM, ddof=1))
    bars = _bars([*CALM, low, low, 100.5, 100.5])
    (free,) = run_pair(bars, _plan()).trades
    (dear,) = run_pair(bars, _plan(costs=Costs(taker_fee_rate=0.0, half_spread=0.0001))).trades
    traded = free.quantity_a * 200 + free.quantity_b * (low + 100.5)
    assert free.gross_usd - dear.gross_usd == pytest.approx(0.0001 * traded, rel=1e-3)


def test_stop_time_stop_and_the_end_of_data() -> None:
    std = float(np.std(CALM, ddof=1))
    low, lower = 100 - 2.5 * std, 100 - 5 * std
    (stopped,) = run_pair(_bars([*CALM, low, low, lower, lower, lower, lower]), _plan()).trades
    assert stopped.exit_reason == "stopped"
    (timed,) = run_pair(_bars([*CALM, *[low] * 12]), _plan(half_life_bars=1.0)).trades[:1]
    assert (timed.exit_reason, timed.closed_ms - timed.opened_ms) == ("timed_out", 4 * MINUTE)
    (open_still,) = run_pair(_bars([*CALM, low, low]), _plan()).trades
    assert (open_still.exit_reason, open_still.closed_ms) == (END_OF_DATA, 12 * MINUTE)


def test_an_edge_that_does_not_pay_is_passed_over() -> None:
    low = 100 - 2.5 * float(np.std(CALM, ddof=1))
    run = run_pair(
        _bars([*CALM, low, low, 100.5]), _plan(costs=Costs(taker_fee_rate=0.01, half_spread=0), min_edge_ratio=1.0)
    )
    assert not run.trades
    assert set(run.denials) == {"edge_too_small"}


def test_funding_is_charged_between_entry_and_exit_only() -> None:
    low = 100 - 2.5 * float(np.std(CALM, ddof=1))
    bars = _bars([*CALM, low, low, 100.5, 100.5])
    rates = [FundingRate(minute * MINUTE + 1, 0.001) for minute in (5, 11, 13)]
    (trade,) = run_pair(bars, _plan(funding_a=rates)).trades
    # Short a over one settlement of a positive rate: received.
    assert trade.funding_usd == pytest.approx(trade.quantity_a * 100 * 0.001)
    (trade,) = run_pair(bars, _plan(funding_b=rates)).trades
    assert trade.funding_usd == pytest.approx(-trade.quantity_b * low * 0.001)


def _noisy(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = 100 + np.cumsum(rng.normal(0, 0.05, n))
    return a, a + rng.normal(0, 0.3, n)


def _known_by(trades: tuple[BacktestTrade, ...], moment_ms: int) -> list[BacktestTrade]:
    return [trade for trade in trades if trade.closed_ms < moment_ms]


@pytest.mark.parametrize("cut", [50, 137, 200, 333])
def test_the_future_does_not_change_the_past(cut: int) -> None:
    a, b = _noisy(5)
    before = run_pair(_bars(b.tolist(), close_a=a.tolist()), _plan()).trades
    other_b = b.copy()
    other_b[cut:] += np.random.default_rng(1).normal(3, 2, b.size - cut)
    after = run_pair(_bars(other_b.tolist(), close_a=a.tolist()), _plan()).trades
    # A bar that opens at `cut` opens where the last known one closed: fills up to there are of the past.
    moment = cut * MINUTE
    assert len(before) > 20
    assert _known_by(before, moment) == _known_by(after, moment)
    assert [t for t in before if t.opened_ms <= moment and t.closed_ms < moment] == _known_by(after, moment)


def test_an_entry_is_never_filled_at_the_price_that_decided_it() -> None:
    a, b = _noisy(6)
    bars = _bars(b.tolist(), close_a=a.tolist())
    # Openings of their own, so that a fill's bar can be told from its price.
    bars = PairBars(times=bars.times, step_ms=MINUTE, open_a=a + 0.001, close_a=a, open_b=b + 0.001, close_b=b)
    for trade in run_pair(bars, _plan()).trades:
        index = trade.opened_ms // MINUTE
        assert trade.entry_price_b == b[index] + 0.001


def test_a_missing_bar_is_skipped_and_filled_at_the_next_one() -> None:
    low = 100 - 2.5 * float(np.std(CALM, ddof=1))
    bars = _bars([*CALM, low, low, low, 100.5, 100.5])
    bars.open_b[11] = math.nan
    bars.close_b[11] = math.nan
    (trade,) = run_pair(bars, _plan()).trades
    assert trade.opened_ms == 12 * MINUTE


@pytest.mark.parametrize(
    ("profits", "deepest"), [([], 0), ([1, 2], 0), ([-1, -2], 3), ([5, -3, -3, 10, -4], 6), ([-1, 5], 1)]
)
def test_drawdown(profits: list[float], deepest: float) -> None:
    assert drawdown(profits) == deepest


def test_the_total_is_the_sum_of_its_pairs() -> None:
    a, b = _noisy(5)
    plan = _plan()
    runs = [(plan.pair, run_pair(_bars((b + shift).tolist(), close_a=a.tolist()), plan)) for shift in (0.0, 1.0)]
    result = summarise(runs, window="w")
    assert result.total.trades == sum(summary.trades for summary in result.pairs) > 0
    assert result.total.net_usd == pytest.approx(sum(summary.net_usd for summary in result.pairs))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real bars are not beside this clone")
def test_real_bars_of_may_2025() -> None:
    """ADA against XRP, half a month of minutes: it trades, costs weigh, and nothing is impossible."""
    query = f"""SELECT epoch_ms(a.ts), a.open, a.close, b.open, b.close FROM '{REAL}/klines_1m.parquet' a
        JOIN '{REAL}/klines_1m.parquet' b ON a.ts = b.ts AND a.symbol = 'ADAUSDT' AND b.symbol = 'XRPUSDT'
        ORDER BY a.ts LIMIT 8000"""
    with duckdb.connect(config={"threads": 1}) as connection:
        rows = np.asarray(connection.execute(query).fetchall(), dtype=np.float64)
    times = rows[:, 0].astype(np.int64)
    bars = PairBars(
        times=times, step_ms=MINUTE, open_a=rows[:, 1], close_a=rows[:, 2], open_b=rows[:, 3], close_b=rows[:, 4]
    )
    free = run_pair(bars, _plan(hedge_ratio=2.0, lookback_bars=60)).trades
    paid = run_pair(
        bars, _plan(hedge_ratio=2.0, lookback_bars=60, costs=Costs(taker_fee_rate=0.0005, half_spread=0.00005))
    )
    assert len(free) > 50
    assert sum(trade.net_usd for trade in paid.trades) < sum(trade.net_usd for trade in free)
    assert all(trade.opened_ms < trade.closed_ms for trade in free)
