"""When to enter and when to leave, as stories; and that the band is exactly where `decide` has nothing to say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.decide import (
    REPEAT_MS_MIN,
    EntryRules,
    HeldTrade,
    PairState,
    band_of,
    confidence_of,
    decide,
    rearmed,
    time_stop_at_ms,
)
from domain.pairs import PairSide, SignalType
from domain.spread import SpreadMoments

NOW = SpreadMoments(100.0, 10.0)
RULES = EntryRules(2.0, 4.0)
S = SignalType


def held(side: PairSide, exit_z: float = 0.0, time_stop_ms: int | None = None) -> HeldTrade:
    return HeldTrade(side, NOW, 1.0, exit_z, 4.0, time_stop_ms)


# One row, one story: the standing, the z of the spread -> the signal.
STORIES: list[tuple[str, PairState, float, SignalType | None]] = [
    ("nothing held, near the mean", PairState(), 1.9, None),
    ("at the entry above", PairState(), 2.0, S.BUY),
    ("at the entry below", PairState(), -2.0, S.SELL),
    ("just short of the stop", PairState(), 3.99, S.BUY),
    ("at the stop above", PairState(), 4.0, None),
    ("at the stop below", PairState(), -4.0, None),
    ("busy", PairState(busy=True), 3.0, None),
    ("stopped out above, still there", PairState(stopped_at_sign=1), 3.0, None),
    ("stopped out above, now far below", PairState(stopped_at_sign=1), -3.0, None),
    ("long spread, still low", PairState(held=held(PairSide.SELL)), -1.0, None),
    ("long spread, back", PairState(held=held(PairSide.SELL)), 0.0, S.EXIT),
    ("long spread, far beyond", PairState(held=held(PairSide.SELL)), 5.0, S.EXIT),
    ("long spread, back far enough", PairState(held=held(PairSide.SELL, exit_z=0.5)), -0.5, S.EXIT),
    ("long spread, stop", PairState(held=held(PairSide.SELL)), -4.0, S.STOP),
    ("short spread, still high", PairState(held=held(PairSide.BUY)), 1.0, None),
    ("short spread, back", PairState(held=held(PairSide.BUY)), 0.0, S.EXIT),
    ("short spread, back far enough", PairState(held=held(PairSide.BUY, exit_z=0.5)), 0.5, S.EXIT),
    ("short spread, stop", PairState(held=held(PairSide.BUY)), 4.0, S.STOP),
    ("held and busy", PairState(held=held(PairSide.BUY), busy=True), 9.0, None),
    ("its time is up", PairState(held=held(PairSide.BUY, time_stop_ms=0)), 1.0, S.TIME_STOP),
    ("its time is not up", PairState(held=held(PairSide.BUY, time_stop_ms=1)), 1.0, None),
]


@pytest.mark.parametrize(("standing", "z", "expected"), [s[1:] for s in STORIES], ids=[s[0] for s in STORIES])
def test_stories(standing: PairState, z: float, expected: SignalType | None) -> None:
    assert decide(100.0 + 10.0 * z, standing, RULES, NOW, 0) is expected


def test_without_statistics_there_is_no_entry_but_an_exit() -> None:
    assert decide(140.0, PairState(), RULES, None, 0) is None
    assert decide(100.0, PairState(held=held(PairSide.BUY)), RULES, None, 0) is S.EXIT


def test_the_same_signal_waits_and_another_does_not() -> None:
    standing = PairState(last_signal=S.BUY, last_signal_ms=0)
    assert decide(125.0, standing, RULES, NOW, REPEAT_MS_MIN - 1) is None
    assert decide(125.0, standing, RULES, NOW, REPEAT_MS_MIN) is S.BUY
    assert decide(75.0, standing, RULES, NOW, 1) is S.SELL


@pytest.mark.parametrize(
    ("sign", "z", "expected"), [(1, 0.1, False), (1, 0.0, True), (-1, -0.1, False), (-1, 0.0, True)]
)
def test_a_stopped_pair_rearms_past_its_mean(sign: int, z: float, expected: bool) -> None:
    standing = PairState(stopped_at_sign=sign)
    assert rearmed(standing, 100.0 + 10.0 * z, NOW) is expected
    assert not rearmed(standing, 100.0 + 10.0 * z, None)
    assert not rearmed(PairState(), 100.0 + 10.0 * z, NOW)


_SIDES = st.sampled_from(PairSide)
_HELD = st.none() | st.builds(held, _SIDES, st.floats(0, 1.9))
_STANDINGS = st.builds(PairState, held=_HELD, stopped_at_sign=st.sampled_from([-1, 0, 1]), busy=st.booleans())


@given(_STANDINGS, st.floats(-100, 300), st.booleans())
def test_inside_the_band_there_is_nothing_to_decide(standing: PairState, spread: float, has_statistics: bool) -> None:
    current = NOW if has_statistics else None
    band = band_of(standing, RULES, current)
    if band.low < spread < band.high:
        assert decide(spread, standing, RULES, current, 0) is None
        assert standing.busy or standing.held is not None or not rearmed(standing, spread, current)


@given(_SIDES, st.floats(-8, 8), st.floats(0, 1.9))
def test_the_two_sides_are_mirror_images(side: PairSide, z: float, exit_z: float) -> None:
    other = PairSide.BUY if side is PairSide.SELL else PairSide.SELL
    flat = SpreadMoments(0.0, 1.0)
    one = HeldTrade(side, flat, 1.0, exit_z, 4.0, None)
    two = HeldTrade(other, flat, 1.0, exit_z, 4.0, None)
    assert decide(z, PairState(held=one), RULES, flat, 0) is decide(-z, PairState(held=two), RULES, flat, 0)


@pytest.mark.parametrize(("z", "expected"), [(2.0, 0.0), (3.0, 1.0), (-3.0, 1.0), (4.0, 0.0), (9.0, 0.0), (2.5, 0.5)])
def test_confidence_is_highest_half_way(z: float, expected: float) -> None:
    assert math.isclose(confidence_of(z, 2.0, 4.0), expected, abs_tol=1e-12)


def test_a_time_stop_is_four_half_lives_away() -> None:
    assert time_stop_at_ms(1_000, 5.0, 60) == 1_000 + 4 * 5 * 60_000
    assert time_stop_at_ms(1_000, None, 60) is None
