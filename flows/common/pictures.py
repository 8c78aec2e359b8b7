"""Pictures for artifacts and reports: a figure becomes a data URI, so that no file and no server is needed to see it.

The only module that imports matplotlib, and none of its global state: a figure here is an object, drawn by the Agg and SVG
backends without a display.
"""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "BAD", "FAINT", "GOOD", "INK", "LINE", "WIDTH_INCHES", "Axes", "Figure", "data_uri", "figure", "markdown_image", "style",
]  # fmt: skip

WIDTH_INCHES = 9.0
INK, LINE, FAINT, GOOD, BAD = "#222222", "#2b6cb0", "#b8c2cc", "#2f855a", "#c53030"
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "white",
    "font.size": 8,
    "grid.color": "#edf0f2",
    "lines.linewidth": 0.9,
    "path.simplify": True,
    "svg.fonttype": "none",  # Text stays text: small, and sharp at any size.
    "svg.hashsalt": "tandem",  # The same figure, the same bytes.
    "text.color": INK,
}


@contextmanager
def style() -> Iterator[None]:
    """What is drawn inside looks like everything else of ours."""
    with rc_context(_STYLE):
        yield


def figure(rows: int = 1, columns: int = 1, *, height_inches: float = 2.2) -> tuple[Figure, list[Axes]]:
    """A new figure and its axes, row by row. Draw and save it inside `style()`."""
    made = Figure(figsize=(WIDTH_INCHES, height_inches * rows), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False)
    return made, list(axes.flat)


def data_uri(drawn: Figure, *, kind: Literal["svg", "png"] = "png", dots_per_inch: int = 96) -> str:
    """`data:image/…;base64,…`. PNG for lines of thousands of points, SVG for few shapes."""
    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    drawn.savefig(out, format=kind, dpi=dots_per_inch, metadata=metadata)
    media = "svg+xml" if kind == "svg" else "png"
    return f"data:image/{media};base64,{base64.b64encode(out.getvalue()).decode()}"


def markdown_image(drawn: Figure, alt: str, *, kind: Literal["svg", "png"] = "png", dots_per_inch: int = 96) -> str:
    """The figure as one line of markdown."""
    return f"![{alt}]({data_uri(drawn, kind=kind, dots_per_inch=dots_per_inch)})"
