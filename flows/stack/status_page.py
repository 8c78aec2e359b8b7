"""What the runner says about itself, as a Markdown page for the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domain.text import markdown_cell

ROWS_MAX = 60


def render(title: str, status: Mapping[str, Any]) -> str:
    """Return a page: plain facts as one table, each nested mapping or list of rows as a table of its own."""
    facts = {name: value for name, value in status.items() if not _is_nested(value)}
    parts = [f"# {title}"]
    if facts:
        parts.append(_facts(facts))
    for name, value in status.items():
        if _is_nested(value) and value:
            parts += [f"## {_words(name)}", _nested(value)]
    return "\n\n".join(parts) + "\n"


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes)))


def _nested(value: Mapping[str, Any] | Sequence[Any]) -> str:
    if isinstance(value, Mapping):
        if all(isinstance(row, Mapping) for row in value.values()):
            return _rows([{"name": name, **row} for name, row in value.items()])
        return _facts(value)
    if all(isinstance(row, Mapping) for row in value):
        return _rows(value)
    return "\n".join(f"- {_cell(item)}" for item in value[:ROWS_MAX])


def _facts(facts: Mapping[str, Any]) -> str:
    return _table(("fact", "value"), [(_words(name), value) for name, value in facts.items()])


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return _table(columns, [tuple(row.get(name) for name in columns) for row in rows])


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [
        "| " + " | ".join(_words(column) for column in columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows[:ROWS_MAX]),
    ]
    if len(rows) > ROWS_MAX:
        lines.append(f"| … and {len(rows) - ROWS_MAX} more |" + " |" * (len(columns) - 1))
    return "\n".join(lines)


def _words(name: object) -> str:
    return _cell(str(name).replace("_", " "))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return markdown_cell(str(value))
