"""An in-process exchange on a free port, over a market that the test scripts."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from ccxt_client import rest_client
from scripted_market import ScriptedMarket

from paper.server import PaperExchange


@pytest.fixture
def market() -> ScriptedMarket:
    return ScriptedMarket()


@pytest.fixture
async def exchange(market: ScriptedMarket) -> AsyncIterator[PaperExchange]:
    async with PaperExchange(market) as running:
        yield running


LOADED: dict[str, Any] = {}


@pytest.fixture
async def client(exchange: PaperExchange) -> AsyncIterator[Any]:
    """ccxt with its markets loaded; the first one asks the exchange, the others reuse the answer."""
    ready = rest_client(exchange.rest_url, exchange.stream_url)
    if LOADED:
        ready.set_markets(LOADED)
    else:
        LOADED.update(await ready.load_markets())
    yield ready
    await ready.close()
