"""Prices in which there is nothing to find, and prices in which something was put: what a scan is measured with."""

from dataclasses import dataclass

import numpy as np

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


def shifted_periods(rng: np.random.Generator, panel: PricePanel, bars: int) -> PricePanel:
    """Each symbol's own returns, from a moment of its own: what they share in time is gone, what each is like is not.

    The returns go round in a circle. `panel` without gaps.
    """
    steps = np.diff(np.log(panel.prices), axis=0)
    starts = rng.integers(0, len(steps), (1, steps.shape[1]))
    at = (starts + np.arange(bars)[:, None]) % len(steps)
    return _named(3 + np.cumsum(np.take_along_axis(steps, at, axis=0), axis=0), panel.bar_seconds)


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
    rng: np.random.Generator, *, symbols: int, bars: int, pairs: int, half_life_bars: float, spread_std: float = 0.02
) -> Planted:
    """Walks with fat tails and a common factor; `pairs` of them share a walk, their spread an AR(1) of this half-life.

    `spread_std` is the stationary deviation of the spread in logs.
    """
    base = np.log(independent_walks(rng, symbols=symbols, bars=bars, tails=4, factor=0.5).prices)
    phi = 0.5 ** (1 / half_life_bars)
    places = rng.permutation(symbols)[: 2 * pairs].reshape(pairs, 2)
    for one, other in places:
        noise = rng.normal(0, spread_std * np.sqrt(1 - phi**2), bars)
        noise[0] = rng.normal(0, spread_std)
        for t in range(1, bars):
            noise[t] += phi * noise[t - 1]
        base[:, one] = rng.uniform(0.5, 2) * base[:, other] + noise
    return Planted(panel=_named(base, 3600), pairs=frozenset(frozenset(pair) for pair in places.tolist()))
