"""The journal: durable, in order, all or nothing, once; and what it says when the file is not what it should be."""

import asyncio
import contextlib
import os
import resource
import shutil
import signal as os_signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_entries import fill_journal, sample, signal, trade

from domain.entries import EventLogged
from domain.errors import AccountBusy, ConfigError, DuplicateEntry, InvariantBroken, JournalBroken
from storage import journal as journal_module
from storage.journal import FlowJournal, Journal

ROOT = Path(__file__).parent.parent.parent


def stored_ids(journal: Journal) -> list[str]:
    return [entry.signal_id for _, entry in journal.replay(kinds=["signal_received"])]


@given(groups=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), max_size=25), sequential=st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_append_is_whole_in_order_and_once(groups: list[list[int]], *, sequential: bool) -> None:
    """Whatever shares a commit: a group with a key that exists is refused whole, and spoils no other."""

    async def append(journal: Journal, group: list[int]) -> bool:
        try:
            await journal.append(*(signal(str(key)) for key in group))
        except DuplicateEntry:
            return False
        return True

    async def story(folder: Path) -> None:
        journal = Journal.open(folder / "journal.sqlite")
        if sequential:
            outcomes = [await append(journal, group) for group in groups]
        else:
            outcomes = await asyncio.gather(*(append(journal, group) for group in groups))
        expected: list[str] = []
        for group, outcome in zip(groups, outcomes, strict=True):
            keys = [str(key) for key in group]
            fresh = len(set(keys)) == len(keys) and not set(keys) & set(expected)
            assert outcome is fresh
            expected += keys if fresh else []
        assert stored_ids(journal) == expected
        assert journal.last_seq == len(expected)
        assert [seq for seq, _ in journal.replay()] == list(range(1, len(expected) + 1))
        await journal.close()
        assert stored_ids(journal) == expected

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


async def test_notes_keep_their_place_among_appends(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    for number in range(50):
        journal.note(sample(number))
        await journal.append(signal(str(number)))
    journal.note(sample(50))
    await journal.close()
    kinds = [type(entry).__name__ for _, entry in journal.replay()]
    assert kinds == ["SpreadSampled", "SignalReceived"] * 50 + ["SpreadSampled"]


async def test_too_many_notes_lose_the_oldest_notes_and_no_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "NOTES_MAX", 10)
    journal = Journal.open(tmp_path / "journal.sqlite")
    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # Holds the writer up, so that everything below queues.
        journal.note(sample(0))
        first = asyncio.create_task(journal.append(signal("first")))
        await asyncio.sleep(0.2)
        for number in range(1, 101):
            journal.note(sample(number))
        second = asyncio.create_task(journal.append(signal("second")))
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
    await asyncio.gather(first, second)
    await journal.close()
    samples = [entry.at_ms for _, entry in journal.replay(kinds=["spread_sampled"])]
    assert samples == [0, *range(91, 101)]
    assert journal.dropped_notes == 90
    assert stored_ids(journal) == ["first", "second"]


