"""Text that came from outside, made fit for a terminal or a log."""


def one_line(text: str) -> str:
    """All white space is one blank, and the rest printable."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """What a terminal would obey (escape sequences, direction marks) is shown as `\\x1b`; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
