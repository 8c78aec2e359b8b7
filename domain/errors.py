"""What this program raises on purpose.

TandemError
├─ ConfigError          the operator must edit something; nothing started
├─ AccountBusy          another runner holds this account's journal
├─ JournalBroken        nothing may be promised any more: entries stop at once
├─ DuplicateEntry       the journal already holds this intent: it was decided before
├─ InvariantBroken      a bug, or a world we do not model: halt and call a person
└─ ExchangeError        see runner/exchange/errors.py
"""


class TandemError(Exception):
    """Everything this program raises on purpose."""


class ConfigError(TandemError):
    """One line: what is wrong, where, and the remedy."""


class AccountBusy(TandemError):
    """Another live process owns the account's journal."""


class JournalBroken(TandemError):
    """A row could not be made durable."""


class DuplicateEntry(TandemError):
    """A row with this key is in the journal already."""


class InvariantBroken(TandemError):
    """Cannot happen; halt the pair and call a person."""
