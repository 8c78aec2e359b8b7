"""Memory across restarts: what was acknowledged survives, kill -9 included, and ids go on where they stopped."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest
from ccxt_client import rest_client
from scripted_market import ScriptedMarket

from paper.server import PaperExchange
from paper.state import StateError, StateFile

BTC = "BTC/USDT:USDT"
READY = "exchange ready: "


async def test_everything_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    async with PaperExchange(ScriptedMarket(), state=StateFile(path)) as exchange:
        client = rest_client(exchange.rest_url, exchange.stream_url)
        await client.create_order(BTC, "market", "buy", 0.01, params={"clientOrderId": "first"})
        resting = await client.create_order(BTC, "limit", "buy", 0.02, 82000)
        await client.set_leverage(7, BTC)
        key = (await client.fapiPrivatePostListenKey())["listenKey"]
        trades = await client.fetch_my_trades(BTC)
        wallet = exchange.desk.books.portfolios["paper-key"].account.wallet
        await client.close()
    market = ScriptedMarket()
    async with PaperExchange(market, state=StateFile(path)) as exchange:
        client = rest_client(exchange.rest_url, exchange.stream_url)
        portfolio = exchange.desk.books.portfolios["paper-key"]
        assert portfolio.account.wallet == wallet
        assert [row["id"] for row in await client.fetch_open_orders(BTC)] == [resting["id"]]
        assert [row["id"] for row in await client.fetch_my_trades(BTC)] == [row["id"] for row in trades]
        assert (await client.fetch_leverages([BTC]))[BTC]["longLeverage"] == 7
        assert (await client.fapiPrivatePostListenKey())["listenKey"] == key
        later = await client.create_order(BTC, "market", "sell", 0.01, params={"reduceOnly": True})
        assert int(later["id"]) > int(resting["id"])
        market.set_book("BTCUSDT", [(81000, 1)], [(81999, 1)])
        assert (await client.fetch_order(resting["id"], BTC))["status"] == "closed"
        await client.close()


def test_the_markets_snapshot_comes_back(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "paper.sqlite")
    assert state.market_snapshot() is None
    state.save_market(b"prices")
    state.close()
    assert StateFile(tmp_path / "paper.sqlite").market_snapshot() == b"prices"


def test_unusable_files_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to be taken for one at first sight\n" * 40)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    busy = tmp_path / "busy"
    holder = StateFile(busy)
    for path in (text, newer, tmp_path, busy):
        with pytest.raises(StateError, match=path.name):
            StateFile(path)
    holder.close()


def test_a_file_of_another_market_is_refused(tmp_path: Path) -> None:
    exchange = PaperExchange(ScriptedMarket(), state=StateFile(tmp_path / "paper.sqlite"))
    portfolio = exchange.desk.books.portfolios["paper-key"]
    exchange.core.manual_trade(portfolio, "BTCUSDT", Decimal(1), None, 1)
    exchange.desk.commit()
    assert exchange._state is not None
    exchange._state.close()
    other = ScriptedMarket()
    del other._listings["BTCUSDT"]
    with pytest.raises(StateError, match="BTCUSDT, which this market does not list"):
        PaperExchange(other, state=StateFile(tmp_path / "paper.sqlite"))


async def test_a_failing_file_ends_the_exchange(tmp_path: Path) -> None:
    """What cannot be stored is not promised: the reply is an error and the exchange gives up."""
    async with PaperExchange(ScriptedMarket(), state=StateFile(tmp_path / "paper.sqlite")) as exchange:
        assert exchange._state is not None
        exchange._state._db.execute("PRAGMA query_only=ON")
        exchange.core.manual_trade(exchange.desk.books.portfolios["paper-key"], "BTCUSDT", Decimal(1), None, 1)
        with pytest.raises(StateError):
            exchange.desk.commit()
        assert exchange.failed is not None
        assert isinstance(exchange.failed.exception(), StateError)


def start(tmp_path: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start `python -m paper` and return it with its address once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "paper", "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(READY):
        _, errors = process.communicate(timeout=30)
        raise AssertionError(line + errors)
    return process, line.removeprefix(READY).split()[0]


def end(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors


async def loaded(url: str) -> Any:
    client = rest_client(url, url.replace("http", "ws"))
    await client.load_markets()
    return client


@pytest.mark.slow
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    arguments = ("--state", str(tmp_path / "state" / "paper.sqlite"))
    acknowledged: list[str] = []
    for round_number in range(3):
        process, url = start(tmp_path, *arguments)
        client = await loaded(url)

        async def hammer(client: Any, round_number: int) -> None:
            for number in range(10_000):
                name = f"r{round_number}-{number}"
                side = "buy" if number % 2 else "sell"
                await client.create_order(BTC, "market", side, 0.001, params={"clientOrderId": name})
                acknowledged.append(name)

        try:
            hammering = asyncio.create_task(hammer(client, round_number))
            await asyncio.sleep(0.7 + 0.2 * round_number)
            assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises((ccxt.BaseError, aiohttp.ClientError)):
                await hammering
        finally:
            await client.close()
            end(process, signal.SIGKILL)
    assert len(acknowledged) > 10
    process, url = start(tmp_path, *arguments)
    client = await loaded(url)
    try:
        trades = await client.fetch_my_trades(BTC, limit=1000)
        ids = [row["id"] for row in trades]
        assert len(ids) == len(set(ids)), "a trade id was given out twice"
        known = {row["clientOrderId"] for row in await client.fetch_orders(BTC, limit=1000)}
        assert [name for name in acknowledged[-800:] if name not in known] == []
    finally:
        await client.close()
        assert end(process, signal.SIGTERM) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_and_stops_cleanly(tmp_path: Path, number: int) -> None:
    process, url = start(tmp_path, "--seed", "3", "--balance", "500", "--key", "me", "--secret", "hush")
    client = rest_client(url, url.replace("http", "ws"), key="me", secret="hush")
    try:
        assert (await client.fetch_balance())["USDT"]["total"] == 500.0
    finally:
        await client.close()
    assert end(process, number) == (0, "", "")


@pytest.mark.slow
def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    process, url = start(tmp_path)
    try:
        second = subprocess.run(
            [sys.executable, "-m", "paper", "--port", url.rsplit(":", 1)[1]],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        end(process, signal.SIGTERM)
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr.count("\n") == 1
    assert "cannot start" in second.stderr


def test_one_transaction_takes_well_under_a_millisecond(tmp_path: Path) -> None:
    """The file is written on the event loop; the bound is generous because the machine is shared."""
    state = StateFile(tmp_path / "paper.sqlite")
    exchange = PaperExchange(ScriptedMarket(), state=state)
    core, books = exchange.core, exchange.desk.books
    portfolio = books.portfolios["paper-key"]
    spent: list[float] = []
    for number in range(200):
        core.manual_trade(
            portfolio, "BTCUSDT", books.market.listings["BTCUSDT"].step * (1 if number % 2 else -1), None, 1
        )
        began = time.perf_counter()
        exchange.desk.commit()
        spent.append(time.perf_counter() - began)
    state.close()
    assert sorted(spent)[len(spent) // 2] < 0.001
