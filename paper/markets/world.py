"""The synthetic market's hidden state: what moves the prices, and the prices that follow from it."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paper.markets.history import Disturbance, Floats, Past, saturated, saturated_array
from paper.markets.pairs import COMMON_LOADING, COMMON_LOADING_DEFAULT, KnownPair

COMMON = "common"
_HOUR_SECONDS = 3_600.0
# Log prices are as good as random walks for months, yet a paper market that runs for years stays near its level.
_WALK_HALF_LIFE_SECONDS = 120 * 24 * _HOUR_SECONDS
_COMMON_HOURLY_SD = 0.0035
_OWN_HOURLY_SD = 0.0050
_WALK_START_SDS = 0.1  # The first start is close to the base prices.
_WICK_OF_A_WALK = 0.0004
_WICK_OF_A_PAIR = 0.0020
_MINUTE_USD = 120_000.0


def _walk(name: str, hourly_sd: float) -> Disturbance:
    """A slow Ornstein-Uhlenbeck process that moves by `hourly_sd` an hour."""
    rate_per_hour = math.log(2) * _HOUR_SECONDS / _WALK_HALF_LIFE_SECONDS
    return Disturbance(
        name=name, sd=hourly_sd / math.sqrt(2 * rate_per_hour), half_life_seconds=_WALK_HALF_LIFE_SECONDS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One contract: either it walks by itself, or it hangs on the leg_a of its pair."""

    symbol: str
    base_price: float
    loading: float
    pair: KnownPair | None  # Set for leg_b only.

    @property
    def wick_fraction(self) -> float:
        """How far a minute's extremes reach beyond open and close, as a fraction of the price."""
        return _WICK_OF_A_WALK if self.pair is None else _WICK_OF_A_PAIR

    @property
    def minute_usd(self) -> float:
        """Traded notional of a usual minute."""
        return _MINUTE_USD * (8.0 if self.base_price > 100 else 1.0)


@dataclass(slots=True, kw_only=True)
class Group:
    """Contracts that tick together: the two legs of a pair, or one decoy."""

    lead: Leg
    follower: Leg | None
    moved_ms: int | None = None


class World:
    """The disturbances and their present values. Reading a name gives its value."""

    def __init__(
        self,
        *,
        base_prices: Mapping[str, float],
        pairs: tuple[KnownPair, ...],
        rng: random.Random,
        known: Mapping[str, float] | None,
    ) -> None:
        self._gauss = rng.gauss
        self._common_ms: int | None = None
        by_b = {pair.symbol_b: pair for pair in pairs}
        self.legs = {
            symbol: Leg(
                symbol=symbol,
                base_price=price,
                loading=COMMON_LOADING.get(symbol, COMMON_LOADING_DEFAULT),
                pair=by_b.get(symbol),
            )
            for symbol, price in base_prices.items()
        }
        followers = {pair.symbol_a: self.legs[pair.symbol_b] for pair in pairs}
        self.groups = [
            Group(lead=leg, follower=followers.get(leg.symbol)) for leg in self.legs.values() if leg.pair is None
        ]
        self.disturbances = {COMMON: _walk(COMMON, _COMMON_HOURLY_SD)}
        for leg in self.legs.values():
            for disturbance in self._of(leg):
                self.disturbances[disturbance.name] = disturbance
        walks = {COMMON, *(f"{group.lead.symbol}:own" for group in self.groups)}
        drawn = {
            name: disturbance.sd * self._gauss(0.0, 1.0) * (_WALK_START_SDS if name in walks else 1.0)
            for name, disturbance in self.disturbances.items()
        }
        self._values = drawn if known is None else {name: known.get(name, value) for name, value in drawn.items()}

    @staticmethod
    def _of(leg: Leg) -> tuple[Disturbance, ...]:
        if leg.pair is None:
            return (_walk(f"{leg.symbol}:own", _OWN_HOURLY_SD),)
        return (
            Disturbance(name=f"{leg.symbol}:fast", sd=1.0, half_life_seconds=leg.pair.half_life_seconds),
            Disturbance(
                name=f"{leg.symbol}:slow",
                sd=leg.pair.slow_sd,
                half_life_seconds=leg.pair.slow_half_life_hours * _HOUR_SECONDS,
            ),
        )

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def state(self) -> dict[str, float]:
        """Every disturbance's present value by name."""
        return dict(self._values)

    def price(self, leg: Leg) -> float:
        """The present price."""
        values = self._values
        pair = leg.pair
        if pair is None:
            return leg.base_price * math.exp(leg.loading * values[COMMON] + values[f"{leg.symbol}:own"])
        disturbed = pair.spread_sd * saturated(values[f"{leg.symbol}:fast"]) + values[f"{leg.symbol}:slow"]
        price_a = self.price(self.legs[pair.symbol_a])
        return (pair.intercept + pair.hedge_ratio * price_a) * (1.0 + disturbed)

    def prices(self) -> dict[str, float]:
        """Every contract's present price."""
        return {symbol: self.price(leg) for symbol, leg in self.legs.items()}

    def past_prices(self, leg: Leg, past: Past, common: Floats, anchor: Mapping[str, float]) -> Floats:
        """The leg's closes, oldest first."""
        pair = leg.pair
        if pair is None:
            (own,) = self._of(leg)
            walked: Floats = leg.base_price * np.exp(leg.loading * common + self._path(own, past, anchor))
            return walked
        fast, slow = self._of(leg)
        disturbed = pair.spread_sd * saturated_array(self._path(fast, past, anchor)) + self._path(slow, past, anchor)
        price_a = self.past_prices(self.legs[pair.symbol_a], past, common, anchor)
        prices: Floats = (pair.intercept + pair.hedge_ratio * price_a) * (1.0 + disturbed)
        return prices

    def _path(self, disturbance: Disturbance, past: Past, anchor: Mapping[str, float]) -> Floats:
        name = disturbance.name
        return past.path(disturbance, at_anchor=anchor[name], now=self._values[name])

    def move_common(self, now_ms: int) -> None:
        """Let the common factor pass the time since it last moved."""
        if self._common_ms is not None and now_ms > self._common_ms:
            self._pass(COMMON, (now_ms - self._common_ms) / 1_000.0)
        self._common_ms = now_ms

    def move(self, group: Group, now_ms: int) -> tuple[tuple[Leg, float], ...]:
        """Let a group pass the time since it last moved. Returns its legs with their new prices."""
        lead, follower = group.lead, group.follower
        if group.moved_ms is not None and now_ms > group.moved_ms:
            seconds = (now_ms - group.moved_ms) / 1_000.0
            self._pass(f"{lead.symbol}:own", seconds)
            if follower is not None:
                self._pass(f"{follower.symbol}:fast", seconds)
                self._pass(f"{follower.symbol}:slow", seconds)
        group.moved_ms = now_ms
        if follower is None:
            return ((lead, self.price(lead)),)
        return ((lead, self.price(lead)), (follower, self.price(follower)))

    def _pass(self, name: str, seconds: float) -> None:
        self._values[name] = self.disturbances[name].step(self._values[name], seconds, self._gauss(0.0, 1.0))
