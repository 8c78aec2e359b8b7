"""A job's questions share the address with the live runner: they wait for its sake, and say so in one line when they cannot."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flows_project import ExchangeThread, still_market, write_project

from domain.errors import OutcomeUnknown, Unreachable
from flows.common.exchange_reads import ExchangeReads
from runner.config import Settings, load_settings
from runner.exchange.binance.budget import MINUTE_MS, Priority


@pytest.fixture
def own_exchange() -> Iterator[str]:
    """Not shared: these tests ban its clients and move its clock."""
    thread = ExchangeThread(9, lambda: still_market(9, history_days=1))
    thread.start()
    yield thread.rest_url
    thread.stop()


@pytest.fixture
def settings(tmp_path: Path, own_exchange: str) -> Settings:
    return load_settings(write_project(tmp_path, own_exchange)[0])


def make_wrong(url: str, kind: str, **parameters: Any) -> None:
    body = json.dumps({"kind": kind, "parameters": parameters}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/paper/faults", data=body, method="POST")) as reply:  # noqa: S310
        assert reply.status == 200


def test_a_short_ban_is_waited_for(settings: Settings, own_exchange: str) -> None:
    make_wrong(own_exchange, "ban", duration_ms=1_500)
    with ExchangeReads(settings) as reads:
        began = time.monotonic()
        assert reads.positions() == {}
        assert time.monotonic() - began > 1.5
        assert reads._budget.bans == 1, "one refusal, no second knock"


def test_a_long_ban_is_one_line(settings: Settings, own_exchange: str) -> None:
    make_wrong(own_exchange, "ban", duration_ms=600_000)
    with ExchangeReads(settings) as reads:
        with pytest.raises(Unreachable) as caught:
            reads.positions()
        assert "try again in 60" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert reads._budget.bans == 1


def test_a_minute_that_is_used_up_is_left_to_the_live_runner(settings: Settings) -> None:
    """What others have used stands in the first reply; from there on a job takes no more than its share."""
    with ExchangeReads(settings) as reads:
        budget = reads._budget
        reads.time()
        venue_ms = budget.venue_clock.now_ms()
        budget.observe(200, {"x-mbx-used-weight-1m": "1600"}, "")
        assert budget.wait_ms(Priority.ENTRY, 1) == 0
        assert 0 < budget.wait_ms(Priority.BACKGROUND, 1) <= MINUTE_MS - venue_ms % MINUTE_MS + 1_000


def test_a_clock_that_is_wrong_is_set_right(settings: Settings, own_exchange: str) -> None:
    make_wrong(own_exchange, "clock-skew", skew_ms=3_600_000)
    with ExchangeReads(settings) as reads:
        assert reads.positions() == {}
        assert abs(reads._budget.venue_clock.skew_ms() + 3_600_000) < 1_000


def test_an_exchange_that_is_silent_is_not_asked_for_every_symbol(settings: Settings) -> None:
    """Each question has its patience; once one's is exhausted, and the time, the others are not asked. An answer begins it anew."""
    data = settings.data.model_copy(update={"request_timeout_seconds": 0.05})
    settings = settings.model_copy(update={"data": data})
    tries = 0

    async def nothing() -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(3600)

    async def every_second() -> str:
        nonlocal tries
        tries += 1
        await asyncio.sleep(3600 * (tries % 2))
        return "there"

    with ExchangeReads(settings, attempts=2, silence_seconds=3600) as reads:
        for _ in range(3):
            with pytest.raises(OutcomeUnknown, match="no answer"):
                reads._road.ask("klines A", nothing, weight=1)
    assert tries == 3 * 2
    with ExchangeReads(settings, attempts=2, silence_seconds=0) as reads:
        for _ in range(3):
            assert reads._road.ask("klines A", every_second, weight=1) == "there"
        assert tries == 6 * 2
        with pytest.raises(OutcomeUnknown, match="no answer"):
            reads._road.ask("klines A", nothing, weight=1)
        for _ in range(500):
            with pytest.raises(
                Unreachable, match=r"klines B: not asked, the exchange gave no answer for \d+ s; run it again"
            ):
                reads._road.ask("klines B", nothing, weight=1)
    assert tries == 7 * 2
