"""A project folder for tests: configuration and pairs that point at a served market; and the serving itself."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper.market import Market
from paper.markets import SyntheticMarket
from paper.markets.synthetic import HISTORY_DAYS
from paper.server import PaperExchange

START_MS = 1_772_625_690_000
"""2026-03-04T12:01:30Z: the served markets stand still there, a minute into an hour. Prices are of the seed and this moment alone."""
STANDS_STILL = 1e-6
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


def still_market(seed: int, *, history_days: int = HISTORY_DAYS) -> Market:
    return SyntheticMarket(
        seed=seed, speed=STANDS_STILL, start_ms=START_MS, ticks_per_second=0.5, history_days=history_days
    )


class ExchangeThread:
    """Serves a market until stopped, unless told otherwise a synthetic one that is the same whenever the tests run."""

    def __init__(self, seed: int, make_market: Callable[[], Market] | None = None) -> None:
        self._make_market = make_market or (lambda: still_market(seed))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.rest_url = self.control_token = ""

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30), "the paper exchange did not start"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with PaperExchange(self._make_market()) as exchange:
            self.rest_url, self.control_token = exchange.rest_url, exchange.control_token
            self._ready.set()
            await self._stop.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
