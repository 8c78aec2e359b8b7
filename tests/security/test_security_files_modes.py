"""Who may read what we write: folders 0700, files 0600, wider ones of ours tightened, another user's refused; and written whole."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from security_folders import NOBODY, as_nobody, listing, needs_root, said, tandem

from domain.entries import EventLogged
from domain.errors import ConfigError
from domain.symbols import Symbol
from runner.config import SignalSettings, load_settings
from runner.pairs.file import PairRow, write_document
from runner.pairs.history import restore
from storage import market
from storage.files import FileRefused, private_folder, replacing, sweep, write_whole
from storage.journal import FlowJournal
from storage.market_holes import note_holes
from storage.recorder import drain_once

ENTRY = EventLogged(at_ms=1, level="info", event="e", facts={})
KEYS = {"binance_api_key": "k3y", "binance_api_secret": "s3cret"}
LIVE = {"trading_mode": "live"}


def modes(folder: Path) -> dict[str, int]:
    return {name: mode & 0o777 for name, (mode, _) in listing(folder).items()}


def record(folder: Path) -> None:
    """Everything that storage and the runner write, in one folder."""
    var = folder / "var"
    with FlowJournal.open(var / "flows.sqlite") as journal:
        journal.append_sync(ENTRY)
    assert drain_once(var / "journal.sqlite", var / "flows.sqlite", var / "ledger.duckdb")
    symbol = Symbol("BTC/USDT:USDT")
    market.write_klines(var / "market", symbol, "1h", [(0, 1.0, 1.0, 1.0, 1.0, 1.0)])
    note_holes(market.klines_folder(var / "market", symbol, "1h"), [(1, 2)])
    row = PairRow(pair_id="A", leg_a="LTC/USDT", leg_b="BCH/USDT", hedge_ratio=1.0)
    for version in range(2):
        write_document(var / "pairs.json", [row], generated_at=f"2026-01-0{version + 1}", run_id="r")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_all_that_is_written_is_for_this_user_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        record(tmp_path)
    finally:
        os.umask(before)
    found = modes(tmp_path)
    assert len(found) > 12, found
    for name, mode in found.items():
        assert mode == (0o700 if (tmp_path / name).is_dir() else 0o600), name


def test_what_an_older_release_left_open_is_closed(tmp_path: Path) -> None:
    record(tmp_path)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    record(tmp_path)
    found = modes(tmp_path / "var")
    assert modes(tmp_path)["var"] == 0o700
    assert found["pairs.json.history"] == 0o700
    kept = {name for name, mode in found.items() if mode & 0o077}
    # Inside folders that nobody else enters any more.
    assert kept <= {"market", "market/klines", "market/klines/1h", "pairs.json.history/000001-until-20260102.json"}


def test_a_project_keeps_its_readers_and_loses_its_writers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    tmp_path.chmod(0o755)
    FlowJournal.open(tmp_path / "flows.sqlite").close()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=f"{tmp_path}: other users may write into it; run chmod go-w"):
        FlowJournal.open(tmp_path / "flows.sqlite")


def to_nobody(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


# One row, one story: what belongs to another user -> which file is named.
THEIRS: list[tuple[str, str]] = [
    ("the folder", "var"),
    ("the journal", "var/flows.sqlite"),
    ("the working file", "var/ledger.hot.duckdb"),
    ("the recorder's lock", "var/ledger.duckdb.lock"),
]


@needs_root
@pytest.mark.parametrize("name", [row[1] for row in THEIRS], ids=[row[0] for row in THEIRS])
def test_what_belongs_to_another_user_is_refused_with_its_owner(tmp_path: Path, name: str) -> None:
    record(tmp_path)
    to_nobody(tmp_path / name)
    with pytest.raises(FileRefused, match="belongs to user nobody, and you are root; remove it, run as that user"):
        record(tmp_path)
    drained = tandem(["health", "--json"], tmp_path)
    assert "Traceback" not in drained.stderr


# One row, one story: mode of the file, what is in it -> what is said, or nothing.
OPEN_FILES: list[tuple[str, int, dict[str, str], str | None]] = [
    ("keys for this user alone", 0o600, KEYS | LIVE, None),
    ("keys, read-only", 0o400, KEYS | LIVE, None),
    ("keys that the group reads", 0o640, KEYS | LIVE, "run chmod 600"),
    ("keys that all read", 0o644, KEYS | LIVE, "run chmod 600"),
    ("keys that all write", 0o602, KEYS | LIVE, "run chmod 600"),
    ("keys of the paper exchange", 0o644, KEYS, None),
    ("no keys, all read", 0o644, LIVE, None),
    ("no keys, all write", 0o646, LIVE, "run chmod o-w"),
]


@pytest.mark.parametrize(
    ("mode", "content", "told"), [row[1:] for row in OPEN_FILES], ids=[row[0] for row in OPEN_FILES]
)
def test_keys_in_a_file_that_others_read_are_refused_with_real_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, content: dict[str, str], told: str | None
) -> None:
    if "binance_api_key" not in content:
        for name, value in KEYS.items():
            monkeypatch.setenv(name.upper(), value)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    path.chmod(mode)
    if told is None:
        load_settings(path)
        return
    with pytest.raises(ConfigError, match=told) as refused:
        load_settings(path)
    assert str(path) in str(refused.value)
    assert not any(value in str(refused.value) for value in KEYS.values())


def test_a_runner_does_not_start_on_such_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(KEYS | LIVE))
    (tmp_path / "config.json").chmod(0o644)
    (tmp_path / "pairs_config.json").write_text('{"pairs": []}')
    result = tandem(["run"], tmp_path)
    assert result.returncode == 2
    assert f"run chmod 600 {tmp_path}/config.json" in said(result).replace(
        "chmod 600 config", f"chmod 600 {tmp_path}/config"
    )
    assert not (tmp_path / "var").exists(), "nothing started"


ENTRIES: list[tuple[str, list[str], str]] = [
    ("tandem", ["-m", "runner", "scan", "--prices", "prices.csv", "--output", "out.csv"], "out.csv"),
    (
        "the recorder",
        [
            "-m",
            "storage.recorder",
            "--once",
            *["--journal", "j.sqlite", "--flows-journal", "f.sqlite", "--ledger", "l.duckdb"],
        ],
        "l.duckdb",
    ),
]


@pytest.mark.parametrize(("arguments", "name"), [row[1:] for row in ENTRIES], ids=[row[0] for row in ENTRIES])
def test_a_process_of_ours_creates_nothing_for_others(tmp_path: Path, arguments: list[str], name: str) -> None:
    bars = [
        f"{s},{1_700_006_400_000 + n * 3_600_000},{100 + n * k % 7}" for s, k in (("A", 3), ("B", 5)) for n in range(40)
    ]
    (tmp_path / "prices.csv").write_text("\n".join(["symbol,ts,close", *bars]))
    (tmp_path / "prices.csv").chmod(0o600)
    result = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, umask=0
    )
    assert result.returncode in {0, 1}, result.stderr
    assert (tmp_path / name).exists(), result.stderr
    assert not [name for name, mode in modes(tmp_path).items() if mode & 0o077]


READ = """
try:
    print(open(sys.argv[1], "rb").read(4), flush=True)
