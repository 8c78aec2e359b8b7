"""Matrix products for symbols that share their bars: one a lag serves every pair, both ways.

For d the steps, Σ (d_i,t + d_i,t-k)(d_j,t + d_j,t-k) holds what lag k of the spread needs, besides sums that edges give. It is
symmetric in i and j, so only half of the products of the textbook are made.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.statistics import johansen
from domain.statistics.adf import LANES, Floats, Search, lanes_of
from domain.statistics.spreads import Block, Findings, findings_of, solve_tile

Places = NDArray[np.int64]
STRIP = 128
"""Symbols of one product's left side: enough for its speed, few enough to waste little below the diagonal."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """A strip of a block: `found` [0, i, j] of symbol right[j] on left[i], [1, i, j] the other way round, where `fits`."""

    left: Places  # (left,): places in the panel, -1 for padding
    right: Places  # (right,)
    fits: NDArray[np.bool_]  # (left, right): a pair that is this tile's to tell of
    found: Findings  # (2, left, right)
    trace: Floats  # (left, right): Johansen's, the same both ways


def strips_of(count: int) -> list[int]:
    """Where the strips of a block with so many symbols on its left begin."""
    return list(range(0, count, STRIP))


def solve_strips(
    values: Floats, rows: Places, sides: tuple[Places, Places], search: Search, strips: Iterable[int]
) -> Iterator[Tile]:
    """These strips of the pairs of a left and a right symbol; the same places twice: of every pair of them.

    `values` (symbols, bars), `sides` places in it, `rows` the bars that all of them have. A strip's numbers do not depend on
    what else is solved with it.
    """
    left, right = sides
    one_group = np.array_equal(left, right)
    block = _block(values, rows, (left,) if one_group else (left, right), search.window)
    levels = np.ascontiguousarray(block.levels.T)
    steps = np.diff(levels, axis=0)
    own = johansen.own_moments(levels, steps)
    room = lanes_of(search.window, search.lags_max, LANES)
    edge, width = _padded(len(left)), levels.shape[1]
    for first in strips:
        strip = slice(first, min(first + STRIP, edge))
        across = slice(first if one_group else edge, width)
        level_products = levels[:, strip].T @ levels[:, across]
        step_products = _step_products(steps, strip, across, search.window)
        found = findings_of(2, strip.stop - strip.start, width - across.start)
        bounds = (strip.start, strip.stop), (across.start, across.stop)
        solve_tile(room, block, len(steps), search, *bounds, level_products, step_products, found)
        of, on = block.place[strip], block.place[across]
        fits = (
            (np.arange(strip.start, strip.stop)[:, None] < np.arange(across.start, across.stop))
            & (of[:, None] >= 0)
            & (on >= 0)
        )
        trace = _traces(levels, steps, own, (strip, across), search.window, (step_products[:2], level_products))
        yield Tile(left=of, right=on, fits=fits, found=found, trace=trace)


def _padded(count: int) -> int:
    return -(-count // LANES) * LANES


def _block(values: Floats, rows: NDArray[np.int64], groups: tuple[NDArray[np.int64], ...], window: int) -> Block:
    width = sum(_padded(len(group)) for group in groups)
    levels, means = np.zeros((width, len(rows))), np.zeros(width)
    place = np.full(width, -1, dtype=np.int64)
    start = 0
    for group in groups:
        here = slice(start, start + len(group))
        own = values[np.ix_(group, rows)]
        means[here] = own.mean(axis=1)
        levels[here] = own - means[here, None]
        place[here] = group
        start += _padded(len(group))
    steps = np.diff(levels, axis=1)
    m = steps.shape[1]
    late = steps[:, window:]
    doubled = [np.einsum("jt,jt->j", late, late)]
    for k in range(1, window + 1):
        both = late + steps[:, window - k : m - k]
        doubled.append(np.einsum("jt,jt->j", both, both))
    return Block(
        levels=levels,
        means=means,
        head_level=np.ascontiguousarray(levels[:, : window + 1].T),
        tail_level=np.ascontiguousarray(levels[:, ::-1][:, : window + 1].T),
        head_step=np.ascontiguousarray(steps[:, :window].T),
        tail_step=np.ascontiguousarray(steps[:, ::-1][:, :window].T),
        doubled=np.array(doubled),
        energy=np.einsum("jt,jt->j", levels, levels),
        place=place,
    )


def _step_products(steps: Floats, strip: slice, across: slice, window: int) -> Floats:
    """Σ (d_i,t + d_i,t-k)(d_j,t + d_j,t-k) over t = window … m-1 as [k, i, j], for k = 0 Σ d_i,t d_j,t."""
    m, height = len(steps), strip.stop - strip.start
    found = np.empty((window + 1, height, across.stop - across.start))
    apart = across.start != strip.start
    tall = np.empty((m - window, height)) if apart else None
    wide = np.empty((m - window, across.stop - across.start))
    for k in range(window + 1):
        for part, into in ((across, wide), (strip, tall)):
            if into is None:
                continue
            if k:
                np.add(steps[window:, part], steps[window - k : m - k, part], out=into)
            else:
                into[:] = steps[window:, part]
        np.matmul((wide[:, :height] if tall is None else tall).T, wide, out=found[k])
    return found


def _traces(
    levels: Floats,
    steps: Floats,
    own: Floats,
    tile: tuple[slice, slice],
    window: int,
    products: tuple[Floats, Floats],
) -> Floats:
    """Johansen's trace of the pairs of a tile, whose `products` of steps and levels these are."""
    strip, across = tile
    step_products, level_products = products
    plain = step_products[0]
    newest, before = (np.outer(steps[t, strip], steps[t, across]) for t in (len(steps) - 1, window - 1))
    lagged = step_products[1] - 2 * plain - before + newest
    # The products begin at the window; Johansen's sums at the second step.
    a, b = steps[:window, strip], steps[:window, across]
    plain = plain + a[1:].T @ b[1:]
    lagged += a[1:].T @ b[:-1] + a[:-1].T @ b[1:]
    moments = johansen.tile_moments(levels, steps, own, tile, (plain, lagged, level_products))
    shape = moments.shape[1:]
    found = np.empty(shape[0] * shape[1])
    johansen.traces(moments.reshape(johansen.MOMENTS, -1), np.full(len(found), len(steps) - 1.0), found)
    return found.reshape(shape)
