"""The engine looks only where there may be something to say; this compares it with looking everywhere, trade by trade."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from backtest_reference import Reference
from backtest_worlds import pair, symbol, tangled, terms
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from domain.instruments import Instrument
from domain.pairs import PairConfig
from flows.backtest.engine.market import Market
from flows.backtest.engine.terms import Terms, unbounded
from flows.backtest.engine.trades import END_OF_DATA
from flows.backtest.engine.walk import Walk

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "binance_um_2025_1m_typhonun" / "klines_1m.parquet"


def compared(market: Market, given_terms: Terms, pairs: list[PairConfig]) -> Walk:
    """Trades to the last bit, every signal, and what was passed over."""
    reference = Reference(market, given_terms, pairs).run()
    walk = Walk(market, given_terms)
    walk.configure(pairs, at_ms=0)
    middle = market.bars.start_ms + market.bars.count // 2 * market.bars.step_ms
    walk.run(middle)
    walk.run(market.bars.end_ms)
    ended = list(walk.trades)
    assert ended == reference.trades
    # Why is reported by the screen without asking whether a symbol was busy at that moment: the numbers agree, not each word.
    assert {p: c.total() for p, c in walk.denials.items()} == {
        p.pair_id: reference.denials[p.pair_id].total() for p in pairs
    }
    exact = Walk(market, given_terms, keep_signals=True)
    exact.configure(pairs, at_ms=0)
    exact.run(market.bars.end_ms)
    assert exact.trades == ended
    assert {p: c for p, c in exact.denials.items() if c} == {p: c for p, c in reference.denials.items() if c}
    assert Counter((s.pair_id, str(s.signal_type), s.at_ms, s.z_score, s.denial) for s in exact.signals) == Counter(
        reference.signals
    )
    walk.finish()
    assert all(trade.exit_reason == END_OF_DATA for trade in walk.trades[len(ended) :])
    return walk


def coarse(name: str) -> Instrument:
    """Steps so coarse that some sizes are refused."""
    from decimal import Decimal  # noqa: PLC0415

    step = Decimal("0.4")
    return replace_struct(unbounded(symbol(name)), step=step, market_step=step, notional_min_usd=Decimal(735))


def replace_struct(one: Instrument, **changes: object) -> Instrument:
    import msgspec  # noqa: PLC0415

    return msgspec.structs.replace(one, **changes)


@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    seed=st.integers(0, 10_000),
    lookback=st.sampled_from([3, 10, 37]),
    fee=st.sampled_from([0.0, 2e-4, 5e-4]),
    spread=st.sampled_from([0.0, 5e-5, 5e-4]),
    ratio=st.sampled_from([0.0, 0.5, 1.0]),
    latency=st.sampled_from([1, 2, 5]),
    holes=st.sampled_from([0.0, 0.01, 0.1]),
    spike=st.sampled_from([0.0, 0.003]),
    half_life=st.sampled_from([None, 1.5, 10.0]),
    limits=st.sampled_from([("1e9", "1e9"), ("3000", "1e9"), ("1e9", "5")]),
    minutes=st.sampled_from([None, 1, 3, 5]),
)
def test_random_markets(**drawn: object) -> None:
    """Four symbols in three pairs that share them, one pair the other way round, one closed for entries."""
    market = tangled(drawn["seed"], 400, holes=drawn["holes"], spike=drawn["spike"])  # type: ignore[arg-type]
    gross, loss = drawn["limits"]  # type: ignore[misc]
    chosen = terms(
        lookback_bars=drawn["lookback"], taker_fee_rate=drawn["fee"], half_spread=drawn["spread"],
        min_edge_ratio=drawn["ratio"], latency_bars=drawn["latency"], gross=gross, daily_loss=loss, slippage=1e-5,
    )  # fmt: skip
    half_life, minutes = drawn["half_life"], drawn["minutes"]
    pairs = [
        pair("S0", "S1", half_life_bars=half_life),
        pair("S2", "S1", exit_z=0.3, half_life_bars=half_life, bar_seconds=minutes and minutes * 60),  # type: ignore[operator]
        pair("S3", "S0", hedge_ratio=0.7, entry_z=1.5, stop_z=2.5),
        pair("S2", "S3", enabled=False),
    ]
    compared(market, chosen, pairs)


def test_it_is_not_an_empty_comparison() -> None:
    """Of one such market: trades of every ending, and denials of every kind that the screen may tell by itself."""
    market = tangled(7, 3000, holes=0.01)
    half_spread = 2e-4
    pairs = [pair("S0", "S1", half_life_bars=3.0), pair("S2", "S1", stop_z=2.6), pair("S3", "S0")]
    walk = compared(
        market, terms(half_spread=half_spread, taker_fee_rate=4e-4, min_edge_ratio=1.0, lookback_bars=30), pairs
    )
    assert {"reverted", "stopped", "timed_out"} <= {trade.exit_reason for trade in walk.trades}
    assert any(trade.funding_usd for trade in walk.trades)
    denials = sum(walk.denials.values(), Counter())
    assert {"Z_NOT_EXECUTABLE", "EDGE_TOO_SMALL", "SYMBOL_BUSY"} <= set(denials)


def test_every_window_is_of_its_pair_s_own_bars() -> None:
    """Time stops among the rest, which are noticed when such a bar closes."""
    pairs = [
        pair("S0", "S1", half_life_bars=3.0, bar_seconds=300),
        pair("S2", "S1", half_life_bars=3.0, bar_seconds=180),
        pair("S3", "S0", half_life_bars=3.0),
    ]
    walk = compared(tangled(7, 3000, holes=0.05), terms(bar_ms=900_000, lookback_bars=5), pairs)
    assert {trade.pair_id for trade in walk.trades} == {one.pair_id for one in pairs}
    assert "timed_out" in {trade.exit_reason for trade in walk.trades}


def test_coarse_steps_are_refused_alike() -> None:
    market = tangled(3, 1500)
    instruments = {symbol(name): coarse(name) for name in ("S0", "S1")}
    walk = compared(
        market, replace(terms(), instruments=instruments, hedge_error_max=0.05), [pair("S0", "S1", hedge_ratio=0.9)]
    )
    assert walk.denials["S0_S1"]["SIZE_TOO_SMALL"] > 0
    assert walk.trades


@pytest.mark.parametrize("flat", ["never moves", "moves once"])
def test_a_spread_that_stands_still_is_no_signal(flat: str) -> None:
    """Zero deviation is told from rounding by the live function alone."""
    market = tangled(3, 300)
    closes = market.bars.closes
    closes[:, 1] = closes[:, 0] + 20
    if flat == "moves once":
        closes[150:, 1] += 1
    compared(market, terms(), [pair("S0", "S1")])


@pytest.mark.skipif(not REAL.is_file(), reason="the real bars are not beside this clone")
def test_real_minutes() -> None:
    """Three days of May 2025: five pairs of majors, as configured by default, and with a coarse cost gate."""
    import duckdb  # noqa: PLC0415

    from flows.backtest.engine.files import read_prices  # noqa: PLC0415

    assert duckdb
    bars, _ = read_prices(REAL, step_ms=60_000)
    first = bars.place_of(1_747_000_000_000)
    part = replace(
        bars,
        first_bar=bars.first_bar + first,
        closes=bars.closes[first : first + 4320],
        opens=bars.opens[first : first + 4320],
    )  # type: ignore[index]
    pairs = [
        pair("ADA", "XRP", hedge_ratio=2.0),
        pair("BTC", "ETH", hedge_ratio=0.03),
        pair("ETH", "BNB", hedge_ratio=0.2),
    ]
    walk = compared(
        Market(bars=part), terms(lookback_bars=60, taker_fee_rate=5e-4, half_spread=5e-5, min_edge_ratio=0.3), pairs
    )
    assert len(walk.trades) > 10
