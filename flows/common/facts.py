"""Where flows put their facts: the journal beside the runner's, and from there the ledger."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from domain.entries import Entry
from runner.clock import SystemClock
from runner.config import Settings
from storage.journal import FlowJournal
from storage.recorder import drain_once

_clock = SystemClock()


def now_ms() -> int:
    """Wall clock, Unix milliseconds: when a flow decided, not what time it is in the market."""
    return _clock.now_ms()


def iso(time_ms: int) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_run_id() -> str:
    """For a run that no Prefect server numbers."""
    return f"cli-{secrets.token_hex(6)}"


def record(settings: Settings, entries: Sequence[Entry]) -> None:
    """Durable when it returns. Raises: ConfigError, JournalBroken."""
    with FlowJournal.open(settings.flows_journal) as journal:
        journal.append_sync(*entries)


def publish(settings: Settings) -> None:
    """Bring the ledger up to date when no recorder does it. Raises: TandemError."""
    drain_once(settings.storage.journal, settings.flows_journal, settings.storage.ledger)
