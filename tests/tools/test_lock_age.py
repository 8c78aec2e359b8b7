"""The line about the lock's age: with a history, an old one, and none at all."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lock_age import OLD_DAYS, committed_at, line

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (0, "requirements.lock: 3 packages, locked 2026-12-01, 0 days ago"),
        (OLD_DAYS, "requirements.lock: 3 packages, locked 2026-10-02, 60 days ago"),
    ],
)
def test_a_young_lock_is_told_with_its_date(days: int, told: str) -> None:
    assert line(NOW - timedelta(days=days), NOW, 3) == told


def test_an_old_lock_is_told_with_what_to_do() -> None:
    told = line(NOW - timedelta(days=OLD_DAYS + 1), NOW, 3)
    assert "61 days ago; old: `make lock`" in told
    assert "\n" not in told


def test_a_copy_without_a_history_says_so(tmp_path: Path) -> None:
    assert committed_at(tmp_path) is None
    assert line(None, NOW, 3) == "requirements.lock: 3 packages, age unknown (no git history here)"


def test_the_age_is_that_of_the_locks_last_commit(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("a==1\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    stamp = {"GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z", "PATH": "/usr/bin:/bin"}
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "locked"], check=True, env=stamp)
    (tmp_path / "other").write_text("")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run(
        [*git, "commit", "-qm", "another"], check=True, env=stamp | {"GIT_COMMITTER_DATE": "2026-05-05T00:00:00Z"}
    )
    assert committed_at(tmp_path) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
