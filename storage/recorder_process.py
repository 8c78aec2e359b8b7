"""A recorder beside a runner: started when nobody records the ledger, ended after the journal is closed.

Knows no DuckDB, so that the live process carries none.
"""

import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from domain.errors import ConfigError
from storage.locks import look

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0


class RecorderProcess:
    """A recorder that this process started. It ends by itself, in good order, when this process dies."""

    def __init__(self, process: subprocess.Popen[bytes], ledger: Path) -> None:
        self._process = process
        self._ledger = ledger
        self.pid: Final = process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> bool:
        """True once it holds the ledger's lock; False when another one was quicker. Raises: ConfigError with what it said."""
        if _says_ready(self._process):
            return True
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if code == 2 and _is_recorded(self._ledger):
            return False
        raise ConfigError(f"{self._ledger}: the recorder did not start (exit code {code}); its own line above says why")

    def stop(self, *, timeout_seconds: float = STOP_SECONDS_MAX) -> int:
        """Ask it to drain, publish and end; wait for it. Its exit code; negative when it had to be killed."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()  # Nothing is lost: the next recorder goes on where this one committed last.
            return self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()


class RecorderKeeper:
    """Sees to it that somebody records: a recorder of ours whenever nobody else does.

    After a crash the last process's recorder may still be at its end: it holds the lock now and is gone in a moment.
    `environment` is the recorder's; without one it has this process's.
    """

    def __init__(
        self, journal: Path, flows_journal: Path, ledger: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._files = (journal, flows_journal, ledger)
        self._environment = environment
        self._own: RecorderProcess | None = None

    def begin(self) -> None:
        """Start one, unless somebody records."""
        self._own = begin_recorder(*self._files, environment=self._environment)

    def wait_until_ready(self) -> None:
        """Raises: ConfigError when the one begun did not start."""
        if self._own is not None and not self._own.wait_until_ready():
            self._own = None

    def look(self) -> bool:
        """Start another one when nobody records any more; True when it was necessary. Blocks; raises: ConfigError."""
        if self._own is not None and self._own.running:
            return False
        self.stop()
        self._own = ensure_recorder(*self._files, environment=self._environment)
        return self._own is not None

    def stop(self) -> None:
        """Let ours drain, publish and end."""
        if self._own is not None:
            self._own.stop()
            self._own = None


def ensure_recorder(
    journal: Path,
    flows_journal: Path,
    ledger: Path,
    *,
    publish_seconds: float = 1.0,
    environment: Mapping[str, str] | None = None,
) -> RecorderProcess | None:
    """Start a recorder unless one holds this ledger's lock (then None), and wait until it is ready.

    Blocks for about a second: call it before the event loop, or in a thread. Raises: ConfigError with what it said.
    """
    recorder = begin_recorder(journal, flows_journal, ledger, publish_seconds=publish_seconds, environment=environment)
    return recorder if recorder is not None and recorder.wait_until_ready() else None


def begin_recorder(
    journal: Path,
    flows_journal: Path,
    ledger: Path,
    *,
    publish_seconds: float = 1.0,
    environment: Mapping[str, str] | None = None,
) -> RecorderProcess | None:
    """Start a recorder unless one holds this ledger's lock (then None). Something else may be done until it is ready."""
    if _is_recorded(ledger):
        return None
    command = [sys.executable, "-m", "storage.recorder", "--with-parent"]
    command += ["--journal", str(journal), "--flows-journal", str(flows_journal), "--ledger", str(ledger)]
    command += ["--publish-seconds", str(publish_seconds)]
    # A session of its own: Ctrl-C goes to the runner, which ends its recorder once the journal is closed.
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, env=environment
    )
    return RecorderProcess(process, ledger)


def _is_recorded(ledger: Path) -> bool:
    """Raises: ConfigError when another user's process holds the lock: that is nobody who records for us."""
    held = look(ledger.with_name(ledger.name + ".lock"))
    if held is not None and held.user is not None:
        raise ConfigError(f"{ledger}: {held.explain('')}")
    return held is not None


def _says_ready(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_SECONDS_MAX
    while (left := deadline - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            return process.stdout.readline().startswith(b"recorder ready")
    return False
