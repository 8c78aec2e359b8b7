"""Memory of the market-data half of the live process at 10 and 500 pairs, and its CPU at 500 pairs and 2,500 quotes a second.

    python bench/memory.py

Each case is a process of its own that imports what the live runner imports. Targets: at most 32 KB a pair, less than half a core.
"""

import asyncio
import gc
import json
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

import runner.signals.warmup  # noqa: F401  (Part of the live process; it must not count as the pairs'.)
from domain.pairs import PairConfig
from domain.symbols import PairId, Symbol
from runner.clock import SystemClock
from runner.config import SignalSettings
from runner.exchange.binance.market_stream.provider import BinanceWebSocketProvider
from runner.exchange.binance.market_stream.settings import FeedSettings
from runner.signals.generator import SignalGenerator

FEW, MANY = 10, 500
KB_A_PAIR_MAX = 32.0
CORE_MAX = 0.5
QUOTES_PER_SECOND = 2_500
SECONDS = 4
OPEN_MS = 1_721_347_020_000 // 60_000 * 60_000


def resident_kb() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4


def serve() -> None:
    """A exchange in a process of its own: acknowledges subscriptions and pushes quotes until it is ended."""
    asyncio.run(_serve())


async def _serve() -> None:
    chance = random.Random(7)
    wanted: dict[ServerConnection, list[str]] = {}
    mids: dict[str, float] = {}

    async def handle(socket: ServerConnection) -> None:
        wanted[socket] = []
        async for raw in socket:
            request = json.loads(raw)
            wanted[socket] += [name.partition("@")[0].upper() for name in request["params"]]
            await socket.send(json.dumps({"result": None, "id": request["id"]}))

    async with websockets_serve(handle, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        started, sent = loop.time(), 0
        while True:
            await asyncio.sleep(0.005)
            # Market time runs with the clock and begins two seconds before a bar ends.
            event_ms = OPEN_MS + 58_000 + round((loop.time() - started) * 1000)
            due = round((loop.time() - started) * QUOTES_PER_SECOND)
            everything = [(socket, name) for socket, names in wanted.items() for name in names]
            while sent < due:
                sent += 1
                if not everything:
                    continue
                socket, name = chance.choice(everything)
                mid = mids.get(name, 100.0)
                mid = mids[name] = mid + chance.gauss(0, 0.01) + (100 - mid) * 0.01
                await socket.send(
                    f'{{"e":"bookTicker","u":{sent},"s":"{name}","b":"{mid:.4f}","B":"1.5","a":"{mid + 0.01:.4f}","A":"2.5",'
                    f'"T":{event_ms},"E":{event_ms}}}'
                )


def case(pair_count: int) -> dict[str, float]:
    """Build that many pairs over their own symbols, take quotes over a real socket for a while, and look."""
    exchange_side = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert exchange_side.stdout is not None
        return asyncio.run(_case(pair_count, int(exchange_side.stdout.readline())))
    finally:
        exchange_side.kill()
        exchange_side.communicate()


async def _case(pair_count: int, port: int) -> dict[str, float]:
    chance = random.Random(7)
    symbols = [Symbol(f"S{n}/USDT:USDT") for n in range(pair_count + 1)]
    pairs = [
        PairConfig(
            pair_id=PairId(f"P{n}"), leg_a=symbols[n], leg_b=symbols[n + 1], hedge_ratio=1.0, entry_z=2.0, exit_z=0.0,
            stop_z=4.0, half_life_bars=5.0, half_life_bar_seconds=60,
        )
        for n in range(pair_count)
    ]  # fmt: skip
    generator = SignalGenerator(pairs, SignalSettings(), position_usd=500.0)
    for symbol in symbols:
        rows = [(OPEN_MS - (60 - i) * 60_000, 100 + chance.gauss(0, 0.5)) for i in range(60)]
        generator.calculator.load(symbol, rows)
    failures: list[BaseException] = []
    provider = BinanceWebSocketProvider(
        SystemClock(),
        FeedSettings(stream_url=f"ws://127.0.0.1:{port}"),
        on_quote=generator.update,
        on_stale=lambda *_: None,
        on_interrupted=generator.interrupt,
        on_event=lambda *_: None,
        on_failed=failures.append,
    )
    await provider.watch_ticker(symbols)
    await asyncio.sleep(1.5)  # Until everything is subscribed.
    started, before, wall = time.process_time(), provider.statistics.messages, time.monotonic()
    await asyncio.sleep(SECONDS)
    busy_seconds, elapsed = time.process_time() - started, time.monotonic() - wall
    taken = provider.statistics.messages - before
    gc.collect()
    kilobytes = resident_kb()
    await provider.close()
    assert not failures, failures
    return {"kb": kilobytes, "core": busy_seconds / elapsed, "rate": taken / elapsed}


def measured(pair_count: int) -> dict[str, float]:
    out = subprocess.run([sys.executable, __file__, str(pair_count)], capture_output=True, check=True, text=True)
    found: dict[str, float] = json.loads(out.stdout)
    return found


def main() -> int:
    few, many = measured(FEW), measured(MANY)
    kb_a_pair = (many["kb"] - few["kb"]) / (MANY - FEW)
    table = Table(title=f"The market-data half of the live process, {QUOTES_PER_SECOND} quotes/s")
    for column in ("what", "measured", "target", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row(f"resident, {FEW} pairs", f"{few['kb'] / 1024:.1f} MB", "", "")
    table.add_row(f"resident, {MANY} pairs", f"{many['kb'] / 1024:.1f} MB", "", "")
    fits = "ok" if kb_a_pair <= KB_A_PAIR_MAX else "MISSED"
    table.add_row("quotes taken", f"{many['rate']:.0f}/s", f"{QUOTES_PER_SECOND}/s", "")
    table.add_row("growth a pair", f"{kb_a_pair:.1f} KB", f"≤ {KB_A_PAIR_MAX:.0f} KB", fits)
    calm = "ok" if many["core"] < CORE_MAX else "MISSED"
    table.add_row(f"CPU, {MANY} pairs, socket to decision", f"{many['core']:.1%} of a core", f"< {CORE_MAX:.0%}", calm)
    Console().print(table)
    return 0 if fits == calm == "ok" else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) > 1:
        print(json.dumps(case(int(sys.argv[1]))))
    else:
        sys.exit(main())
