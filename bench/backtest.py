"""The backtest against a loop over backtrader: the same pair, bars and trades; and ten pairs over ninety days of minutes.

    python bench/backtest.py

One core and one BLAS thread on both sides. backtrader is given the same rules as a strategy, and the trades of both are compared
one by one before any time is looked at. CPU seconds, the best of some rounds.
"""

import os

from domain.units import MINUTE_MS

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import sys
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.timing import cpu_seconds
from domain.pairs import PairConfig
from domain.symbols import PairId, Symbol
from flows.backtest.engine.market import Bars, Market
from flows.backtest.engine.terms import Terms, limits_of
from flows.backtest.engine.walk import Walk

START_MS = 1_746_403_200_000
PAIRS, DAYS = 10, 90
BARS_COMPARED = 10_000
LOOKBACK = 60
SECONDS_MAX, RATIO_MIN = 2.0, 20.0


def market_of(pairs: int, bars: int) -> tuple[Market, list[PairConfig]]:
    """Minutes of coins that move 3 bps a minute, and a partner of each that hangs on it with a half-life of three hours."""
    rng = np.random.default_rng(5)
    columns, symbols, configs = [], [], []
    for number in range(pairs):
        lead = 100 * np.exp(np.cumsum(rng.normal(0, 3e-4, bars)))
        pull, steps = 0.5 ** (1 / 180), rng.normal(0, 0.024, bars)
        noise = np.empty(bars)
        level = 0.0
        for bar in range(bars):
            level = pull * level + steps[bar]
            noise[bar] = level
        legs = [Symbol(f"A{number}/USDT:USDT"), Symbol(f"B{number}/USDT:USDT")]
        columns += [lead, 20 + 0.8 * lead + noise]
        symbols += legs
        configs.append(
            PairConfig(
                pair_id=PairId(f"P{number}"), leg_a=legs[0], leg_b=legs[1], hedge_ratio=0.8, entry_z=2.0, exit_z=0.0,
                stop_z=4.0, half_life_bars=None, half_life_bar_seconds=60,
            )
        )  # fmt: skip
    closes = np.column_stack(columns)
    opens = np.vstack((closes[:1], closes[:-1]))
    made = Bars(symbols=tuple(symbols), first_bar=START_MS // MINUTE_MS, step_ms=MINUTE_MS, closes=closes, opens=opens)
    return Market(bars=made), configs


def terms_of(min_edge_ratio: float) -> Terms:
    """As configured by default; without limits that backtrader's strategy would not know of."""
    return Terms(
        lookback_bars=LOOKBACK,
        notional_usd=Decimal(500),
        hedge_error_max=0.02,
        taker_fee_rate=5e-4,
        half_spread=5e-5,
        limits=limits_of(
            gross_notional_usd_max=Decimal("1e9"), daily_loss_usd_max=Decimal("1e9"), min_edge_ratio=min_edge_ratio
        ),
    )


def ours(market: Market, pairs: list[PairConfig], terms: Terms) -> Walk:
    walk = Walk(market, terms)
    walk.configure(pairs, at_ms=0)
    walk.run(market.bars.end_ms)
    return walk


def by_backtrader(market: Market, pair: PairConfig, terms: Terms) -> list[tuple[str, int, int]]:
    """(side, opened, closed), by a strategy written as its users write them."""
    import backtrader as bt
    import pandas as pd

    bars = market.bars
    index = pd.to_datetime(bars.open_ms, unit="ms")
    found: list[tuple[str, int, int]] = []

    class Pairs(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.window: deque[float] = deque(maxlen=LOOKBACK)
            self.held: tuple[str, float, float] | None = None
            self.stopped = 0
            self.opened = 0

        def next(self) -> None:
            a, b = self.data0.close[0], self.data1.close[0]
            spread = b - pair.hedge_ratio * a
            bar = len(self) - 1
            if self.held is not None:
                side, mean, std = self.held
                z = (spread - mean) / std
                towards = z if side == "SELL" else -z
                if towards <= -pair.stop_z or towards >= -pair.exit_z:
                    self.stopped = (-1 if z < 0 else 1) if towards <= -pair.stop_z else 0
                    self.close(self.data0)
                    self.close(self.data1)
                    found.append((side, self.opened, bar + 1))
                    self.held = None
            elif len(self.window) == LOOKBACK:
                window = np.array(self.window)
                mean, std = float(window.mean()), float(window.std(ddof=1))
                z = (spread - mean) / std
                if self.stopped and z * self.stopped <= 0:
                    self.stopped = 0
                crossing = terms.half_spread * (b + pair.hedge_ratio * a) / std
                if not self.stopped and abs(z) < pair.stop_z and pair.entry_z <= abs(z) - crossing:
                    side = "SELL" if z < 0 else "BUY"
                    units = float(terms.notional_usd) / b
                    one, other = (self.sell, self.buy) if side == "SELL" else (self.buy, self.sell)
                    one(self.data0, size=units * pair.hedge_ratio)
                    other(self.data1, size=units)
                    self.held, self.opened = (side, mean, std), bar + 1
            self.window.append(spread)

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(1e9)
    cerebro.broker.setcommission(commission=terms.taker_fee_rate)
    for symbol in pair.symbols:
        place = bars.symbols.index(symbol)
        assert bars.opens is not None
        opens, closes = bars.opens[:, place], bars.closes[:, place]
        table: Any = pd.DataFrame(
            {
                "open": opens,
                "high": np.maximum(opens, closes),
                "low": np.minimum(opens, closes),
                "close": closes,
                "volume": 1.0,
            },
            index=index,
        )
        cerebro.adddata(bt.feeds.PandasData(dataname=table))
    cerebro.addstrategy(Pairs)
    cerebro.run()
    return found


def main() -> int:
    market, pairs = market_of(1, BARS_COMPARED)
    terms = terms_of(min_edge_ratio=0.0)
    walk = ours(market, pairs, terms)
    theirs = by_backtrader(market, pairs[0], terms)
    mine = [
        (str(trade.side), (trade.opened_ms - START_MS) // MINUTE_MS, (trade.closed_ms - START_MS) // MINUTE_MS)
        for trade in walk.trades
    ]
    # An exit in the last bar is filled by nobody; they count it when it is ordered.
    theirs = [one for one in theirs if one[2] < BARS_COMPARED]
    if mine != theirs:
        first = next(((a, b) for a, b in zip(mine, theirs, strict=False) if a != b), (len(mine), len(theirs)))
        print(f"the trades differ: {len(mine)} of ours, {len(theirs)} of backtrader's, first {first}")
        return 1
    loop = cpu_seconds(lambda: by_backtrader(market, pairs[0], terms), 2)
    engine = cpu_seconds(lambda: ours(market, pairs, terms))
    many, configs = market_of(PAIRS, DAYS * 1440)
    as_configured = terms_of(min_edge_ratio=1.0)
    big = ours(many, configs, as_configured)
    seconds = cpu_seconds(lambda: ours(many, configs, as_configured), 3)
    denied = sum(sum(counts.values()) for counts in big.denials.values())
    table = Table(title="Backtest")
    for column in ("what", "measured", "target", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    ratio = loop / engine
    rows = [
        (f"backtrader: one pair, {BARS_COMPARED:,} bars, {len(mine)} trades, CPU", f"{loop:.2f} s", "", True),
        ("ours: the same, and the same trades", f"{engine:.3f} s", "", True),
        ("faster by", f"{ratio:.0f} ×", f"≥ {RATIO_MIN:g} ×", ratio >= RATIO_MIN),
        (
            f"ours: {PAIRS} pairs, {DAYS} days of minutes, {len(big.trades):,} trades, {denied:,} entries denied, CPU",
            f"{seconds:.2f} s",
            f"≤ {SECONDS_MAX:g} s",
            seconds <= SECONDS_MAX,
        ),
        ("a trade, all of it", f"{seconds / max(len(big.trades), 1) * 1e6:.0f} µs", "", True),
    ]
    for what, value, target, met in rows:
        table.add_row(what, value, target, ("ok" if met else "MISSED") if target else "")
    Console(width=120).print(table)
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
