"""What an exchange, a file or a name says is text on a page of the UI, and nothing else."""

import pytest

from domain.text import markdown_cell
from flows.common.pages import Rows, as_markdown
from flows.stack.status_page import render

HOSTILE = {
    "a tag": "<img src=x onerror=alert(1)>",
    "an entity": "&lt;script&gt;",
    "a picture from elsewhere": "![x](https://evil.example/beacon.png)",
    "a link": "[x](javascript:alert(1))",
    "the end of the cell": "a | b",
    "a backslash before it": "a \\| b",
    "a line of its own": "a\n\n# b",
    "code": "`x`",
    "an escape sequence": "\x1b]0;owned\x07",
}


def _unescaped(text: str, what: str) -> int:
    """How often a character stands there without a backslash that is not itself escaped."""
    count, place = 0, 0
    while place < len(text):
        if text[place] == "\\":
            place += 2
            continue
        count += text[place] == what
        place += 1
    return count


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_cell_is_text(text: str) -> None:
    cell = markdown_cell(text)
    assert cell.isprintable()
    assert "<" not in cell
    for mark in "|[]`":
        assert _unescaped(cell, mark) == 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_table_keeps_its_columns(text: str) -> None:
    pages = [
        render("Live status", {"why": text, text: 1, "pairs": {text: {"standing": text}}}),
        as_markdown("Report", [Rows([{"name": text, "value": text}])], bytes_max=10_000),
    ]
    for page in pages:
        rows = [line for line in page.splitlines() if line.startswith("|")]
        assert {_unescaped(row, "|") for row in rows} == {3}
        assert "<" not in page
