"""Spans in which the exchange itself has nothing: outages, halts, the time before a listing. Nobody asks for them again.

One `holes.json` in a symbol's folder, a list of [start, end) in Unix milliseconds, in order and apart. Losing it costs requests.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from domain.errors import ConfigError
from storage.files import FileRefused, read_file, write_whole
from storage.market import HOLES_NAME, alone_in

Span = tuple[int, int]
"""[start, end) in Unix milliseconds."""


def read_holes(folder: Path) -> list[Span]:
    """What is known; nothing when the file is missing or damaged."""
    try:
        rows = json.loads(read_file(folder / HOLES_NAME))
        return _joined((int(start), int(end)) for start, end in rows)
    except (FileRefused, OSError, ValueError, TypeError):
        return []


def note_holes(folder: Path, spans: Sequence[Span]) -> None:
    """Remember these, too. Raises: ConfigError when the folder cannot be written."""
    if not spans:
        return
    with alone_in(folder):
        text = json.dumps(_joined([*read_holes(folder), *spans]))
        target = folder / HOLES_NAME
        try:
            write_whole(target, text.encode())
        except OSError as problem:
            raise ConfigError(
                f"{target}: cannot be written: {problem}; make room, or correct storage.market"
            ) from problem


def without(spans: Iterable[Span], holes: Sequence[Span]) -> list[Span]:
    """What is left of `spans` when `holes` are taken out."""
    found = []
    for start, end in spans:
        at = start
        for hole_start, hole_end in _joined(holes):
            if hole_end <= at or hole_start >= end:
                continue
            if hole_start > at:
                found.append((at, hole_start))
            at = max(at, hole_end)
        if at < end:
            found.append((at, end))
    return found


def _joined(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return found
