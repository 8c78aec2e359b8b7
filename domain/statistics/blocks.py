"""Matrix products for symbols that share their bars: one a lag serves every pair, both ways.

For d the steps, Σ (d_i,t + d_i,t-k)(d_j,t + d_j,t-k) holds what lag k of the spread needs, besides sums that edges give. It is
symmetric in i and j, so only half of the products of the textbook are made.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from domain.statistics import johansen
from domain.statistics.adf import LANES, Floats, Search, lanes_of
from domain.statistics.spreads import Block, Findings, solve_tile

_PANEL = 128  # Symbols of one product's left side: enough for its speed, few enough to waste little below the diagonal.
_STEP_PRODUCTS_MAX = 20_000_000  # Numbers held of one tile: 160 MB.


def solve_together(
    values: Floats,
    rows: NDArray[np.int64],
    sides: tuple[NDArray[np.int64], NDArray[np.int64]],
    search: Search,
    found: Findings,
    trace: Floats,
) -> Iterator[int]:
    """Every pair of a left and a right symbol over these bars; the same array twice: every pair of it. Yields pairs done.

    `values` (symbols, bars), `sides` places in it, `rows` the bars that all of them have. Fills `found` and `trace` [y, x].
    """
    left, right = sides
    one_group = left is right
    block = _block(values, rows, (left,) if one_group else (left, right), search.window)
    levels = np.ascontiguousarray(block.levels.T)
    steps = np.diff(levels, axis=0)
    m, width, edge = len(steps), levels.shape[1], _padded(len(left))
    room = lanes_of(search.window, search.lags_max, LANES)
    tall = max(1, _STEP_PRODUCTS_MAX // ((search.window + 1) * width * _PANEL)) * _PANEL
    for top in range(0, edge, tall):
        height = slice(top, min(top + tall, edge))
        across = slice(top if one_group else edge, width)
        panels = [slice(first, min(first + _PANEL, height.stop)) for first in range(top, height.stop, _PANEL)]
        level_products = levels[:, height].T @ levels[:, across]
        step_products = _step_products(steps, panels, across, search.window)
        bounds = (height.start, height.stop), (across.start, across.stop)
        solve_tile(room, block, m, search, *bounds, level_products, step_products, found)
        for panel in panels:
            first = max(panel.start, across.start)
            here = slice(panel.start - top, panel.stop - top), slice(first - across.start, None)
            products = step_products[:2, *here], level_products[here]
            _traces(block, levels, steps, (panel, slice(first, width)), search.window, products, trace)
        yield int((block.place[height] >= 0).sum() * (block.place[across] >= 0).sum())


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


def _step_products(steps: Floats, panels: list[slice], across: slice, window: int) -> Floats:
    """Σ (d_i,t + d_i,t-k)(d_j,t + d_j,t-k) over t = window … m-1 as [k, i, j], for k = 0 Σ d_i,t d_j,t.

    Of columns that are rows as well, only those from a panel's own on are filled in.
    """
    m, top = len(steps), panels[0].start
    found = np.empty((window + 1, panels[-1].stop - top, across.stop - across.start))
    both = np.empty((m - window, steps.shape[1] - top))
    for k in range(window + 1):
        if k:
            np.add(steps[window:, top:], steps[window - k : m - k, top:], out=both)
        else:
            both[:] = steps[window:, top:]
        for panel in panels:
            first = max(panel.start, across.start)
            np.matmul(
                both[:, panel.start - top : panel.stop - top].T,
                both[:, first - top :],
                out=found[k, panel.start - top : panel.stop - top, first - across.start :],
            )
    return found


def _traces(
    block: Block,
    levels: Floats,
    steps: Floats,
    tile: tuple[slice, slice],
    window: int,
    products: tuple[Floats, Floats],
    trace: Floats,
) -> None:
    """Johansen's trace of the pairs of a tile, whose `products` of steps and levels these are."""
    height, across = tile
    step_products, level_products = products
    plain = step_products[0]
    newest, before = (np.outer(steps[t, height], steps[t, across]) for t in (len(steps) - 1, window - 1))
    lagged = step_products[1] - 2 * plain - before + newest
    # The products begin at the window; Johansen's sums at the second step.
    a, b = steps[:window, height], steps[:window, across]
    plain = plain + a[1:].T @ b[1:]
    lagged += a[1:].T @ b[:-1] + a[:-1].T @ b[1:]
    moments = johansen.tile_moments(levels, height, across, plain, lagged, level_products)
    shape = moments.shape[1:]
    found = np.empty(shape[0] * shape[1])
    johansen.traces(moments.reshape(johansen.MOMENTS, -1), np.full(len(found), len(steps) - 1.0), found)
    i, j = np.ix_(block.place[height], block.place[across])
    fits = (i >= 0) & (j >= 0) & (np.arange(height.start, height.stop)[:, None] < np.arange(across.start, across.stop))
    i, j = np.broadcast_to(i, shape)[fits], np.broadcast_to(j, shape)[fits]
    trace[i, j] = trace[j, i] = found.reshape(shape)[fits]
