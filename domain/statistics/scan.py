"""The scan: every pair tested, corrected for having looked at all of them, and put through the gates. Pure: prices in, reasons out."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from domain.statistics.adf import Floats
from domain.statistics.engle_granger import Method, PairTests, Progress, Spread, examine_pairs
from domain.statistics.estimators import ESTIMATORS
from domain.statistics.fdr import q_values
from domain.statistics.gates import (
    REASONS,
    Gates,
    Holdout,
    Reason,
    Rejection,
    edge_ratio,
    half_life_is_useful,
    hedge_is_positive,
    holdout_of,
    is_stable,
    pays,
    survives_holdout,
)
from domain.statistics.panel import PricePanel, Space
from domain.statistics.prefilter import Prefilter, SymbolFacts, prefilter
from domain.statistics.statistic import STATISTICS, Statistic
from domain.statistics.status import CODES, STATUSES, Fitness, PairStatus

_OK = CODES[PairStatus.OK]
_PLACES = {reason: place for place, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """How it is tested and what is kept."""

    method: Method = field(default_factory=lambda: Method(fitness=Fitness(leg_p_min=0.05)))
    statistic: Statistic = Statistic.ENGLE_GRANGER
    gates: Gates = field(default_factory=Gates)
    prefilter: Prefilter = field(default_factory=Prefilter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """A direction whose q-value passed, and what the later gates found; None where a gate was not reached or is off."""

    y: int
    x: int
    parts: tuple[float, ...] | None = None
    holdout: Holdout | None = None
    edge_ratio: float | None = None
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """Matrices are [y, x] in the order of `tests.symbols`. `tests` are of the formation window alone.

    `p_value`: by the statistic that is ranked by. `family`: how many directions the q-values count, both of every pair that was
    ranked; `q_value` is NaN outside of it.
    """

    options: ScanOptions
    tests: PairTests
    p_value: Floats
    q_value: Floats
    reason: NDArray[np.int8]  # Places in REASONS.
    family: int
    survivors: tuple[Survivor, ...]  # Best first.
    excluded_symbols: Mapping[str, str]
    formation_bars: int
    holdout_bars: int
    data_hash: str

    @property
    def kept(self) -> tuple[Survivor, ...]:
        """Best first."""
        return tuple(survivor for survivor in self.survivors if survivor.rejection is None)

    def reason_of(self, y: int, x: int) -> str:
        """The reason as a stable word: that of the gate, or the status of what was not ranked."""
        reason = REASONS[self.reason[y, x]]
        return str(STATUSES[self.tests.status[y, x]]) if reason is Reason.NOT_RANKED else str(reason)

    def ranked(self) -> NDArray[np.int64]:
        """The directions (y, x) that were ranked, best first."""
        places = np.argwhere(self.tests.status == _OK)
        q, t = self.q_value[tuple(places.T)], self.tests.t_stat[tuple(places.T)]
        found: NDArray[np.int64] = places[np.lexsort((t, q))]
        return found


def scan(
    panel: PricePanel,
    options: ScanOptions | None = None,
    *,
    facts: Mapping[str, SymbolFacts] | None = None,
    excluded: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
    spread: Spread | None = None,
) -> ScanResult:
    """Test every pair, correct, and decide. Never raises for prices. `excluded` [y, x]: pairs that the caller leaves out.
    `spread`: who does the testing, when it is not this process alone.

    Both directions of a pair are in the family: two looks, counted as two. Of both, the one with the lower t can be kept.
    """
    options = options or ScanOptions()
    gates = options.gates
    holdout_bars = round(gates.holdout_share * panel.bars)
    formation = panel.between(0, panel.bars - holdout_bars)
    filtered, reasons = prefilter(panel.symbols, facts or {}, options.prefilter)
    if excluded is not None:
        filtered |= excluded
    tests = examine_pairs(formation, options.method, excluded=filtered, progress=progress, spread=spread)
    family = tests.status == _OK
    q_value = np.full(tests.status.shape, np.nan)
    p_value = STATISTICS[options.statistic].p_values(tests)
    q_value[family] = q_values(p_value[family], gates.correction)
    reason = np.full(tests.status.shape, _PLACES[Reason.NOT_RANKED], dtype=np.int8)
    reason[family] = _PLACES[Reason.Q_ABOVE_LEVEL]
    better = family & (q_value <= gates.q_max) & _is_better(tests.t_stat)
    reason[family & (q_value <= gates.q_max) & ~better] = _PLACES[Reason.OTHER_DIRECTION]
    places = np.argwhere(better)
    order = np.lexsort((tests.t_stat[better], q_value[better]))
    survivors = _capped(_gated(panel, formation, tests, places[order], options), gates)
    for survivor in survivors:
        found = Reason.KEPT if survivor.rejection is None else survivor.rejection.reason
        reason[survivor.y, survivor.x] = _PLACES[found]
    return ScanResult(
        options=options,
        tests=tests,
        p_value=p_value,
        q_value=q_value,
        reason=reason,
        family=int(family.sum()),
        survivors=survivors,
        excluded_symbols=reasons,
        formation_bars=formation.bars,
        holdout_bars=holdout_bars,
        data_hash=hash_of(panel),
    )


def hash_of(panel: PricePanel) -> str:
    """Of symbols and prices: the same data, the same word."""
    found = hashlib.sha256("\n".join(panel.symbols).encode())
    found.update(np.ascontiguousarray(panel.prices).tobytes())
    return found.hexdigest()[:16]


def _is_better(t_stat: Floats) -> NDArray[np.bool_]:
    """Of both directions the one with the lower t; of equal ones the first."""
    places = np.arange(len(t_stat))
    first = places[:, None] < places[None, :]
    better: NDArray[np.bool_] = np.where(first, t_stat <= t_stat.T, t_stat < t_stat.T)
    return better


def _gated(
    panel: PricePanel, formation: PricePanel, tests: PairTests, places: NDArray[np.int64], options: ScanOptions
) -> Iterator[Survivor]:
    """Every gate that looks at one direction alone, in turn; the first refusal ends it."""
    gates, method = options.gates, options.method
    parts = _hedge_ratios_of_parts(formation, places, options)
    with np.errstate(all="ignore"):
        values = np.log(panel.prices) if method.space is Space.LOGS else panel.prices
    for row, (y, x) in enumerate(places.tolist()):
        mine = tuple(parts[row].tolist()) if gates.sub_windows >= 2 else None
        rejection = hedge_is_positive(tests, y, x) or half_life_is_useful(tests, y, x, gates)
        if rejection is None and mine is not None:
            rejection = is_stable(float(tests.hedge_ratio[y, x]), mine, gates)
        holdout = ratio = None
        if rejection is None and formation.bars < panel.bars:
            holdout = holdout_of(
                values[formation.bars :, y],
                values[formation.bars :, x],
                hedge_ratio=float(tests.hedge_ratio[y, x]),
                intercept=float(tests.intercept[y, x]),
                residual_std=float(tests.residual_std[y, x]),
            )
            rejection = survives_holdout(holdout, gates)
        if rejection is None and gates.costs is not None:
            last = formation.prices[np.isfinite(formation.prices[:, [y, x]]).all(axis=1)][-1]
            ratio = edge_ratio(
                space=method.space,
                hedge_ratio=float(tests.hedge_ratio[y, x]),
                residual_std=float(tests.residual_std[y, x]),
                half_life_bars=float(tests.half_life[y, x]),
                price_y=float(last[y]),
                price_x=float(last[x]),
                bars_per_day=panel.bars_per_day,
                costs=gates.costs,
            )
            rejection = pays(ratio, gates.costs)
        yield Survivor(y=y, x=x, parts=mine, holdout=holdout, edge_ratio=ratio, rejection=rejection)


def _hedge_ratios_of_parts(formation: PricePanel, places: NDArray[np.int64], options: ScanOptions) -> Floats:
    """The hedge ratio (places, parts) of each equal part of the bars that a pair has."""
    count = options.gates.sub_windows if options.gates.sub_windows >= 2 else 0
    found = np.full((len(places), count), np.nan)
    hedge_ratio = ESTIMATORS[options.method.estimator].hedge_ratio
    with np.errstate(all="ignore"):
        values = np.log(formation.prices) if options.method.space is Space.LOGS else formation.prices
        for row, (y, x) in enumerate(places):
            together = values[:, [y, x]]
            together = together[np.isfinite(together).all(axis=1)]
            for part in range(count):
                here = together[len(together) * part // count : len(together) * (part + 1) // count]
                found[row, part] = hedge_ratio(here)
    return found


def _capped(survivors: Iterator[Survivor], gates: Gates) -> tuple[Survivor, ...]:
    """Best first, as many as may be kept of each symbol and in total."""
    uses: Counter[int] = Counter()
    kept, found = 0, []
    for survivor in survivors:
        rejection = survivor.rejection
        if rejection is None:
            full = [leg for leg in (survivor.y, survivor.x) if uses[leg] >= gates.pairs_per_symbol_max]
            if full:
                facts = f"{gates.pairs_per_symbol_max} better pairs hold a leg of it"
                rejection = Rejection(reason=Reason.SYMBOL_CAP, facts=facts)
            elif kept >= gates.pairs_max:
                rejection = Rejection(reason=Reason.TOTAL_CAP, facts=f"{gates.pairs_max} better pairs")
            else:
                kept += 1
                uses.update((survivor.y, survivor.x))
        found.append(replace(survivor, rejection=rejection))
    return tuple(found)
