"""One synthetic market for the whole session, and a bare exchange around it for each test that asks."""

from collections.abc import AsyncIterator

import pytest
from bare_exchange import BareExchange, Serve, serve

from paper.markets import SyntheticMarket


@pytest.fixture
def serving() -> Serve:
    """The context manager above, for tests that need a market or options of their own."""
    return serve


@pytest.fixture(scope="session")
def market() -> SyntheticMarket:
    """One market with a whole past for all tests that only look at it or let it run on."""
    return SyntheticMarket(seed=7)


@pytest.fixture
async def exchange(market: SyntheticMarket) -> AsyncIterator[BareExchange]:
    async with serve(market) as running:
        yield running
