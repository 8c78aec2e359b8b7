"""Text that came from outside, made fit for a terminal, a log or a page."""


def one_line(text: str) -> str:
    """All white space is one blank, and the rest printable."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """What a terminal would obey (escape sequences, direction marks) is shown as `\\x1b`; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def markdown_cell(text: str) -> str:
    """As a cell of a Markdown table: no tag of HTML, no link, no picture from elsewhere, no end of the cell."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\|[]`" else c for c in text)
