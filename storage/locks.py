"""One process per file: an OS lock that dies with its holder, and names it."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

ONLOOKER_SECONDS = 0.2
"""`holder_of` holds the lock for an instant; whoever takes it meanwhile tries again for this long."""


class LockHeld(Exception):
    """Another process holds the lock; `holder` is its process id, when it could be read."""

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path} is held by process {holder if holder is not None else 'unknown'}")
        self.path = path
        self.holder = holder


class OsLock:
    """An exclusive `flock` on a file of its own. The file stays behind on purpose: unlinking it would race."""

    def __init__(self, path: Path) -> None:
        """Take the lock at once. Raises: LockHeld, OSError."""
        self.path: Final = path
        self._owner_pid = os.getpid()
        # Python's descriptors are close-on-exec: a child started by exec never inherits the lock.
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + ONLOOKER_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(ONLOOKER_SECONDS / 10)
                    continue
                holder = _pid_in(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = None
                raise LockHeld(path, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{self._owner_pid}\n".encode(), 0)
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


def holder_of(path: Path) -> int | None:
    """The process id that holds the lock, or None when nobody does. Takes and drops the lock to find out."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        # Shared: onlookers do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor) or -1
    else:
        return None
    finally:
        os.close(descriptor)


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None
