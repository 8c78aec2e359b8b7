"""What the runner needs of time and of the journal. Adapters satisfy these by shape; nobody inherits."""

from typing import Protocol

from domain.entries import Entry


class Clock(Protocol):
    """Time, so that a test can own it."""

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds."""
        ...

    def monotonic_ns(self) -> int:
        """For ages and durations only."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Journal(Protocol):
    """The flight recorder."""

    @property
    def broken(self) -> bool: ...

    async def append(self, *entries: Entry) -> None:
        """Durable when it returns, all or none. Raises: DuplicateEntry, JournalBroken."""
        ...

    def note(self, entry: Entry) -> None:
        """Telemetry: in order, not awaited."""
        ...
