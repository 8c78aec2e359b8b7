"""Reading the ledger: one statement, nothing but reading, and a fresh file after every replacement."""

import re
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from storage_entries import fill, fill_journal, signal, step, trade

from domain.entries import EventLogged, SignalResolved
from domain.orders import LegName, Side
from domain.pairs import PairSide, SignalOutcome, TradeStatus
from storage import ledger
from storage.recorder import drain_once

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    entries = [
        signal("s1", at_ms=1_700_000_000_000),
        SignalResolved(
            at_ms=1_700_000_000_001,
            signal_id="s1",
            pair_id="1000CAT_1MBABYDOGE",
            outcome=SignalOutcome.DENIED,
            reason="QUOTE_STALE",
            trade_id=None,
            facts={"age_ms": 712},
        ),
        trade("t1", side=PairSide.SELL),
        fill("t1", LegName.A, Side.SELL, "700", "1.5", number=1),
        fill("t1", LegName.B, Side.BUY, "1000", "0.5", number=2),
        step("t1", TradeStatus.OPEN),
        EventLogged(at_ms=1, level="info", event="order_denied", facts={"n": 1}),
    ]
    fill_journal(tmp_path / "journal.sqlite", entries)
    assert drain_once(tmp_path / "journal.sqlite", tmp_path / "flows.sqlite", tmp_path / "ledger.duckdb")
    return tmp_path / "ledger.duckdb"


def test_an_answer_has_columns_types_and_rows(path: Path) -> None:
    table = ledger.read(path, 'SELECT "at", z_score, outcome FROM signals WHERE signal_id = $1', ["s1"])
    assert table.columns == ("at", "z_score", "outcome")
    assert table.types == ("TIMESTAMP WITH TIME ZONE", "DOUBLE", "VARCHAR")
    assert table.rows == [(datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), 2.5, "denied")]
    assert table.rows[0][0].tzinfo is UTC


def test_positions_and_open_trades(path: Path) -> None:
    assert ledger.positions(path) == {"1000CAT/USDT:USDT": Decimal(-700), "1MBABYDOGE/USDT:USDT": Decimal(1000)}
    (open_trade,) = ledger.open_trades(path)
    assert (open_trade.trade_id, open_trade.status) == ("t1", "open")
    assert (open_trade.held_a, open_trade.held_b) == (Decimal(-700), Decimal(1000))


# fmt: off
REFUSED = [
    ("two statements",   "SELECT 1; SELECT 2",                            "exactly one statement, not 2"),
    ("none",             " -- nothing",                                   "exactly one statement, not 0"),
    ("a typing error",   "SELEKT 1",                                      "syntax error"),
    ("no such column",   "SELECT profit FROM pair_trades",                "profit"),
    ("a bare at",        "SELECT max(at) FROM signals",                   'write the column as "at"'),
    ("a deletion",       "DELETE FROM fills",                             "read-only"),
    ("a hidden write",   "CREATE TABLE main.t AS SELECT 1",               "read-only"),
    ("a file to read",   "SELECT * FROM read_text('/etc/passwd')",        "disabled"),
    ("a file to write",  "COPY fills TO 'out.csv'",                       "disabled"),
    ("another database", "ATTACH 'other.duckdb'",                         "disabled"),
    ("the lock itself",  "SET enable_external_access = true",             "locked|Cannot"),
    ("an extension",     "INSTALL httpfs",                                "disabled"),
    ("a missing value",  "SELECT $1",                                     "parameter"),
]
# fmt: on


@pytest.mark.parametrize(("sql", "told"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_is_refused_in_one_line(sql: str, told: str, path: Path) -> None:
    with pytest.raises(ledger.QueryRefused) as refused:
        ledger.read(path, sql)
    assert re.search(told, str(refused.value))
    assert "\n" not in str(refused.value)


def test_no_ledger_and_not_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(ledger.LedgerUnavailable, match="nothing recorded yet; start `tandem up`"):
        ledger.read(tmp_path / "ledger.duckdb", "SELECT 1")
    (tmp_path / "text.duckdb").write_text("no database" * 1_000)
    with pytest.raises(ledger.LedgerUnavailable, match=r"text\.duckdb"):
        ledger.read(tmp_path / "text.duckdb", "SELECT 1")
    duckdb.connect(tmp_path / "empty.duckdb").close()
    with pytest.raises(ledger.LedgerUnavailable, match="not a Tandem ledger"):
        ledger.read(tmp_path / "empty.duckdb", "SELECT 1")


def test_readers_in_threads_see_each_replacement(path: Path) -> None:
    """An old handle in the same process must not keep the old file alive for the next reader."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                ledger.read(path, "SELECT count(*) FROM signals")
        except BaseException as failure:  # noqa: BLE001 - told by the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(10):
        fill_journal(path.parent / "journal.sqlite", [signal(f"more-{number}")])
        assert drain_once(path.parent / "journal.sqlite", path.parent / "flows.sqlite", path)
        assert ledger.read(path, "SELECT count(*) FROM signals").rows == [(number + 2,)]
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_every_example_of_the_documentation_runs(path: Path) -> None:
    text = (ROOT / "docs" / "ledger.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) > 8
    for example in examples:
        assert ledger.read(path, example).columns
    relations = ledger.read(path, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'").rows
    missing = [name for (name,) in relations if f"`{name}`" not in text]
    assert not missing
