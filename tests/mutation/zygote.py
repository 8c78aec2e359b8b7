"""A process that has everything of others imported and nothing of ours: each question is answered by a fork of it.

Starting pytest and what it needs takes longer than most of the tests that judge a mutant. One line of JSON asks
({"copy", "test", "seconds_max"}), one line answers ({"code", "told"}).
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

OTHERS = (
    "aiohttp.web",
    "duckdb",
    "msgspec.json",
    "numpy",
    "orjson",
    "prometheus_client",
    "pydantic_settings",
    "pytest",
    "structlog",
    "websockets.asyncio.client",
    "websockets.asyncio.server",
)
TIMED_OUT = -9
LOOK_SECONDS = 0.02
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "--no-header", "-rf", "--tb=no")


def ask(copy: str, test: str, seconds_max: float) -> dict[str, object]:
    """Run one test in a fork: pytest's exit status and what it printed."""
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            _run(copy, test, told.fileno())
        deadline = time.monotonic() + seconds_max
        code = None
        while code is None:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                _end(child)
                code = TIMED_OUT
            else:
                time.sleep(LOOK_SECONDS)
        told.seek(0)
        return {"code": code, "told": told.read().decode(errors="replace")}


def _end(child: int) -> None:
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _run(copy: str, test: str, output: int) -> NoReturn:
    """In the fork; never returns."""
    os.setsid()  # What the test starts dies with it.
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = copy
    sys.path.insert(0, copy)
    import pytest  # noqa: PLC0415  (Imported already; only here is it needed.)

    code = 3
    try:
        code = int(pytest.main([*OPTIONS, *test.split()]))
    except Exception:  # noqa: BLE001  (Top of a process: told to whoever asked.)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    for name in OTHERS:
        importlib.import_module(name)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(ask(**json.loads(line))) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