async def test_a_cancelled_append_spoils_nothing(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    waiting = [asyncio.create_task(journal.append(signal(str(number)), signal(f"{number}'"))) for number in range(20)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await journal.append(signal("after"))
    await journal.close()
    stored = stored_ids(journal)
    assert stored[-1] == "after"
    for number in range(1, 20, 2):
        assert {str(number), f"{number}'"} <= set(stored)
    assert all((str(number) in stored) == (f"{number}'" in stored) for number in range(20))


async def test_a_second_runner_is_refused_by_name_and_the_lock_ends_with_close(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    with pytest.raises(AccountBusy, match=f"process {os.getpid()}"):
        Journal.open(tmp_path / "journal.sqlite")
    await journal.append(signal("1"))
    await journal.close()
    await journal.close()
    with pytest.raises(JournalBroken, match="closed"):
        await journal.append(signal("2"))
    again = Journal.open(tmp_path / "journal.sqlite")
    with pytest.raises(DuplicateEntry):
        await again.append(signal("1"))
    await again.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of a fork with threads.
async def test_a_child_neither_keeps_the_lock_nor_writes(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    executed = await asyncio.create_subprocess_exec("sleep", "60", close_fds=False)
    forked = os.fork()
    if forked == 0:
        broken = False
        try:
            asyncio.new_event_loop().run_until_complete(journal.append(signal("child")))
        except JournalBroken:
            broken = True
        finally:
            os._exit(0 if broken else 1)  # Whatever else it raised: a child must not run the test on.
    _, status = await asyncio.to_thread(os.waitpid, forked, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    lingering = os.fork()
    if lingering == 0:
        os_signal.pause()
        os._exit(0)
    await journal.append(signal("parent"))
    await journal.close()
    again = Journal.open(tmp_path / "journal.sqlite")  # Although both children live.
    assert stored_ids(again) == ["parent"]
    await again.close()
    os.kill(lingering, os_signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, lingering, 0)
    executed.kill()
    await executed.wait()


async def test_a_replaced_file_breaks_the_journal_for_good(tmp_path: Path) -> None:
    heard: list[BaseException] = []
    journal = Journal.open(tmp_path / "journal.sqlite", on_broken=heard.append)
    await journal.append(signal("1"))
    shutil.move(tmp_path / "journal.sqlite", tmp_path / "elsewhere.sqlite")
    fill_journal(tmp_path / "journal.sqlite", [])
    for key in ("2", "3"):
        with pytest.raises(JournalBroken, match="another file was put in its place"):
            await journal.append(signal(key))
    assert journal.broken
    journal.note(sample(1))
    assert journal.dropped_notes == 1
    await journal.close()
    assert [type(problem) for problem in heard] == [JournalBroken]


async def test_a_note_that_cannot_be_written_is_heard_of(tmp_path: Path) -> None:
    heard: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    journal = Journal.open(tmp_path / "journal.sqlite", on_broken=heard.set_result)
    with contextlib.closing(sqlite3.connect(journal.path)) as other:
        other.execute("DROP TABLE entries")
        other.commit()
    journal.note(sample(1))
    assert "no such table" in str(await asyncio.wait_for(heard, 30))
    with pytest.raises(JournalBroken, match="no such table"):
        await journal.append(signal("1"))
    await journal.close()


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from storage_entries import signal as entry
from domain.errors import JournalBroken
from storage.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    journal = Journal.open(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            await journal.append(entry(f"{number}-" + "x" * 2000))
            number += 1
    except JournalBroken:
        try:
            await journal.append(entry("later"))
        except JournalBroken:
            print(number)
    await journal.close()
asyncio.run(main())
"""


def test_a_full_disk_breaks_the_journal_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    path = tmp_path / "journal.sqlite"
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    acknowledged = int(said.stdout)
    assert acknowledged > 5
    with FlowJournal.open(path) as journal:
        stored = [entry.signal_id for _, entry in journal.replay()]
    assert [signal_id.split("-")[0] for signal_id in stored][:acknowledged] == [str(n) for n in range(acknowledged)]
    assert "later" not in stored


def newer(path: Path) -> None:
    fill_journal(path, [])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")


def foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE something (a)")


def without_table(path: Path) -> None:
    fill_journal(path, [])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE entries")


def under_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


# One row, one story: what is found there -> what the operator is told.
FOUND = [
    ("a newer release's", newer, "newer release"),
    ("another program's", foreign, "not a Tandem journal"),
    ("a text", lambda path: path.write_text("hello " * 500), "not a SQLite file"),
    ("a folder", lambda path: path.mkdir(), "is a folder; need a regular file"),
    ("no table", without_table, "restore it"),
    ("a file for a folder", under_a_file, "cannot be opened"),
]


@pytest.mark.parametrize(("prepare", "told"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
@pytest.mark.parametrize("kind", [Journal, FlowJournal])
def test_what_cannot_be_a_journal_is_refused_in_one_line(
    kind: type[Journal | FlowJournal], prepare: Callable[[Path], object], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "var" / "journal.sqlite"
    path.parent.mkdir()
    prepare(path)
    with pytest.raises(ConfigError, match=told) as refused:
        kind.open(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    fill_journal(path, [])
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="permissions"):
        Journal.open(path)


async def test_an_entry_that_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    with pytest.raises(InvariantBroken, match="signal_received"):
        await journal.append(signal("1", z_score=float("nan")))
    journal.note(EventLogged(at_ms=1, level="info", event="odd", facts={"path": tmp_path, "text": "\ud800"}))
    await journal.append(signal("2"))
    await journal.close()
    (_, odd), _ = journal.replay()
    assert odd.facts == {"path": str(tmp_path), "text": "?"}
    assert not journal.broken


def test_a_row_of_a_newer_release_is_named(tmp_path: Path) -> None:
    path = tmp_path / "flows.sqlite"
    with FlowJournal.open(path) as journal:
        journal.append_sync(signal("1"), trade("t1"))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(
                "INSERT INTO entries (at_ms, kind, body) VALUES (1, 'hologram', '{\"kind\":\"hologram\"}')"
            )
            connection.commit()
        assert [seq for seq, _ in journal.replay(kinds=["signal_received"])] == [1]
        with pytest.raises(JournalBroken, match=r"row 3 \(hologram\)"):
            list(journal.replay())


FLOW_WRITER = """
import sys
from pathlib import Path
from storage_entries import signal
from storage.journal import FlowJournal
with FlowJournal.open(Path(sys.argv[1])) as journal:
    for number in range(100):
        journal.append_sync(signal(f"{sys.argv[2]}-{number}-a"), signal(f"{sys.argv[2]}-{number}-b"))
"""


def test_several_flows_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "flows.sqlite"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    writers = [
        subprocess.Popen([sys.executable, "-c", FLOW_WRITER, str(path), str(name)], env=environment)
        for name in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    with FlowJournal.open(path) as journal:
        stored = [entry.signal_id for _, entry in journal.replay()]
        assert len(stored) == 800
        assert all(b == f"{a[:-1]}b" for a, b in zip(stored[::2], stored[1::2], strict=True))
        with pytest.raises(DuplicateEntry):
            journal.append_sync(signal("new"), signal("0-0-a"))
        assert len(list(journal.replay())) == 800
