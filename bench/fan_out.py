"""A scan over Prefect's task runners against the same scan in one piece: what orchestration costs, and whether the bits agree.

    python bench/fan_out.py [SYMBOLS] [BARS]

A temporary Prefect server is started. *Orchestration* is the processor time of all processes over that of one piece, each the
best of its rounds, which take turns: four tasks cost a tenth of a second, and a machine's speed varies by more than that.
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

from prefect import flow
from prefect.testing.utilities import prefect_test_harness
from rich.console import Console
from rich.table import Table

from bench.cointegration import closes
from domain.statistics.panel import PricePanel
from domain.statistics.scan import ScanResult
from flows.fan_out import FanOut
from flows.jobs.scan import options_of, scan
from flows.jobs.scan_rules import ScanRules

SYMBOLS, BARS = 1_100, 1_440
ORCHESTRATION_MAX = 0.05
OPTIONS = options_of(ScanRules(holdout_share=0))
WAYS: dict[str, FanOut | None] = {
    "in one piece": None,
    "one thread, 4 batches": FanOut(runner="threads", workers=1, batches=4),
    "two threads, 4 batches": FanOut(runner="threads", workers=2, batches=4),
}
DASK = {"Dask, two workers, 4 batches": FanOut(runner="dask", workers=2, batches=4)}
ROUNDS = 3


def spent() -> float:
    """Processor seconds of this process and of those that it has buried."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def result_of(panel: PricePanel, fan_out: FanOut | None) -> ScanResult:
    if fan_out is None:
        return scan(panel, OPTIONS).result
    with fan_out.over(len(panel.symbols)) as spread:
        return scan(panel, OPTIONS, spread=spread).result


@flow(name="fan-out", persist_result=False)
def inside(symbols: int, bars: int) -> list[Any]:
    """Measured inside of a flow run, where a deployment runs it."""
    panel = PricePanel(symbols=tuple(f"S{n}" for n in range(symbols)), prices=closes(symbols, bars))
    result_of(panel, None)  # Warm.
    rounds = [[measured(panel, name, fan_out) for name, fan_out in WAYS.items()] for _ in range(ROUNDS)]
    best = [min(each, key=lambda one: one[2]) for each in zip(*rounds, strict=True)]
    return best + [measured(panel, name, fan_out) for name, fan_out in DASK.items()]


def measured(panel: PricePanel, name: str, fan_out: FanOut | None) -> tuple[str, float, float, ScanResult]:
    """Name, wall and processor seconds, and what came of it."""
    wall, processor = time.perf_counter(), spent()
    result = result_of(panel, fan_out)
    return name, time.perf_counter() - wall, spent() - processor, result


def main(symbols: int, bars: int) -> int:
    with prefect_test_harness(server_startup_timeout=240):
        plain, *others = inside(symbols, bars)
    table = Table(title=f"{symbols} symbols x {bars} bars, {symbols * (symbols - 1):,} directions")
    for column in ("how", "wall", "processor", "orchestration", "bits"):
        table.add_column(column, justify="left" if column == "how" else "right")
    table.add_row(plain[0], f"{plain[1]:.1f} s", f"{plain[2]:.1f} s", "", "")
    worst = 0.0
    for name, wall, processor, result in others:
        same = result.tests.t_stat.tobytes() == plain[3].tests.t_stat.tobytes()
        same = same and result.tests.johansen_trace.tobytes() == plain[3].tests.johansen_trace.tobytes()
        more = processor / plain[2] - 1
        worst = max(worst, more if "thread" in name else 0.0)
        table.add_row(name, f"{wall:.1f} s", f"{processor:.1f} s", f"{more:+.1%}", "the same" if same else "DIFFERENT")
    Console(width=110).print(table)
    return 0 if worst <= ORCHESTRATION_MAX else 1


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:3])) if len(sys.argv) > 2 else main(SYMBOLS, BARS))
