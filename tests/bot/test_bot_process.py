"""`tandem run` as its user meets it: a process with a terminal, an exchange that may be gone, and a kill -9 at any moment."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from domain.pairs import TradeStatus
from domain.symbols import exchange_id
from domain.trades import Book
from storage.holdings import journal_positions
from storage.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
PAIRS = json.loads((ROOT / "pairs_config.json").read_text())["pairs"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exchange() -> Iterator[str]:
    """A paper exchange of its own process; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "paper", "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("exchange ready: "), line
    yield line.split()[2]
    process.terminate()
    process.wait(10)
    process.stdout.close()


STARTED: list["subprocess.Popen[str]"] = []


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """A test that fails half-way must not leave a trader on the account of the next one."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


class Runner:
    """One `tandem run` in its own folder."""

    def __init__(self, folder: Path, rest_url: str, **settings: Any) -> None:
        self.folder = folder
        config = {
            "data": {"rest_url": rest_url, "stream_url": "ws" + rest_url.removeprefix("http")},
            "control": {"port": 0},
            **settings,
        }
        (folder / "config.json").write_text(json.dumps(config))
        self.trade_from(PAIRS)
        self.log = folder / "runner.log"
        self.process: subprocess.Popen[str] | None = None

    def trade_from(self, rows: list[dict[str, Any]]) -> None:
        (self.folder / "pairs_config.json").write_text(json.dumps({"pairs": rows}))

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runner", "run", "--config", str(self.folder / "config.json"),
                 "--pairs", str(self.folder / "pairs_config.json")],
                stdout=log, stderr=log, text=True, cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )  # fmt: skip
        STARTED.append(self.process)
        return self.process

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, seconds: float = 60.0, times: int = 1) -> None:
        deadline = time.monotonic() + seconds
        while self.said().count(words) < times:
            assert time.monotonic() < deadline, f"never said {words!r}:\n{self.said()[-3000:]}"
            assert self.process is not None
            assert self.process.poll() is None, self.said()[-3000:]
            time.sleep(0.05)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    @property
    def journal(self) -> Path:
        return self.folder / "var" / "journal.sqlite"


def ask_venue(rest_url: str, path: str) -> Any:
    """One question to the paper exchange's own control endpoint."""

    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{rest_url}/paper/{path}") as reply:
            return await reply.json()

    return asyncio.run(ask())


def orders_received(rest_url: str) -> int:
    return len(ask_venue(rest_url, "orders-log"))


def at_venue(rest_url: str) -> dict[str, Decimal]:
    """What the exchange says the account holds."""
    state = ask_venue(rest_url, "state")
    account = next(account for account in state["accounts"] if account["key"] == "paper-key")
    return {row["symbol"]: Decimal(row["amount"]) for row in account["positions"] if Decimal(row["amount"]) != 0}


def believed(journal: Path) -> dict[str, Decimal]:
    return {exchange_id(symbol): quantity for symbol, quantity in journal_positions(journal).items()}


def test_trades_then_leaves_in_order(tmp_path: Path, exchange: str) -> None:
    """Quotes, signals, two-leg trades; SIGTERM: statistics, exit code 0, books equal to the exchange's."""
    runner = Runner(tmp_path, exchange, execution={"on_shutdown": "flatten"})
    runner.start()
    runner.wait_for("trade_closed", seconds=90)
    second = Runner(tmp_path, exchange, execution={"on_shutdown": "flatten"})
    second.log = tmp_path / "second.log"
    assert second.start().wait(40) == 2, "a second runner on the account is refused"
    assert "journal.sqlite" in second.said()
    (tmp_path / "elsewhere").mkdir()
    third = Runner(tmp_path / "elsewhere", exchange)
    assert third.start().wait(40) == 2, "with a journal of its own, too"
    assert "another journal" in third.said().strip().splitlines()[-1]
    assert "paper-key" not in third.said()
    assert runner.stop() == 0, runner.said()[-2000:]
    said = runner.said()
    assert "success" in said
    assert at_venue(exchange) == believed(runner.journal) == {}, "on_shutdown: flatten"
    assert "Traceback" not in said
    assert "paper-secret" not in said


