"""A project folder for tests: configuration and pairs that point at a served market."""

import json
from pathlib import Path
from typing import Any

PAIRS: list[dict[str, Any]] = [
    {"pair_id": "LTC_BCH", "leg_a": "LTC/USDT", "leg_b": "BCH/USDT", "hedge_ratio": 4.1},
    {"pair_id": "DECOY", "leg_a": "NEAR/USDT", "leg_b": "AVAX/USDT", "hedge_ratio": 3.0},
]


def write_project(folder: Path, rest_url: str, pairs: list[dict[str, Any]] | None = None) -> tuple[Path, Path]:
    """config.json and pairs_config.json of a new project in this folder."""
    config, pairs_path = folder / "config.json", folder / "pairs_config.json"
    config.write_text(json.dumps({"data": {"rest_url": rest_url}, "control": {"port": 0}}))
    pairs_path.write_text(json.dumps({"pairs": PAIRS if pairs is None else pairs}))
    return config, pairs_path
