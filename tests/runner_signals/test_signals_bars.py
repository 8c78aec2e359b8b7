"""Bars close by event time; a bar that was missed is NaN until klines say what it was."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.quotes import Quote
from domain.symbols import Symbol
from runner.signals.bars import CARRIED_BARS_MAX, BarGrid, LegBars

A, B = Symbol("AAA/USDT:USDT"), Symbol("BBB/USDT:USDT")
BAR_MS = 60_000


def tick(grid: BarGrid, leg: LegBars, event_ms: int, mid: float) -> bool:
    """What the calculator does with a tick, without the pairs."""
    if event_ms >= leg.due_ms and not grid.pass_time(leg, event_ms)[0]:
        return False
    leg.event_ms = event_ms
    leg.quote = Quote(mid, mid, 1.0, 1.0, event_ms, 1)
    leg.mid = mid
    return True


def closes(leg: LegBars) -> dict[int, float]:
    """Bar number -> close, of what the ring knows."""
    assert leg.newest is not None
    size = len(leg.closes)
    bars = range(leg.newest - size + 1, leg.newest + 1)
    return {bar: float(leg.closes[bar % size]) for bar in bars if not math.isnan(leg.closes[bar % size])}


def new_grid(size: int = 8) -> tuple[BarGrid, LegBars, LegBars]:
    grid = BarGrid(bar_seconds=60, size=size)
    return grid, grid.leg(A), grid.leg(B)


def test_a_bar_closes_at_the_last_mid_before_the_boundary() -> None:
    grid, a, _ = new_grid()
    for event_ms, mid in [(0, 1.0), (59_999, 2.0), (60_000, 3.0), (119_000, 4.0), (120_000, 5.0)]:
        tick(grid, a, event_ms, mid)
    assert closes(a) == {0: 2.0, 1: 4.0}


def test_a_quiet_leg_is_closed_with_the_others_after_the_grace() -> None:
    grid, a, b = new_grid()
    tick(grid, a, 1_000, 1.0)
    tick(grid, b, 1_000, 7.0)
    tick(grid, a, 60_000, 2.0)
    assert closes(b) == {}
    tick(grid, a, 60_000 + grid.grace_ms, 2.0)
    assert closes(b) == {0: 7.0}


def test_a_late_tick_does_not_change_a_closed_bar() -> None:
    grid, a, b = new_grid()
    tick(grid, a, 1_000, 1.0)
    tick(grid, b, 1_000, 7.0)
    tick(grid, a, 60_000 + grid.grace_ms, 2.0)
    tick(grid, b, 59_000, 9.0)
    tick(grid, b, 120_000, 8.0)
    assert closes(b) == {0: 7.0, 1: 9.0}


def test_a_leg_is_carried_for_a_few_bars_and_then_unknown() -> None:
    grid, a, b = new_grid(size=12)
    tick(grid, a, 1_000, 1.0)
    tick(grid, b, 1_000, 7.0)
    for bar in range(1, CARRIED_BARS_MAX + 4):
        tick(grid, a, bar * BAR_MS + grid.grace_ms, 1.0)
    assert sorted(closes(b)) == list(range(CARRIED_BARS_MAX + 1))
    assert [leg.symbol for leg in grid.torn()] == [A, B]


def test_a_bar_that_ends_while_the_feed_is_away_is_unknown_until_klines_say() -> None:
    grid, a, b = new_grid(size=3)
    grid.load(a, [(0, 1.0), (BAR_MS, 1.0), (2 * BAR_MS, 1.0)])
    grid.load(b, [(0, 7.0), (BAR_MS, 7.0), (2 * BAR_MS, 7.0)])
    tick(grid, a, 3 * BAR_MS, 1.5)
    tick(grid, b, 3 * BAR_MS, 7.5)
    grid.interrupt([B])
    tick(grid, a, 4 * BAR_MS, 2.0)
    tick(grid, b, 4 * BAR_MS, 8.0)
    assert closes(a) == {1: 1.0, 2: 1.0, 3: 1.5}
    assert closes(b) == {1: 7.0, 2: 7.0}
    assert grid.load(b, [(2 * BAR_MS, 99.0), (3 * BAR_MS, 7.9)])
    assert closes(b) == {1: 7.0, 2: 7.0, 3: 7.9}, "what we saw ourselves stays"


def test_one_tick_from_another_time_is_not_believed_a_second_one_is() -> None:
    grid, a, b = new_grid()
    tick(grid, a, 1_000, 1.0)
    tick(grid, b, 1_000, 7.0)
    far_ms = 1_000 * BAR_MS
    assert not tick(grid, a, far_ms, 1.0)
    assert tick(grid, b, 2_000, 7.0)
    assert tick(grid, a, BAR_MS, 1.0)
    assert not tick(grid, a, far_ms, 1.0)
    assert tick(grid, b, far_ms, 7.0)
    assert closes(a) == {}
    assert sorted(leg.symbol for leg in grid.torn()) == [A, B]


def test_a_market_that_was_restarted_earlier_is_followed_after_the_reconnect() -> None:
    grid, a, b = new_grid()
    tick(grid, a, 1_000 * BAR_MS, 1.0)
    tick(grid, b, 1_000 * BAR_MS, 1.0)
    grid.interrupt([A, B])
    tick(grid, a, 5 * BAR_MS, 1.0)
    tick(grid, b, 5 * BAR_MS, 1.0)
    tick(grid, a, 5 * BAR_MS + 1, 1.0)
    tick(grid, a, 6 * BAR_MS, 2.0)
    assert closes(a) == {5: 1.0}


@pytest.mark.parametrize("rows", [[], [(0, math.nan)], [(0, 0.0)], [(0, -1.0)], [(0, math.inf)]])
def test_klines_that_cannot_be_are_no_closes(rows: list[tuple[int, float]]) -> None:
    grid, a, _ = new_grid()
    assert not grid.load(a, rows)
    assert np.isnan(a.closes).all()


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(1, 90_000), st.floats(1, 100)),
        min_size=1,
        max_size=120,
    )
)
def test_bars_are_those_of_a_naive_oracle(steps: list[tuple[int, int, float]]) -> None:
    """Ticks in order of event time: a bar closes at the last mid before its end, or is carried from an earlier one."""
    grid, a, b = new_grid(size=400)
    history: dict[int, list[tuple[int, float]]] = {0: [], 1: []}
    now_ms = 0
    for which, wait_ms, mid in steps:
        now_ms += wait_ms
        tick(grid, (a, b)[which], now_ms, mid)
        history[which].append((now_ms, mid))
    for which, leg in enumerate((a, b)):
        if leg.newest is None:
            continue
        for bar, close in closes(leg).items():
            before = [mid for event_ms, mid in history[which] if event_ms < (bar + 1) * BAR_MS]
            assert before, "no close without a tick"
            assert close == before[-1]
