"""One leg filled, its other leg refused: how long the filled leg stands unhedged, in round trips to the exchange.

The live runner as a process of its own trades against the paper exchange through a relay that adds 20 ms to every round trip.
Leg b of every entry is refused for want of margin, so every signal ends in an unwinding. Unhedged time is the exchange's own: from
the execution of the entry to the execution that takes it back. Round trips are measured in the same run, on the same road.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from bench.latency_proxy import through_latency
from bench.market import JUMP, A, B, TwoPriceMarket
from domain.pairs import TradeStatus
from domain.trade_book import KINDS_FOLDED, TradeBook
from paper.faults import FaultSpec, Kind, Match, Parameters
from paper.options import ExchangeOptions, LimitOptions
from paper.server import PaperExchange
from storage import entries_file

ONE_WAY_SECONDS = 0.010
BEAT_SECONDS = 0.35
TRADES = 120
WARM_UP = 5
START_SECONDS_MAX = 60.0
P99_ROUND_TRIPS_MAX = 3.0
MARGIN_INSUFFICIENT = -2019


async def runner(folder: Path) -> None:
    """Child: the live runner as it is."""
    from runner.bot import TradingBot

    await TradingBot(folder / "config.json", folder / "pairs.json").run(asyncio.Event())


def configure(folder: Path, port: int) -> None:
    """What the runner is told: no patience is lost by a freeze, no entry to the day's loss."""
    config: dict[str, Any] = {
        "data": {"rest_url": f"http://127.0.0.1:{port}", "stream_url": f"ws://127.0.0.1:{port}"},
        "execution": {"rollbacks_before_freeze": 10**6},
        "risk": {"min_edge_ratio": 0, "daily_loss_usd_max": 100_000},
        "storage": {"journal": str(folder / "journal.sqlite"), "ledger": str(folder / "ledger.duckdb")},
        "control": {"port": 0},
    }
    (folder / "config.json").write_text(json.dumps(config))
    legs = [f"{symbol.removesuffix('USDT')}/USDT" for symbol in (A, B)]
    pair = {"pair_id": "P", "leg_a": legs[0], "leg_b": legs[1], "hedge_ratio": 0.7387, "stop_loss_z": 9.0}
    (folder / "pairs.json").write_text(json.dumps({"pairs": [pair]}))


async def round_trips_ms(port: int, until: asyncio.Event) -> list[float]:
    """The smallest question there is, over and over on one open connection."""
    found: list[float] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        while not until.is_set():
            began_ns = time.perf_counter_ns()
            async with session.get("/fapi/v1/ping") as reply:
                await reply.read()
            found.append((time.perf_counter_ns() - began_ns) / 1e6)
            await asyncio.sleep(0.1)
    return found[1:]  # The first one opened the connection.


def rolled_back(journal: Path) -> list[float]:
    """Unhedged milliseconds of every entry that was taken back."""
    book = TradeBook(0.02)
    for _, entry in entries_file.replay(journal, kinds=KINDS_FOLDED):
        book.apply(entry)
    trades = [trade for trade in book.trades.values() if trade.status is TradeStatus.ROLLED_BACK and trade.fees_usd > 0]
    return [trade.naked_seconds() * 1000 for trade in trades]


async def measure(folder: Path) -> tuple[list[float], list[float]]:
    """Unhedged milliseconds and round trips."""
    market = TwoPriceMarket(BEAT_SECONDS, (JUMP, -JUMP))
    limits = LimitOptions(weight_per_minute_max=0, orders_per_10s_max=0, orders_per_minute_max=0)
    done = asyncio.Event()
    async with PaperExchange(market, ExchangeOptions(limits=limits)) as exchange_side:
        refused = Match(symbol=B, client_order_id="-be")
        parameters = Parameters(code=MARGIN_INSUFFICIENT)
        exchange_side.board.add(FaultSpec(kind=Kind.REJECTED, match=refused, count=None, parameters=parameters))
        async with through_latency(exchange_side.port, one_way_seconds=ONE_WAY_SECONDS) as port:
            configure(folder, port)
            asking = asyncio.create_task(round_trips_ms(port, done))
            child = await start(folder)
            try:
                await until_trading(folder, child)
                market.jumping.set()
                await asyncio.sleep(BEAT_SECONDS * (TRADES + WARM_UP))
            finally:
                child.kill()
                await child.wait()
                done.set()
            round_trips = await asking
    return rolled_back(folder / "journal.sqlite")[WARM_UP:], round_trips


async def start(folder: Path) -> asyncio.subprocess.Process:
    """The runner, its log in the folder."""
    with (folder / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.unwind", str(folder)), stdout=asyncio.subprocess.DEVNULL, stderr=log
        )


async def until_trading(folder: Path, child: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while " trading" not in (folder / "log").read_text():
        if child.returncode is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the runner did not start: {(folder / 'log').read_text()[-2000:]}")
        await asyncio.sleep(0.1)


def main() -> int:
    if len(sys.argv) > 1:
        from runner.logs import configure_logging

        configure_logging()
        asyncio.run(runner(Path(sys.argv[1])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        naked_ms, trips_ms = asyncio.run(measure(Path(folder)))
    if len(naked_ms) < TRADES / 2:
        print(f"only {len(naked_ms)} entries were rolled back of {TRADES} signals: nothing to say")
        return 1
    trip = statistics.median(trips_ms)
    p50, p90, p99 = (float(np.percentile(naked_ms, q)) for q in (50, 90, 99))
    print(
        f"other leg refused -> leg unwound, {ONE_WAY_SECONDS * 2000:g} ms added to every round trip, {os.cpu_count()} cores"
    )
    print(f"{'':26}{'n':>6}{'median':>10}{'p90':>10}{'p99':>10}{'worst':>10}")
    print(f"{'round trip (ping), ms':26}{len(trips_ms):6}{trip:10.2f}{np.percentile(trips_ms, 90):10.2f}", end="")
    print(f"{np.percentile(trips_ms, 99):10.2f}{max(trips_ms):10.2f}")
    print(f"{'naked, ms':26}{len(naked_ms):6}{p50:10.2f}{p90:10.2f}{p99:10.2f}{max(naked_ms):10.2f}")
    ratios = [value / trip for value in (p50, p90, p99, max(naked_ms))]
    print(f"{'naked, round trips':26}{'':6}" + "".join(f"{ratio:10.2f}" for ratio in ratios))
    fine = ratios[2] <= P99_ROUND_TRIPS_MAX
    print(f"p99 {ratios[2]:.2f} round trips, target <= {P99_ROUND_TRIPS_MAX:g}: {'ok' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
