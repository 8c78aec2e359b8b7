"""A paper exchange on a thread of its own, and a project folder that points at it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flows_project import write_project

from paper.markets import SyntheticMarket
from paper.server import PaperExchange


class ExchangeThread:
    """Serves a synthetic market until stopped; counts nothing, changes nothing."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.rest_url = ""

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30), "the paper exchange did not start"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with PaperExchange(SyntheticMarket(seed=self._seed)) as exchange:
            self.rest_url = exchange.rest_url
            self._ready.set()
            await self._stop.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


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
