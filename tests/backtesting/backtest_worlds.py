"""Markets, terms and pairs for the tests of the backtest."""

from decimal import Decimal
from typing import Any

import numpy as np

from domain.klines import FundingRate
from domain.pairs import PairConfig
from domain.symbols import PairId, Symbol
from flows.backtest.engine.market import Bars, Market, with_funding
from flows.backtest.engine.terms import Terms, limits_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START_MS = 1_746_403_200_000  # 2025-05-05 00:00 UTC.


def symbol(name: str) -> Symbol:
    return Symbol(f"{name}/USDT:USDT")


def pair(name_a: str, name_b: str, **changes: Any) -> PairConfig:
    given: dict[str, Any] = {
        "pair_id": PairId(f"{name_a}_{name_b}"),
        "leg_a": symbol(name_a),
        "leg_b": symbol(name_b),
        "hedge_ratio": 1.0,
        "entry_z": 2.0,
        "exit_z": 0.0,
        "stop_z": 4.0,
        "half_life_bars": None,
        "half_life_bar_seconds": 60,
    }
    return PairConfig(**{**given, **changes})


def terms(**changes: Any) -> Terms:
    limits: dict[str, Any] = {
        "gross_notional_usd_max": Decimal(changes.pop("gross", "1e9")),
        "daily_loss_usd_max": Decimal(changes.pop("daily_loss", "1e9")),
        "min_edge_ratio": changes.pop("min_edge_ratio", 0.0),
    }
    given: dict[str, Any] = {
        "lookback_bars": 10,
        "notional_usd": Decimal(1000),
        "hedge_error_max": 0.02,
        "taker_fee_rate": 0.0,
        "half_spread": 0.0,
        "limits": limits_of(**limits),
    }
    return Terms(**{**given, **changes})


def bars_of(columns: dict[str, Any], *, opens: dict[str, Any] | None = None, step_ms: int = MINUTE) -> Bars:
    """A bar opens where the one before closed, unless given."""
    closes = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    opened = (
        np.vstack((closes[:1], closes[:-1]))
        if opens is None
        else np.column_stack([np.asarray(opens[name], dtype=np.float64) for name in columns])
    )
    names = tuple(symbol(name) for name in columns)
    return Bars(symbols=names, first_bar=START_MS // step_ms, step_ms=step_ms, closes=closes, opens=opened)


def tangled(
    seed: int, bars: int, *, symbols: int = 4, funding: bool = True, holes: float = 0.0, spike: float = 0.0
) -> Market:
    """Walks that share a factor, each with noise that comes back: pairs of them cross, stop, and time out. Some bars are missing."""
    rng = np.random.default_rng(seed)
    factor = np.cumsum(rng.normal(0, 0.05, bars))
    columns = {}
    for number in range(symbols):
        noise = np.zeros(bars)
        for bar in range(1, bars):
            noise[bar] = 0.9 * noise[bar - 1] + rng.normal(0, 0.08)
        prices = 100 + 20 * number + factor + noise + np.cumsum(rng.normal(0, 0.01, bars))
        prices[rng.random(bars) < holes] = np.nan
        prices[rng.random(bars) < spike] *= 1.5
        columns[f"S{number}"] = prices
    made = bars_of(columns)
    opens = made.opens * (1 + rng.normal(0, 1e-5, made.closes.shape)) if made.opens is not None else None
    made = Bars(symbols=made.symbols, first_bar=made.first_bar, step_ms=MINUTE, closes=made.closes, opens=opens)
    rates = {}
    if funding:
        times = range(START_MS + 7 * MINUTE, made.end_ms, 90 * MINUTE)
        rates = {name: [FundingRate(at_ms, float(rng.normal(0, 3e-4))) for at_ms in times] for name in made.symbols}
    return with_funding(made, None, rates)
