"""The small pieces of the stack: identities, ports, environment, status pages, the follower of a log."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import ConfigError
from flows.stack import identity, ports, status_page
from flows.stack.environment import child_environment, encryption_key
from flows.stack.follow import Follower
from flows.stack.layout import Layout, find_layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(home=tmp_path)
    layout.create()
    return layout


def test_layout_is_found_from_below_and_refused_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"no prefect\.yaml"):
        find_layout(tmp_path / "a")
    (tmp_path / "a" / "prefect.yaml").touch()
    assert find_layout(tmp_path / "a" / "b").home == tmp_path / "a"


def test_encryption_key_is_made_once_and_for_one_user(layout: Layout) -> None:
    key = encryption_key(layout)
    assert encryption_key(layout) == key
    assert len(key) == 44
    assert stat.S_IMODE(layout.encryption_key.stat().st_mode) == 0o600


def test_a_child_inherits_nobody_elses_prefect(layout: Layout) -> None:
    inherited = {"PATH": "/bin", "PREFECT_API_URL": "https://cloud", "PREFECT_API_KEY": "k", "PWD": "/elsewhere"}
    found = child_environment(layout, port=1234, mark="m", inherited=inherited, extra={"TANDEM_DATA__REST_URL": "r"})
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:1234/api"
    assert "PREFECT_API_KEY" not in found
    assert found["PWD"] == str(layout.home)
    assert found["PATH"] == "/bin"
    assert found["TANDEM_DATA__REST_URL"] == "r"
    assert found[identity.MARK] == "m"


def test_a_taken_port_is_avoided_or_refused() -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ports.Claims().choose(port) != port
        with pytest.raises(ConfigError, match=r"control\.port"):
            ports.require(port, key="control.port")
    mine = ports.Claims()
    assert mine.choose(port) == port
    assert ports.Claims().choose(port) != port, "another stack that starts at the same moment takes another one"
    mine.release()


def test_identity_is_pid_and_start_time() -> None:
    me = identity.identify()
    assert me is not None
    assert me.is_alive
    assert not identity.Identity(pid=me.pid, started_at_s=me.started_at_s - 100).is_alive
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        gone = identity.identify(child.pid)
    assert gone is None or not gone.is_alive


def test_marked_finds_children_and_grandchildren() -> None:
    mark = f"test-{os.getpid()}"
    code = "import subprocess,sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, identity.MARK: mark}, stdin=subprocess.PIPE
    ) as child:
        while len(identity.marked(mark)) < 2:
            assert child.poll() is None
        assert child.pid in {found.pid for found in identity.marked(mark)}
        child.communicate(b"\n")
    assert identity.marked(mark) == []


def test_registered_live_runs_are_seen_while_alive(layout: Layout) -> None:
    with identity.registered(layout.runs, "abc"):
        ((run_id, process),) = identity.live_processes(layout.runs)
        assert (run_id, process.pid) == ("abc", os.getpid())
    assert identity.live_processes(layout.runs) == []
    identity.write_record(
        identity.live_record(layout.runs, "dead"), {"pid": os.getpid(), "started_at_s": 1.0, "run_id": "dead"}
    )
    assert identity.live_processes(layout.runs) == []
    assert not identity.live_record(layout.runs, "dead").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_broken_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    assert identity.identity_in(identity.read_record(tmp_path / "record.json")) is None


def test_status_page_shows_facts_tables_and_lists() -> None:
    page = status_page.render(
        "Live",
        {
            "state": "trading",
            "uptime_seconds": 12.3456789,
            "pairs": [{"pair_id": "A_B", "z": 1.5}, {"pair_id": "C_D", "note": "a|b"}],
            "counts": {"signals": 3},
            "by_pair": {"A_B": {"z": 2}},
            "notes": ["one", "two"],
            "empty": [],
        },
    )
    assert "| state | trading |" in page
    assert "| uptime seconds | 12.3457 |" in page
    assert "| pair id | z | note |" in page
    assert "a\\|b" in page
    assert "| signals | 3 |" in page
    assert "| A_B | 2 |" in page
    assert "- one" in page
    assert "empty" not in page


def test_follower_goes_on_in_the_next_file_when_one_is_full(tmp_path: Path) -> None:
    log, seen = tmp_path / "runner.log", list[str]()
    log.write_text("one\ntwo\n")
    follower = Follower(log, show=seen.append)
    with log.open("a") as file:
        file.write("the last line of a full file\n")
    log.rename(tmp_path / "runner.log.1")
    log.write_text("the first of the next\n")
    follower.catch_up()
    follower.catch_up()
    assert seen == ["the last line of a full file", "the first of the next"]


def test_follower_shows_whole_new_lines_and_survives_a_new_file(tmp_path: Path) -> None:
    log, seen = tmp_path / "runner.log", list[str]()
    log.write_text("old\n")
    follower = Follower(log, show=seen.append)
    with log.open("a") as file:
        file.write("one\nhal")
    follower.catch_up()
    assert seen == ["one"]
    with log.open("a") as file:
        file.write("f\n")
    follower.catch_up()
    assert seen == ["one", "half"]
    log.write_text("new\n")
    follower.catch_up()
    assert seen == ["one", "half", "new"]
