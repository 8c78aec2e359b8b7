"""A recording of quotes made from a seed, as `tandem exchange --market replay` and `tandem backtest --prices` both read it."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from domain.units import MINUTE_MS

LOOKBACK_BARS = 10
START_MS = 1_746_403_800_000  # 2025-05-05 00:10 UTC, and ten bars before it: the window that a pair needs.
TICK = 0.01
SYMBOLS = ("S0USDT", "S1USDT", "S2USDT", "S3USDT", "S4USDT")
BETAS = (1.0, 0.9, 1.2, 1.0, 1.1)
"""What each symbol makes of the factor that all of them share."""
ROUND = (0, 1, 1, 2, 1, 1, 3, 4, 4)
"""Who is quoted, over and over; the second of two in a row says the same again, so that an order meets a quote of its own pair
before any other pair of its symbols is looked at."""


def pair(name: str, leg_a: int, leg_b: int, **changes: Any) -> dict[str, Any]:
    """A row of pairs_config.json."""
    return {
        "pair_id": name,
        "leg_a": f"S{leg_a}/USDT",
        "leg_b": f"S{leg_b}/USDT",
        "hedge_ratio": BETAS[leg_b] / BETAS[leg_a],
        "z_score_threshold": 1.8,
        "exit_threshold": 0.2,
        "stop_loss_z": 3.0,
        "half_life_candles": 1.0,
        **changes,
    }


def record(path: Path, *, seed: int, minutes: int) -> list[tuple[int, str]]:
    """Write the file; what is in it from the start on: time and symbol of each quote. No two are of the same millisecond."""
    rng = np.random.default_rng(seed)
    factor, noise = 0.0, np.zeros(len(SYMBOLS))
    rows: list[tuple[str, int, int, float, float, float, float]] = []
    at_ms = START_MS - LOOKBACK_BARS * MINUTE_MS
    half_ticks = 1
    while at_ms < START_MS + minutes * MINUTE_MS:
        factor += rng.normal(0, 0.05)
        noise = 0.93 * noise + rng.normal(0, 0.13, len(SYMBOLS))
        before = -1
        for place in ROUND:
            at_ms += int(rng.integers(1, 40 if place == before else 800))
            if place != before:
                half_ticks = int(rng.integers(1, 4))
            # The middle is a whole tick: klines are made of middles, and a window from them must be the one of the quotes.
            middle = round((100 + 10 * place + BETAS[place] * factor + noise[place]) / TICK)
            bid, ask = round((middle - half_ticks) * TICK, 2), round((middle + half_ticks) * TICK, 2)
            rows.append((SYMBOLS[place], at_ms, len(rows) + START_MS * 8, bid, 1e6, ask, 1e6))
            before = place
    _write(path, rows)
    return [(row[1], row[0]) for row in rows if row[1] >= START_MS]


def _write(path: Path, rows: list[tuple[str, int, int, float, float, float, float]]) -> None:
    names = ("symbol", "E_ms", "update_id", "bid", "bid_qty", "ask", "ask_qty")
    columns = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    columns["symbol"] = columns["symbol"].astype(object)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("rows", columns)
        connection.execute(f"COPY rows TO '{path}' (FORMAT parquet)")
