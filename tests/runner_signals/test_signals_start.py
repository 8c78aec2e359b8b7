"""Between loaded windows and an engine that listens: nothing that the spread says may be lost in between."""

import pytest
from test_signals_generator import START_MS, A, B, Rig, held, pair

from domain.pairs import PairId, SignalType, TradingSignal


@pytest.mark.parametrize(
    ("holds", "price_b", "expected"),
    [(False, 12.5, SignalType.BUY), (True, 1.0, SignalType.STOP), (True, 10.2, SignalType.EXIT)],
    ids=["an entry", "a stop", "an exit"],
)
def test_a_signal_that_nobody_could_hear_is_given_once_somebody_listens(
    holds: bool, price_b: float, expected: SignalType
) -> None:
    """It used to be remembered as given, and was not repeated for half a minute: after a restart a stop came that much too late."""
    rig = Rig(pair(), listens=False)
    if holds:
        rig.generator.adopt(pair(), held())
    rig.tick(A, 10.0)
    rig.tick(B, price_b)
    assert rig.generator.signals_emitted == 0
    told: list[TradingSignal] = []
    rig.generator.register_signal_callback(told.append)
    rig.tick(B, price_b)
    assert [(signal.pair_id, signal.signal_type) for signal in told] == [(PairId("AB"), expected)]
    rig.tick(B, price_b)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("signalled", "seconds_ago", "expected"),
    [
        (SignalType.BUY, 3, []),
        (SignalType.BUY, 31, [SignalType.BUY]),
        (SignalType.SELL, 3, [SignalType.BUY]),
        (SignalType.BUY, -10_000, [SignalType.BUY]),  # A replay that began anew lies before what the journal says.
    ],
    ids=["repeated too soon", "after its time", "the other side", "a replay begun anew"],
)
def test_a_restart_does_not_shorten_the_repeat_time(
    signalled: SignalType, seconds_ago: int, expected: list[SignalType]
) -> None:
    rig = Rig(pair())
    now_ms = START_MS + 1_000
    rig.generator.remember(PairId("AB"), signalled, now_ms - seconds_ago * 1000)
    rig.generator.remember(PairId("gone"), signalled, now_ms)  # No longer configured: nothing to remember.
    rig.tick(A, 10.0)
    rig.tick(B, 12.5, event_ms=now_ms)
    assert rig.types == expected
