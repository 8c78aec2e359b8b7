"""A paper exchange on a thread of its own, and a project folder that points at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flows_project import ExchangeThread, write_project


def _served(seed: int) -> Iterator[str]:
    thread = ExchangeThread(seed)
    thread.start()
    yield thread.rest_url
    thread.stop()


@pytest.fixture(scope="session")
def exchange_url() -> Iterator[str]:
    yield from _served(7)


@pytest.fixture(scope="session")
def other_exchange_url() -> Iterator[str]:
    """Another market behind the same dialect: same symbols, other prices."""
    yield from _served(8)


@pytest.fixture
def project(tmp_path: Path, exchange_url: str) -> tuple[Path, Path]:
    return write_project(tmp_path, exchange_url)
