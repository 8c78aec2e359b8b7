"""What the attacks on files share: a folder that tells what changed in it, another user, commands run as people run them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a second user")
LIMIT_SECONDS = 60.0


def listing(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every name under the folder, with its mode and, of a regular file, what is in it."""
    found: dict[str, tuple[int, bytes | None]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        is_file = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (status.st_mode, path.read_bytes() if is_file else None)
    return found


def tandem(arguments: Sequence[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """One command in a process of its own, which must end."""
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("TANDEM_")} | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def as_nobody(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Python code of another user, which says `ready` when it has done its worst and ends with its stdin."""
    # It starts as we do: the interpreter itself may lie where only we can read.
    become = f"import fcntl, os, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
    return subprocess.Popen(
        [sys.executable, "-I", "-c", become + code, *arguments],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(result: "subprocess.CompletedProcess[str]") -> str:
    """The one line on stderr."""
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    return lines[0]
