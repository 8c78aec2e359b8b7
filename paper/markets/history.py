"""The past that a synthetic market claims to have, drawn backwards from the state it is in now.

Every disturbance is a stationary Gaussian AR(1), and those look the same in both directions: drawing backwards gives
a past that ends exactly at today's prices. The anchor (the first start) keeps its own past for good; the stretch
between the anchor and now is a bridge that meets both ends.
"""

import functools
import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain.units import DAY_MS, MINUTE_MS
from paper.markets.bars import BarColumns

Floats = npt.NDArray[np.float64]

_MINUTE_SECONDS = 60.0
_BLOCK = 32
_SATURATION = 3.5
SATURATION_SD = 0.9307  # Standard deviation of _SATURATION · tanh(N / _SATURATION) for a standard normal N.


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """A stationary Gaussian AR(1) in continuous time, in units of its own standard deviation `sd`."""

    name: str
    sd: float
    half_life_seconds: float

    def keep(self, seconds: float) -> float:
        """The share of today's value that is left after so many seconds."""
        return math.exp(-math.log(2) * seconds / self.half_life_seconds)

    def step(self, value: float, seconds: float, normal: float) -> float:
        """The value some seconds later, given one standard normal draw."""
        keep = self.keep(seconds)
        return value * keep + self.sd * math.sqrt(max(0.0, 1.0 - keep * keep)) * normal


def saturated(value: float) -> float:
    """Bend a standard normal so that it has unit deviation and never strays beyond 3.8: stops stay rare."""
    return _SATURATION * math.tanh(value / _SATURATION) / SATURATION_SD


def saturated_array(values: Floats) -> Floats:
    """The same, for a whole past."""
    bent: Floats = np.tanh(values / _SATURATION) * (_SATURATION / SATURATION_SD)
    return bent


@functools.lru_cache(maxsize=64)
def _weights(keep: float) -> Floats:
    """What is left of each earlier shock, within a block."""
    lags = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    weights: Floats = np.tril(keep ** np.maximum(lags, 0))
    return weights


def autoregress(shocks: Floats, keep: float, start: float) -> Floats:
    """y[i] = keep · y[i-1] + shocks[i] with y[-1] = start, a block of rows at a time."""
    blocks = -(-len(shocks) // _BLOCK)
    padded = np.zeros(blocks * _BLOCK)
    padded[: len(shocks)] = shocks
    inside = padded.reshape(blocks, _BLOCK) @ _weights(keep).T
    carried = np.empty(blocks)
    fade = keep**_BLOCK
    for block, last in enumerate(inside[:, -1].tolist()):
        carried[block] = start
        start = last + fade * start
    whole: Floats = inside + np.outer(carried, keep ** np.arange(1, _BLOCK + 1))
    return whole.reshape(-1)[: len(shocks)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """How many minute bars the past has before the anchor, and between the anchor and now."""

    before: int
    since: int
    start_ms: int  # Open time of the oldest bar.
    end_ms: int  # Open time of the bar that is open now.

    @classmethod
    def ending(cls, now_ms: int, *, anchor_ms: int, days: int) -> "Stretch":
        """At least `days` of bars that start at a UTC midnight."""
        end_ms = now_ms // MINUTE_MS * MINUTE_MS
        start_ms = (end_ms - days * DAY_MS) // DAY_MS * DAY_MS
        anchor_open_ms = min(max(anchor_ms // MINUTE_MS * MINUTE_MS, start_ms), end_ms)
        return cls(
            before=(anchor_open_ms - start_ms) // MINUTE_MS,
            since=(end_ms - anchor_open_ms) // MINUTE_MS,
            start_ms=start_ms,
            end_ms=end_ms,
        )


class Past:
    """Draws the past of one market, reproducibly: the same seed, anchor and present give the same bars."""

    def __init__(self, stretch: Stretch, *, seed: int) -> None:
        self._stretch = stretch
        self._seed = seed

    def rng(self, name: str, *, since_anchor: bool) -> np.random.Generator:
        """The generator of one name; the stretch since the anchor has its own, it differs with every start."""
        salt = self._stretch.end_ms // MINUTE_MS if since_anchor else 0
        return np.random.default_rng((self._seed & 0xFFFFFFFF, zlib.crc32(name.encode()), salt))

    def path(self, disturbance: Disturbance, *, at_anchor: float, now: float) -> Floats:
        """The disturbance at the close of every bar, oldest first."""
        stretch = self._stretch
        older = self._backward(disturbance, at_anchor, stretch.before, since_anchor=False)
        if stretch.since == 0:
            return older
        newer = self._backward(disturbance, now, stretch.since, since_anchor=True)
        # Meet the anchor: an Ornstein-Uhlenbeck bridge is the free path plus the miss, fading as the two ends demand.
        rate = math.log(2) * _MINUTE_SECONDS / disturbance.half_life_seconds
        minutes = np.arange(stretch.since, dtype=np.float64)
        left = stretch.since - minutes
        weight = np.exp(-rate * minutes) * np.expm1(-2 * rate * left) / math.expm1(-2 * rate * stretch.since)
        return np.concatenate((older, newer + (at_anchor - newer[0]) * weight))

    def normals(self, name: str) -> npt.NDArray[np.float32]:
        """Independent standard normals, one a bar, oldest first; single precision is plenty for wicks and volumes."""
        older = self.rng(name, since_anchor=False).standard_normal(self._stretch.before, np.float32)[::-1]
        newer = self.rng(name, since_anchor=True).standard_normal(self._stretch.since, np.float32)[::-1]
        return np.concatenate((older, newer))

    def _backward(self, disturbance: Disturbance, end: float, count: int, *, since_anchor: bool) -> Floats:
        if count == 0:
            return np.empty(0)
        keep = disturbance.keep(_MINUTE_SECONDS)
        # Newest first, so that a longer past only adds older draws.
        shocks = self.rng(disturbance.name, since_anchor=since_anchor).standard_normal(count)
        shocks *= disturbance.sd * math.sqrt(1.0 - keep * keep)
        return autoregress(shocks, keep, end)[::-1]

    def columns(
        self, symbol: str, prices: Floats, *, tick: float, wick_fraction: float, minute_usd: float
    ) -> BarColumns:
        """Bars whose closes are `prices`: each opens at the previous close and carries wicks and volume."""
        close = np.maximum(1, np.rint(prices / tick)).astype(np.int32)
        opened = np.concatenate((close[:1], close[:-1]))
        reach = close * wick_fraction
        upper = (np.abs(self.normals(f"{symbol}:upper")) * reach).astype(np.int32)
        lower = (np.abs(self.normals(f"{symbol}:lower")) * reach).astype(np.int32)
        volume = np.exp(0.6 * self.normals(f"{symbol}:volume")) * minute_usd / prices
        return BarColumns(
            start_ms=self._stretch.start_ms,
            open=opened,
            high=np.maximum(opened, close) + upper,
            low=np.maximum(1, np.minimum(opened, close) - lower),
            close=close,
            volume=volume.astype(np.float32),
        )
