"""A universe of candles into an empty store, over round trips of 50 ms: several symbols at once, one at a time, and again.

    python bench/fetch.py [SYMBOLS]

The exchange's own limit of weight is in force: with 240 symbols one minute's share suffices, with 500 it takes two.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from domain.units import HOUR_MS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from domain.symbols import unified
from flows.common import bars
from flows.common.reads import ExchangeReads
from paper.market import FundingSettlement, Kline
from paper.markets import SyntheticMarket
from paper.server import PaperExchange
from runner.config import load_settings

SYMBOLS, BARS, ROUND_TRIP_SECONDS = 240, 1440, 0.05


class LongMarket(SyntheticMarket):
    """Contracts with as long a past as is asked for, made of nothing; counts questions."""

    def __init__(self, symbols: int) -> None:
        super().__init__(seed=1, extra_symbols=symbols, history_days=1, ticks_per_second=0.02)
        self.questions = 0

    async def fetch_klines(
        self, symbol: str, interval: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[Kline]:
        await asyncio.sleep(ROUND_TRIP_SECONDS)
        self.questions += 1
        last = min(self.now_ms(), end_ms or self.now_ms()) // HOUR_MS
        price = Decimal(100 + sum(symbol.encode()) % 50)
        return [
            Kline(
                open_ms=n * HOUR_MS, open=price, high=price, low=price, close=price + n % 7, volume=Decimal(1),
                close_ms=(n + 1) * HOUR_MS - 1, quote_volume=price, trades=1,
            )
            for n in range(last - limit + 1, last + 1)
        ]  # fmt: skip

    async def fetch_fundings(
        self, symbol: str, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Sequence[FundingSettlement]:
        return self.fundings(symbol, start_ms=start_ms, end_ms=end_ms, limit=limit)


class Served:
    """The exchange on a thread of its own."""

    def __init__(self, market: LongMarket) -> None:
        self._market, self._ready = market, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait(60)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with PaperExchange(self._market) as exchange:
            self.url = exchange.rest_url
            self._ready.set()
            await self._stop.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


def main(symbols: int) -> int:
    names = [unified(f"T{n:04d}/USDT") for n in range(1, symbols + 1)]
    table = Table(title=f"{symbols} symbols x {BARS} bars, {ROUND_TRIP_SECONDS * 1e3:.0f} ms a round trip")
    for column in ("how", "wall", "processor", "requests", "bars"):
        table.add_column(column, justify="left" if column == "how" else "right")
    runs = [(f"{bars.READS_AT_ONCE} at once", bars.READS_AT_ONCE, True), ("the same again", bars.READS_AT_ONCE, False)]
    if symbols <= SYMBOLS:
        runs += [("one at a time", 1, True)]
    with contextlib.ExitStack() as stack:
        for how, at_once, fresh in runs:
            if fresh:
                market = LongMarket(symbols)
                served = Served(market)
                stack.callback(served.stop)
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                (folder / "config.json").write_text(json.dumps({"data": {"rest_url": served.url}}))
                settings = load_settings(folder / "config.json")
            bars.READS_AT_ONCE = at_once
            before, wall, spent = market.questions, time.perf_counter(), time.process_time()
            with ExchangeReads(settings, say=print) as reads:
                found = bars.refresh(reads, bars.store_of(settings), names, "1h", bars=BARS, say=print)
            assert not found.failures, found.failures
            row = time.perf_counter() - wall, time.process_time() - spent
            table.add_row(how, f"{row[0]:.1f} s", f"{row[1]:.1f} s", str(market.questions - before), f"{found.bars:,}")
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SYMBOLS))
