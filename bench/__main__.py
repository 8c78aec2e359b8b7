"""`python -m bench`: every benchmark in turn, each in a process of its own, so that none warms another's caches."""

import subprocess
import sys

BENCHES = (
    "bench.ticks",
    "bench.memory",
    "bench.orders",
    "bench.unwind",
    "bench.restart",
    "bench.cointegration",
    "bench.backtest",
)


def main() -> int:
    """Return the number of benches that failed."""
    failed = 0
    for name in BENCHES:
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", name], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
