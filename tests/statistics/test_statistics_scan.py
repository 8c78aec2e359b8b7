"""Correction, prefilters, gates, caps: each by itself, then the whole scan where something was put and where nothing was."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import adfuller

from domain.edge import FundingTerms, edge_of
from domain.pairs import PairSide
from domain.quotes import Quote
from domain.spread import SpreadMoments
from domain.statistics.engle_granger import Method
from domain.statistics.fdr import Correction, q_values
from domain.statistics.gates import (
    REASONS,
    Costs,
    Gates,
    Holdout,
    Reason,
    edge_ratio,
    holdout_of,
    is_stable,
    survives_holdout,
)
from domain.statistics.panel import PricePanel, Space
from domain.statistics.prefilter import Prefilter, SymbolFacts, prefilter
from domain.statistics.scan import ScanOptions, ScanResult, hash_of, scan
from domain.statistics.status import CODES, STATUSES, Fitness, PairStatus
from domain.statistics.surrogates import independent_walks, phase_randomised, planted_pairs, shifted_periods

LOGS = ScanOptions(method=Method(space=Space.LOGS, fitness=Fitness(leg_p_min=0.05)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from(list(Correction)))
@settings(deadline=None)
def test_q_values_are_those_of_the_books(p_values: list[float], correction: Correction) -> None:
    expected = multipletests(p_values, method=f"fdr_{correction}")[1]
    assert q_values(np.array(p_values), correction) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("bad", [[0.5, np.nan], [-0.1], [1.1]])
def test_what_is_no_p_value_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="outside"):
        q_values(np.array(bad))


def test_no_tests_no_q_values() -> None:
    assert q_values(np.empty(0)).size == 0


FACTS = SymbolFacts(quote_volume_usd_per_day=1e6, age_days=100, funding_bps_per_day=-4, sector="L1")
UNKNOWN = SymbolFacts()
# One row, one story: facts, rule -> how the reason begins; None: looked at.
PREFILTERS: list[tuple[SymbolFacts, Prefilter, str | None]] = [
    (FACTS, Prefilter(), None),
    (UNKNOWN, Prefilter(), None),
    (FACTS, Prefilter(quote_volume_usd_per_day_min=1e6), None),
    (FACTS, Prefilter(quote_volume_usd_per_day_min=2e6), "illiquid"),
    (UNKNOWN, Prefilter(quote_volume_usd_per_day_min=1), "illiquid"),
    (FACTS, Prefilter(age_days_min=101), "too young"),
    (UNKNOWN, Prefilter(age_days_min=1), "too young"),
    (FACTS, Prefilter(funding_bps_per_day_max=4), None),
    (FACTS, Prefilter(funding_bps_per_day_max=3), "funding extreme"),
    (UNKNOWN, Prefilter(funding_bps_per_day_max=3), "funding unknown"),
    (UNKNOWN, Prefilter(same_sector=True), "sector unknown"),
]


@pytest.mark.parametrize(("facts", "rules", "reason"), PREFILTERS)
def test_prefilters_let_nothing_unknown_pass(facts: SymbolFacts, rules: Prefilter, reason: str | None) -> None:
    excluded, reasons = prefilter(("A", "B"), {"A": facts, "B": replace(FACTS, quote_volume_usd_per_day=1e9)}, rules)
    assert reasons.get("A", "None").startswith(str(reason))
    assert excluded[0, 1] == (reason is not None)


def test_only_pairs_of_one_sector() -> None:
    facts = {"A": SymbolFacts(sector="L1"), "B": SymbolFacts(sector="L1"), "C": SymbolFacts(sector="meme")}
    excluded, reasons = prefilter(("A", "B", "C"), facts, Prefilter(same_sector=True))
    assert not reasons
    assert excluded.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_parts_must_agree() -> None:
    gates = Gates(sub_window_drift_max=0.5)
    assert is_stable(2.0, (1.1, 2.9, 2.0), gates) is None
    for parts in ((0.9, 2.0), (2.0, 3.1), (2.0, -2.0), (2.0, np.nan)):
        rejection = is_stable(2.0, parts, gates)
        assert rejection is not None
        assert rejection.reason is Reason.UNSTABLE


def test_the_holdout_is_judged_by_numbers_it_had_no_part_in() -> None:
    x = np.arange(50.0)
    off = np.random.default_rng(0).uniform(-0.5, 0.5, 50)
    off[20:22] = 1.0, -1.0
    y = 3 + 2 * x + off
    y[7] = np.nan
    found = holdout_of(y, x, hedge_ratio=2.0, intercept=3.0, residual_std=0.5)
    assert (found.bars, found.z_abs_max, found.z_last) == pytest.approx((49, 2.0, 2 * off[-1]))
    assert found.crossings == np.count_nonzero(np.diff(np.delete(off, 7) > 0))
    t_stat, p_value, *_ = adfuller(np.delete(off, 7), regression="n", result_object=False)
    assert t_stat < -3
    assert found.p_value == pytest.approx(p_value, abs=1e-9)
    empty = holdout_of(y * np.nan, x, hedge_ratio=2.0, intercept=3.0, residual_std=0.5)
    assert empty.bars == 0


@pytest.mark.parametrize(
    ("bars", "z_abs_max", "crossings", "passes"),
    [(100, 3.9, 1, True), (100, 4.1, 9, False), (100, 1.0, 0, False), (19, 1.0, 5, False), (100, np.nan, 5, False)],
)
def test_what_survives_the_holdout(bars: int, z_abs_max: float, crossings: int, *, passes: bool) -> None:
    holdout = Holdout(bars=bars, z_last=0, z_abs_max=z_abs_max, crossings=crossings, p_value=0.5)
    assert (survives_holdout(holdout, Gates()) is None) == passes


def test_the_edge_by_hand() -> None:
    """Levels: one y at 100 against two x at 25, two deviations of 1 to go, as the live runner reckons it: the entry's spreads
    (0.75 cents) shorten the way; four fees (15 cents), the exit's spreads and a day's funding (4.5 cents) are its costs."""
    costs = Costs(taker_fee_bps=5, half_spread_bps=0.5, funding_bps_per_day=3, entry_z=2)
    given = {
        "residual_std": 1.0,
        "half_life_bars": 24.0,
        "price_y": 100.0,
        "price_x": 25.0,
        "bars_per_day": 24.0,
        "costs": costs,
    }
    found = edge_ratio(space=Space.LEVELS, hedge_ratio=2.0, **given)  # type: ignore[arg-type]
    assert found == pytest.approx((2 - 0.0075) / (0.15 + 0.0075 + 0.045))
    in_logs = edge_ratio(space=Space.LOGS, hedge_ratio=2.0, **{**given, "residual_std": 0.01})  # type: ignore[arg-type]
    assert in_logs == pytest.approx((0.02 - 3 * 0.5e-4) / (3 * (10 + 0.5 + 3) * 1e-4))
    free = Costs(taker_fee_bps=0, half_spread_bps=0, funding_bps_per_day=0)
    assert edge_ratio(space=Space.LEVELS, hedge_ratio=2.0, **{**given, "costs": free}) == np.inf  # type: ignore[arg-type]


def test_the_gate_reckons_what_the_live_guard_reckons() -> None:
    """The same pair as an entry of the live runner: the same quotient of reversion and costs."""
    a, b = Quote(24.99875, 25.00125, 1, 1, 0, 0), Quote(99.995, 100.005, 1, 1, 0, 0)
    live = edge_of(
        side=PairSide.SELL, hedge_ratio=2.0, statistics=SpreadMoments(52.0, 1.0), exit_z=0.5, quote_a=a, quote_b=b,
        quantity_a=Decimal(20), quantity_b=Decimal(10), taker_fee_rate=0.0005, half_life_hours=6.0,
        funding_a=FundingTerms(-0.0001), funding_b=FundingTerms(0.0001),
    )  # fmt: skip
    gate = edge_ratio(
        space=Space.LEVELS, hedge_ratio=2.0, residual_std=1.0, half_life_bars=6.0, price_y=100.0, price_x=25.0,
        bars_per_day=24.0, costs=Costs(half_spread_bps=0.5, funding_bps_per_day=3, entry_z=2, exit_z=0.5),
    )  # fmt: skip
    assert gate == pytest.approx(live.reversion / live.costs, rel=1e-12)


@pytest.fixture(scope="module")
def planted() -> tuple[ScanResult, frozenset[frozenset[int]], PricePanel]:
    given = planted_pairs(np.random.default_rng(1), symbols=30, bars=1200, pairs=5, half_life_bars=4)
    return scan(given.panel, LOGS), given.pairs, given.panel


def test_what_was_put_is_kept_and_nothing_else(
    planted: tuple[ScanResult, frozenset[frozenset[int]], PricePanel],
) -> None:
    result, pairs, _ = planted
    kept = {frozenset((survivor.y, survivor.x)) for survivor in result.kept}
    assert kept <= pairs
    assert len(kept) >= 4


def test_the_result_hangs_together(planted: tuple[ScanResult, frozenset[frozenset[int]], PricePanel]) -> None:
    result, _, panel = planted
    ranked = result.tests.status == CODES[PairStatus.OK]
    assert result.family == ranked.sum() == len(result.ranked())
    assert (result.q_value[ranked] >= result.tests.p_value[ranked]).all()
    assert np.isnan(result.q_value[~ranked]).all()
    assert (result.formation_bars, result.holdout_bars) == (900, 300)
    assert (result.tests.bars[ranked] == 900).all()
    assert result.data_hash == hash_of(panel) != hash_of(panel.between(0, 1199))
    names = {REASONS[code] for code in result.reason[ranked]}
    assert {Reason.KEPT, Reason.OTHER_DIRECTION, Reason.Q_ABOVE_LEVEL} <= names
    q = result.q_value[tuple(result.ranked().T)]
    assert (np.diff(q) >= 0).all()
    for survivor in result.survivors:
        assert result.tests.t_stat[survivor.y, survivor.x] <= result.tests.t_stat[survivor.x, survivor.y]
        assert result.reason_of(survivor.y, survivor.x) == (survivor.rejection.reason if survivor.rejection else "kept")
    diagonal = result.reason_of(0, 0)
    assert diagonal == STATUSES[result.tests.status[0, 0]] == "excluded"


def test_the_holdout_is_never_seen_by_a_fit(planted: tuple[ScanResult, frozenset[frozenset[int]], PricePanel]) -> None:
    """Another future: the same tests, the same q-values, other survivors."""
    result, _, panel = planted
    prices = panel.prices.copy()
    prices[900:] = prices[899] * np.exp(np.cumsum(np.random.default_rng(5).normal(0, 0.02, prices[900:].shape), axis=0))
    other = scan(replace(panel, prices=prices), LOGS)
    assert np.array_equal(result.tests.t_stat, other.tests.t_stat, equal_nan=True)
    assert np.array_equal(result.q_value, other.q_value, equal_nan=True)
    assert {(s.y, s.x) for s in other.survivors} == {(s.y, s.x) for s in result.survivors}
    assert not other.kept


# One row, one story: what is changed in the gates -> the only reason that the planted pairs are then refused for.
REFUSALS: list[tuple[dict[str, object], Reason]] = [
    ({"half_life_bars_max": 1.0}, Reason.HALF_LIFE_OUTSIDE),
    ({"half_life_bars_min": 100.0}, Reason.HALF_LIFE_OUTSIDE),
    ({"sub_window_drift_max": 1e-6}, Reason.UNSTABLE),
    ({"holdout_z_max": 0.1}, Reason.HOLDOUT_BROKE),
    ({"costs": Costs(taker_fee_bps=500)}, Reason.EDGE_BELOW_COST),
    ({"costs": Costs(funding_bps_per_day=1e5)}, Reason.EDGE_BELOW_COST),
    ({"pairs_max": 0}, Reason.TOTAL_CAP),
    ({"pairs_per_symbol_max": 0}, Reason.SYMBOL_CAP),
]


@pytest.mark.parametrize(("changed", "reason"), REFUSALS)
def test_each_gate_refuses_by_name(
    planted: tuple[ScanResult, frozenset[frozenset[int]], PricePanel], changed: dict[str, object], reason: Reason
) -> None:
    result, _, panel = planted
    other = scan(panel, replace(LOGS, gates=replace(LOGS.gates, **changed)))  # type: ignore[arg-type]
    assert not other.kept
    before = {(s.y, s.x) for s in result.kept}
    rejections = {s.rejection for s in other.survivors if (s.y, s.x) in before}
    assert {rejection.reason for rejection in rejections if rejection} == {reason}
    assert all(rejection and rejection.facts for rejection in rejections)


def test_caps_keep_the_best() -> None:
    """Four symbols on one walk: six true pairs, one kept of each symbol makes two."""
    rng = np.random.default_rng(3)
    common = np.cumsum(rng.normal(0, 0.01, 800))
    prices = np.exp(3 + common[:, None] + rng.normal(0, 0.01, (800, 4)))
    panel = PricePanel(symbols=("A", "B", "C", "D"), prices=prices, bar_seconds=3600)
    options = replace(LOGS, gates=Gates(pairs_per_symbol_max=1))
    result = scan(panel, options)
    assert [len({s.y, s.x}) for s in result.kept] == [2, 2]
    assert len({leg for s in result.kept for leg in (s.y, s.x)}) == 4
    assert result.kept[0] is result.survivors[0]
    assert len(scan(panel, replace(options, gates=Gates(pairs_per_symbol_max=1, pairs_max=1))).kept) == 1


def test_a_negative_hedge_is_no_pair() -> None:
    rng = np.random.default_rng(4)
    walk = np.cumsum(rng.normal(0, 0.01, 800))
    prices = np.exp(np.column_stack([3 + walk, 3 - walk + rng.normal(0, 0.01, 800)]))
    result = scan(PricePanel(symbols=("A", "B"), prices=prices), LOGS)
    assert [s.rejection.reason for s in result.survivors if s.rejection] == [Reason.HEDGE_NOT_POSITIVE]


def test_what_a_caller_or_a_prefilter_leaves_out_is_not_in_the_family(
    planted: tuple[ScanResult, frozenset[frozenset[int]], PricePanel],
) -> None:
    result, _, panel = planted
    excluded = np.zeros((30, 30), dtype=bool)
    excluded[:, :10] = True
    by_caller = scan(panel, LOGS, excluded=excluded)
    assert 0 < by_caller.family < result.family
    facts = dict.fromkeys(panel.symbols[10:], FACTS)
    by_rule = scan(panel, replace(LOGS, prefilter=Prefilter(age_days_min=5)), facts=facts)
    assert by_rule.family == by_caller.family
    assert sorted(by_rule.excluded_symbols) == sorted(panel.symbols[:10])


@pytest.mark.parametrize("bad", [{"holdout_share": 0.6}, {"q_max": 0.0}])
def test_gates_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be between"):
        Gates(**bad)  # type: ignore[arg-type]


def test_where_nothing_is_hardly_anything_is_kept() -> None:
    """Sixty runs of noise, three kinds: at a level of 5 % more than eight that keep a pair would be one in ten thousand."""
    real = independent_walks(np.random.default_rng(99), symbols=20, bars=1700, tails=4, factor=0.6)
    kept = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        kept += bool(scan(independent_walks(rng, symbols=20, bars=400, tails=4), LOGS).kept)
        kept += bool(scan(phase_randomised(rng, real, 400), LOGS).kept)
        shifted = shifted_periods(rng, real, 400)
        kept += bool(scan(shifted.panel, LOGS, excluded=shifted.excluded).kept)
    assert kept <= 8
