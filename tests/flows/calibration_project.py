"""A project over a market of the statistics' tests: real files, journals and ledger; only the candles come from a table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from recalibration_market import market

from domain.units import HOUR_MS
from flows.recalibrate.evidence import Evidence

START_MS = 1_764_000_000_000


def evidence_of(broken: frozenset[int] = frozenset(), pairs: int = 4, seed: int = 1, **more: Any) -> Evidence:
    """What `collect` returns for that market."""
    panel = market(broken=broken, pairs=pairs, seed=seed)
    end_ms = START_MS + panel.bars * HOUR_MS
    times = START_MS + HOUR_MS * np.arange(panel.bars)
    values: dict[str, Any] = {
        "panel": type(panel)(symbols=panel.symbols, prices=panel.prices, open_ms=times, bar_seconds=3600),
        "facts": {},
        "gone": {},
        "unreached": {},
        "start_ms": START_MS,
        "end_ms": end_ms,
        "timeframe": "1h",
        "bars_fetched": 0,
    }
    return Evidence(**(values | more))


def row(number: int, hedge_ratio: float = 2.0, **more: Any) -> dict[str, Any]:
    """The pair `An`, `Bn` as a person writes it."""
    pair = {"pair_id": f"P{number}", "leg_a": f"A{number}/USDT", "leg_b": f"B{number}/USDT", "hedge_ratio": hedge_ratio}
    return pair | more


def write_files(folder: Path, rows: list[dict[str, Any]]) -> tuple[Path, Path]:
    config, pairs = folder / "config.json", folder / "pairs_config.json"
    config.write_text(json.dumps({"control": {"port": 0}}))
    pairs.write_text(json.dumps({"pairs": rows}))
    return config, pairs
