"""Matrix products for symbols that share their bars: one a lag serves every pair, both ways.

For d the steps, (d_i,t + d_i,t-k)(d_j,t + d_j,t-k) summed over t holds Σ d_i,t d_j,t-k + d_i,t-k d_j,t and two sums without
lag, which edges give. It is symmetric in i and j, so only half of the products are needed.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from domain.statistics import johansen
from domain.statistics.adf import LANES, Floats, Search, lanes_of
from domain.statistics.spreads import Block, Findings, solve_tile

_PANEL = 128  # Symbols a row of tiles is high: enough for the products, little enough for the cache and the memory.


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
    for top in range(0, edge, _PANEL):
        height = slice(top, min(top + _PANEL, edge))
        across = slice(top if one_group else edge, width)
        level_products = levels[:, height].T @ levels[:, across]
        step_products = _step_products(steps, height, across, search.window)
        bounds = (height.start, height.stop), (across.start, across.stop)
        solve_tile(room, block, m, search, *bounds, level_products, step_products, found)
        _traces(block, levels, steps, (height, across), search.window, (step_products, level_products), trace)
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
    products = np.array(
        [np.einsum("jt,jt->j", steps[:, window:], steps[:, window - k : m - k]) for k in range(window + 1)]
    )
    return Block(
        levels=levels,
        means=means,
        head_level=np.ascontiguousarray(levels[:, : window + 1].T),
        tail_level=np.ascontiguousarray(levels[:, ::-1][:, : window + 1].T),
        head_step=np.ascontiguousarray(steps[:, :window].T),
        tail_step=np.ascontiguousarray(steps[:, ::-1][:, :window].T),
        products=products,
        energy=np.einsum("jt,jt->j", levels, levels),
        place=place,
    )


def _step_products(steps: Floats, height: slice, across: slice, window: int) -> Floats:
    """Σ d_i,t d_j,t-k + d_i,t-k d_j,t over t = window … m-1, as [k, i, j]."""
    m = len(steps)
    a, b = np.ascontiguousarray(steps[:, height]), np.ascontiguousarray(steps[:, across])
    found = np.empty((window + 1, a.shape[1], b.shape[1]))
    plain = a[window:].T @ b[window:]
    found[0] = 2 * plain
    both = 2 * plain  # Σ d_i,t d_j,t + Σ d_i,t-k d_j,t-k
    sum_a, sum_b = np.empty((m - window, a.shape[1])), np.empty((m - window, b.shape[1]))
    for k in range(1, window + 1):
        both += np.outer(a[window - k], b[window - k]) - np.outer(a[m - k], b[m - k])
        np.add(a[window:], a[window - k : m - k], out=sum_a)
        np.add(b[window:], b[window - k : m - k], out=sum_b)
        np.matmul(sum_a.T, sum_b, out=found[k])
        found[k] -= both
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
    height, across = tile
    step_products, level_products = products
    # The products begin at the window; Johansen's sums at the second step.
    a, b = steps[:window, height], steps[:window, across]
    plain = step_products[0] / 2 + a[1:].T @ b[1:]
    lagged = step_products[1] + a[1:].T @ b[:-1] + a[:-1].T @ b[1:]
    moments = johansen.tile_moments(levels, height, across, plain, lagged, level_products)
    shape = moments.shape[1:]
    found = np.empty(shape[0] * shape[1])
    johansen.traces(moments.reshape(johansen.MOMENTS, -1), np.full(len(found), len(steps) - 1.0), found)
    i, j = np.ix_(block.place[height], block.place[across])
    fits = (i >= 0) & (j >= 0) & (np.arange(height.start, height.stop)[:, None] < np.arange(across.start, across.stop))
    i, j = np.broadcast_to(i, shape)[fits], np.broadcast_to(j, shape)[fits]
    trace[i, j] = trace[j, i] = found.reshape(shape)[fits]