except OSError as problem:
    print(problem.strerror, flush=True)
"""


@needs_root
def test_another_user_reads_nothing_of_it(tmp_path: Path) -> None:
    record(tmp_path)
    for name in ("journal.sqlite.lock", "flows.sqlite", "ledger.duckdb", "ledger.hot.duckdb", "pairs.json"):
        assert as_nobody(READ, str(tmp_path / "var" / name)).communicate(timeout=30)[0] == "Permission denied\n"


# Written whole


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    path.chmod(0o644)
    with pytest.raises(ZeroDivisionError), replacing(path) as beside:
        beside.write_text(f"half of the n{1 / 0}")
    assert listing(tmp_path)["x.json"][1] == b"old"
    write_whole(path, b"new")
    assert {name: found[1] for name, found in listing(tmp_path).items()} == {"x.json": b"new"}
    assert modes(tmp_path) == {"x.json": 0o600}


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "precious", tmp_path / "x.json"
    victim.write_text("years of work")
    path.symlink_to(victim)
    write_whole(path, b"new")
    assert victim.read_text() == "years of work"
    assert not path.is_symlink()


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in (".x.json-abc.tmp", ".y.json-abc.tmp", "x.json", "notes.tmp"):
        (tmp_path / name).write_text("")
    sweep(tmp_path / "x.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".y.json-abc.tmp", "notes.tmp", "x.json"]


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


@pytest.mark.parametrize("spoil", [pipe, large])
def test_a_version_that_is_no_file_is_not_brought_back(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = tmp_path / "pairs.json"
    row = PairRow(pair_id="A", leg_a="LTC/USDT", leg_b="BCH/USDT", hedge_ratio=1.0)
    for version in range(3):
        write_document(path, [row], generated_at=f"2026-01-0{version + 1}", run_id="r")
    before = path.read_bytes()
    spoil(min((tmp_path / "pairs.json.history").iterdir()))
    with pytest.raises(ConfigError, match=r"is a pipe|is larger than|no version 1"):
        restore(path, 1, SignalSettings(), restored_at="2026-02-01")
    assert path.read_bytes() == before


def test_a_private_folder_is_made_with_all_that_leads_to_it(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b" / "c")
    assert set(modes(tmp_path).values()) == {0o700}
