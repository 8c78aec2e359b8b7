"""What the live process believes, read from outside: its journal row by row, its ledger as published; beside the exchange."""

import sqlite3
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from bot_processes import LOOK_SECONDS, Exchange, Runner

from domain.entries import FillSeen, TradeAdvanced, decode
from domain.orders import is_ours
from domain.pairs import TradeStatus
from domain.trade_book import KINDS_FOLDED, TradeBook
from domain.trades import TradeState
from runner.exchange.binance.symbols import exchange_id
from storage import entries_file
from storage.holdings import journal_positions

HEDGE_ERROR_MAX = 0.02
NAKED_USD_SECONDS_MAX = 10_000.0
"""The default of `execution.naked_notional_usd_seconds_max`."""
UNWIND_SECONDS_MAX = 5.0
"""From the end of the budget to the leg's end: a round trip, on a machine that is busy with other tests."""


class Onlooker:
    """The journal of a process that may be alive, held or dead, folded as far as it is durable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._seq = 0
        self.book = TradeBook(HEDGE_ERROR_MAX)
        self.opened: set[str] = set()
        """Trades that were hedged and open at some time."""
        self.executions: Counter[str] = Counter()
        """How often each execution of ours is booked, by the exchange's id."""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def catch_up(self) -> bool:
        """Fold what was written since; True if there was anything."""
        if self._connection is None:
            if not self._path.exists():
                return False
            self._connection = entries_file.open_for_reading(self._path)
        marks = ",".join("?" * len(KINDS_FOLDED))
        rows = self._connection.execute(
            f"SELECT seq, body FROM entries WHERE seq > ? AND kind IN ({marks}) ORDER BY seq",
            (self._seq, *KINDS_FOLDED),
        ).fetchall()
        for seq, body in rows:
            entry = decode(body)
            self.book.apply(entry)
            self._seq = seq
            if isinstance(entry, TradeAdvanced) and entry.status is TradeStatus.OPEN:
                self.opened.add(entry.trade_id)
            if isinstance(entry, FillSeen) and is_ours(entry.fill.client_order_id):
                self.executions[entry.fill.exchange_trade_id] += 1
        return bool(rows)

    def positions(self) -> dict[str, Decimal]:
        return {exchange_id(symbol): quantity for symbol, quantity in self.book.positions().items()}

    def unfinished(self) -> list[TradeState]:
        """Trades that are neither hedged nor flat, or have an order whose fate is not known."""
        at_rest = [trade for trade in self.book.live_trades() if is_at_rest(trade)]
        return [*(trade for trade in self.book.live_trades() if trade not in at_rest), *self.book.late_trades()]

    def trades_of(self, pair_id: str) -> list[TradeState]:
        return [trade for trade in self.book.trades.values() if trade.pair_id == pair_id]


def is_at_rest(trade: TradeState) -> bool:
    """Flat and over, or open and hedged, with nothing in flight."""
    if trade.unsettled():
        return False
    return (trade.status.is_over and trade.is_flat) or (trade.status is TradeStatus.OPEN and trade.is_hedged)


def published(ledger: Path, sql: str) -> list[tuple[Any, ...]]:
    """One statement on `storage.ledger`, opened read-only as anybody would."""
    with duckdb.connect(ledger, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def disagreement(runner: Runner, exchange: Exchange, books: Onlooker) -> str:
    """What keeps exchange, journal and ledger from telling the same; empty when they do and everything is at rest."""
    books.catch_up()
    unfinished = [f"{trade.trade_id} {trade.pair_id} is {trade.status}" for trade in books.unfinished()]
    if unfinished:
        return f"unfinished: {unfinished}"
    held, resting, believed = exchange.positions(), exchange.resting(), books.positions()
    if held != believed:
        return f"the exchange holds {held}, the journal says {believed}"
    if resting:
        return f"still resting: {resting}"
    rows = published(runner.ledger, "SELECT symbol, quantity FROM positions") if runner.ledger.exists() else []
    recorded = {exchange_id(symbol): Decimal(quantity) for symbol, quantity in rows}
    if recorded != believed:
        return f"the ledger says {recorded}, the journal {believed}"
    statuses = (
        dict(published(runner.ledger, "SELECT trade_id, status FROM pair_trades")) if runner.ledger.exists() else {}
    )
    expected = {trade_id: str(trade.status) for trade_id, trade in books.book.trades.items()}
    if statuses != expected:
        return f"the ledger tells other trades: {set(statuses.items()) ^ set(expected.items())}"
    folded = journal_positions(runner.journal)
    if believed != {exchange_id(symbol): quantity for symbol, quantity in folded.items()}:
        return f"two folds of one journal: {believed}, {folded}"
    # Doubled orders never correct themselves: these are not waited for.
    received = exchange.received()
    twice = [name for name, times in Counter(received).items() if times > 1]
    assert not twice, f"sent twice: {twice}"
    has_moved = books.catch_up()  # The runner goes on trading: what it sent meanwhile was journaled before.
    unknown = [name for name in received if is_ours(name) and name not in books.book.orders]
    assert not unknown, f"sent before they were journaled: {unknown}"
    return "it moved meanwhile" if has_moved or books.catch_up() else ""


def wait_until_settled(runner: Runner, exchange: Exchange, books: Onlooker, seconds_max: float) -> float:
    """Until every pair is hedged or flat and all books agree; how long that took."""
    began = time.monotonic()
    while problem := disagreement(runner, exchange, books):
        assert runner.is_alive, runner.said()[-3000:]
        waited = time.monotonic() - began
        assert waited < seconds_max, f"after {waited:.0f} s: {problem}\n{runner.said()[-6000:]}"
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def assert_every_execution_is_booked_once(exchange: Exchange, books: Onlooker) -> int:
    """0 lost, 0 doubled; how many there were."""
    symbols = {exchange_id(symbol) for trade in books.book.trades.values() for symbol in trade.symbols}
    executed = set().union(*(exchange.executions(symbol) for symbol in symbols))
    assert executed == set(books.executions), f"lost or invented: {executed ^ set(books.executions)}"
    assert set(books.executions.values()) <= {1}
    return len(executed)


def assert_within_budget(runner: Runner, *, away_seconds: float = 0.0) -> None:
    """No entry or exit stood unhedged for more than its budget, the time apart in which nobody was there to act."""
    rows = published(
        runner.ledger,
        "SELECT trade_id, naked_notional_usd_seconds, naked_seconds FROM pair_trades WHERE naked_seconds > 0",
    )
    allowed = NAKED_USD_SECONDS_MAX + 500.0 * (UNWIND_SECONDS_MAX + away_seconds)
    assert not [row for row in rows if row[1] > allowed], f"more than {allowed:.0f} USD seconds: {rows}"
