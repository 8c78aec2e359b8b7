"""What must not change a test, what must touch only its own pairs, and the statuses of what cannot be tested."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_families import FAMILIES, Floats, panel_of, statsmodels_answer, walks

from domain.statistics.engle_granger import Method, PairTests, examine_pairs
from domain.statistics.panel import PricePanel, Space
from domain.statistics.status import CODES, STATUSES, Fitness, PairStatus

ANYTHING = Fitness(observations_min=50, bad_print_steps=None, unmoved_share_max=1)
NUMBERS = ("t_stat", "p_value", "half_life", "hurst", "johansen_trace")
BARS = 200
seeds = st.integers(0, 10_000)
families = st.sampled_from(FAMILIES[:5])
counts = st.sampled_from([3, 13])  # One by one, and by products.


def _examined(series: Floats, space: Space = Space.LEVELS, fitness: Fitness = ANYTHING) -> PairTests:
    return examine_pairs(panel_of(series), Method(space=space, fitness=fitness))


def _same(one: PairTests, other: PairTests, *, tolerance: float = 1e-7) -> None:
    assert (one.status == other.status).all()
    # Two models whose criteria are equal to the last digit may change places; nothing else may.
    assert np.mean(one.lag != other.lag) <= 0.01
    same = one.lag == other.lag
    for name in NUMBERS:
        first, second = getattr(one, name)[same], getattr(other, name)[same]
        assert np.allclose(first, second, rtol=tolerance, atol=tolerance, equal_nan=True), name
    assert (one.crossings[same] == other.crossings[same]).all()


@given(seed=seeds, family=families, count=counts, scale=st.floats(1e-8, 1e8), shift=st.floats(0, 1e3))
@settings(max_examples=25, deadline=None)
def test_units_do_not_matter(seed: int, family, count: int, scale: float, shift: float) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """In levels, prices in another currency and with a constant added: the same t, and the hedge ratio goes along."""
    series = family(np.random.default_rng(seed), count, BARS)
    before = _examined(series)
    changed = series.copy()
    changed[0] = changed[0] * scale + shift * scale
    after = _examined(changed)
    _same(before, after)
    ok = before.status[0, 1:] == CODES[PairStatus.OK]
    assert np.allclose(after.hedge_ratio[0, 1:][ok], before.hedge_ratio[0, 1:][ok] * scale, rtol=1e-8)


@given(seed=seeds, family=families, count=counts, scale=st.floats(1e-8, 1e8))
@settings(max_examples=15, deadline=None)
def test_in_logs_a_scale_is_a_shift(seed: int, family, count: int, scale: float) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    series = family(np.random.default_rng(seed), count, BARS)
    before = _examined(series, Space.LOGS)
    changed = series.copy()
    changed[-1] *= scale
    after = _examined(changed, Space.LOGS)
    _same(before, after)
    assert np.allclose(after.hedge_ratio, before.hedge_ratio, rtol=1e-7, equal_nan=True)


@given(seed=seeds, family=families, count=counts)
@settings(max_examples=15, deadline=None)
def test_the_order_of_symbols_does_not_matter(seed: int, family, count: int) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    rng = np.random.default_rng(seed)
    series = family(rng, count, BARS)
    order = rng.permutation(count)
    before, after = _examined(series), _examined(series[order])
    for name in (*NUMBERS, "hedge_ratio", "intercept", "residual_std"):
        assert np.allclose(
            getattr(before, name)[np.ix_(order, order)], getattr(after, name), rtol=1e-8, atol=1e-9, equal_nan=True
        )


SICK: list[tuple[str, Floats | float, PairStatus]] = [
    ("NaN throughout", np.nan, PairStatus.TOO_SHORT),
    ("constant", 5.0, PairStatus.CONSTANT),
    ("one infinity", np.where(np.arange(BARS) == 7, np.inf, 5.0), PairStatus.UNUSABLE),
    ("one zero", np.where(np.arange(BARS) == 7, 0.0, 5.0), PairStatus.UNUSABLE),
    ("one negative", np.where(np.arange(BARS) == 7, -5.0, 5.0), PairStatus.UNUSABLE),
    ("gaps everywhere", np.where(np.arange(BARS) % 4 == 1, np.nan, 100 + np.arange(BARS) ** 0.5), PairStatus.GAPPY),
]


@pytest.mark.parametrize("count", [3, 13])
@pytest.mark.parametrize(("story", "column", "status"), SICK, ids=[row[0] for row in SICK])
def test_a_bad_symbol_touches_only_its_own_pairs(
    count: int, story: str, column: Floats | float, status: PairStatus
) -> None:
    series = walks(np.random.default_rng(2), count, BARS)
    alone = _examined(series)
    joined = _examined(np.vstack([series, np.broadcast_to(column, BARS)]))
    for name in (*NUMBERS, "lag", "status", "hedge_ratio"):
        assert np.allclose(
            getattr(joined, name)[:-1, :-1], getattr(alone, name), rtol=1e-9, atol=1e-10, equal_nan=True
        ), name
    assert (
        {STATUSES[code] for code in joined.status[-1, :-1]}
        == {STATUSES[code] for code in joined.status[:-1, -1]}
        == {status}
    )
    assert np.isnan(joined.t_stat[-1]).all()
    assert (joined.lag[-1] == -1).all()


def test_a_pair_of_two_sick_legs_says_the_same_both_ways() -> None:
    series = walks(np.random.default_rng(3), 12, BARS)
    series[0], series[5, 20:] = 5.0, series[5, 20]  # Constant and halted.
    for chosen in (series, series[[0, 5, 1]]):
        tests = _examined(chosen, fitness=Fitness(observations_min=50))
        assert (tests.status == tests.status.T).all()
        assert (tests.bars == tests.bars.T).all()


def test_unequal_histories_by_every_path_are_statsmodels_on_the_common_bars() -> None:
    """Three groups of ten with bars of their own, which share products, and three loners, which do not."""
    rng = np.random.default_rng(4)
    series = walks(rng, 33, 400)
    gap = np.zeros((33, 400), dtype=bool)
    gap[10:20, :60] = gap[20:30, 390:] = gap[30, :33] = gap[31, 5:9] = gap[32, [50, 350]] = True
    holed = np.where(gap, np.nan, series)
    tests = _examined(holed, fitness=Fitness(observations_min=50, gap_share_max=0.05, must_be_current=False))
    assert (tests.status[~np.eye(33, dtype=bool)] == CODES[PairStatus.OK]).all()
    for y, x in rng.integers(0, 33, (60, 2)):
        if y == x:
            continue
        both = ~(gap[y] | gap[x])
        answer = statsmodels_answer(series[y, both], series[x, both])
        assert tests.bars[y, x] == both.sum()
        assert abs(tests.t_stat[y, x] - answer.t) <= 1e-8
        assert tests.lag[y, x] == answer.lag


def test_a_symbol_that_ended_is_current_only_to_those_who_say_so() -> None:
    series = walks(np.random.default_rng(5), 3, 400)
    series[2, 300:] = np.nan
    for current, status in ((True, PairStatus.GAPPY), (False, PairStatus.OK)):
        tests = _examined(series, fitness=Fitness(must_be_current=current))
        assert STATUSES[tests.status[0, 2]] is status
        assert STATUSES[tests.status[0, 1]] is PairStatus.OK
        assert tests.bars[0, 2] == 300


@pytest.mark.parametrize("count", [4, 13])
def test_a_stationary_leg_keeps_its_numbers_and_loses_its_rank(count: int) -> None:
    rng = np.random.default_rng(6)
    series = walks(rng, count, 500)
    series[1] = 100 + rng.normal(size=500)
    plain = _examined(series)
    tests = _examined(series, fitness=Fitness(observations_min=50, bad_print_steps=None, leg_p_min=1e-9))
    others = [place for place in range(count) if place != 1]
    assert {STATUSES[code] for code in tests.status[1, others]} == {PairStatus.STATIONARY_LEG}
    assert {STATUSES[code] for code in tests.status[np.ix_(others, others)][~np.eye(count - 1, dtype=bool)]} == {
        PairStatus.OK
    }
    assert np.allclose(tests.t_stat, plain.t_stat, equal_nan=True)


def test_what_is_excluded_is_not_looked_at() -> None:
    series = walks(np.random.default_rng(7), 13, BARS)
    excluded = np.zeros((13, 13), dtype=bool)
    excluded[2, :] = True
    tests = examine_pairs(panel_of(series), Method(fitness=ANYTHING), excluded=excluded)
    assert {STATUSES[code] for code in tests.status[:, 2]} == {PairStatus.EXCLUDED}
    assert np.isnan(tests.t_stat[2]).all()
    assert np.isnan(tests.t_stat[:, 2]).all()
    assert np.isfinite(tests.t_stat[0, 1])


def test_progress_ends_where_it_should() -> None:
    said: list[tuple[int, int]] = []
    series = walks(np.random.default_rng(8), 20, BARS)
    series[15, 3] = np.nan
    examine_pairs(panel_of(series), Method(fitness=ANYTHING), progress=lambda done, total: said.append((done, total)))
    assert said[-1] == (190, 190)
    assert [done for done, _ in said] == sorted(done for done, _ in said)


@pytest.mark.parametrize(("symbols", "shape"), [(("A", "B"), (5, 3)), (("A", "A"), (5, 2)), (("A",), (5,))])
def test_a_panel_is_checked(symbols: tuple[str, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"symbols need as many columns|named twice"):
        PricePanel(symbols=symbols, prices=np.ones(shape))


@pytest.mark.parametrize("count", [3, 13])
def test_more_lags_than_bars_is_too_short_whatever_is_allowed(count: int) -> None:
    """The kernel checks no bounds, so nothing may reach it that it has no room for."""
    allowing = Fitness(observations_min=1, bad_print_steps=None)
    for bars, lags_max, status in (
        (39, None, "too_short"),
        (40, None, "ok"),
        (120, 60, "too_short"),
        (130, 60, "ok"),
        (3, 0, "too_short"),
    ):
        series = walks(np.random.default_rng(9), count, bars)
        tests = examine_pairs(panel_of(series), Method(lags_max=lags_max, fitness=allowing))
        assert {STATUSES[code] for code in tests.status[0, 1:]} == {status}, (bars, lags_max)
    assert examine_pairs(panel_of(walks(np.random.default_rng(9), 1, 100)), Method()).status.tolist() == [
        [CODES[PairStatus.EXCLUDED]]
    ]
    nothing = PricePanel(symbols=("A", "B"), prices=np.empty((0, 2)))
    assert STATUSES[examine_pairs(nothing).status[0, 1]] is PairStatus.TOO_SHORT


def test_lags_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="lags_max"):
        Method(lags_max=-1)
