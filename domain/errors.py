"""Errors that answer one question: did it happen?

TandemError
├─ ConfigError          the operator must edit something; nothing started
├─ AccountBusy          another runner holds this account's journal
├─ ExchangeError
│  ├─ Refused           the venue said no: it did NOT happen, safe to decide again
│  ├─ OutcomeUnknown    no proof either way: it MAY have happened, look it up, never resend
│  └─ Unreachable       the request never left: it did NOT happen, safe to retry
├─ JournalBroken        nothing may be promised any more: entries stop at once
├─ DuplicateEntry       the journal already holds this intent: it was decided before
└─ InvariantBroken      a bug, or a world we do not model: halt and page a human
"""


class TandemError(Exception):
    """Everything this program raises on purpose."""


class ConfigError(TandemError):
    """One line: what is wrong, where, and how to mend it."""


class AccountBusy(TandemError):
    """Another live process owns the account's journal."""


class ExchangeError(TandemError):
    """The venue, or the road to it."""


class Refused(ExchangeError):
    """A definitive no, by (HTTP status, code) on the allow-list."""

    def __init__(self, code: int, message: str, http_status: int = 400) -> None:
        super().__init__(f"refused {code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


class OutcomeUnknown(ExchangeError):
    """The request may have been executed."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(f"outcome unknown: {why}")
        self.why = why
        self.code = code


class Unreachable(ExchangeError):
    """The request never left this machine."""


class JournalBroken(TandemError):
    """A row could not be made durable."""


class DuplicateEntry(TandemError):
    """A row with this key is in the journal already."""


class InvariantBroken(TandemError):
    """Cannot happen; halt the pair and page."""
