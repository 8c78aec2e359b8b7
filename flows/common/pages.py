"""A page of headings, text, tables and pictures, written once: as HTML that needs no other file, or as markdown for an artifact."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.text import markdown_cell

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #e3e7ea; }
img { width: 100%; max-width: 990px; display: block; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #eceff1; white-space: nowrap; }
th { color: #556; font-weight: 600; } th:first-child, td:first-child, td.text { text-align: left; }
td.text { white-space: normal; min-width: 13rem; }
tr.last td { font-weight: 600; border-top: 2px solid #ccd3d8; } li { margin: .2rem 0; }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Points:
    """A list, one line a point."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: one mapping a row, all with the same columns. `sums`: the last row is the total of the others."""

    rows: Sequence[Mapping[str, Any]]
    sums: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A data URI, and what it shows for who does not see it."""

    uri: str
    alt: str


Part = Heading | Text | Points | Rows | Picture


def as_html(title: str, parts: Sequence[Part]) -> str:
    """A whole document."""
    body = "\n".join(_html(part) for part in parts)
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n<style>{_CSS}</style>\n</head>\n'
        f"<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n"
    )


def _html(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Points(lines):
            return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
        case Picture(uri, alt):
            return f'<img src="{html.escape(uri)}" alt="{html.escape(alt)}">'
        case Rows(rows, sums):
            head = "".join(f"<th>{html.escape(name)}</th>" for name in (rows[0] if rows else ()))
            lines = [
                f"<tr{' class=last' if sums and number == len(rows) else ''}>"
                + "".join(map(_cell, row.values()))
                + "</tr>"
                for number, row in enumerate(rows, start=1)
            ]
            return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _cell(value: Any) -> str:
    text = str(value)
    is_long = len(text) > 24
    return f"<td{' class=text' if is_long else ''}>{html.escape(text)}</td>"


def as_markdown(title: str, parts: Sequence[Part], *, bytes_max: int) -> str:
    """The parts that fit, in order; what does not fit is left out, and that is said at the end."""
    lines, size, left_out = [f"# {title}"], 0, 0
    for part in parts:
        text = _markdown(part)
        if size + len(text.encode()) > bytes_max:
            left_out += 1
            continue
        size += len(text.encode())
        lines.append(text)
    if left_out:
        lines.append(
            f"{left_out} parts are left out: the page would be too large. `tandem backtest --report FILE` has them."
        )
    return "\n\n".join(lines) + "\n"


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Text(text):
            return text
        case Points(lines):
            return "\n".join(f"- {line}" for line in lines)
        case Picture(uri, alt):
            return f"![{alt}]({uri})"
        case Rows(rows, _):
            names = list(rows[0]) if rows else []
            table = [names, ["---"] * len(names), *([str(value) for value in row.values()] for row in rows)]
            return "\n".join("| " + " | ".join(map(markdown_cell, row)) + " |" for row in table)
