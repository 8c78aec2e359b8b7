"""Every pair of a universe, both directions: our scan against a loop over statsmodels and one over arch, in the same run.

    python bench/cointegration.py

One core and one BLAS thread on every side. The loops are measured on a sample and extrapolated; the floor is the matrix
products of the algebra and nothing else. CPU seconds, the best of some rounds: a busy machine disturbs them little.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.timing import ROUNDS, cpu_seconds

SYMBOLS, BARS = 500, 1440
SAMPLE = 60
STATSMODELS_MIN, ARCH_MIN, FLOOR_MAX, SECONDS_MAX, MEMORY_MB_MAX = 5_000.0, 1_000.0, 3.0, 3.0, 1024.0
GROWTH = [
    (50, BARS),
    (100, BARS),
    (200, BARS),
    (SYMBOLS, BARS),
    (1000, BARS),
    (SYMBOLS, 720),
    (SYMBOLS, 2880),
    (SYMBOLS, 8640),
]


def closes(symbols: int, bars: int) -> np.ndarray:
    """(bars, symbols): walks with a common factor."""
    rng = np.random.default_rng(7)
    steps = 0.7 * rng.normal(size=(bars, symbols)) + 0.7 * rng.normal(size=(bars, 1))
    return np.exp(3 + 0.005 * np.cumsum(steps, axis=0))


def ours(symbols: int, bars: int, rounds: int) -> dict[str, float]:
    """The scan with all that comes with it: legs, Johansen, Hurst, q-values. In a process of its own, for its memory."""
    from domain.statistics.engle_granger import Method
    from domain.statistics.gates import Gates
    from domain.statistics.panel import PricePanel
    from domain.statistics.scan import ScanOptions, scan
    from domain.statistics.status import Fitness

    options = ScanOptions(method=Method(fitness=Fitness(leg_p_min=0.05)), gates=Gates(holdout_share=0))
    first = time.process_time()
    scan(PricePanel(symbols=tuple("abcdefghijkl"), prices=closes(12, 300)), options)
    compiled = time.process_time() - first
    panel = PricePanel(symbols=tuple(f"S{n}" for n in range(symbols)), prices=closes(symbols, bars))
    wall = time.perf_counter()
    seconds = cpu_seconds(lambda: scan(panel, options), rounds)
    return {
        "seconds": seconds,
        "wall": (time.perf_counter() - wall) / rounds,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "compiled": compiled,
    }


def measured(symbols: int, bars: int, rounds: int, **environment: str) -> dict[str, float]:
    out = subprocess.run(
        [sys.executable, __file__, str(symbols), str(bars), str(rounds)],
        capture_output=True, check=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    found: dict[str, float] = json.loads(out.stdout)
    return found


def floor(symbols: int, bars: int) -> float:
    """One product of the steps with themselves a lag, as the textbook has it."""
    from domain.statistics.adf import schwert

    steps = np.diff(np.log(closes(symbols, bars)), axis=0)
    lags, m = schwert(bars, 0), bars - 1

    def products() -> None:
        for k in range(lags + 1):
            _ = steps[lags:].T @ steps[lags - k : m - k]

    return cpu_seconds(products)


def statsmodels_direction(prices: np.ndarray) -> float:
    """CPU seconds a direction."""
    from statsmodels.tsa.stattools import coint

    def loop() -> None:
        for n in range(SAMPLE):
            coint(prices[:, n], prices[:, n + 1])

    loop_seconds = cpu_seconds(loop, 2)
    return loop_seconds / SAMPLE


def arch_direction(prices: np.ndarray) -> float:
    """CPU seconds a direction: its own lag search is by one QR."""
    from arch.unitroot.cointegration import engle_granger

    def loop() -> None:
        for n in range(SAMPLE):
            test = engle_granger(prices[:, n], prices[:, n + 1], trend="c", method="aic")
            _ = test.stat, test.pvalue

    return cpu_seconds(loop, 2) / SAMPLE


def main() -> int:
    warnings.simplefilter("ignore")
    directions = SYMBOLS * (SYMBOLS - 1)
    with tempfile.TemporaryDirectory() as nowhere:
        cold = measured(50, 300, 1, NUMBA_CACHE_DIR=nowhere)
    scan = measured(SYMBOLS, BARS, ROUNDS)
    least = floor(SYMBOLS, BARS)
    prices = closes(SYMBOLS, BARS)
    by_statsmodels, by_arch = statsmodels_direction(prices), arch_direction(prices)
    rows = [
        ("scan, CPU", f"{scan['seconds']:.2f} s", "", True),
        ("scan, wall", f"{scan['wall']:.2f} s", f"≤ {SECONDS_MAX:g} s", scan["wall"] <= SECONDS_MAX),
        ("a direction", f"{scan['seconds'] / directions * 1e6:.2f} µs", "", True),
        ("matrix products alone", f"{least:.2f} s", "", True),
        ("over them", f"{scan['seconds'] / least:.2f} ×", f"≤ {FLOOR_MAX:g} ×", scan["seconds"] / least <= FLOOR_MAX),
        ("statsmodels, a direction", f"{by_statsmodels * 1e3:.1f} ms", "", True),
        ("arch, a direction", f"{by_arch * 1e3:.2f} ms", "", True),
    ]
    for name, each, target in (("statsmodels", by_statsmodels, STATSMODELS_MIN), ("arch", by_arch, ARCH_MIN)):
        ratio = each * directions / scan["seconds"]
        rows.append((f"faster than a loop over {name}", f"{ratio:,.0f} ×", f"≥ {target:,.0f} ×", ratio >= target))
    rows += [
        ("resident, all of it", f"{scan['mb']:.0f} MB", f"≤ {MEMORY_MB_MAX:g} MB", scan["mb"] <= MEMORY_MB_MAX),
        ("compiling, once a machine", f"{cold['compiled']:.1f} s", "", True),
        ("loading what was compiled", f"{scan['compiled']:.2f} s", "", True),
    ]
    table = Table(
        title=f"{SYMBOLS} symbols × {BARS} bars, all {directions:,} directions; loops extrapolated from {SAMPLE}"
    )
    for column in ("what", "measured", "target", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, value, target, met in rows:
        table.add_row(what, value, target, ("ok" if met else "MISSED") if target else "")
    Console(width=100).print(table)
    growth = Table(title="Growth")
    for column in ("symbols", "bars", "CPU", "µs a direction", "MB, all of it"):
        growth.add_column(column, justify="right")
    for symbols, bars in GROWTH:
        found = measured(symbols, bars, 2)
        each = found["seconds"] / (symbols * (symbols - 1)) * 1e6
        growth.add_row(str(symbols), str(bars), f"{found['seconds']:.2f} s", f"{each:.2f}", f"{found['mb']:.0f}")
    Console(width=100).print(growth)
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(ours(*(int(word) for word in sys.argv[1:4]))))
    else:
        sys.exit(main())
