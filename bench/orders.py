"""Quote to both orders on the wire: the whole live runner against the shortest unsafe ccxt script, one exchange, one run.

The clock starts when the exchange hands the moved price to its sockets and stops when it has read the second leg's order.
The runner validates, reviews 20 guards, journals three rows with an fsync, signs and sends one batch. The script awaits a
price and calls create_order twice. Prints milliseconds and their ratio.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ccxt.pro
import numpy as np

BEAT_SECONDS = 0.25
JUMPS = 80
WARM_UP = 10
MEDIAN_RATIO_MAX, P99_RATIO_MAX = 1.5, 2.0
CAT, DOGE = "1000CAT/USDT:USDT", "1MBABYDOGE/USDT:USDT"


async def exchange() -> None:
    """Child: serve until a line arrives on stdin, then print jumps and the receipt of every order."""
    from bench.market import TwoPriceMarket
    from paper.options import ExchangeOptions, LimitOptions
    from paper.server import PaperExchange

    market = TwoPriceMarket(BEAT_SECONDS)
    options = ExchangeOptions(
        limits=LimitOptions(weight_per_minute_max=0, orders_per_10s_max=0, orders_per_minute_max=0)
    )
    async with PaperExchange(market, options) as exchange_side:
        loop = asyncio.get_running_loop()
        print(exchange_side.port, flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        market.jumping.set()
        await loop.run_in_executor(None, sys.stdin.readline)
        import aiohttp

        headers = {"Authorization": f"Bearer {exchange_side.control_token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{exchange_side.rest_url}/paper/orders-log") as reply,
        ):
            log = await reply.json()
        print(json.dumps({"jumps_ns": market.jumps_ns, "log": log}), flush=True)


async def runner(port: int) -> None:
    """Child: the live runner as it is, one pair."""
    from runner.bot import TradingBot

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(
            json.dumps(
                {
                    "data": {"rest_url": f"http://127.0.0.1:{port}", "stream_url": f"ws://127.0.0.1:{port}"},
                    "risk": {"min_edge_ratio": 0, "daily_loss_usd_max": 100000},
                    "control": {"port": 0},
                }
            )
        )
        pairs = Path(folder) / "pairs.json"
        pair = {"pair_id": "P", "leg_a": CAT, "leg_b": DOGE, "hedge_ratio": 0.7387, "stop_loss_z": 9.0}
        pairs.write_text(json.dumps({"pairs": [pair]}))
        await TradingBot(config, pairs).run(asyncio.Event())


async def script(port: int) -> None:
    """Child: the shortest thing that could work, and must not be trusted with money."""
    http, ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
    exchange = ccxt.pro.binanceusdm(
        {
            "apiKey": "paper-key",
            "secret": "paper-secret",
            "enableRateLimit": False,
            "options": {"fetchCurrencies": False},
        }
    )
    api = exchange.urls["api"]
    for name in list(api):
        if isinstance(api[name], str):
            api[name] = http + "/" + api[name].split("://", 1)[1].split("/", 1)[1]
    for name, url in list(api["ws"].items()):
        if isinstance(url, str):
            api["ws"][name] = ws + "/ws"
    await exchange.load_markets()
    last, side = None, "sell"
    while True:
        quotes = await exchange.watch_bids_asks([DOGE])
        bid = quotes[DOGE]["bid"]
        if last is not None and bid != last:
            await exchange.create_order(CAT, "market", side, 71000)
            await exchange.create_order(DOGE, "market", "buy" if side == "sell" else "sell", 96000)
            side = "buy" if side == "sell" else "sell"
        last = bid


def measure(contender: str) -> np.ndarray:
    """Milliseconds from each jump to the receipt of the second order that followed it."""
    me = [sys.executable, "-m", "bench.orders"]
    exchange_side = subprocess.Popen([*me, "exchange"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert exchange_side.stdin is not None
    assert exchange_side.stdout is not None
    port = exchange_side.stdout.readline().strip()
    player = subprocess.Popen([*me, contender, port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            player.wait(8)  # Time to connect and warm up; ending now would be a failure.
        exchange_side.stdin.write("jump\n")
        exchange_side.stdin.flush()
        with contextlib.suppress(subprocess.TimeoutExpired):
            player.wait(BEAT_SECONDS * (JUMPS + WARM_UP))
        exchange_side.stdin.write("tell\n")
        exchange_side.stdin.flush()
        result = json.loads(exchange_side.stdout.readline())
    finally:
        player.terminate()
        player.wait(30)
        exchange_side.kill()
        exchange_side.wait()
    return latencies_ms(result["jumps_ns"][WARM_UP:], received_ns(result["log"]))


def received_ns(log: list[dict[str, Any]]) -> list[int]:
    """When each single order was read from a socket, a batch counting once for each element."""
    return sorted(int(row["received_monotonic_ns"]) for row in log for _ in row["client_order_ids"])


def latencies_ms(jumps_ns: list[int], orders_ns: list[int]) -> np.ndarray:
    found = []
    for jump, after in zip(jumps_ns, [*jumps_ns[1:], jumps_ns[-1] + int(BEAT_SECONDS * 1e9)], strict=True):
        here = [at for at in orders_ns if jump <= at < after]
        if len(here) >= 2:
            found.append((here[1] - jump) / 1e6)
    return np.asarray(found)


def main() -> int:
    if len(sys.argv) > 1:
        work = {"exchange": exchange, "runner": runner, "script": script}[sys.argv[1]]
        asyncio.run(work(*(int(argument) for argument in sys.argv[2:])))
        return 0
    results: dict[str, list[np.ndarray]] = {"runner": [], "script": []}
    for _ in range(2):
        for contender, rows in results.items():
            rows.append(measure(contender))
    print(f"quote to both orders on the wire, ms, {os.cpu_count()} cores")
    print(f"{'':28}{'n':>6}{'median':>10}{'p90':>10}{'p99':>10}")
    medians = {}
    for contender, rows in results.items():
        all_ms = np.concatenate(rows)
        medians[contender] = (np.median(all_ms), np.percentile(all_ms, 99))
        name = {"runner": "Tandem, journal and fsync", "script": "ccxt, two create_order"}[contender]
        print(
            f"{name:28}{len(all_ms):6}{np.median(all_ms):10.2f}{np.percentile(all_ms, 90):10.2f}{medians[contender][1]:10.2f}"
        )
    ratio = [ours / theirs for ours, theirs in zip(medians["runner"], medians["script"], strict=True)]
    fine = True
    for what, found, most in zip(("median", "p99"), ratio, (MEDIAN_RATIO_MAX, P99_RATIO_MAX), strict=True):
        fine = fine and bool(found <= most)
        print(f"{what:7}{found:6.2f} x the script's, target <= {most:g}: {'ok' if found <= most else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
