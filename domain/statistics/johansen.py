"""Johansen's trace statistic (1991) of two series, constant, one lagged difference: statsmodels' `coint_johansen(·, 0, 1).lr1[0]`.

With u the steps, v the steps before them and l the levels between, all centred over t = 1 … m-1, and S the moments of u and l
freed of v: trace = -T ln(det(S_ll - S_lu S_uu⁻¹ S_ul) / det S_ll). Every moment of a pair is an element of a matrix product.
"""

import math

import numpy as np
from numpy.typing import NDArray

from domain.statistics.adf import Floats
from domain.statistics.compiled import compiled

_UU, _VV, _LL, _UV, _LU, _LV = 0, 3, 6, 9, 13, 17
MOMENTS = 21
"""Rows of a table of moments: uu, vv, ll as aa, ab, bb; uv, lu, lv as aa, ab, ba, bb."""


@compiled
def traces(moments: Floats, count: Floats, out: Floats) -> None:
    """The trace of each column of `moments` (MOMENTS, pairs), from `count` observations each."""
    for at in range(moments.shape[1]):
        q = moments[:, at]
        volume = q[_VV] * q[_VV + 2] - q[_VV + 1] * q[_VV + 1]
        i_aa, i_ab, i_bb = q[_VV + 2] / volume, -q[_VV + 1] / volume, q[_VV] / volume
        # uv · vv⁻¹ and lv · vv⁻¹.
        w_aa = q[_UV] * i_aa + q[_UV + 1] * i_ab
        w_ab = q[_UV] * i_ab + q[_UV + 1] * i_bb
        w_ba = q[_UV + 2] * i_aa + q[_UV + 3] * i_ab
        w_bb = q[_UV + 2] * i_ab + q[_UV + 3] * i_bb
        z_aa = q[_LV] * i_aa + q[_LV + 1] * i_ab
        z_ab = q[_LV] * i_ab + q[_LV + 1] * i_bb
        z_ba = q[_LV + 2] * i_aa + q[_LV + 3] * i_ab
        z_bb = q[_LV + 2] * i_ab + q[_LV + 3] * i_bb
        u_aa = q[_UU] - w_aa * q[_UV] - w_ab * q[_UV + 1]
        u_ab = q[_UU + 1] - w_aa * q[_UV + 2] - w_ab * q[_UV + 3]
        u_bb = q[_UU + 2] - w_ba * q[_UV + 2] - w_bb * q[_UV + 3]
        l_aa = q[_LL] - z_aa * q[_LV] - z_ab * q[_LV + 1]
        l_ab = q[_LL + 1] - z_aa * q[_LV + 2] - z_ab * q[_LV + 3]
        l_bb = q[_LL + 2] - z_ba * q[_LV + 2] - z_bb * q[_LV + 3]
        c_aa = q[_LU] - z_aa * q[_UV] - z_ab * q[_UV + 1]
        c_ab = q[_LU + 1] - z_aa * q[_UV + 2] - z_ab * q[_UV + 3]
        c_ba = q[_LU + 2] - z_ba * q[_UV] - z_bb * q[_UV + 1]
        c_bb = q[_LU + 3] - z_ba * q[_UV + 2] - z_bb * q[_UV + 3]
        volume = u_aa * u_bb - u_ab * u_ab
        g_aa = (c_aa * (c_aa * u_bb - c_ab * u_ab) + c_ab * (c_ab * u_aa - c_aa * u_ab)) / volume
        g_ab = (c_aa * (c_ba * u_bb - c_bb * u_ab) + c_ab * (c_bb * u_aa - c_ba * u_ab)) / volume
        g_bb = (c_ba * (c_ba * u_bb - c_bb * u_ab) + c_bb * (c_bb * u_aa - c_ba * u_ab)) / volume
        volume = l_aa * l_bb - l_ab * l_ab
        # ln det(1 - l⁻¹ g) through its small part, so that no digits are lost to the 1.
        share = (g_aa * l_bb + g_bb * l_aa - 2 * g_ab * l_ab) / volume
        out[at] = -count[at] * math.log1p((g_aa * g_bb - g_ab * g_ab) / volume - share)


