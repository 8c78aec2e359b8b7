"""kill -9 of the engine at random moments: after the next start and its recovery, belief equals the exchange's books."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from execution_rig import deep_market, eventually

from domain.orders import is_ours
from domain.pairs import TradeStatus
from domain.symbols import exchange_id
from domain.trades import Book
from paper.options import ExchangeOptions, LimitOptions
from paper.server import PaperExchange
from storage import entries_file

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LANES = 4  # Side by side, each with an exchange and a journal of its own; every second one with faults.
TRIALS = -(-int(os.environ.get("KILLS", "32")) // LANES)  # Per lane; `make kills KILLS=100` asks for more.
CHAOS_RATE = 0.25
CALM_SECONDS_MAX = 150.0  # A used-up minute of requests may have to roll, and a contested death takes another.
UNLIMITED = LimitOptions(weight_per_minute_max=0, orders_per_10s_max=0, orders_per_minute_max=0)


class Victim:
    """The forking process of one lane and what its engines acknowledged."""

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

    async def kill_while(self, order: str, after: str, seconds: float) -> None:
        """Start, wait for its first word `after` (or nothing), let it run on, end it without a word."""
        pid, first = await self.fork(order)
        if after:
            await self._line(after, first, CALM_SECONDS_MAX)
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGKILL)  # Not reaped yet, so the id is still its own.
        status = await self.ended(first, 10)
        assert status in {signal.SIGKILL, 0}, self.lines[first:]

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


def replayed(journal: Path) -> Book:
    book = Book(0.02)
    for _, entry in entries_file.replay(journal):
        book.apply(entry)
    return book


def check(exchange: PaperExchange, journal: Path, victim: Victim) -> Book:
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
    for word, trade_id in (line.split() for line in victim.lines if line.startswith(("opened", "closed"))):
        over = book.trades[trade_id].status is TradeStatus.CLOSED
        assert over or word == "opened", f"{trade_id} was acknowledged as closed"
    return book


async def lane(tmp_path: Path, seed: int) -> tuple[int, dict[str, int]]:
    """One account's life: trade, killed, start again, perhaps killed in recovery, at rest, checked."""
    chance = random.Random(seed)  # noqa: S311  (Reproducible, not secret.)
    market = deep_market()
    options = ExchangeOptions(limits=UNLIMITED, chaos_seed=seed if seed % 2 else None, chaos_rate=CHAOS_RATE)
    journal = tmp_path / f"{seed}.sqlite"
    async with PaperExchange(market, options) as exchange, victim_of(exchange, journal) as victim:
        refill = asyncio.create_task(keep_deep(market))
        try:
            for _ in range(TRIALS):
                await victim.kill_while("trade 30", "started", chance.uniform(0.0, 0.6))
                if chance.random() < 0.3:
                    await victim.kill_while("settle", "", chance.uniform(0.02, 0.5))
                await victim.run_to_rest("settle")
                check(exchange, journal, victim)
            await victim.run_to_rest("flatten")
            book = check(exchange, journal, victim)
            assert not book.positions()
            return len(book.trades), dict(exchange.board.chaos_hits)
        finally:
            refill.cancel()
            await asyncio.gather(refill, return_exceptions=True)


async def keep_deep(market: Any) -> None:
    """The trades of a whole lane would eat the books."""
    fresh = deep_market()
    while True:
        await asyncio.sleep(0.2)
        for symbol in ("1000CATUSDT", "1MBABYDOGEUSDT"):
            book = fresh.book(symbol)
            market.set_book(symbol, book.bids, book.asks)


@pytest.mark.slow
async def test_killed_at_random_moments_belief_equals_reality(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        lanes = [group.create_task(lane(tmp_path, seed)) for seed in range(1, LANES + 1)]
    results = [task.result() for task in lanes]
    hits = sum((Counter(hit) for _, hit in results), Counter[str]())
    print(  # noqa: T201  (What `make kills` is for.)
        f"\n{LANES * TRIALS} kills while trading, more while starting: {sum(trades for trades, _ in results)} trades;"
        f" faults {dict(sorted(hits.items()))}; 0 lost, 0 doubled, books = exchange after each"
    )
    assert sum(trades for trades, _ in results) > LANES * TRIALS, "the engines did trade"
    assert any(hits for _, hits in results), "chaos did strike"
