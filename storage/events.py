"""The event that the recorder itself puts into the ledger; it is part of the catalogue `runner.events`."""

from domain.events import error

JOURNAL_ROW_UNREADABLE = error(
    "journal_row_unreadable",
    "the recorder met a row it cannot record; it stands in `events` instead",
    "a newer release wrote it, or the file is damaged: look at `facts`",
    *("seq", "kind", "problem"),
)
