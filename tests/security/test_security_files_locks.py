"""Locks and claims: another user's file, a link, a pipe in their place. What is not ours is never written, and what is said of it is so."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from security_folders import NOBODY, as_nobody, listing, needs_root

from domain.errors import AccountBusy, ConfigError
from domain.symbols import Symbol
from flows.stack.ports import Claims
from runner.account_lock import lock_account
from runner.config import Settings
from storage import market
from storage.files import FileRefused, private_folder, state_folder
from storage.journal import Journal
from storage.locks import LockHeld, OsLock, holder_of
from storage.recorder_process import begin_recorder

HOLD = """
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_text("years of work")
    path.chmod(0o644)
    return path


def belongs_to_nobody(path: Path, _: Path) -> None:
    path.write_text("4711\n")
    path.chmod(0o666)
    os.chown(path, NOBODY, NOBODY)


# One row, one story: what was laid where the lock goes -> what is said of it.
LAID: list[tuple[str, Callable[[Path, Path], object], str]] = [
    ("a link to a file", lambda path, victim: path.symlink_to(victim), "is a link"),
    ("a link to nothing", lambda path, victim: path.symlink_to(victim.with_name("new")), "is a link"),
    ("a second name", lambda path, victim: path.hardlink_to(victim), "another file's second name"),
    ("a pipe", lambda path, _: os.mkfifo(path), "is a pipe"),
    ("a folder", lambda path, _: path.mkdir(), "is a folder"),
]
if os.geteuid() == 0:
    LAID.append(("another user's file", belongs_to_nobody, "belongs to user nobody"))


@pytest.mark.parametrize(("lay", "told"), [row[1:] for row in LAID], ids=[row[0] for row in LAID])
def test_what_is_not_ours_is_no_lock_and_stays_as_it_is(
    tmp_path: Path, victim: Path, lay: Callable[[Path, Path], object], told: str
) -> None:
    path = tmp_path / "x.lock"
    lay(path, victim)
    before = listing(tmp_path)
    with pytest.raises(FileRefused, match=told) as refused:
        OsLock(path)
    assert str(path) in str(refused.value)
    assert listing(tmp_path) == before


def test_nothing_is_written_into_a_lock_that_somebody_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text("a note of its holder")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockHeld) as held:
            OsLock(path)
    assert held.value.holder == os.getpid(), "the kernel knows, whatever the file says"
    assert path.read_text() == "a note of its holder"


