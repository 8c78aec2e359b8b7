"""Names and texts as SQL spells them: the one place where anything foreign becomes part of a statement."""

from collections.abc import Iterable
from pathlib import Path


def identifier(name: str) -> str:
    """A column or table by any name whatever, for DuckDB and SQLite. Raises: ValueError for a name that SQL cannot spell."""
    return '"' + _spellable(name).replace('"', '""') + '"'


def qualified(name: str) -> str:
    """`journal.offsets`: schema and table, each quoted."""
    return ".".join(identifier(part) for part in name.split("."))


def literal(text: str | Path) -> str:
    """A text, where a parameter cannot stand (a file's name) or costs too much (binding makes DuckDB 1.5 import pandas)."""
    return "'" + _spellable(str(text)).replace("'", "''") + "'"


def literals(texts: Iterable[str | Path]) -> str:
    """`'a', 'b'`, for an IN or a list."""
    return ", ".join(map(literal, texts))


def _spellable(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{text!r} holds a zero byte, which no name or text in SQL may")
    return text
