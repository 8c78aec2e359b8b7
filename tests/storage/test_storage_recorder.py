"""The recorder: exactly once, loud, and never stopped by what the disk or a person did to its files."""

import os
import signal as os_signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from storage_entries import fill_journal, sample, signal, trade

from domain.entries import EquitySampled, EventLogged, HealthChecked
from storage import hot, ledger
from storage.journal import FlowJournal
from storage.locks import holder_of
from storage.recorder import Paths, Recorder, drain_once
from storage.recorder_process import ensure_recorder

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(
        journal=tmp_path / "journal.sqlite", flows_journal=tmp_path / "flows.sqlite", ledger=tmp_path / "l.duckdb"
    )


@pytest.fixture
def root_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def drain(paths: Paths) -> bool:
    return drain_once(paths.journal, paths.flows_journal, paths.ledger)


def one(paths: Paths, sql: str) -> object:
    return ledger.read(paths.ledger, sql).rows[0][0]


def command(paths: Paths, *more: str) -> list[str]:
    files = [
        "--journal",
        str(paths.journal),
        "--flows-journal",
        str(paths.flows_journal),
        "--ledger",
        str(paths.ledger),
    ]
    return [sys.executable, "-m", "storage.recorder", *files, *more]


def test_draining_twice_records_once(paths: Paths) -> None:
    fill_journal(paths.journal, [signal("1"), signal("2")])
    with FlowJournal.open(paths.flows_journal) as flows:
        flows.append_sync(HealthChecked(at_ms=5, run_id="r", name="disk", status="ok", detail=""))
    for _ in range(3):
        assert drain(paths)
    assert one(paths, "SELECT count(*) FROM signals") == 2
    assert one(paths, "SELECT count(*) FROM health_checks") == 1
    fresh = ledger.freshness(paths.ledger)
    assert (fresh.runner_seq, fresh.flows_seq, fresh.recorder_pid) == (2, 1, None)


def test_without_a_journal_there_is_an_empty_ledger(paths: Paths) -> None:
    assert drain(paths)
    for name in (
        "pair_trades",
        "signals",
        "orders",
        "order_events",
        "fills",
        "positions",
        "spreads",
        "equity",
        "events",
    ):
        assert one(paths, f"SELECT count(*) FROM {name}") == 0
    for name in ("calibrations", "reconciliations", "reconciliation_items", "health_checks", "denials", "runs"):
        assert one(paths, f"SELECT count(*) FROM {name}") == 0


def test_what_cannot_be_recorded_stands_in_events(paths: Paths, capfd: pytest.CaptureFixture[str]) -> None:
    fill_journal(paths.journal, [signal("1")])
    with closing(sqlite3.connect(paths.journal)) as connection:
        for kind, body in (("hologram", '{"kind":"hologram"}'), ("fill_seen", "{")):
            connection.execute("INSERT INTO entries (at_ms, kind, body) VALUES (42, ?, ?)", (kind, body))
        connection.commit()
    equity = [
        EquitySampled(at_ms=7, wallet_usd=Decimal(wallet), unrealized_usd=Decimal(0))
        for wallet in ("1e30", "NaN", "1e19")
    ]
    fill_journal(paths.journal, [signal("2"), sample(-5), signal("3", at_ms=10**17), *equity])
    assert drain(paths)
    errors = ledger.read(paths.ledger, "SELECT seq, level, event, facts->>'kind' FROM events ORDER BY seq").rows
    assert [(seq, kind) for seq, _, _, kind in errors] == [
        (2, "hologram"),
        (3, "fill_seen"),
        (5, "spread_sampled"),
        (6, "signal_received"),
        (7, "equity_sampled"),
        (8, "equity_sampled"),
    ]
    assert {(level, event) for _, level, event, _ in errors} == {("error", "journal_row_unreadable")}
    assert one(paths, "SELECT count(*) FROM signals") == 2
    assert "row 2 (hologram)" in capfd.readouterr().err


def test_one_row_that_the_ledger_refuses_does_not_hold_up_the_rest(paths: Paths) -> None:
    """An integer beyond BIGINT passes every check of ours and fails in the insert: it is closed in on."""
    entries = [signal(str(number)) for number in range(50)]
    fill_journal(paths.journal, entries)
    with closing(sqlite3.connect(paths.journal)) as connection:
        body = (
            '{"kind":"run_stopped","at_ms":1,"run_id":"r","reason":"","uptime_seconds":1,'
            '"signals_processed":18446744073709551615,"trades_executed":1,"success_rate":1}'
        )
        connection.execute("INSERT INTO entries (at_ms, kind, body) VALUES (1, 'run_stopped', ?)", (body,))
        connection.commit()
    fill_journal(paths.journal, [signal("after")])
    assert drain(paths)
    assert one(paths, "SELECT count(*) FROM signals") == 51
    assert one(paths, "SELECT (facts->>'seq')::BIGINT FROM events") == 51


