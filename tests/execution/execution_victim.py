"""The engine in a process that a test may kill at any moment, and what must hold once the next one is at rest."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from execution_rig import eventually

from domain.orders import is_ours
from domain.pairs import TradeStatus
from domain.trade_book import TradeBook
from paper.server import PaperExchange
from runner.exchange.binance.symbols import exchange_id
from storage import entries_file

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CALM_SECONDS_MAX = 150.0  # A used-up minute of requests may have to roll, and a contested death takes another.


class Victim:
    """The forking process and what its engines have said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        self._running: int | None = None
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    def _tell(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())

    async def _line(self, start: str, first: int, seconds: float) -> str:
        try:
            await eventually(lambda: any(line.startswith(start) for line in self.lines[first:]), seconds)
        except TimeoutError:
            pytest.fail(f"no {start!r} within {seconds:g} s after {self.lines[first:][-20:]}")
        return next(line for line in self.lines[first:] if line.startswith(start))

    async def ready(self) -> None:
        await self._line("ready", 0, 60)

    async def fork(self, order: str) -> tuple[int, int]:
        """(pid, index of its first line)."""
        first = len(self.lines)
        self._tell(order)
        self._running = int((await self._line("forked", first, 30)).split()[1])
        return self._running, first

    async def ended(self, first: int, seconds: float) -> int:
        self._tell("wait")
        status = int((await self._line("ended", first, seconds)).split()[1])
        self._running = None
        return status

    def kill(self, pid: int) -> None:
        """At once and without a word; `ended` reaps it."""
        os.kill(pid, signal.SIGKILL)

    async def run_to_rest(self, order: str) -> None:
        _, first = await self.fork(order)
        assert await self.ended(first, CALM_SECONDS_MAX) == 0, self.lines[first:]
        assert not [line for line in self.lines[first:] if line.startswith("halted")]

    async def close(self) -> None:
        assert self._process.stdin is not None
        if self._running is not None:  # The test failed meanwhile.
            os.kill(self._running, signal.SIGKILL)
        self._process.stdin.close()
        await self._process.wait()
        await self._reader


@contextlib.asynccontextmanager
async def victim_of(exchange: PaperExchange, journal: Path) -> AsyncIterator[Victim]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "execution_process.py"), exchange.rest_url, exchange.stream_url, str(journal),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=HERE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, HERE, ROOT / "tests/paper")))},
    )  # fmt: skip
    victim = Victim(process)
    try:
        await victim.ready()
        yield victim
    finally:
        await victim.close()


def replayed(journal: Path) -> TradeBook:
    book = TradeBook(0.02)
    for _, entry in entries_file.replay(journal):
        book.apply(entry)
    return book


def check(exchange: PaperExchange, journal: Path) -> TradeBook:
    """Everything that must hold once the engine is at rest."""
    book = replayed(journal)
    portfolio = exchange.desk.books.portfolios["paper-key"]
    held = {position.symbol: position.amount for position in portfolio.held() if position.amount != 0}
    assert {exchange_id(symbol): quantity for symbol, quantity in book.positions().items()} == held
    sent = Counter(name for arrival in exchange.desk.orders_log for name in arrival.client_order_ids)
    assert not [name for name, times in sent.items() if times > 1], "no order is sent twice"
    accepted = [order.client_order_id for order in portfolio.orders.values() if is_ours(order.client_order_id)]
    assert set(accepted) <= set(book.orders), "no order without a journaled intent"
    assert len(accepted) == len(set(accepted))
    for order in portfolio.orders.values():
        if is_ours(order.client_order_id):
            assert book.orders[order.client_order_id].filled == order.filled
    in_between = {TradeStatus.OPENING, TradeStatus.CLOSING, TradeStatus.ATTENTION}
    assert not [trade.trade_id for trade in book.trades.values() if trade.status in in_between]
    return book
