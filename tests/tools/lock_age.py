"""How old the locked dependencies are, in one line: `make lint` ends with it.

There is no vulnerability database on a machine without network; an old lock is what can be noticed without one.
"""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.lock"
OLD_DAYS = 60


def line(written_at: datetime | None, now: datetime, packages: int) -> str:
    """`written_at`: when the lock was last committed; None where no history tells."""
    if written_at is None:
        return f"{LOCK}: {packages} packages, age unknown (no git history here)"
    days = (now - written_at).days
    advice = (
        "; old: `make lock`, then look for known vulnerabilities (pip-audit -r requirements.lock)"
        if days > OLD_DAYS
        else ""
    )
    return f"{LOCK}: {packages} packages, locked {written_at:%Y-%m-%d}, {days} days ago{advice}"


def committed_at(root: Path) -> datetime | None:
    """The last commit of the lock, or None: no repository, no git, or never committed."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%ct", "--", LOCK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    seconds = done.stdout.strip()
    return datetime.fromtimestamp(int(seconds), UTC) if done.returncode == 0 and seconds else None


def main() -> None:
    text = (ROOT / LOCK).read_text(encoding="utf-8")
    packages = sum("==" in row and not row.startswith((" ", "#")) for row in text.splitlines())
    now = datetime.now(UTC)  # noqa: TID251  (No clock of ours is asked: this is no part of the system.)
    print(line(committed_at(ROOT), now, packages))  # noqa: T201


if __name__ == "__main__":
    main()