def test_another_journal_under_the_same_name_is_recorded_from_its_first_row(paths: Paths) -> None:
    fill_journal(paths.journal, [signal("old-1"), signal("old-2")])
    assert drain(paths)
    for path in paths.journal.parent.glob("journal.sqlite*"):
        path.unlink()
    fill_journal(paths.journal, [signal("new")])
    assert drain(paths)
    assert one(paths, "SELECT count(*) FROM signals") == 3


def test_an_older_copy_of_the_journal_rebuilds_the_ledger_loudly(
    paths: Paths, capfd: pytest.CaptureFixture[str]
) -> None:
    fill_journal(paths.journal, [signal("1")])
    copy = paths.journal.read_bytes()
    fill_journal(paths.journal, [signal("2"), signal("3")])
    assert drain(paths)
    for path in paths.journal.parent.glob("journal.sqlite*"):
        path.unlink()
    paths.journal.write_bytes(copy)
    fill_journal(paths.journal, [signal("4")])
    assert drain(paths)
    names = ledger.read(paths.ledger, "SELECT signal_id FROM signals ORDER BY signal_id").rows
    assert names == [("1",), ("4",)]
    assert "went back from row 3 to 2" in capfd.readouterr().err


DAMAGE = [
    ("the file is garbage", lambda path: path.write_bytes(b"garbage" * 4_000)),
    ("a block is garbage", lambda path: path.write_bytes(path.read_bytes()[:4_096] + b"\x55" * 60_000)),
]


