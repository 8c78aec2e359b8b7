"""A scan's work in pieces that know nothing of each other: what one worker is given, and what it hands back.

However it is cut, the numbers are the same to the last bit: a strip of a block, and a pair by itself, are always solved whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from domain.statistics import adf, johansen
from domain.statistics.adf import Floats
from domain.statistics.blocks import STRIP, Places, Tile, solve_strips, strips_of
from domain.statistics.spreads import Series, series_of, solve_each

_PAIRS_AT_ONCE = 4096
_PAIR_COST = 30.0
"""A pair by itself, in pairs that a matrix product serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strips:
    """Some strips of a block, whose pairs all have the same bars; `left` and `right` alike: of every pair of them."""

    left: Places
    right: Places
    begins: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one worker needs. `values` (symbols, bars) in the tested space, NaN where a bar is missing; `pairs` (n, 2).

    `lags_max` None: Schwert's.
    """

    values: Floats
    criterion: int
    lags_max: int | None
    blocks: tuple[Strips, ...]
    pairs: Places


@dataclass(frozen=True, slots=True, kw_only=True)
class Singles:
    """Directions (n, 2) that were solved by themselves, and the trace of the pair of each."""

    directions: Places
    found: Series
    trace: Floats


Piece = Tile | Singles


def solve(batch: Batch) -> Iterator[Piece]:
    """As it comes: what is yielded may be forgotten before the next is made."""
    present = np.isfinite(batch.values)
    for block in batch.blocks:
        rows = np.flatnonzero(present[block.left[0]] & present[block.right[0]])
        lags_max = adf.schwert(len(rows), 0) if batch.lags_max is None else batch.lags_max
        search = adf.Search(max(lags_max, adf.WINDOW_MIN), lags_max, batch.criterion, 0)
        yield from solve_strips(batch.values, rows, (block.left, block.right), search, block.begins)
    for start in range(0, len(batch.pairs), _PAIRS_AT_ONCE):
        some = batch.pairs[start : start + _PAIRS_AT_ONCE]
        yield solve_singly(batch, np.concatenate((some, some[:, ::-1])), present)


def solve_singly(batch: Batch, directions: Places, present: np.ndarray | None = None) -> Singles:
    """The exact path for these directions of a batch, and Johansen's trace."""
    present = np.isfinite(batch.values) if present is None else present
    asked = -1 if batch.lags_max is None else batch.lags_max
    found = series_of(len(directions))
    room = adf.lanes_of(*reach(batch.values.shape[1], batch.lags_max), 1)
    solve_each(room, batch.values, present, np.ascontiguousarray(directions), asked, batch.criterion, 0, found)
    # Both directions have the one trace; with the residual of one of them the moments keep their digits.
    pairs, first, back = np.unique(np.sort(directions, axis=1), axis=0, return_index=True, return_inverse=True)
    pairs = np.ascontiguousarray(directions[first])
    moments, count, trace = np.empty((johansen.MOMENTS, len(pairs))), np.empty(len(pairs)), np.empty(len(pairs))
    johansen.moments_each(batch.values, present, pairs, found.hedge_ratio[first], moments, count)
    johansen.traces(moments, count, trace)
    return Singles(directions=directions, found=found, trace=trace[back.reshape(-1)])


def reach(bars: int, lags_max: int | None) -> tuple[int, int]:
    """The largest window and number of lags that any pair over at most so many bars can ask for."""
    lags = adf.schwert(bars, 0) if lags_max is None else lags_max
    lags = max(lags, adf.WINDOW_MIN)
    return lags, lags


def cut(whole: Batch, count: int) -> tuple[Batch, ...]:
    """At most `count` batches that are about as much work each; together they are `whole`."""
    if count < 2:
        return (whole,)
    costs: list[float] = []
    for block in whole.blocks:
        one_group = np.array_equal(block.left, block.right)
        for begin in block.begins:
            rows = min(STRIP, len(block.left) - begin)
            costs.append(rows * ((len(block.left) - begin - rows / 2) if one_group else len(block.right)))
    per_batch = (sum(costs) + _PAIR_COST * len(whole.pairs)) / count
    ends = np.cumsum([*costs, *np.full(len(whole.pairs), _PAIR_COST)])
    # The batch in whose share the middle of a piece lies.
    owners = np.minimum((ends - np.diff(ends, prepend=0) / 2) // max(per_batch, 1e-9), count - 1).astype(int)
    found = []
    for number in range(count):
        mine = owners == number
        if mine.any():
            found.append(
                replace(whole, blocks=_strips(whole.blocks, mine[: len(costs)]), pairs=whole.pairs[mine[len(costs) :]])
            )
    return tuple(found)


def _strips(blocks: Sequence[Strips], mine: np.ndarray) -> tuple[Strips, ...]:
    """The strips that are marked, in the order of the blocks."""
    found, at = [], 0
    for block in blocks:
        begins = tuple(begin for begin, own in zip(block.begins, mine[at:], strict=False) if own)
        at += len(block.begins)
        if begins:
            found.append(replace(block, begins=begins))
    return tuple(found)


def strips_of_block(left: Places, right: Places) -> Strips:
    """All of a block's strips."""
    return Strips(left=left, right=right, begins=tuple(strips_of(len(left))))
