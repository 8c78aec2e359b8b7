"""The cache of compiled code: it must notice a change in another file, and do without a disk."""

import subprocess
import sys
from pathlib import Path

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


def test_without_a_place_for_the_cache_it_is_compiled_every_time(tmp_path: Path) -> None:
    """A function that has no file, as in a frozen program or a read-only installation without a home."""
    source = "@compiled\ndef twice(x: float) -> float:\n    return 2 * x\nprint(twice(4.0))"
    script = f"from domain.statistics.compiled import compiled\nexec(compile({source!r}, '<nowhere>', 'exec'))"
    assert _run(tmp_path, script) == "8.0"
