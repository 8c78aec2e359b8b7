"""The last resort for a regression whose products have lost too many digits: the same test by an orthogonal factor."""

import math

import numpy as np

from domain.statistics import adf
from domain.statistics.adf import Floats

_RANK_MIN = 1e-12


def solve_orthogonal(residual: Floats, criterion: int, lags_max: int | None) -> tuple[float, int]:
    """t and lag of the test without constant; t NaN where the regression has no single solution."""
    lags = adf.schwert(len(residual), 0) if lags_max is None else lags_max
    lag = lags if criterion == adf.FIXED else _chosen(residual, criterion, lags)
    factor = _factor(residual, lag, level_last=True)
    own = np.abs(np.diag(factor)[:-1])
    if own.min() <= _RANK_MIN * own.max():
        return math.nan, lag
    freedom = len(residual) - 1 - lag - (lag + 1)
    return float(np.sign(factor[-2, -2]) * factor[-2, -1] * math.sqrt(freedom) / abs(factor[-1, -1])), lag


def _factor(residual: Floats, lags: int, *, level_last: bool) -> Floats:
    """The triangular factor of [level, lag 1 … lag P, step], or of [lag 1 … lag P, level, step]."""
    step = np.diff(residual)
    m = len(step)
    level = [residual[lags:m]]
    lagged = [step[lags - k : m - k] for k in range(1, lags + 1)]
    columns = [*lagged, *level] if level_last else [*level, *lagged]
    return np.asarray(np.linalg.qr(np.column_stack([*columns, step[lags:]]), mode="r"))


def _chosen(residual: Floats, criterion: int, lags_max: int) -> int:
    """The lag by the criterion, over models nested in one factor: the squares of its last column add up to their sums."""
    factor = _factor(residual, lags_max, level_last=False)
    nobs = len(residual) - 1 - lags_max
    rest = float(factor[-1, -1]) ** 2
    best, found = math.inf, lags_max
    for lag in range(lags_max, -1, -1):
        z = float(factor[lag, -1])
        if criterion == adf.T_STAT:
            found = lag
            if abs(z) >= adf.T_STAT_STOP * math.sqrt(rest / (nobs - lag - 1)):
                break
        else:
            price = 2.0 if criterion == adf.AIC else math.log(nobs)
            score = nobs * math.log(rest) + price * (lag + 1) if rest > 0 else -math.inf
            if score <= best:
                best, found = score, lag
        rest += z * z
    return found
