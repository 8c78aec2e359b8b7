"""One process per file: an OS lock that dies with its holder, and names it."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from storage.files import FileRefused, open_own, user_name

ONLOOKER_SECONDS = 0.2
"""`holder_of` holds the lock for an instant; whoever takes it meanwhile tries again for this long."""


class LockHeld(Exception):
    """Another process holds the lock; `holder` is its process id, when that is known, and `user` its user, when that is not ours."""

    def __init__(self, path: Path, holder: int | None, user: str | None = None) -> None:
        whose = f"process {holder if holder is not None else 'unknown'}" + (f" of user {user}" if user else "")
        super().__init__(f"{path} is held by {whose}")
        self.path = path
        self.holder = holder
        self.user = user

    def explain(self, when_ours: str) -> str:
        """`when_ours`, unless the holder is another user's process: then what is so, and what to do about it."""
        if self.user is None:
            return when_ours
        remove = "" if self.path.is_dir() else ", or, when nothing of yours runs, remove that file and start again"
        return f"process {self.holder} of user {self.user} holds {self.path}, and is no process of yours; have it ended{remove}"


class OsLock:
    """An exclusive `flock` on a file of its own. The file stays behind on purpose: unlinking it would race."""

    def __init__(self, path: Path, *, wait_seconds: float = ONLOOKER_SECONDS) -> None:
        """Take the lock, or wait so long for it. Nothing is written before it is ours. Raises: LockHeld, FileRefused, OSError."""
        self.path: Final = path
        self._owner_pid = os.getpid()
        # Close-on-exec: a child started by exec never inherits the lock.
        self._descriptor: int | None = open_own(path, only_name=True)
        try:
            take(self._descriptor, path, wait_seconds=wait_seconds)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{self._owner_pid}\n".encode(), 0)
        except BaseException:
            os.close(self._descriptor)
            self._descriptor = None
            raise
        # A forked child shares the lock's open file; it must let go, or the lock outlives its owner.
        os.register_at_fork(after_in_child=self._forget)

    def release(self) -> None:
        """Let go; harmless when done twice."""
        if self._descriptor is not None and os.getpid() == self._owner_pid:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take(descriptor: int, path: Path, *, wait_seconds: float) -> None:
    """Lock an open file or folder for this process alone. Raises: LockHeld when others did not let go in time."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _held(descriptor, path) from None
            time.sleep(ONLOOKER_SECONDS / 10)
        else:
            return


def holder_of(path: Path) -> int | None:
    """The process id that holds the lock, -1 when it is unknown, or None when nobody does. Raises: FileRefused."""
    held = look(path)
    return None if held is None else held.holder or -1


def look(path: Path) -> LockHeld | None:
    """Who holds the lock, if anybody. Takes and drops it to find out. Raises: FileRefused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise FileRefused(
            f"{path}: cannot be opened ({problem.strerror}); be the user whose it is, or remove it"
        ) from None
    try:
        # Shared: onlookers do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _held(descriptor, path)
    else:
        return None
    finally:
        os.close(descriptor)


def _held(descriptor: int, path: Path) -> LockHeld:
    holder = _holder(descriptor)
    owner = None if holder is None else _owner_of(holder)
    return LockHeld(path, holder, None if owner is None or owner == os.geteuid() else user_name(owner))


def _holder(descriptor: int) -> int | None:
    """The kernel knows; what is written in the file may be of a process long gone."""
    status = os.fstat(descriptor)
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:  # Not Linux.
        return _pid_in(descriptor)
    for line in lines:  # `1: FLOCK  ADVISORY  WRITE 4711 fd:01:655361 0 EOF`; who waits has an arrow before FLOCK.
        words = line.split()
        if words[1] == "FLOCK" and words[5] == wanted and words[4].isdigit() and int(words[4]) > 0:
            return int(words[4])
    return _pid_in(descriptor)


def _owner_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None
