"""When to enter and when to leave: pure, the same for the live runner and for the backtest.

z ≤ −entry → SELL (sell a, buy b); z ≥ entry → BUY (buy a, sell b); EXIT when z has come back to ∓exit_z; STOP when z
runs to the stop; no entry at or beyond the stop; after a stop the pair re-arms only once z has crossed its mean; the same
signal is not repeated within 30 s; a time stop after a few half-lives.
"""

import math

import msgspec

from domain.pairs import PairSide, SignalType
from domain.spread import EVERYTHING, Band, SpreadMoments

REPEAT_MS_MIN = 30_000
TIME_STOP_HALF_LIVES = 4.0


class EntryRules(msgspec.Struct, frozen=True, gc=False):
    """Thresholds for a new trade, in standard deviations."""

    entry_z: float
    stop_z: float


class HeldTrade(msgspec.Struct, frozen=True, gc=False):
    """What an open trade was opened with; none of it follows later recalibrations."""

    side: PairSide
    statistics: SpreadMoments
    hedge_ratio: float
    exit_z: float
    stop_z: float
    time_stop_ms: int | None


class PairState(msgspec.Struct, frozen=True, gc=False):
    """Where a pair is between decisions."""

    held: HeldTrade | None = None
    # After a stop: the sign of z at the stop; 0 when armed. The pair re-arms once z has crossed its mean.
    stopped_at_sign: int = 0
    last_signal: SignalType | None = None
    last_signal_ms: int = -REPEAT_MS_MIN
    busy: bool = False  # A trade of this pair is opening or closing.


def band_of(standing: PairState, rules: EntryRules, current: SpreadMoments | None) -> Band:
    """The spreads inside which `decide` has nothing to say, so that a tick costs two compares."""
    if standing.busy:
        return EVERYTHING
    held = standing.held
    if held is not None:
        mean, std = held.statistics.mean, held.statistics.std
        if held.side is PairSide.SELL:
            return Band(mean - held.stop_z * std, mean - held.exit_z * std)
        return Band(mean + held.exit_z * std, mean + held.stop_z * std)
    if current is None:
        return EVERYTHING
    mean, std = current.mean, current.std
    if standing.stopped_at_sign < 0:
        return Band(-math.inf, mean)
    if standing.stopped_at_sign > 0:
        return Band(mean, math.inf)
    return Band(mean - rules.entry_z * std, mean + rules.entry_z * std)


def decide(
    spread: float, standing: PairState, rules: EntryRules, current: SpreadMoments | None, now_ms: int
) -> SignalType | None:
    """The signal this spread calls for, or None. `now_ms` is market time.

    A disarmed pair whose z has crossed the mean gets None here; `rearmed` tells the caller.
    """
    if standing.busy:
        return None
    held = standing.held
    if held is not None:
        return _unless_repeated(_exit_of(held, spread, now_ms), standing, now_ms)
    if current is None or standing.stopped_at_sign != 0:
        return None
    z = current.z_score(spread)
    if abs(z) >= rules.stop_z:
        return None
    if z <= -rules.entry_z:
        return _unless_repeated(SignalType.SELL, standing, now_ms)
    if z >= rules.entry_z:
        return _unless_repeated(SignalType.BUY, standing, now_ms)
    return None


def _exit_of(held: HeldTrade, spread: float, now_ms: int) -> SignalType | None:
    z = held.statistics.z_score(spread)
    # Seen from the trade, down is away from the mean whichever side it took.
    towards_mean = z if held.side is PairSide.SELL else -z
    if towards_mean <= -held.stop_z:
        return SignalType.STOP
    if towards_mean >= -held.exit_z:
        return SignalType.EXIT
    if held.time_stop_ms is not None and now_ms >= held.time_stop_ms:
        return SignalType.TIME_STOP
    return None


def _unless_repeated(signal: SignalType | None, standing: PairState, now_ms: int) -> SignalType | None:
    # Both ways: what a restart read from the journal may lie ahead of a replay that began anew.
    if signal is standing.last_signal and abs(now_ms - standing.last_signal_ms) < REPEAT_MS_MIN:
        return None
    return signal


def rearmed(standing: PairState, spread: float, current: SpreadMoments | None) -> bool:
    """True when a pair that was stopped out has seen z cross its mean."""
    if standing.stopped_at_sign == 0 or current is None:
        return False
    z = current.z_score(spread)
    return z >= 0 if standing.stopped_at_sign < 0 else z <= 0


def confidence_of(z_score: float, entry_z: float, stop_z: float) -> float:
    """0 at the entry threshold, falling to 0 again at the stop, 1 half-way: too far is as doubtful as too near."""
    half = (stop_z - entry_z) / 2
    return max(0.0, 1.0 - abs(abs(z_score) - (entry_z + half)) / half)


def time_stop_at_ms(opened_ms: int, half_life_bars: float | None, bar_seconds: int) -> int | None:
    """The moment after which a trade has had its chance: `TIME_STOP_HALF_LIVES` half-lives after it opened."""
    if half_life_bars is None:
        return None
    return opened_ms + round(TIME_STOP_HALF_LIVES * half_life_bars * bar_seconds * 1000)