def tile_moments(
    x: Floats, d: Floats, own: Floats, tile: tuple[slice, slice], products: tuple[Floats, Floats, Floats]
) -> Floats:
    """The moments (MOMENTS, left, right) of all pairs of a tile; `x` (n, symbols) centred, `d` its steps, `own` their moments.

    `products`: Σ d_i d_j and Σ d_i,t d_j,t-1 + d_i,t-1 d_j,t over t = 1 … m-1, and Σ x_i x_j over all bars.
    """
    left, right = tile
    steps, lagged, levels = products
    a, b, d_a, d_b = x[:, left], x[:, right], d[:, left], d[:, right]
    m = len(d)
    count = m - 1
    lag_ab = d_a[1:].T @ d_b[:-1]
    mixed = a[1:m].T @ d_b[1:]
    uu = steps
    vv = steps + np.outer(d_a[0], d_b[0]) - np.outer(d_a[-1], d_b[-1])
    ll = levels - np.outer(a[0], b[0]) - np.outer(a[-1], b[-1])
    lag_ba = lagged - lag_ab
    # Σ x_a d_b + x_b d_a + d_a d_b telescopes.
    mixed_ba = np.outer(a[-1], b[-1]) - np.outer(a[1], b[1]) - mixed - steps
    before_ab = mixed + np.outer(a[0], d_b[0]) - np.outer(a[m - 1], d_b[-1]) + vv
    before_ba = mixed_ba + np.outer(d_a[0], b[0]) - np.outer(d_a[-1], b[m - 1]) + vv
    # Σ d and Σ x telescope, too.
    mean_u_a, mean_u_b = (a[-1] - a[1]) / count, (b[-1] - b[1]) / count
    mean_v_a, mean_v_b = (a[-2] - a[0]) / count, (b[-2] - b[0]) / count
    mean_l_a, mean_l_b = own[-1, left], own[-1, right]
    table = np.empty((MOMENTS, a.shape[1], b.shape[1]))
    table[_UU + 1] = uu - count * np.outer(mean_u_a, mean_u_b)
    table[_VV + 1] = vv - count * np.outer(mean_v_a, mean_v_b)
    table[_LL + 1] = ll - count * np.outer(mean_l_a, mean_l_b)
    table[_UV + 1] = lag_ab - count * np.outer(mean_u_a, mean_v_b)
    table[_UV + 2] = lag_ba - count * np.outer(mean_v_a, mean_u_b)
    table[_LU + 1] = mixed - count * np.outer(mean_l_a, mean_u_b)
    table[_LU + 2] = mixed_ba - count * np.outer(mean_u_a, mean_l_b)
    table[_LV + 1] = before_ab - count * np.outer(mean_l_a, mean_v_b)
    table[_LV + 2] = before_ba - count * np.outer(mean_v_a, mean_l_b)
    for row, last, index in ((_UU, 2, 0), (_VV, 2, 1), (_LL, 2, 2), (_UV, 3, 3), (_LU, 3, 4), (_LV, 3, 5)):
        table[row] = own[index, left][:, None]
        table[row + last] = own[index, right][None, :]
    return table


def own_moments(x: Floats, d: Floats) -> Floats:
    """uu, vv, ll, uv, lu, lv of each column of `x` with itself, `d` its steps; and the mean of l."""
    u, v, level = d[1:], d[:-1], x[1:-1]
    means = u.mean(axis=0), v.mean(axis=0), level.mean(axis=0)
    u, v, level = u - means[0], v - means[1], level - means[2]
    pairs = ((u, u), (v, v), (level, level), (u, v), (level, u), (level, v))
    return np.array([*(np.einsum("tj,tj->j", one, other) for one, other in pairs), means[2]])


@compiled
def moments_each(
    values: Floats,
    present: NDArray[np.bool_],
    pairs: NDArray[np.int64],
    hedge_ratio: Floats,
    out: Floats,
    count: Floats,
) -> None:
    """The moments of pairs one by one, each over its own bars: of x and of y - hedge_ratio · x.

    The trace does not change when the series are mixed, and these two are never nearly the same.
    """
    width = values.shape[1]
    a, b = np.empty(width), np.empty(width)
    z = np.empty((6, width))
    for row in range(pairs.shape[0]):
        n = 0
        for t in range(width):
            if present[pairs[row, 0], t] and present[pairs[row, 1], t]:
                a[n] = values[pairs[row, 1], t]
                b[n] = values[pairs[row, 0], t]
                n += 1
        origin_a, origin_b = a[0], b[0]
        for t in range(n):
            a[t] -= origin_a
            b[t] = (b[t] - origin_b) - hedge_ratio[row] * a[t]
        count[row] = n - 2
        for t in range(n - 2):
            z[0, t], z[1, t] = a[t + 2] - a[t + 1], b[t + 2] - b[t + 1]
            z[2, t], z[3, t] = a[t + 1] - a[t], b[t + 1] - b[t]
            z[4, t], z[5, t] = a[t + 1], b[t + 1]
        for k in range(6):
            mean = 0.0
            for t in range(n - 2):
                mean += z[k, t]
            mean /= n - 2
            for t in range(n - 2):
                z[k, t] -= mean
        at = 0
        for k in (0, 2, 4):
            for i, j in ((k, k), (k, k + 1), (k + 1, k + 1)):
                out[at, row] = _product(z, i, j, n - 2)
                at += 1
        for k, other in ((0, 2), (4, 0), (4, 2)):
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                out[at, row] = _product(z, k + i, other + j, n - 2)
                at += 1


@compiled
def _product(z: Floats, i: int, j: int, count: int) -> float:
    total = 0.0
    for t in range(count):
        total += z[i, t] * z[j, t]
    return total