@pytest.mark.parametrize("damage", [row[1] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_a_damaged_working_file_is_kept_and_rebuilt(
    damage: Callable[[Path], object], paths: Paths, capfd: pytest.CaptureFixture[str]
) -> None:
    fill_journal(paths.journal, [signal(str(number)) for number in range(100)])
    assert drain(paths)
    damage(hot.hot_file_of(paths.ledger))
    fill_journal(paths.journal, [signal("more")])
    assert drain(paths)
    assert one(paths, "SELECT count(*) FROM signals") == 101
    assert "rebuilding from the journals" in capfd.readouterr().err
    assert list(paths.ledger.parent.glob("*.damaged-*"))


def test_a_flipped_byte_in_the_log_of_a_killed_recorder(paths: Paths, capfd: pytest.CaptureFixture[str]) -> None:
    fill_journal(paths.journal, [signal(str(number)) for number in range(500)])
    code = (
        "import os, sys; from pathlib import Path; from storage.recorder import Paths, Recorder\n"
        "j, f, l = map(Path, sys.argv[1:]); r = Recorder(Paths(journal=j, flows_journal=f, ledger=l)); r.cycle(); "
        "os.kill(os.getpid(), 9)"
    )
    files = [str(paths.journal), str(paths.flows_journal), str(paths.ledger)]
    subprocess.run([sys.executable, "-c", code, *files], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    log = hot.hot_file_of(paths.ledger).with_name(hot.hot_file_of(paths.ledger).name + ".wal")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0xFF
    log.write_bytes(content)
    assert drain(paths)
    assert one(paths, "SELECT count(*) FROM signals") == 500
    assert one(paths, "SELECT count(DISTINCT seq) FROM journal.signals_received") == 500
    capfd.readouterr()


def test_a_newer_ledger_is_left_alone(paths: Paths) -> None:
    assert drain(paths)
    working = hot.hot_file_of(paths.ledger)
    for path in (working, paths.ledger):
        with duckdb.connect(path) as connection:
            connection.execute("INSERT INTO journal.schema_version VALUES (99, '099_future.sql', now())").fetchall()
    before = working.read_bytes()
    with pytest.raises(hot.NewerLedger, match="newer release"):
        drain(paths)
    assert holder_of(paths.lock) is None
    ended = subprocess.run(
        command(paths), env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert working.read_bytes() == before
    with pytest.raises(ledger.LedgerUnavailable, match="newer release"):
        ledger.positions(paths.ledger)


def test_an_older_schema_is_migrated_and_keeps_its_rows(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = hot.migrations()
    with monkeypatch.context() as older:
        older.setattr(hot, "migrations", lambda: steps[:1])
        older.setattr(hot, "views", lambda: "CREATE VIEW pair_trades AS SELECT trade_id FROM journal.trade_intents")
        fill_journal(paths.journal, [signal("1"), trade("t1")])
        recorder = Recorder(paths)
        assert recorder.cycle()
        recorder.close()
    fill_journal(paths.journal, [signal("2")])
    assert drain(paths)
    assert one(paths, "SELECT count(*) FROM signals") == 2
    assert one(paths, "SELECT max(version) FROM journal.schema_version") == steps[-1][0]
    assert one(paths, "SELECT status FROM pair_trades") == "opening"  # The view is this release's.
    with monkeypatch.context() as broken:
        broken.setattr(
            hot, "migrations", lambda: [*steps, (98, "098.sql", "CREATE TABLE half (a INT); SELECT nonsense;")]
        )
        with pytest.raises(duckdb.Error):
            hot.HotFile.open(hot.hot_file_of(paths.ledger), now_ms=lambda: 1)
    assert drain(paths)
    assert one(paths, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'half'") == 0


def test_every_step_of_the_schema_has_a_number_of_its_own() -> None:
    """Two scripts with one number, landed side by side: the second would be skipped in silence."""
    numbers = [number for number, _, _ in hot.migrations()]
    assert numbers == sorted(set(numbers))


def test_a_disk_that_cannot_be_written_is_retried(paths: Paths, capfd: pytest.CaptureFixture[str]) -> None:
    fill_journal(paths.journal, [signal("1")])
    blocker = paths.ledger
    recorder = Recorder(paths)
    blocker.mkdir()  # No file can be put in the place of a folder.
    assert recorder.cycle()
    assert not recorder.publish()
    assert "trying again" in capfd.readouterr().err
    blocker.rmdir()
    assert recorder.cycle()
    assert recorder.publish()
    recorder.close()
    assert one(paths, "SELECT count(*) FROM signals") == 1


def test_facts_of_any_length_and_script(paths: Paths) -> None:
    facts = [{"text": "日本 😀 ' \" \\ \n"}, {"text": "x" * 300_000}, {"nested": {"a": [1, None, True]}}, {}]
    fill_journal(paths.journal, [EventLogged(at_ms=1, level="info", event="e", facts=fact) for fact in facts] * 3)
    assert drain(paths)
    assert one(paths, "SELECT facts->>'text' FROM events ORDER BY seq") == facts[0]["text"]
    assert one(paths, "SELECT max(length(facts->>'text')) FROM events") == 300_000
    assert one(paths, "SELECT count(*) FROM events WHERE facts->'nested'->>'a' = '[1,null,true]'") == 3


@pytest.mark.slow
def test_the_process_from_ready_line_to_orderly_end(paths: Paths, root_on_path: None) -> None:
    recorder = subprocess.Popen(command(paths, "--publish-seconds", "0.1"), stdout=subprocess.PIPE, text=True)
    assert recorder.stdout is not None
    assert recorder.stdout.readline() == f"recorder ready pid={recorder.pid} ledger={paths.ledger}\n"
    second = subprocess.run(command(paths), capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert (
        second.stderr
        == f"recorder: {paths.ledger}: process {recorder.pid} records this ledger already; nothing to do\n"
    )
    assert ensure_recorder(paths.journal, paths.flows_journal, paths.ledger) is None
    assert not drain(paths)
    fill_journal(paths.journal, [signal("1")])
    deadline = time.monotonic() + 30
    while one(paths, "SELECT count(*) FROM signals") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    fill_journal(paths.journal, [signal("2")])
    recorder.send_signal(os_signal.SIGINT)
    assert recorder.wait(30) == 0
    recorder.stdout.close()
    assert one(paths, "SELECT count(*) FROM signals") == 2


@pytest.mark.slow
def test_the_helper_starts_and_ends_a_recorder(paths: Paths, root_on_path: None) -> None:
    helper = ensure_recorder(paths.journal, paths.flows_journal, paths.ledger, publish_seconds=0.1)
    assert helper is not None
    assert holder_of(paths.lock) == helper.pid
    fill_journal(paths.journal, [signal("1")])
    assert helper.stop() == 0
    assert not helper.running
    assert one(paths, "SELECT count(*) FROM signals") == 1


PARENT = """
import os, sys, time
from pathlib import Path
from storage.recorder_process import ensure_recorder
helper = ensure_recorder(*map(Path, sys.argv[1:]), publish_seconds=0.1)
print(helper.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_recorder_whose_runner_was_killed_ends_by_itself(paths: Paths, root_on_path: None) -> None:
    files = [str(paths.journal), str(paths.flows_journal), str(paths.ledger)]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *files], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert int(parent.stdout.readline()) == holder_of(paths.lock)
    fill_journal(paths.journal, [signal("1")])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while holder_of(paths.lock) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert one(paths, "SELECT count(*) FROM signals") == 1
