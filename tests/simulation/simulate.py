"""`make simulate SEEDS=10000 [FROM=0]`: stories by the thousand, on all cores. One seed alone is told in full."""

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sim_scripts import seeded_world
from sim_world import Result

CHUNK_SEEDS = 20
COLLECT_EVERY_SEEDS = 20
ADDED = ("crashes", "restarts", "trades", "orders", "steps", "commits", "virtual_seconds")


@dataclass(slots=True)
class Totals:
    """What all stories had in common."""

    seeds: int = 0
    crashes: int = 0
    restarts: int = 0
    trades: int = 0
    orders: int = 0
    steps: int = 0
    commits: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.seeds += 1
        for name in ADDED:
            setattr(self, name, getattr(self, name) + getattr(result, name))
        self.faults += result.faults
        self.violations += [(result.seed, what) for what in result.violations[:1]]

    def merge(self, other: "Totals") -> None:
        for name in ("seeds", "cpu_seconds", *ADDED):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults += other.faults
        self.violations += other.violations


def run_chunk(seeds: range) -> Totals:
    """Several stories in this process."""
    totals = Totals()
    began = time.process_time()
    gc.freeze()  # What was imported stays; only stories end.
    gc.disable()  # Stories are full of cycles that end together; collecting after each batch costs a tenth.
    for number, seed in enumerate(seeds):
        totals.add(seeded_world(seed).run())
        if number % COLLECT_EVERY_SEEDS == COLLECT_EVERY_SEEDS - 1:
            gc.collect()
    gc.collect()
    totals.cpu_seconds = time.process_time() - began
    return totals


def run_all(seeds: range, processes: int, console: Console) -> Totals:
    """Every seed, spread over the cores."""
    totals = Totals()
    chunks = [seeds[start : start + CHUNK_SEEDS] for start in range(0, len(seeds), CHUNK_SEEDS)]
    columns = (
        TextColumn("simulate"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[found]}"),
    )
    with Progress(*columns, console=console) as progress, multiprocessing.Pool(processes) as pool:
        bar = progress.add_task("seeds", total=len(seeds), found="0 violations")
        for part in pool.imap_unordered(run_chunk, chunks):
            totals.merge(part)
            for seed, what in part.violations:
                progress.console.print(f"[red]seed {seed}[/red] {what}", markup=True, highlight=False)
            progress.update(bar, advance=part.seeds, found=f"{len(totals.violations)} violations")
    return totals


def tell(seed: int, console: Console) -> bool:
    """One story in full. True when nothing was violated."""
    result = seeded_world(seed, trace=True).run()
    for when, text in result.story:
        console.out(f"{when:10.4f}  {text}", highlight=False)
    console.out(
        f"seed {seed}: {result.steps} steps, {result.commits} commits, {result.crashes} crashes", highlight=False
    )
    for what in result.violations:
        console.out(f"VIOLATION {what}", highlight=False)
    return not result.violations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    asked = parser.parse_args()
    console = Console(soft_wrap=True)
    if asked.seeds == 1:
        return 0 if tell(asked.first, console) else 1
    began = time.monotonic()
    totals = run_all(range(asked.first, asked.first + asked.seeds), asked.processes, console)
    seconds = time.monotonic() - began
    console.print(
        "faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(totals.faults.items())), highlight=False
    )
    console.print(
        f"{totals.seeds} seeds in {seconds:.1f} s ({totals.seeds / seconds:.0f}/s on {asked.processes} processes,"
        f" {totals.seeds / totals.cpu_seconds:.0f} per second of a core):"
        f" {totals.trades} trades, {totals.orders} orders, {totals.commits} commits, {totals.steps} steps,"
        f" {totals.crashes} crashes, {totals.restarts} restarts, {sum(totals.faults.values())} faults,"
        f" {totals.virtual_seconds / 3600:.1f} h of the account's life",
        highlight=False,
    )
    for seed, what in sorted(totals.violations)[:20]:
        console.print(f"seed {seed}: {what}", markup=False, highlight=False)
    if totals.violations:
        first = min(totals.violations)[0]
        console.print(f"tell the first in full: make simulate SEEDS=1 FROM={first}", highlight=False)
    console.print(f"{len(totals.violations)} violations", highlight=False)
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main())
