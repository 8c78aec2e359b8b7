"""`make mutants`: the program with one safety taken out, again and again; each time some test must fail.

Every mutant is made in a copy of the sources, never in the tree itself. A mutant that survives is a missing test, or a safety
that nobody needs.
"""

import argparse
import contextlib
import json
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
from typing import Self

from mutants import ROOT, Mutant, all_mutants
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from zygote import OPTIONS, TIMED_OUT

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
FAILED = 1
PAGE = ROOT / "docs" / "testing.md"
BEGIN, END = "<!-- mutants -->", "<!-- /mutants -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of one mutant."""

    mutant: Mutant
    killed_by: str  # Empty: it survived.
    seconds: float
    broken: str = ""  # The mutant could not be judged.


class Copy:
    """One copy of the sources, and a process that runs tests in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._zygote = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, test: str) -> tuple[int, str]:
        """Exit status of pytest, and which test said no."""
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        question = {"copy": str(self.folder), "test": test, "seconds_max": SECONDS_MAX}
        self._zygote.stdin.write(json.dumps(question) + "\n")
        answer = json.loads(self._zygote.stdout.readline())
        return _read(answer["code"], test, answer["told"])

    def ask_anew(self, test: str) -> tuple[int, str]:
        """The same in a process of its own, which takes longer."""
        command = [sys.executable, "-m", "pytest", *OPTIONS, *test.split()]
        environment = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            ran = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _read(TIMED_OUT, test, "")
        return _read(ran.returncode, test, ran.stdout)

    def close(self) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait()
        assert self._zygote.stdout is not None
        self._zygote.stdout.close()


class Copies:
    """As many copies of the sources as there are workers; one mutant at a time in each. A context manager."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        self._all: list[Copy] = []
        for number in range(count):
            copy = folder / str(number) / "tandem"
            copy.mkdir(parents=True)
            for source in SOURCES:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__", "var"))
                else:
                    shutil.copy(ROOT / source, copy / source)
            self._all.append(Copy(copy))
            self._free.put(self._all[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for copy in self._all:
            copy.close()

    @contextlib.contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[Copy]:
        """A copy with this change in it, taken back afterwards."""
        copy = self._free.get()
        path = copy.folder / mutant.file
        text = path.read_text()
        try:
            path.write_text(mutant.applied(text))
            yield copy
        finally:
            path.write_text(text)
            self._free.put(copy)


def judge(mutant: Mutant, copies: Copies) -> Judgement:
    """Ask its tests in turn."""
    began = time.monotonic()
    try:
        with copies.mutated(mutant) as copy:
            for test in mutant.tests:
                code, told = copy.ask(test)
                # CPython 3.11 at times fails to compile in a fork.
                if code not in {0, FAILED, TIMED_OUT}:
                    code, told = copy.ask_anew(test)
                if code in {FAILED, TIMED_OUT}:
                    return Judgement(mutant=mutant, killed_by=told, seconds=time.monotonic() - began)
                if code != 0:
                    return Judgement(mutant=mutant, killed_by="", seconds=time.monotonic() - began, broken=told)
    except ValueError as gone:
        return Judgement(mutant=mutant, killed_by="", seconds=0.0, broken=str(gone))
    return Judgement(mutant=mutant, killed_by="", seconds=time.monotonic() - began)


def _read(code: int, test: str, told: str) -> tuple[int, str]:
    """Exit status of pytest, and which test said no."""
    if code == TIMED_OUT:
        return code, f"{test} (never ended)"
    lines = told.splitlines()
    failed = [line.split(" ")[1] for line in lines if line.startswith("FAILED ")]
    if code == FAILED and failed:
        return FAILED, failed[0]
    return 2 if code == FAILED else code, f"{test}: {(lines or [''])[-1]}"


def judge_all(mutants: Sequence[Mutant], workers: int, console: Console) -> list[Judgement]:
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
        Copies(Path(folder), workers) as copies,
        ThreadPoolExecutor(workers) as pool,
    ):
        bar = progress.add_task("mutants", total=len(mutants), left="")
        lock = threading.Lock()
        survived = 0

        def one(mutant: Mutant) -> Judgement:
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
    """The table of docs/testing.md: changes written by hand one by one, rows of tables counted by table."""
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
    parser.add_argument("--write", action="store_true", help="only write the list of them into docs/testing.md")
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
