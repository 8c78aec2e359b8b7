"""One BLAS thread, as the flows have: on matrices as small as these a second one spins for many times what it saves."""

import os
from pathlib import Path

import pytest

# Read when numpy is first imported: before any test module is.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests first: a file stays on one worker, and a long one that begins last is waited for alone."""
    slow: dict[Path, int] = {}
    for item in items:
        slow[item.path] = slow.get(item.path, 0) + (item.get_closest_marker("slow") is not None)
    items.sort(key=lambda item: -slow[item.path])
