"""Price series of many temperaments, (symbols, bars), all above zero; and statsmodels' answer to a pair of them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.regression.linear_model import OLS
from statsmodels.tools import add_constant
from statsmodels.tools.sm_exceptions import CollinearityWarning
from statsmodels.tsa.adfvalues import mackinnonp
from statsmodels.tsa.stattools import adfuller, coint

from domain.statistics.panel import PricePanel

Floats = NDArray[np.float64]


def walks(rng: np.random.Generator, count: int, bars: int) -> Floats:
    return 100 + np.cumsum(rng.normal(0, 0.3, (count, bars)), axis=1)


def one_factor(rng: np.random.Generator, count: int, bars: int) -> Floats:
    return 0.5 * walks(rng, count, bars) + walks(rng, 1, bars)


def fat_tails(rng: np.random.Generator, count: int, bars: int) -> Floats:
    return 100 * np.exp(0.003 * np.cumsum(rng.standard_t(4, (count, bars)), axis=1))


def clustered_volatility(rng: np.random.Generator, count: int, bars: int) -> Floats:
    noise, variance = rng.normal(size=(count, bars)), np.ones(count)
    for t in range(bars):
        noise[:, t] *= np.sqrt(variance)
        variance = 0.05 + 0.1 * noise[:, t] ** 2 + 0.85 * variance
    return 100 * np.exp(0.003 * np.cumsum(noise, axis=1))


def near_unit_root(rng: np.random.Generator, count: int, bars: int) -> Floats:
    """A common walk and a deviation that forgets more and more slowly."""
    common = walks(rng, 1, bars)
    noise, phi = rng.normal(0, 0.5, (count, bars)), np.linspace(0, 0.999, count)
    for t in range(1, bars):
        noise[:, t] += phi * noise[:, t - 1]
    return common + noise


def nearly_collinear(rng: np.random.Generator, count: int, bars: int) -> Floats:
    """Deviations from a common walk so small that some pairs are collinear to statsmodels and others just not."""
    size = np.logspace(-3.5, -1, count)[:, None]
    return walks(rng, 1, bars) + size * rng.normal(size=(count, bars))


def nearly_collinear_walks(rng: np.random.Generator, count: int, bars: int) -> Floats:
    size = np.logspace(-3.7, -1.5, count)[:, None]
    return walks(rng, 1, bars) + size * np.cumsum(rng.normal(size=(count, bars)), axis=1)


def all_scales(rng: np.random.Generator, count: int, bars: int) -> Floats:
    """Prices from a ten-thousandth of a cent to a hundred million dollars."""
    return walks(rng, count, bars) * np.logspace(-6, 6, count)[:, None]


def moving_average(rng: np.random.Generator, count: int, bars: int) -> Floats:
    noise = rng.normal(0, 0.3, (count, bars + 1))
    return 100 + np.cumsum(noise[:, 1:] - 0.8 * noise[:, :-1], axis=1)


def smooth(rng: np.random.Generator, count: int, bars: int) -> Floats:
    """Nearly twice integrated: ill-conditioned for everybody."""
    drift = 0.02 * np.cumsum(rng.normal(0, 0.003, (count, bars)), axis=1)
    return 200 + np.cumsum(drift + rng.normal(0, 0.001, (count, bars)), axis=1)


FAMILIES: tuple[Callable[[np.random.Generator, int, int], Floats], ...] = (
    walks, one_factor, fat_tails, clustered_volatility, near_unit_root, nearly_collinear, nearly_collinear_walks, all_scales,
    moving_average,
)  # fmt: skip


def panel_of(series: Floats) -> PricePanel:
    return PricePanel(symbols=tuple(f"S{n}" for n in range(len(series))), prices=series.T.copy())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What statsmodels says. `t` is −inf for what it calls collinear."""

    t: float
    p: float
    lag: int
    hedge_ratio: float
    intercept: float
    residual: Floats


def statsmodels_answer(y: Floats, x: Floats, *, lags_max: int | None = None, autolag: str | None = "aic") -> Answer:
    """`coint` by its own steps, because it does not report the lag."""
    fit = OLS(y, add_constant(x, prepend=False)).fit()
    if fit.rsquared >= 1 - 100 * np.sqrt(np.finfo(np.float64).eps):
        return Answer(t=-np.inf, p=0.0, lag=-1, hedge_ratio=np.nan, intercept=np.nan, residual=fit.resid)
    found = adfuller(fit.resid, maxlag=lags_max, autolag=autolag, regression="n", result_object=False)
    return Answer(
        t=found[0],
        p=mackinnonp(found[0], regression="c", N=2),
        lag=found[2],
        hedge_ratio=fit.params[0],
        intercept=fit.params[1],
        residual=fit.resid,
    )


def statsmodels_coint(y: Floats, x: Floats, *, lags_max: int | None = None, autolag: str | None = "aic") -> Answer:
    """The function itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollinearityWarning)
        t, p, _ = coint(y, x, maxlag=lags_max, autolag=autolag)
    return Answer(t=t, p=p, lag=-1, hedge_ratio=np.nan, intercept=np.nan, residual=np.empty(0))
