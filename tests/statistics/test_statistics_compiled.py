"""The cache of compiled code: it must notice a change in another file, and do without a disk."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from domain.statistics.adf import Lanes, lanes_of
from domain.statistics.compiled import for_kernel

ROOT = Path(__file__).resolve().parents[2]


def _run(folder: Path, script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}", "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _write(folder: Path, factor: str) -> None:
    header = "from domain.statistics.compiled import compiled\n"
    (folder / "inner.py").write_text(f"{header}@compiled\ndef inner(x: float) -> float:\n    return x * {factor}\n")
    outer = "from inner import inner\n@compiled\ndef outer(x: float) -> float:\n    return inner(x) + 1.0\n"
    if not (folder / "outer.py").exists():
        (folder / "outer.py").write_text(header + outer)


def test_a_change_in_the_file_of_a_callee_is_noticed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    say = "from outer import outer; print(outer(3.0), sum(outer.stats.cache_hits.values()))"
    _write(tmp_path, "2.0")
    assert _run(tmp_path, say, NUMBA_CACHE_DIR=str(cache)) == "7.0 0"
    assert _run(tmp_path, say, NUMBA_CACHE_DIR=str(cache)) == "7.0 1"
    _write(tmp_path, "5.0")
    assert _run(tmp_path, say, NUMBA_CACHE_DIR=str(cache)) == "16.0 0"


def test_a_record_and_what_compiled_code_is_given_are_the_same_arrays() -> None:
    lanes = lanes_of(16, 4, 3)
    given = for_kernel(lanes)
    assert isinstance(given, tuple)
    for field in fields(Lanes):
        assert getattr(given, field.name) is getattr(lanes, field.name)


RECORD = """
from dataclasses import dataclass
from domain.statistics.compiled import for_kernel, kernel_record
@kernel_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    {0}: float
    {1}: float
"""
READS = """
from domain.statistics.compiled import compiled
from record import Record
@compiled
def first(record: Record) -> float:
    return record.one
"""


def test_a_record_with_other_fields_is_not_read_by_code_that_was_kept(tmp_path: Path) -> None:
    """Compiled code goes by the place of a field: kept from before, it would take one field for another."""
    (tmp_path / "reads.py").write_text(READS)
    say = "from reads import first; from record import Record, for_kernel\n"
    say += "print(first(for_kernel(Record(one=1.0, two=2.0))), sum(first.stats.cache_hits.values()))"
    for order, answer in ((("one", "two"), "1.0 0"), (("one", "two"), "1.0 1"), (("two", "one"), "1.0 0")):
        (tmp_path / "record.py").write_text(RECORD.format(*order))
        assert _run(tmp_path, say, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == answer


def test_without_a_place_for_the_cache_it_is_compiled_every_time(tmp_path: Path) -> None:
    """A function that has no file, as in a frozen program or a read-only installation without a home."""
    source = "@compiled\ndef twice(x: float) -> float:\n    return 2 * x\nprint(twice(4.0))"
    script = f"from domain.statistics.compiled import compiled\nexec(compile({source!r}, '<nowhere>', 'exec'))"
    assert _run(tmp_path, script) == "8.0"
