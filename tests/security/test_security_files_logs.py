"""The log file: nobody else's, no link, no pipe; and no text in it that a terminal would obey."""

import logging
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.logs import LineFormatter, file_handler
from storage.files import FileRefused


def _link(log: Path, victim: Path) -> None:
    log.symlink_to(victim)


def _hard_link(log: Path, victim: Path) -> None:
    os.link(victim, log)


def _pipe(log: Path, _: Path) -> None:
    os.mkfifo(log)


def _dangling(log: Path, victim: Path) -> None:
    log.symlink_to(victim.with_name("not there"))


@pytest.mark.parametrize("lay", [_link, _hard_link, _pipe, _dangling])
def test_what_is_no_file_of_ours_is_not_written_to(tmp_path: Path, lay: Callable[[Path, Path], None]) -> None:
    victim, log = tmp_path / "victim", tmp_path / "runner.log"
    victim.write_text("as it was")
    lay(log, victim)
    with pytest.raises(FileRefused, match=r"runner\.log"):
        file_handler(log)
    assert victim.read_text() == "as it was"
    assert not victim.with_name("not there").exists()


def test_it_is_for_this_user_alone_and_two_writers_do_not_write_over_each_other(tmp_path: Path) -> None:
    log = tmp_path / "runner.log"
    log.write_text("before\n")
    log.chmod(0o644)
    first, second = file_handler(log), file_handler(log)
    for handler in (first, second, first):
        handler.emit(logging.LogRecord("runner", logging.INFO, "", 0, "line", None, None))
    first.close()
    second.close()
    assert [line.rpartition(" ")[2] for line in log.read_text().splitlines()] == ["before", "line", "line", "line"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("colours", [True, False])
def test_what_an_exception_says_is_shown_and_not_obeyed(*, colours: bool) -> None:
    try:
        raise ValueError("from an exchange \x1b]0;owned\x07\x1b[2J")  # noqa: TRY301
    except ValueError:
        record = logging.LogRecord("runner", logging.ERROR, "", 0, "crashed", None, sys.exc_info())
    line = LineFormatter(colours=colours).format(record)
    assert "\x1b" not in line
    assert "\\x1b]0;owned\\x07\\x1b[2J" in line
