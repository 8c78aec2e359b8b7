"""What an event of the log is. The catalogue of all of them: `runner.events`."""

from enum import StrEnum
from typing import NamedTuple

MORE_FACTS = "…"
"""Among the facts of an event: others follow that depend on the case."""


class Severity(StrEnum):
    """How loud an event is; the names are those of the logging module. From info on it is a row of the table `events`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(NamedTuple):
    """One kind of line in the log. People script against the name, so it changes only with a note in the changelog."""

    name: str
    severity: Severity
    meaning: str
    """What has happened, one line of Markdown."""
    what_to_do: str
    """By a person, one line of Markdown; empty where there is nothing to say."""
    facts: tuple[str, ...]
    """The names of what it may tell besides `pair_id` and `trade_id`, which every event may have."""


def debug(name: str, meaning: str, *facts: str) -> Event:
    """For whoever searches a fault: shown only when asked for, and in no table."""
    return Event(name, Severity.DEBUG, meaning, "", facts)


def info(name: str, meaning: str, *facts: str) -> Event:
    """An everyday line."""
    return Event(name, Severity.INFO, meaning, "", facts)


def warning(name: str, meaning: str, what_to_do: str, *facts: str) -> Event:
    """Keep an eye on it: the system deals with it by itself, unless it comes often."""
    return Event(name, Severity.WARNING, meaning, what_to_do, facts)


def error(name: str, meaning: str, what_to_do: str, *facts: str) -> Event:
    """Look at once."""
    return Event(name, Severity.ERROR, meaning, what_to_do, facts)
