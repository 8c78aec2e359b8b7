"""By hand: the Prefect server away for ten minutes while live trades on, then a cancel that must arrive.

`.venv/bin/python tests/stack/outage.py [SECONDS]` prints what it measured and exits 0 if everything held.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path

from rig import Stack, make_clone


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(seconds: float) -> int:
    """Return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(make_clone(Path(folder)))
        try:
            stack.start(stack.plan.worker())
            deploy = stack.start(stack.plan.deploy())
            stack.start_server()
            assert deploy.wait(280) == 0
            run = stack.start_live()
            pid = stack.live_pid()
            stack.stop_server()
            say(f"live ticks as pid {pid}; the server is away for {seconds:g} s")
            time.sleep(seconds)
            stack.start_server()
            time.sleep(20)
            now = stack.read(run)
            ticks = [tick["at_s"] for tick in stack.ticks() if tick["pid"] == pid]
            gap_s_max = max(b - a for a, b in itertools.pairwise(ticks))
            alive = time.time_ns() / 1e9 - ticks[-1] < 5.0
            say(
                f"after it: run is {now.state_name}, ticking: {alive}, longest gap {gap_s_max:.2f} s of {len(ticks)} ticks"
            )
            asked_at_s = time.monotonic()
            stack.cancel(run)
            stack.until_left_in_order(pid)
            left_s = time.monotonic() - asked_at_s
            over = stack.until_over(run)
            say(f"cancel: left in order after {left_s:.1f} s, run is {over.state_name} ({over.message})")
            held = alive and now.state_name == "Running" and over.state_name == "Cancelled"
            return 0 if held else 1
        finally:
            stack.close()


if __name__ == "__main__":
    raise SystemExit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0))
