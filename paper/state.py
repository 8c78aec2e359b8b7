"""The exchange's memory on disk: one SQLite file, one transaction per change, written before anybody is answered.

`synchronous=OFF` is enough: what was committed survives the death of the process (kill -9 included), because the
pages are the operating system's by then. Only the death of the machine could lose the last moments of play money.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from paper.account import Account, Income, Trade
from paper.books import Books, Changes, Counters
from paper.orders import Order
from paper.portfolio import ORDERS_KEPT_MAX, ROWS_KEPT_MAX, Portfolio

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (key TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, open INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS trades (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS incomes (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""


class StateError(Exception):
    """The state file cannot be used; nothing was changed."""


class StateFile:
    """Keeps accounts, orders, trades, income, counters and the market's snapshot."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises: StateError."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")  # Two exchanges on one file would both be wrong.
            self._db.execute("PRAGMA trusted_schema=OFF")  # What is in a file from elsewhere is data.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise StateError(f"{path}: written by a newer version ({version} > {SCHEMA_VERSION}); upgrade first")
            self._db.executescript(SCHEMA)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"{path}: cannot be used as state file ({error})") from error
        self._encoder = msgspec.msgpack.Encoder()

    def save(self, changes: Changes, counters: Counters) -> None:
        """Store one change of the exchange, whole or not at all. Raises: StateError."""
        try:
            self._save(changes, counters)
        except sqlite3.Error as error:
            raise StateError(f"state file cannot be written ({error})") from error

    def _save(self, changes: Changes, counters: Counters) -> None:
        encode = self._encoder.encode
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?)",
            [(key, encode(account)) for key, account in changes.accounts.items()],
        )
        db.executemany(
            "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)",
            [(order_id, order.open, encode(order)) for order_id, order in changes.orders.items()],
        )
        db.executemany(
            "INSERT OR REPLACE INTO trades VALUES (?, ?)", [(trade.trade_id, encode(trade)) for trade in changes.trades]
        )
        db.executemany(
            "INSERT OR REPLACE INTO incomes VALUES (?, ?)",
            [(income.transaction_id, encode(income)) for income in changes.incomes],
        )
        db.execute("INSERT OR REPLACE INTO meta VALUES ('counters', ?)", (encode(counters),))
        db.execute("COMMIT")

    def save_market(self, snapshot: bytes) -> None:
        """Store what the market needs to go on. Raises: StateError."""
        try:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('market', ?)", (snapshot,))
        except sqlite3.Error as error:
            raise StateError(f"state file cannot be written ({error})") from error

    def market_snapshot(self) -> bytes | None:
        """The market's last snapshot."""
        return self._meta("market")

    def _meta(self, name: str) -> bytes | None:
        row = self._db.execute("SELECT body FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def counters(self) -> Counters | None:
        """The ids given out so far."""
        body = self._meta("counters")
        return None if body is None else msgspec.msgpack.decode(body, type=Counters)

    def restore(self, books: Books) -> None:
        """Fill empty books with every stored account, forgetting what is older than memory holds.

        Raises: StateError for a file that does not decode, or that belongs to another market.
        """
        try:
            self._forget_old_rows()
            accounts = [msgspec.msgpack.decode(body, type=Account) for body in self._bodies("accounts", "key")]
            orders = [msgspec.msgpack.decode(body, type=Order) for body in self._bodies("orders", "id")]
            trades = [msgspec.msgpack.decode(body, type=Trade) for body in self._bodies("trades", "id")]
            incomes = [msgspec.msgpack.decode(body, type=Income) for body in self._bodies("incomes", "id")]
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise StateError(f"state file does not decode ({error})") from error
        for account in accounts:
            portfolio = Portfolio(account)
            portfolio.load(
                (order for order in orders if order.account_key == account.key),
                (trade for trade in trades if trade.account_key == account.key),
                (income for income in incomes if income.account_key == account.key),
            )
            unlisted = portfolio.symbols_in_use() - set(books.market.listings)
            if unlisted:
                raise StateError(f"the state file holds {', '.join(sorted(unlisted))}, which this market does not list")
            books.restore(portfolio)

    def _forget_old_rows(self) -> None:
        for table, kept_max in (("trades", ROWS_KEPT_MAX), ("incomes", ROWS_KEPT_MAX)):
            self._db.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - {kept_max}")  # noqa: S608
        self._db.execute(
            f"DELETE FROM orders WHERE NOT open AND id <= (SELECT max(id) FROM orders) - {ORDERS_KEPT_MAX}"  # noqa: S608
        )

    def _bodies(self, table: str, key: str) -> Iterable[bytes]:
        for row in self._db.execute(f"SELECT body FROM {table} ORDER BY {key}"):  # noqa: S608 - our own table names.
            yield bytes(row[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()
