"""Prices in which there is nothing to find, and prices in which something was put: what a scan is measured with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.statistics.adf import Floats
from domain.statistics.panel import PricePanel

_STEP = 0.005  # Of a logarithmic price, a bar.


def _named(log_prices: Floats, bar_seconds: int | None) -> PricePanel:
    symbols = tuple(f"S{number:03d}" for number in range(log_prices.shape[1]))
    return PricePanel(symbols=symbols, prices=np.exp(log_prices), bar_seconds=bar_seconds)


def independent_walks(
    rng: np.random.Generator, *, symbols: int, bars: int, tails: float | None = None, factor: float = 0.0
) -> PricePanel:
    """Random walks in logs; `tails`: Student's degrees of freedom; `factor`: a common walk's share of each step's deviation."""
    own = rng.normal(size=(bars, symbols)) if tails is None else rng.standard_t(tails, (bars, symbols))
    steps = np.sqrt(1 - factor**2) * own + factor * rng.normal(size=(bars, 1))
    return _named(3 + _STEP * np.cumsum(steps, axis=0), 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifted:
    """Symbols from periods of their own, and the pairs [y, x] whose legs are from the same one: not to be looked at."""

    panel: PricePanel
    excluded: NDArray[np.bool_]


def shifted_periods(rng: np.random.Generator, panel: PricePanel, bars: int) -> Shifted:
    """Each symbol's own returns out of one of the disjoint periods of `bars` that the panel (without gaps) has room for.

    Periods that overlap would not do: a common move and the same move 50 bars later are cointegrated, only slowly.
    """
    steps = np.diff(np.log(panel.prices), axis=0)
    room = len(steps) // bars
    period = rng.integers(0, room, steps.shape[1])
    starts = int(rng.integers(0, len(steps) - room * bars + 1)) + period * bars
    moved = np.take_along_axis(steps, starts.reshape(1, -1) + np.arange(bars).reshape(-1, 1), axis=0)
    return Shifted(
        panel=_named(3 + np.cumsum(moved, axis=0), panel.bar_seconds), excluded=np.equal.outer(period, period)
    )


def phase_randomised(rng: np.random.Generator, panel: PricePanel, bars: int) -> PricePanel:
    """Returns with the spectrum of each symbol's own and random phases: autocorrelation stays, everything shared goes."""
    steps = np.diff(np.log(panel.prices), axis=0)[-bars:]
    spectrum = np.fft.rfft(steps - steps.mean(axis=0), axis=0)
    phases = rng.uniform(0, 2 * np.pi, spectrum.shape)
    turned = np.fft.irfft(np.abs(spectrum) * np.exp(1j * phases), n=len(steps), axis=0)
    return _named(3 + np.cumsum(turned, axis=0), panel.bar_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A panel and the pairs (columns) that truly belong together."""

    panel: PricePanel
    pairs: frozenset[frozenset[int]]


def planted_pairs(
    rng: np.random.Generator, *, symbols: int, bars: int, pairs: int, half_life_bars: float, noise: float = 0.5
) -> Planted:
    """Walks with fat tails and a common factor; `pairs` of them share a walk, their spread an AR(1) of this half-life.

    `noise`: the spread's innovations as a multiple of a leg's own steps. Above 1 a leg is more noise than walk.
    """
    base = np.log(independent_walks(rng, symbols=symbols, bars=bars, tails=4, factor=0.5).prices)
    phi = 0.5 ** (1 / half_life_bars)
    places = rng.permutation(symbols)[: 2 * pairs].reshape(pairs, 2)
    for one, other in places:
        spread = rng.normal(0, noise * _STEP, bars)
        spread[0] /= np.sqrt(1 - phi**2)
        for t in range(1, bars):
            spread[t] += phi * spread[t - 1]
        base[:, one] = rng.uniform(0.5, 2) * base[:, other] + spread
    return Planted(panel=_named(base, 3600), pairs=frozenset(frozenset(pair) for pair in places.tolist()))
