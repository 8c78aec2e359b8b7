"""`make mutants`: the program with one safety taken out, again and again; each time some test must fail.

Every mutant is made in a copy of the sources, never in the tree itself. A mutant that survives is a missing test, or a safety
that nobody needs.
"""

import argparse
import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutants import ROOT, Mutant, all_mutants
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

SECONDS_MAX = 300.0
"""A test that hangs has noticed too: nothing in the program waits this long."""
SOURCES = (
    "domain",
    "runner",
    "storage",
    "paper",
    "flows",
    "tests",
    "bench",
    "pyproject.toml",
    "config.json",
    "pairs_config.json",
)
FAILED, TIMED_OUT, NOTHING_RAN = 1, -9, 5
PAGE = ROOT / "docs" / "execution.md"
BEGIN, END = "<!-- mutants -->", "<!-- /mutants -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    killed_by: str  # Empty: it survived.
    seconds: float
    broken: str = ""  # The mutant could not be judged.


class Copies:
    """As many copies of the sources as there are workers; one mutant at a time in each."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(count):
            copy = folder / str(number) / "tandem"
            copy.mkdir(parents=True)
            for source in SOURCES:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__", "var"))
                else:
                    shutil.copy(ROOT / source, copy / source)
            self._free.put(copy)

    @contextlib.contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[Path]:
        """A copy with this change in it, taken back afterwards."""
        copy = self._free.get()
        path = copy / mutant.file
        text = path.read_text()
        try:
            path.write_text(mutant.applied(text))
            yield copy
        finally:
            path.write_text(text)
            self._free.put(copy)


def judge(mutant: Mutant, copies: Copies) -> Verdict:
    """Ask its tests in turn."""
    began = time.monotonic()
    try:
        with copies.mutated(mutant) as copy:
            for test in mutant.tests:
                code, told = _ask(copy, test)
                if code in {FAILED, TIMED_OUT}:
                    return Verdict(mutant=mutant, killed_by=told, seconds=time.monotonic() - began)
                if code != 0:
                    return Verdict(mutant=mutant, killed_by="", seconds=time.monotonic() - began, broken=told)
    except ValueError as gone:
        return Verdict(mutant=mutant, killed_by="", seconds=0.0, broken=str(gone))
    return Verdict(mutant=mutant, killed_by="", seconds=time.monotonic() - began)


def _ask(copy: Path, test: str) -> tuple[int, str]:
    """Exit status of pytest, and which test said no. Python's own optimiser and caches stay out of it."""
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "-rf", "--tb=no"]
    try:
        ran = subprocess.run(
            [*command, *test.split()],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, f"{test} (never ended)"
    lines = ran.stdout.splitlines()
    failed = [line.split(" ")[1] for line in lines if line.startswith("FAILED ")]
    if ran.returncode == FAILED and failed:
        return FAILED, failed[0]
    if ran.returncode == FAILED:
        return 2, f"{test}: {lines[-1] if lines else ran.stderr[-300:]}"
    return ran.returncode, f"{test}: {(lines or ran.stderr.splitlines() or [''])[-1]}"


def judge_all(mutants: Sequence[Mutant], workers: int, console: Console) -> list[Verdict]:
    """In parallel, the table's order kept."""
    columns = (
        TextColumn("mutants"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with (
        tempfile.TemporaryDirectory(prefix="tandem-mutants-") as folder,
        Progress(*columns, console=console) as progress,
        ThreadPoolExecutor(workers) as pool,
    ):
        copies = Copies(Path(folder), workers)
        bar = progress.add_task("mutants", total=len(mutants), left="")
        lock = threading.Lock()
        survived = 0

        def one(mutant: Mutant) -> Verdict:
            nonlocal survived
            verdict = judge(mutant, copies)
            with lock:
                if not verdict.killed_by:
                    survived += 1
                    progress.console.print(f"survived: {mutant.name} {verdict.broken}", markup=False, highlight=False)
                progress.update(bar, advance=1, left=f"{survived} survived")
            return verdict

        return list(pool.map(one, mutants))


def page_rows(mutants: Sequence[Mutant]) -> str:
    """The table of docs/execution.md: changes written by hand one by one, rows of tables counted by table."""
    lines = ["| taken out | asked first |", "|---|---|"]
    groups: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        groups.setdefault(mutant.group, []).append(mutant)
    for group, members in groups.items():
        first = _short(members[0].tests[0])
        if members[0].old:
            lines += [f"| {group}: {each.name} | `{_short(each.tests[0])}` |" for each in members]
        else:
            lines.append(f"| {group}: each of {len(members)} rows | `{first}` |")
    return "\n".join(lines)


def _short(test: str) -> str:
    path, _, name = test.partition("::")
    return f"{Path(path).name}{'::' if name else ''}{name.split('[')[0]}"


def write_page(mutants: Sequence[Mutant]) -> None:
    """Between its marks."""
    text = PAGE.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:start]}\n{page_rows(mutants)}\n{text[end:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names that hold this text")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--write", action="store_true", help="only write the list of them into docs/execution.md")
    asked = parser.parse_args()
    console = Console(soft_wrap=True)
    if asked.write:
        write_page(all_mutants())
        return 0
    mutants = [mutant for mutant in all_mutants() if asked.only in mutant.name]
    if not mutants:
        console.print(f"no mutant's name holds {asked.only!r}", markup=False)
        return 2
    began = time.monotonic()
    verdicts = judge_all(mutants, asked.workers, console)
    table = Table("mutant", "killed by", "seconds")
    for verdict in verdicts:
        table.add_row(
            verdict.mutant.name, _short(verdict.killed_by) or f"SURVIVED {verdict.broken}", f"{verdict.seconds:.1f}"
        )
    console.print(table)
    survivors = [verdict.mutant.name for verdict in verdicts if not verdict.killed_by]
    console.print(
        f"{len(verdicts)} mutants in {time.monotonic() - began:.0f} s, {len(survivors)} survived", highlight=False
    )
    for name in survivors:
        console.print(f"survived: {name}", markup=False, highlight=False)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