def test_killed_at_random_moments_it_never_loses_a_trade(tmp_path: Path, exchange: str) -> None:
    """kill -9 in the middle of whatever it does, over and over; at the end the ledger is the exchange's truth."""
    dice = random.Random(20261122)  # noqa: S311
    runner = Runner(tmp_path, exchange, risk={"min_edge_ratio": 0, "gross_notional_usd_max": 100_000})
    runner.trade_from([{**row, "z_score_threshold": 0.7} for row in PAIRS])  # As many trades as can be.
    for trial in range(8):
        runner.start()
        runner.wait_for(" trading ", times=trial + 1)
        time.sleep(dice.uniform(0.0, 3.0))
        assert runner.process is not None
        runner.process.kill()
        runner.process.wait()
    finisher = Runner(tmp_path, exchange, execution={"on_shutdown": "flatten"})
    finisher.trade_from([{**row, "z_score_threshold": 3.9} for row in PAIRS])
    finisher.start()
    finisher.wait_for(" trading ", times=9)
    assert finisher.stop() == 0, finisher.said()[-2000:]
    assert at_venue(exchange) == believed(runner.journal) == {}
    book = Book(0.02)
    journal = Journal.open(runner.journal)
    for _, entry in journal.replay():
        book.apply(entry)
    asyncio.run(journal.close())
    assert len(book.trades) > 8
    assert all(trade.status in {TradeStatus.CLOSED, TradeStatus.ROLLED_BACK} for trade in book.trades.values())
    assert "order_not_in_journal" not in finisher.said()


def test_a_dry_run_sends_nothing_and_refuses_trades_it_could_not_close(tmp_path: Path, exchange: str) -> None:
    (tmp_path / "dry").mkdir()
    eager = [{**row, "z_score_threshold": 0.7} for row in PAIRS]
    sent_before = orders_received(exchange)
    dry = Runner(tmp_path / "dry", exchange, dry_run=True, risk={"min_edge_ratio": 0})
    dry.trade_from(eager)
    dry.start()
    dry.wait_for("code=DRY_RUN")
    assert dry.stop() == 0
    assert orders_received(exchange) == sent_before, "not one order"

    (tmp_path / "real").mkdir()
    real = Runner(tmp_path / "real", exchange, risk={"min_edge_ratio": 0})
    real.trade_from(eager)
    real.start()
    real.wait_for("trade_opened")
    assert real.process is not None
    real.process.kill()
    real.process.wait()
    rehearsal = Runner(tmp_path / "real", exchange, dry_run=True)
    assert rehearsal.start().wait(60) == 2, rehearsal.said()[-1000:]
    assert "open trades" in rehearsal.said().strip().splitlines()[-1]
    cleaner = Runner(tmp_path / "real", exchange, execution={"on_shutdown": "flatten"})
    cleaner.trade_from([{**row, "z_score_threshold": 3.9} for row in PAIRS])
    cleaner.start()
    cleaner.wait_for(" trading ", times=2)
    assert cleaner.stop() == 0
    assert at_venue(exchange) == {}


BAD_STARTS: list[tuple[str, dict[str, Any], dict[str, str], int, str]] = [
    (
        "wrong keys",
        {"trading_mode": "live"},
        {"BINANCE_API_KEY": "x" * 64, "BINANCE_API_SECRET": "y" * 64},
        2,
        "API key",
    ),
    ("leverage", {"risk": {"leverage": 120}}, {}, 2, "leverage"),
]


@pytest.mark.parametrize(
    ("story", "settings", "environment", "code", "says"), BAD_STARTS, ids=lambda value: str(value)[:12]
)
def test_a_start_that_cannot_succeed_says_why_in_one_line(  # noqa: PLR0917  (A row of the table.)
    tmp_path: Path,
    exchange: str,
    story: str,
    settings: dict[str, Any],
    environment: dict[str, str],
    code: int,
    says: str,
) -> None:
    runner = Runner(tmp_path, exchange, **settings)
    assert runner.start(**environment).wait(60) == code, runner.said()
    last = runner.said().strip().splitlines()[-1]
    assert says in last, story
    assert "Traceback" not in runner.said()
    assert "x" * 64 not in runner.said()


def test_a_symbol_nobody_lists_is_named(tmp_path: Path, exchange: str) -> None:
    runner = Runner(tmp_path, exchange)
    row = {"pair_id": "NO_SUCH", "leg_a": "NOSUCH/USDT", "leg_b": "BTC/USDT", "hedge_ratio": 1}
    (tmp_path / "pairs_config.json").write_text(json.dumps({"pairs": [row]}))
    assert runner.start().wait(60) == 2
    assert "NOSUCH/USDT" in runner.said().strip().splitlines()[-1]


def test_no_exchange_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runner = Runner(tmp_path, f"http://127.0.0.1:{port}")
    assert runner.start().wait(90) == 1
    assert "cannot connect" in runner.said().strip().splitlines()[-1]
    assert "Traceback" not in runner.said()
