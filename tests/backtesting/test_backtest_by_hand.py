"""One trade at a time, reckoned by hand: prices, fees, funding, endings, latency; and the limits across pairs."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from backtest_worlds import DAY, MINUTE, START_MS, bars_of, pair, symbol, terms

from domain.klines import FundingRate
from domain.pairs import PairSide
from flows.backtest.engine.figures import curve_of, drawdown, net_by_day, sums_of, turnover_by_day
from flows.backtest.engine.market import Market, with_funding
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.trades import END_OF_DATA, BacktestTrade
from flows.backtest.engine.walk import Walk

CALM = [100.0, 100.2, 99.8, 100.1, 99.9, 100.2, 99.8, 100.1, 99.9, 100.0]
STD = float(np.std(CALM, ddof=1))
LOW, LOWER = 100 - 2.5 * STD, 100 - 5 * STD


def walked(prices_b: list[float], given: Terms, *, rates: dict[Any, Any] | None = None, **of_pair: Any) -> Walk:
    """Leg A stays at 100; a bar opens where the one before closed."""
    bars = bars_of({"A": [100.0] * len(prices_b), "B": prices_b})
    walk = Walk(with_funding(bars, None, rates or {}), given)
    walk.configure([pair("A", "B", **of_pair)], at_ms=0)
    walk.run(bars.end_ms)
    walk.finish()
    return walk


def test_one_trade_by_hand() -> None:
    """b falls two and a half deviations, we sell a and buy b at the next open, it comes back, we leave at the next open."""
    (trade,) = walked([*CALM, LOW, LOW, 100.5, 100.5, 100.5], terms(taker_fee_rate=0.001)).trades
    assert trade.side is PairSide.SELL
    assert (trade.opened_ms - START_MS, trade.closed_ms - START_MS) == (11 * MINUTE, 13 * MINUTE)
    assert (trade.entry_price_b, trade.exit_price_b) == (LOW, 100.5)
    units = 1000 / LOW
    assert trade.quantity_b == pytest.approx(units, abs=1e-6)
    assert trade.quantity_a == pytest.approx(trade.quantity_b, abs=1e-7)
    assert trade.gross_usd == pytest.approx(units * (100.5 - LOW), rel=1e-6)
    assert trade.fees_usd == pytest.approx(0.001 * units * (100 + 100 + LOW + 100.5), rel=1e-6)
    assert trade.net_usd == trade.gross_usd - trade.fees_usd
    assert trade.turnover_usd == pytest.approx(units * (100 + 100 + LOW + 100.5), rel=1e-6)
    assert trade.exit_reason == "reverted"
    assert trade.entry_z == pytest.approx(-2.5)


@pytest.mark.parametrize(
    ("changes", "share"),
    [({"half_spread": 1e-4}, 1e-4), ({"slippage": 2e-4}, 2e-4), ({"half_spread": 1e-4, "slippage": 2e-4}, 3e-4)],
)
def test_spread_and_slippage_are_paid_on_every_fill(changes: dict[str, float], share: float) -> None:
    low = 100 - 3 * STD
    path = [*CALM, low, low, 100.5, 100.5]
    (free,), (dear,) = walked(path, terms()).trades, walked(path, terms(**changes)).trades
    traded = free.quantity_a * 200 + free.quantity_b * (low + 100.5)
    assert free.gross_usd - dear.gross_usd == pytest.approx(share * traded, rel=1e-3)


@pytest.mark.parametrize(
    ("path", "half_life", "reason", "bars_held"),
    [
        ([LOW, LOW, LOWER, LOWER, LOWER, LOWER], None, "stopped", 2),
        ([LOW, LOW, 100.5, 100.5], None, "reverted", 2),
        ([LOW] * 12, 1.0, "timed_out", 4),
        ([LOW, LOW], None, END_OF_DATA, 1),
    ],
)
def test_endings(path: list[float], half_life: float | None, reason: str, bars_held: int) -> None:
    trade = walked([*CALM, *path], terms(), half_life_bars=half_life).trades[0]
    assert (trade.exit_reason, (trade.closed_ms - trade.opened_ms) // MINUTE) == (reason, bars_held)


@pytest.mark.parametrize(("bars", "opened", "price"), [(1, 11, LOW), (2, 12, 99.5), (3, 13, 99.4)])
def test_latency_in_bars(bars: int, opened: int, price: float) -> None:
    path = [*CALM, LOW, 99.5, 99.4, 99.3, 99.2, 99.1]
    (trade,) = walked(path, terms(latency_bars=bars)).trades
    assert ((trade.opened_ms - START_MS) // MINUTE, trade.entry_price_b) == (opened, price)


def test_without_opens_the_next_close_fills() -> None:
    bars = bars_of({"A": [100.0] * 14, "B": [*CALM, LOW, 99.5, 100.5, 100.6]})
    from dataclasses import replace  # noqa: PLC0415

    walk = Walk(Market(bars=replace(bars, opens=None)), terms())
    walk.configure([pair("A", "B")], at_ms=0)
    walk.run(bars.end_ms)
    (trade,) = walk.trades
    assert (trade.entry_price_b, trade.exit_price_b) == (99.5, 100.6)
    assert (trade.opened_ms - START_MS) // MINUTE == 12


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"taker_fee_rate": 0.01, "min_edge_ratio": 1.0}, "EDGE_TOO_SMALL"),
        ({"half_spread": 0.002}, "Z_NOT_EXECUTABLE"),
        ({"gross": "1500"}, "GROSS_NOTIONAL"),
    ],
)
def test_an_entry_is_passed_over_as_live_would(changes: dict[str, Any], code: str) -> None:
    walk = walked([*CALM, LOW, LOW, 100.5], terms(**changes))
    assert not walk.trades
    assert set(walk.denials["A_B"]) == {code}


def test_funding_is_charged_between_entry_and_exit_only() -> None:
    path = [*CALM, LOW, LOW, 100.5, 100.5]
    rates = [FundingRate(START_MS + minute * MINUTE + 1, 0.001) for minute in (5, 11, 13)]
    (trade,) = walked(path, terms(), rates={symbol("A"): rates}).trades
    # Short a over one settlement of a positive rate: received.
    assert trade.funding_usd == pytest.approx(trade.quantity_a * 100 * 0.001)
    (trade,) = walked(path, terms(), rates={symbol("B"): rates}).trades
    assert trade.funding_usd == pytest.approx(-trade.quantity_b * LOW * 0.001)


def test_a_missing_bar_is_skipped_and_filled_at_the_next_one() -> None:
    path = [*CALM, LOW, math.nan, LOW, 100.5, 100.5]
    (trade,) = walked(path, terms()).trades
    assert (
        trade.opened_ms - START_MS
    ) // MINUTE == 13  # The bar after opens at NaN, too, because it opens at that close.


def test_after_a_stop_it_re_arms_only_past_the_mean() -> None:
    """Stopped at −5 deviations, it stays low: no new entry until it has been above its mean."""
    stays_low = [LOWER - 0.01 * n for n in range(30)]
    walk = walked([*CALM, LOW, LOW, *stays_low, 98.0, 97.0, 96.0], terms())
    assert [trade.exit_reason for trade in walk.trades] == ["stopped"]


@pytest.mark.parametrize(("before", "endings"), [(98.0, ["stopped"]), (98.1, ["stopped", END_OF_DATA])])
def test_a_window_that_stands_still_has_no_mean_to_cross(before: float, endings: list[str]) -> None:
    """The price leaps over the mean and is back at once. After ten bars at 98 nothing is known then, and the pair stays disarmed."""
    path = [*CALM, LOW, LOW, *[98.0] * 12, before, 99.0, 98.0, 97.2, 97.2, 97.2]
    assert [trade.exit_reason for trade in walked(path, terms()).trades] == endings


def _two_pairs(paths: dict[str, list[float]], given: Terms) -> Walk:
    bars = bars_of(paths)
    walk = Walk(Market(bars=bars), given)
    walk.configure([pair("A", "B"), pair("A", "C")], at_ms=0)
    walk.run(bars.end_ms)
    return walk


def test_pairs_that_share_a_symbol_do_not_enter_at_the_same_moment() -> None:
    """Both fall in the same bar: the first takes it, the other is denied while the order is under way and comes a bar later."""
    path = [*CALM, LOW, LOW - 0.1, LOW - 0.1, 100.5, 100.5]
    walk = _two_pairs({"A": [100.0] * 15, "B": path, "C": path}, terms())
    first, second = sorted(walk.trades, key=lambda trade: trade.opened_ms)
    assert (first.pair_id, second.pair_id) == ("A_B", "A_C")
    assert second.opened_ms - first.opened_ms == MINUTE
    assert walk.denials["A_C"]["SYMBOL_BUSY"] == 1


def test_the_gross_notional_counts_what_others_hold() -> None:
    """Two legs of 1000 USD each fit once under 3000 USD, not twice."""
    later = [*CALM, 100.0, 100.0, LOW, LOW, LOW, LOW]
    walk = _two_pairs({"A": [100.0] * 16, "B": [*CALM, LOW, LOW, LOW, LOW, LOW, LOW], "C": later}, terms(gross="3000"))
    assert walk.denials["A_C"]["GROSS_NOTIONAL"] > 0
    assert walk.open_pairs == {"A_B"}


def test_a_day_s_loss_halts_entries_until_midnight() -> None:
    """Every trade costs more than it earns: after the first ones of a day there are no more, until the next day begins (UTC)."""
    noisy = 100 + np.random.default_rng(1).normal(0, 0.2, 3 * DAY // MINUTE)
    bars = bars_of({"A": np.full(noisy.size, 100.0), "B": noisy})
    walk = Walk(Market(bars=bars), terms(daily_loss="20", taker_fee_rate=2e-3))
    walk.configure([pair("A", "B", stop_z=60.0)], at_ms=0)
    walk.run(bars.end_ms)
    assert walk.denials["A_B"]["DAILY_LOSS"] > 100
    days = [trade.decided_ms // DAY for trade in walk.trades]
    assert len(set(days)) == 3
    for trade in walk.trades:
        same_day = [
            t for t in walk.trades if t.closed_ms // DAY == trade.decided_ms // DAY and t.closed_ms <= trade.decided_ms
        ]
        assert sum(t.net_usd for t in same_day) > -20
    assert all(sum(t.net_usd for t in walk.trades if t.closed_ms // DAY == day) < -20 for day in set(days))


# Pairs that change on the way.


def _changed(pairs_after: list[Any], path: list[float], at_bar: int) -> Walk:
    bars = bars_of({"A": [100.0] * len(path), "B": path})
    walk = Walk(Market(bars=bars), terms())
    walk.configure([pair("A", "B")], at_ms=0)
    at_ms = START_MS + at_bar * MINUTE
    walk.run(at_ms)
    walk.configure(pairs_after, at_ms=at_ms)
    walk.run(bars.end_ms)
    return walk


AGAIN = [*CALM, LOW, LOW, LOW, 100.5, 100.5, *CALM, LOW, LOW, LOW, 100.5, 100.5]


@pytest.mark.parametrize(
    "pairs_after",
    [
        [],
        [pair("A", "B", enabled=False)],
        [pair("A", "B", hedge_ratio=3.0, stop_z=50.0, entry_z=40.0)],
        [pair("A", "B", exit_z=1.9)],
    ],
    ids=["removed", "disabled", "another hedge ratio", "another exit"],
)
def test_an_open_trade_keeps_the_numbers_it_was_opened_with(pairs_after: list[Any]) -> None:
    whole = _changed([pair("A", "B")], AGAIN, 12).trades
    changed = _changed(pairs_after, AGAIN, 12).trades
    assert len(whole) == 3
    assert changed[0] == whole[0]


@pytest.mark.parametrize(
    ("pairs_after", "trades"), [([], 1), ([pair("A", "B", enabled=False)], 1), ([pair("A", "B")], 3)]
)
def test_a_removed_pair_closes_only(pairs_after: list[Any], trades: int) -> None:
    assert len(_changed(pairs_after, AGAIN, 12).trades) == trades


# What it adds up to.


def _trade(**changes: Any) -> BacktestTrade:
    given: dict[str, Any] = {
        "trade_id": "t", "pair_id": "A_B", "symbol_a": symbol("A"), "symbol_b": symbol("B"), "side": PairSide.SELL,
        "hedge_ratio": 1.0, "decided_ms": START_MS, "opened_ms": START_MS, "closed_ms": START_MS + MINUTE, "entry_z": -2.0,
        "exit_z": 0.0, "exit_reason": "reverted", "quantity_a": 10.0, "quantity_b": 10.0, "entry_price_a": 100.0,
        "entry_price_b": 100.0, "exit_price_a": 100.0, "exit_price_b": 101.0, "gross_usd": 10.0, "fees_usd": 1.0,
        "funding_usd": -0.5, "expected_edge_usd": 2.0,
    }  # fmt: skip
    return BacktestTrade(**{**given, **changes})


@pytest.mark.parametrize(
    ("profits", "deepest"), [([], 0), ([1, 2], 0), ([-1, -2], 3), ([5, -3, -3, 10, -4], 6), ([-1, 5], 1)]
)
def test_drawdown(profits: list[float], deepest: float) -> None:
    assert drawdown(profits) == deepest


def test_the_curve_ends_at_the_net_and_shows_open_trades() -> None:
    """Bought b at 100: it stands at 98, then at 103, and is sold at 101. A fee of 0.1 % is paid at once, the other at the end."""
    bars = bars_of({"A": [100.0] * 6, "B": [100.0, 98.0, 103.0, 101.0, 101.0, 101.0]})
    trade = _trade(opened_ms=START_MS + MINUTE, closed_ms=START_MS + 4 * MINUTE, fees_usd=2.0 + 2.01, funding_usd=0.0)
    curve = curve_of(Market(bars=bars), [trade], fee_rate=0.001, start_ms=START_MS, end_ms=bars.end_ms)
    assert curve.equity_usd.tolist() == pytest.approx([-2.0, -22.0, 28.0, 5.99, 5.99, 5.99])
    assert curve.drawdown_usd_max == pytest.approx(22.01)
    assert curve.exposure_usd.tolist() == pytest.approx([2000.0, 1980.0, 2030.0, 0, 0, 0])
    assert curve.exposed_share == 0.5


def test_turnover_and_net_by_day() -> None:
    trades = [_trade(closed_ms=START_MS + DAY), _trade()]
    assert turnover_by_day(trades) == {START_MS: 2000 + 2000 + 2010, START_MS + DAY: 2010}
    assert net_by_day(trades) == {START_MS: 8.5, START_MS + DAY: 8.5}
    assert sums_of(trades).net_usd == 17.0
    assert sums_of(trades).turnover_usd == 2 * 4010


def test_the_curve_of_a_whole_walk_ends_at_its_net() -> None:
    from backtest_worlds import tangled  # noqa: PLC0415

    market = tangled(7, 2000)
    given = terms(taker_fee_rate=1e-4, half_spread=1e-5)
    walk = Walk(market, given)
    walk.configure([pair("S0", "S1"), pair("S2", "S3")], at_ms=0)
    walk.run(market.bars.end_ms)
    walk.finish()
    curve = curve_of(market, walk.trades, fee_rate=1e-4, start_ms=START_MS, end_ms=market.bars.end_ms)
    assert len(walk.trades) > 20
    assert curve.equity_usd[-1] == pytest.approx(sums_of(walk.trades).net_usd, abs=2.0)
    assert any(trade.funding_usd for trade in walk.trades)
    assert Decimal(str(curve.exposure_usd_max)) < 5000
