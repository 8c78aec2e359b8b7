"""A journal that somebody else has had in hands: what is in it beside our schema is named, and nothing of it runs."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from security_folders import listing

from domain.entries import EventLogged
from domain.errors import ConfigError
from storage import entries_file
from storage.journal import FlowJournal, Journal
from storage.recorder import Paths, Recorder

ENTRY = EventLogged(at_ms=1, level="info", event="e", facts={})

# One row, one story: what was done to the file -> what is said of it.
ALTERED = [
    (
        "a trigger",
        "CREATE TRIGGER steal AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE kind = 'fill_seen'; END",
        "holds the trigger steal on entries, which is none of ours",
    ),
    (
        "a trigger on who it is",
        "CREATE TRIGGER t AFTER UPDATE ON identity BEGIN SELECT 1; END",
        "trigger t on identity",
    ),
    (
        "a view",
        "CREATE VIEW positions AS SELECT load_extension('/tmp/evil.so')",
        "holds the view positions, which is none",
    ),
    ("a table", "CREATE TABLE loot (secret TEXT)", "holds the table loot, which is none of ours"),
    ("an index", "CREATE INDEX more ON entries (body)", "holds the index more on entries, which is none of ours"),
    (
        "a column more",
        "ALTER TABLE entries ADD COLUMN extra TEXT DEFAULT 'x'",
        "its table entries is not as we make it",
    ),
    ("no index", "DROP INDEX entries_kind", "its index entries_kind is missing"),
    ("a table that only looks like ours", "DROP TABLE identity", "its table identity is missing"),
    ("a name with a line break", 'CREATE TABLE "a\n\x1b[2J" (x)', r"holds the table a \x1b[2J, which is none of ours"),
    (
        "a virtual table",
        "CREATE VIRTUAL TABLE search USING fts5(body)",
        "which is none of ours",
    ),
]


def altered(path: Path, statement: str) -> None:
    with FlowJournal.open(path) as journal:
        journal.append_sync(ENTRY)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


async def test_a_journal_of_ours_opens_and_so_it_does_after_analyze(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    altered(path, "ANALYZE")
    await Journal.open(path).close()
    assert len(list(entries_file.replay(path))) == 1


@pytest.mark.parametrize(("statement", "told"), [row[1:] for row in ALTERED], ids=[row[0] for row in ALTERED])
@pytest.mark.parametrize("opened", [Journal.open, FlowJournal.open, lambda path: list(entries_file.replay(path))])
def test_an_altered_journal_is_refused_by_name(
    tmp_path: Path, opened: Callable[[Path], object], statement: str, told: str
) -> None:
    path = tmp_path / "journal.sqlite"
    altered(path, statement)
    before = path.read_bytes()
    with pytest.raises(ConfigError) as refused:
        opened(path)
    assert told in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before, "nothing was written into it"


def test_the_recorder_says_so_and_records_the_other_journal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = Paths(
        journal=tmp_path / "journal.sqlite", flows_journal=tmp_path / "flows.sqlite", ledger=tmp_path / "ledger.duckdb"
    )
    altered(paths.journal, ALTERED[0][1])
    with FlowJournal.open(paths.flows_journal) as journal:
        journal.append_sync(ENTRY)
    recorder = Recorder(paths)
    try:
        assert not recorder.cycle()
        assert recorder.publish()
    finally:
        recorder.close()
    assert "holds the trigger steal on entries" in capfd.readouterr().err


def test_nothing_in_a_schema_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for opened in (entries_file.open_for_writing, entries_file.open_for_reading):
        with closing(opened(path)) as connection:
            assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)


def test_files_of_a_journal_are_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "var" / "journal.sqlite"
    journal = FlowJournal.open(path)
    journal.append_sync(ENTRY)
    modes = {name: mode & 0o777 for name, (mode, _) in listing(tmp_path).items()}
    journal.close()
    assert {"var/journal.sqlite", "var/journal.sqlite-wal", "var/journal.sqlite-shm"} < modes.keys()
    assert modes.pop("var") == 0o700
    assert set(modes.values()) == {0o600}
