"""A scan over Prefect's task runners against the same scan in one piece: what orchestration costs, and whether the bits agree.

    python bench/fan_out.py [SYMBOLS] [BARS]

A temporary Prefect server is started. *Orchestration* is the processor time of as many empty tasks as there are batches, over that
of the scan in one piece. What a fan-out costs in all is told beside it: batches prepare the same columns again, and two cores at
work share their caches. Each is the best of its rounds, which take turns: a machine's speed varies by more than what is measured.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.testing.utilities import prefect_test_harness
from rich.console import Console
from rich.table import Table

from bench.cointegration import closes
from domain.statistics.panel import PricePanel
from domain.statistics.scan import ScanResult
from flows.common.fan_out import FanOut
from flows.scan.job import options_of, scan
from flows.scan.rules import ScanRules

SYMBOLS, BARS = 1_100, 1_440
ORCHESTRATION_MAX = 0.05
BATCHES = 4
OPTIONS = options_of(ScanRules(holdout_share=0))
WAYS: dict[str, FanOut | None] = {
    "in one piece": None,
    "one thread, 4 batches": FanOut(runner="threads", workers=1, batches=BATCHES),
    "two threads, 4 batches": FanOut(runner="threads", workers=2, batches=BATCHES),
}
DASK = {"Dask, two workers, 4 batches": FanOut(runner="dask", workers=2, batches=BATCHES)}
ROUNDS = 3


def spent() -> float:
    """Processor seconds of this process and of those that it has marked as crashed."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def result_of(panel: PricePanel, fan_out: FanOut | None) -> ScanResult:
    if fan_out is None:
        return scan(panel, OPTIONS).result
    return scan(panel, OPTIONS, spread_over=fan_out.over).result


@task(name="empty", cache_policy=NO_CACHE, persist_result=False)
def empty(number: int) -> int:
    """What Prefect asks for itself."""
    return number


def orchestrated() -> float:
    """Processor seconds of a runner, of its tasks, and of nothing in them."""
    processor = spent()
    with FanOut(runner="threads", workers=2).open_runner() as runner:
        for future in [runner.submit(empty, {"number": number}) for number in range(BATCHES)]:
            future.result()
    return spent() - processor


@flow(name="fan-out", persist_result=False)
def inside(symbols: int, bars: int) -> tuple[float, list[Any]]:
    """Measured inside of a flow run, where a deployment runs it: orchestration's seconds, and each way."""
    panel = PricePanel(symbols=tuple(f"S{n}" for n in range(symbols)), prices=closes(symbols, bars))
    result_of(panel, None)  # Warm.
    rounds = [[measured(panel, name, fan_out) for name, fan_out in WAYS.items()] for _ in range(ROUNDS)]
    best = [min(each, key=lambda one: one[2]) for each in zip(*rounds, strict=True)]
    best += [measured(panel, name, fan_out) for name, fan_out in DASK.items()]
    return min(orchestrated() for _ in range(ROUNDS)), best


def measured(panel: PricePanel, name: str, fan_out: FanOut | None) -> tuple[str, float, float, ScanResult]:
    """Name, wall and processor seconds, and what came of it."""
    wall, processor = time.perf_counter(), spent()
    result = result_of(panel, fan_out)
    return name, time.perf_counter() - wall, spent() - processor, result


def main(symbols: int, bars: int) -> int:
    with prefect_test_harness(server_startup_timeout=240):
        empty_seconds, (plain, *others) = inside(symbols, bars)
    table = Table(title=f"{symbols} symbols x {bars} bars, {symbols * (symbols - 1):,} directions")
    for column in ("how", "wall", "processor", "over one piece", "bits"):
        table.add_column(column, justify="left" if column == "how" else "right")
    table.add_row(plain[0], f"{plain[1]:.1f} s", f"{plain[2]:.1f} s", "", "")
    for name, wall, processor, result in others:
        same = result.tests.t_stat.tobytes() == plain[3].tests.t_stat.tobytes()
        same = same and result.tests.johansen_trace.tobytes() == plain[3].tests.johansen_trace.tobytes()
        more = processor / plain[2] - 1
        table.add_row(name, f"{wall:.1f} s", f"{processor:.1f} s", f"{more:+.1%}", "the same" if same else "DIFFERENT")
    Console(width=110).print(table)
    share = empty_seconds / plain[2]
    fine = share <= ORCHESTRATION_MAX
    result = f"orchestration of {BATCHES} batches {empty_seconds:.2f} s, {share:.1%} of one piece"
    print(f"{result}; target <= {ORCHESTRATION_MAX:.0%}: {'ok' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:3])) if len(sys.argv) > 2 else main(SYMBOLS, BARS))