def test_an_open_lock_is_closed_to_others_and_inherited_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text("")
    path.chmod(0o666)
    lock = OsLock(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    subprocess.run([sys.executable, "-c", ""], check=True, close_fds=False)
    assert holder_of(path) == os.getpid()
    lock.release()
    assert holder_of(path) is None


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter and read, which those of the tests are not."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def held_by_nobody() -> Iterator[Callable[[Path], int]]:
    """Makes another user hold a file that it may only read; its process id."""
    started: list[subprocess.Popen[str]] = []

    def hold(path: Path) -> int:
        process = as_nobody(HOLD, str(path))
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process.pid

    yield hold
    for process in started:
        process.communicate(timeout=10)


@needs_root
def test_another_users_hold_on_our_journal_is_not_called_a_runner(
    open_folder: Path, held_by_nobody: Callable[[Path], int]
) -> None:
    """An older release left the lock readable for all, with the number of a process long gone in it."""
    path = open_folder / "journal.sqlite"
    lock = path.with_name("journal.sqlite.lock")
    lock.write_text("12345\n")
    lock.chmod(0o644)
    pid = held_by_nobody(lock)
    with pytest.raises(AccountBusy) as busy:
        Journal.open(path)
    assert f"process {pid} of user nobody holds {lock}" in str(busy.value)
    assert "no process of yours" in str(busy.value)
    assert "another runner" not in str(busy.value)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600, "and the next one cannot even open it"
    lock.unlink()  # What the line says.
    taken = OsLock(lock)
    taken.release()


@needs_root
def test_another_users_hold_on_our_ledger_is_nobody_who_records(
    open_folder: Path, held_by_nobody: Callable[[Path], int]
) -> None:
    ledger = open_folder / "ledger.duckdb"
    lock = open_folder / "ledger.duckdb.lock"
    lock.write_text("")
    lock.chmod(0o644)
    pid = held_by_nobody(lock)
    with pytest.raises(ConfigError, match=f"process {pid} of user nobody holds {lock}"):
        begin_recorder(open_folder / "journal.sqlite", open_folder / "flows.sqlite", ledger)


@needs_root
def test_another_user_cannot_open_what_we_lock(open_folder: Path) -> None:
    lock = OsLock(open_folder / "x.lock")
    process = as_nobody(HOLD, str(lock.path))
    assert process.communicate(timeout=30)[0] == "", "it does not get as far as ready"
    assert process.returncode != 0
    lock.release()


def test_a_writer_of_market_data_does_not_follow_a_link(tmp_path: Path, victim: Path) -> None:
    root, symbol = tmp_path / "market", Symbol("BTC/USDT:USDT")
    folder = market.klines_folder(root, symbol, "1h")
    private_folder(folder)
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(ConfigError, match="is a link"):
        market.write_klines(root, symbol, "1h", [(0, 1.0, 1.0, 1.0, 1.0, 1.0)])
    assert victim.read_text() == "years of work"


# The places of a user: what is in the environment -> where locks and claims go, beneath the test's folder.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    return tmp_path / "home"


def test_claims_go_to_the_session_and_account_locks_outlive_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "run"
    private_folder(runtime)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert state_folder("ports", outlives_session=False) == runtime / "tandem" / "ports"
    assert state_folder("accounts", outlives_session=True) == home / ".local" / "state" / "tandem" / "accounts"
    assert {mode & 0o777 for name, (mode, _) in listing(home).items()} == {0o700}


def test_two_stacks_do_not_choose_the_same_port(home: Path) -> None:
    first, second = Claims(), Claims()
    ports = [first.choose(0), second.choose(0)]
    assert second.choose(ports[0]) != ports[0]
    assert (home / ".local" / "state" / "tandem" / "ports" / f"{ports[0]}.lock").is_file()
    for claims in (first, second):
        claims.release()


def test_the_reported_attack_a_link_where_claims_used_to_be(home: Path, tmp_path: Path, victim: Path) -> None:
    """Whoever knew the name laid a folder full of links there first; a victim's file was emptied by a claim on a port."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for port in range(18_080, 18_090):
        (trap / f"{port}.lock").symlink_to(victim)
    for name in (f"tandem-ports-{os.getuid()}", f"tandem-{os.getuid()}"):
        (tmp_path / "tmp" / name).symlink_to(trap)
    home.write_text("a file, so that there is no home to write to")
    with pytest.raises(FileRefused, match="is a link"):
        Claims()
    with pytest.raises(ConfigError, match="set XDG_STATE_HOME"):
        lock_account(Settings())
    assert victim.read_text() == "years of work"
    assert sorted(path.name for path in trap.iterdir()) == [f"{port}.lock" for port in range(18_080, 18_090)]


@needs_root
def test_a_folder_that_another_user_made_first_is_not_ours(home: Path, tmp_path: Path) -> None:
    taken = tmp_path / "tmp" / f"tandem-{os.getuid()}"
    taken.mkdir(mode=0o777)
    os.chown(taken, NOBODY, NOBODY)
    home.write_text("")
    with pytest.raises(FileRefused, match="belongs to user nobody"):
        Claims()
    assert list(taken.iterdir()) == []


@needs_root
def test_a_session_folder_left_over_from_su_is_passed_over(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "run"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(theirs))
    assert state_folder("ports", outlives_session=False).is_relative_to(home)
    assert list(theirs.iterdir()) == []


def test_a_lock_dies_with_its_holder_and_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from storage.locks import OsLock;"
        "lock = OsLock(Path(sys.argv[1])); print('ready', flush=True); signal.pause()"
    )
    path = tmp_path / "x.lock"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert holder_of(path) == process.pid
    with pytest.raises(LockHeld) as held:
        OsLock(path)
    assert (held.value.holder, held.value.user) == (process.pid, None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    OsLock(path).release()
