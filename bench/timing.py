"""Processor time of a piece of work, as several benchmarks take it."""

import time
from collections.abc import Callable

ROUNDS = 5


def cpu_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Of this process, in the best round."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)
