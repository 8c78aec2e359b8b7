"""A job's questions share the address with the live runner: they wait for its sake, and say so in one line when they cannot."""

import asyncio
import http.server
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flows_project import ExchangeThread, still_market, write_project
from paper_control import order

from domain.symbols import Symbol
from domain.units import MINUTE_MS
from flows.common.reads import ExchangeReads
from runner.config import Settings, load_settings
from runner.exchange.binance.weights import Cost
from runner.exchange.errors import OutcomeUnknown, Unreachable
from runner.exchange.priority import Priority


@pytest.fixture
def own_exchange() -> Iterator[ExchangeThread]:
    """Not shared: these tests ban its clients and move its clock."""
    thread = ExchangeThread(9, lambda: still_market(9, history_days=1))
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def settings(tmp_path: Path, own_exchange: ExchangeThread) -> Settings:
    return load_settings(write_project(tmp_path, own_exchange.rest_url)[0])


def make_wrong(exchange: ExchangeThread, kind: str, **parameters: Any) -> None:
    order(exchange.rest_url, exchange.control_token, "faults", {"kind": kind, "parameters": parameters})


def send(reads: ExchangeReads, what: str, request: Callable[[], Awaitable[Any]]) -> Any:
    loop = reads._loop
    return loop.run(lambda: loop.send(what, request, Priority.BACKGROUND, Cost(1)))


def test_a_short_ban_is_waited_for(settings: Settings, own_exchange: ExchangeThread) -> None:
    make_wrong(own_exchange, "ban", duration_ms=1_500)
    with ExchangeReads(settings) as reads:
        began = time.monotonic()
        assert reads.positions() == {}
        assert time.monotonic() - began > 1.5
        assert reads._budget.bans == 1, "one refusal, no second knock"


def test_a_long_ban_is_one_line(settings: Settings, own_exchange: ExchangeThread) -> None:
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
        exchange_ms = budget.exchange_clock.now_ms()
        budget.observe(200, {"x-mbx-used-weight-1m": "1600"}, "")
        assert budget.wait_ms(Priority.ENTRY, 1) == 0
        assert 0 < budget.wait_ms(Priority.BACKGROUND, 1) <= MINUTE_MS - exchange_ms % MINUTE_MS + 1_000


def test_a_clock_that_is_wrong_is_set_right(settings: Settings, own_exchange: ExchangeThread) -> None:
    make_wrong(own_exchange, "clock-skew", skew_ms=3_600_000)
    with ExchangeReads(settings) as reads:
        assert reads.positions() == {}
        assert abs(reads._budget.exchange_clock.skew_ms() + 3_600_000) < 1_000


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
                send(reads, "klines A", nothing)
    assert tries == 3 * 2
    with ExchangeReads(settings, attempts=2, silence_seconds=0) as reads:
        for _ in range(3):
            assert send(reads, "klines A", every_second) == "there"
        assert tries == 6 * 2
        with pytest.raises(OutcomeUnknown, match="no answer"):
            send(reads, "klines A", nothing)
        for _ in range(500):
            with pytest.raises(
                Unreachable, match=r"klines B: not asked, the exchange gave no answer for \d+ s; run it again"
            ):
                send(reads, "klines B", nothing)
    assert tries == 7 * 2


class _SaysOneThing(http.server.BaseHTTPRequestHandler):
    """An exchange that lists nothing and answers every other question with the same body."""

    body = b"{}"

    def do_GET(self) -> None:
        body = b'{"symbols": []}' if "exchangeInfo" in self.path else self.body
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def one_answer(tmp_path: Path) -> Iterator[Settings]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SaysOneThing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield load_settings(write_project(tmp_path, f"http://127.0.0.1:{server.server_port}")[0])
        server.shutdown()


LISTS: dict[str, Callable[[ExchangeReads], Any]] = {
    "positions": lambda reads: reads.positions(),
    "open orders": lambda reads: reads.open_orders(),
    "volumes": lambda reads: reads.quote_volumes(),
    "klines": lambda reads: reads.klines(Symbol("LTC/USDT:USDT"), "1h", limit=2),
    "funding": lambda reads: reads.funding_rates(Symbol("LTC/USDT:USDT"), 0, 1),
}


@pytest.mark.parametrize("read", LISTS.values(), ids=LISTS)
def test_what_is_no_list_is_no_answer(one_answer: Settings, read: Callable[[ExchangeReads], Any]) -> None:
    """`{}` for the positions would read as "nothing is held", and a reconciliation would believe it."""
    with ExchangeReads(one_answer) as reads, pytest.raises(OutcomeUnknown, match=r"expected a list, not an object"):
        read(reads)
