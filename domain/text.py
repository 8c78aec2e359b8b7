"""Text that came from outside, made fit for one line of a terminal or a log."""


def one_line(text: str) -> str:
    """All white space is one blank, and what a terminal would obey (escape sequences, direction marks) is shown as `\\x1b`."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
