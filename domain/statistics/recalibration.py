"""Recalibration: from prices and the pairs of a file to one decision a pair, and the gates over all of them. Pure.

Easy to stay, hard to get in. An incumbent is asked whether it *still* looks cointegrated: one look, over the whole window. A
candidate was found by looking thousands of times: it needs its q-value and every gate of the scan, the held-out window included,
and then the incumbents' own conditions, or it would be retired tomorrow. What is written is fitted on the whole window.

The nightly flow and the walk-forward backtest call `recalibrate`; nothing here knows of files, clocks or processes.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domain.statistics.decisions import (
    Action,
    Code,
    Decision,
    Finding,
    Fit,
    Incumbent,
    RecalibrationRules,
    Refusal,
    Universe,
    name_of,
)
from domain.statistics.engle_granger import PairTests, Progress, Spread, examine_pairs
from domain.statistics.gates import Rejection, edge_ratio, half_life_is_useful, hedge_is_positive, pays
from domain.statistics.panel import PricePanel
from domain.statistics.prefilter import Prefilter, SymbolFacts
from domain.statistics.run_gates import never_emptied, refusals, retired, turnover_max
from domain.statistics.scan import ScanResult, scan
from domain.statistics.statistic import STATISTICS
from domain.statistics.status import STATUSES, PairStatus

NEAR = 2.0
"""A candidate whose q-value is within this multiple of the level is reported, although it was not let in."""
_MANY = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """Every decision: the incumbents in order of the file, then what is added, then what was rejected near the gate, best first.

    With `refusals` nothing may be written; the decisions then say what would have been.
    """

    decisions: tuple[Decision, ...]
    refusals: tuple[Refusal, ...]
    scanned: ScanResult
    changed: int
    """Additions, and retirements of pairs that were open for entries."""

    @property
    def counts(self) -> dict[Action, int]:
        found = Counter(decision.action for decision in self.decisions)
        return {action: found[action] for action in Action}

    @property
    def pairs_after(self) -> tuple[Incumbent, ...]:
        """The file's pairs when this is written, the incumbents' order first; as they were when a gate refused."""
        if self.refusals:
            return tuple(decision.before for decision in self.decisions if decision.before is not None)
        return tuple(decision.after for decision in self.decisions if decision.after is not None)

    @property
    def is_change(self) -> bool:
        """True when writing it would change a row."""
        return not self.refusals and any(decision.before != decision.after for decision in self.decisions)


def recalibrate(
    panel: PricePanel,
    incumbents: Sequence[Incumbent],
    rules: RecalibrationRules | None = None,
    *,
    open_trades: Collection[str] = (),
    facts: Mapping[str, SymbolFacts] | None = None,
    gone: Mapping[str, str] | None = None,
    unreached: Mapping[str, str] | None = None,
    same_bars: bool = False,
    progress: Progress | None = None,
    spread: Spread | None = None,
) -> Recalibration:
    """Test the universe, fit what may be written over the whole window, decide, and look at all of it once more.

    `panel` holds the universe's closes up to now, the incumbents' symbols among them; `open_trades` are pair_ids; `gone`: symbols
    that trade no more, `unreached`: those whose bars could not be had, each with why; `same_bars`: a decision over these very
    bars is in the file already; `spread`: who does the testing, when it is not this process alone. Never raises for prices.
    """
    rules = rules or RecalibrationRules()
    places = {symbol: place for place, symbol in enumerate(panel.symbols)}
    pairs = [(places.get(one.leg_b, -1), places.get(one.leg_a, -1)) for one in incumbents]
    held = np.zeros((len(places), len(places)), dtype=np.bool_)
    for y, x in pairs:
        if min(y, x) >= 0:
            held[y, x] = held[x, y] = True
    # One true walk in twenty looks stationary: reason enough not to let a pair in, not to put it out.
    patient = replace(rules.scan.method, fitness=replace(rules.scan.method.fitness, leg_p_min=None))
    if rules.universe is Universe.CONFIGURED:
        gates = replace(rules.scan.gates, holdout_share=0.0)
        options = replace(rules.scan, method=patient, gates=gates, prefilter=Prefilter())
        scanned = scan(panel, options, excluded=~held, progress=progress, spread=spread)
        fits = scanned.tests
    else:
        # The caps are ours: they count the incumbents first.
        gates = replace(rules.scan.gates, pairs_per_symbol_max=_MANY, pairs_max=_MANY)
        scanned = scan(panel, replace(rules.scan, gates=gates), facts=facts, progress=progress, spread=spread)
        wanted = held.copy()
        for survivor in scanned.kept:
            wanted[survivor.y, survivor.x] = wanted[survivor.x, survivor.y] = True
        fits = examine_pairs(panel, patient, excluded=~wanted)
    decider = _Decider(
        panel=panel,
        scanned=scanned,
        fits=fits,
        rules=rules,
        open_trades=frozenset(open_trades),
        missing={**(unreached or {}), **(gone or {})},
        gone=frozenset(gone or {}),
        known=frozenset(facts or {}),
    )
    decided = [decider.of_incumbent(one, y, x) for one, (y, x) in zip(incumbents, pairs, strict=True)]
    added: list[Decision] = []
    rejected: list[Decision] = []
    if rules.universe is Universe.LISTED:
        added, rejected = decider.of_candidates(decided, held, same_bars=same_bars)
    if not added and not rules.allow_empty:
        decided = never_emptied(decided)
    return Recalibration(
        decisions=(*decided, *added, *rejected),
        refusals=tuple(refusals(decided, rules, symbols=len(panel.symbols), unreached=len(unreached or {}))),
        scanned=scanned,
        changed=len(added) + retired(decided),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decider:
    """What a decision looks at. `missing`: why a symbol has no bars, where that is known; `known`: symbols with facts."""

    panel: PricePanel
    scanned: ScanResult
    fits: PairTests
    rules: RecalibrationRules
    open_trades: frozenset[str]
    missing: Mapping[str, str]
    gone: frozenset[str]
    known: frozenset[str]

    def of_incumbent(self, one: Incumbent, y: int, x: int) -> Decision:
        """`y`, `x`: the places of leg b and leg a; -1: not in the panel."""
        untested = self._untested(one, y, x)
        if untested is not None and untested.code is Code.NOT_TESTED:
            return _decision(one, Action.KEEP, [untested], after=one)
        found = None if untested is not None else self._fit(self.fits, y, x)
        problem = untested or self._problem(y, x, found) or self._drift(one, found)
        if problem is not None:
            return self._of_unfit(one, problem, found)
        assert found is not None
        findings = [Finding(code=Code.PASSED, facts=_facts(one, found))]
        by_hand = one.is_disabled_by_hand
        if by_hand:
            findings.append(Finding(code=Code.DISABLED_BY_HAND))
        elif not one.enabled:
            findings.append(Finding(code=Code.REOPENED))
        if one.is_as(found) and (one.enabled or by_hand):
            findings.append(Finding(code=Code.UNCHANGED))
            return _decision(one, Action.KEEP, findings, found=found, after=one)
        after = replace(one, hedge_ratio=found.hedge_ratio, fit=found, enabled=not by_hand, closed_by_us=False)
        return _decision(one, Action.UPDATE, findings, found=found, after=after)

    def _untested(self, one: Incumbent, y: int, x: int) -> Finding | None:
        """Why there is nothing to learn of it. A symbol that trades no more retires its pairs where the universe says what trades."""
        listed = self.rules.universe is Universe.LISTED
        for leg in (one.leg_a, one.leg_b):
            if leg in self.missing:
                code = Code.SYMBOL_GONE if listed and leg in self.gone else Code.NOT_TESTED
                return Finding(code=code, facts=f"{leg}: {self.missing[leg]}")
            if listed and leg in self.known and leg in self.scanned.excluded_symbols:
                return Finding(code=Code.PREFILTERED, facts=f"{leg}: {self.scanned.excluded_symbols[leg]}")
        if min(y, x) < 0:
            return Finding(code=Code.NOT_TESTED, facts="no bars")
        status = STATUSES[self.fits.status[y, x]]
        if status is PairStatus.OK:
            return None
        return Finding(code=Code.NOT_TESTED, facts=f"{status}, {self.fits.bars[y, x]} common bars")

    def _fit(self, tests: PairTests, y: int, x: int) -> Fit:
        """Plain numbers of a tested direction; nothing that is not finite."""
        gates = self.rules.scan.gates
        half_life = float(tests.half_life[y, x])
        ratio = None
        if gates.costs is not None and math.isfinite(half_life):
            both = np.isfinite(self.panel.prices[:, [y, x]]).all(axis=1)
            last = self.panel.prices[np.flatnonzero(both)[-1]]
            ratio = edge_ratio(
                space=self.rules.scan.method.space,
                hedge_ratio=float(tests.hedge_ratio[y, x]),
                residual_std=float(tests.residual_std[y, x]),
                half_life_bars=half_life,
                price_y=float(last[y]),
                price_x=float(last[x]),
                bars_per_day=self.panel.bars_per_day,
                costs=gates.costs,
            )
        return Fit(
            hedge_ratio=float(tests.hedge_ratio[y, x]),
            intercept=float(tests.intercept[y, x]),
            residual_std=float(tests.residual_std[y, x]),
            half_life_bars=_finite(half_life),
            observations=int(tests.bars[y, x]),
            t_stat=_finite(float(tests.t_stat[y, x])),
            p_value=_finite(float(STATISTICS[self.rules.scan.statistic].p_values(tests)[y, x])),
            q_value=_finite(float(self.scanned.q_value[y, x])),
            edge_ratio=None if ratio is None else _finite(ratio),
        )

    def _problem(self, y: int, x: int, found: Fit | None) -> Finding | None:
        """What keeps this direction from being traded, whoever asks."""
        if found is None:
            return None
        gates = self.rules.scan.gates
        p_value = 1.0 if found.p_value is None else found.p_value
        if p_value > self.rules.p_value_max:
            return Finding(code=Code.P_ABOVE_LEVEL, facts=f"p {p_value:.3g} is above {self.rules.p_value_max:g}")
        refused = hedge_is_positive(self.fits, y, x) or half_life_is_useful(self.fits, y, x, gates)
        if refused is None and gates.costs is not None and found.edge_ratio is not None:
            refused = pays(found.edge_ratio, gates.costs)
        return None if refused is None else _finding(refused)

    def _drift(self, one: Incumbent, found: Fit | None) -> Finding | None:
        if found is None:
            return None
        drift = found.hedge_ratio / one.hedge_ratio - 1
        if abs(drift) <= self.rules.hedge_drift_max:
            return None
        facts = (
            f"hedge ratio {one.hedge_ratio:.6g} would move by {drift:+.1%} to {found.hedge_ratio:.6g}, more than"
            f" {self.rules.hedge_drift_max:.0%}; allow it with a larger hedge_drift_max"
        )
        return Finding(code=Code.HEDGE_DRIFT, facts=facts)

    def _of_unfit(self, one: Incumbent, problem: Finding, found: Fit | None) -> Decision:
        """Out of the file, or closed for entries."""
        findings = [problem]
        by_hand = one.is_disabled_by_hand
        if by_hand or not self.rules.disable_unfit:
            findings.append(Finding(code=Code.DISABLED_BY_HAND if by_hand else Code.LEFT_OPEN))
            return _decision(one, Action.KEEP, findings, found=found, after=one)
        if self.rules.universe is Universe.LISTED:
            if one.pair_id not in self.open_trades:
                findings.append(Finding(code=Code.DROPPED))
                return _decision(one, Action.RETIRE, findings, found=found, after=None)
            findings.append(Finding(code=Code.OPEN_TRADE))
        findings.append(Finding(code=Code.CLOSE_ONLY))
        action = Action.RETIRE if one.enabled else Action.KEEP
        return _decision(one, action, findings, found=found, after=one.closed())

    def of_candidates(
        self, decided: Sequence[Decision], held: NDArray[np.bool_], *, same_bars: bool
    ) -> tuple[list[Decision], list[Decision]]:
        """What is let in, and what was near. The caps and the turnover count what stays of the incumbents first."""
        caps, symbols = self.rules.scan.gates, self.panel.symbols
        rows = sum(decision.after is not None for decision in decided)
        uses = Counter(leg for one in decided if one.after is not None for leg in (one.leg_a, one.leg_b))
        left = turnover_max(decided, self.rules) - retired(decided)
        taken = {decision.pair_id for decision in decided}
        added: list[Decision] = []
        rejected: list[Decision] = []
        for y, x, refused in self._near(held):
            pair_id = name_of(symbols[x], symbols[y], taken)
            # What the scan refused was not fitted over the whole window: the numbers of the formation tell of it.
            found = self._fit(self.scanned.tests if refused else self.fits, y, x)
            problem = refused or self._unready(y, x, found)
            full = [leg for leg in (symbols[x], symbols[y]) if uses[leg] >= caps.pairs_per_symbol_max]
            if problem is None and same_bars:
                problem = Finding(code=Code.SAME_BARS, facts="these bars were decided upon before")
            if problem is None and full:
                facts = f"{caps.pairs_per_symbol_max} pairs hold {' and '.join(full)}"
                problem = Finding(code=Code.SYMBOL_CAP, facts=facts)
            if problem is None and rows + len(added) >= caps.pairs_max:
                problem = Finding(code=Code.TOTAL_CAP, facts=f"{caps.pairs_max} pairs")
            if problem is None and len(added) >= left:
                problem = Finding(code=Code.TURNOVER, facts=f"at most {self.rules.max_turnover:.0%} at once")
            new = Incumbent(
                pair_id=pair_id, leg_a=symbols[x], leg_b=symbols[y], hedge_ratio=found.hedge_ratio, fit=found
            )
            if problem is not None:
                if len(rejected) < self.rules.rejected_max:
                    rejected.append(_candidate(new, Action.REJECT, problem))
                continue
            taken.add(pair_id)
            uses.update((symbols[x], symbols[y]))
            facts = f"q {found.q_value:.3g}, among {self.scanned.family} directions"
            passed = Finding(code=Code.PASSED, facts=facts)
            added.append(_candidate(new, Action.ADD, passed))
        return added, rejected

    def _near(self, held: NDArray[np.bool_]) -> Iterator[tuple[int, int, Finding | None]]:
        """Directions (y, x) that are no incumbent's, best first, each with what the scan said against it: those that passed its
        level, then the better ones of those within `NEAR` times of it."""
        result = self.scanned
        for survivor in result.survivors:
            if not held[survivor.y, survivor.x]:
                yield survivor.y, survivor.x, None if survivor.rejection is None else _finding(survivor.rejection)
        level = result.options.gates.q_max
        seen = held.copy()
        for y, x in result.ranked().tolist():
            q = result.q_value[y, x]
            if q > NEAR * level:
                return
            if q > level and not seen[y, x]:
                seen[y, x] = seen[x, y] = True
                yield y, x, Finding(code=Code.Q_ABOVE_LEVEL, facts=f"q {q:.3g} is above {level:g}")

    def _unready(self, y: int, x: int, found: Fit) -> Finding | None:
        """Why a candidate that passed the scan cannot be written by its fit over the whole window, or None."""
        status = STATUSES[self.fits.status[y, x]]
        if status is not PairStatus.OK:
            return Finding(code=Code.NOT_TESTED, facts=f"{status} over the whole window")
        return self._problem(y, x, found)


def _decision(
    one: Incumbent, action: Action, findings: Sequence[Finding], *, after: Incumbent | None, found: Fit | None = None
) -> Decision:
    return Decision(
        pair_id=one.pair_id, leg_a=one.leg_a, leg_b=one.leg_b, action=action, findings=tuple(findings), before=one,
        found=found, after=after,
    )  # fmt: skip


def _candidate(new: Incumbent, action: Action, finding: Finding) -> Decision:
    return Decision(
        pair_id=new.pair_id, leg_a=new.leg_a, leg_b=new.leg_b, action=action, findings=(finding,), found=new.fit,
        after=new if action is Action.ADD else None,
    )  # fmt: skip


def _finding(rejection: Rejection) -> Finding:
    return Finding(code=Code(str(rejection.reason)), facts=rejection.facts)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _facts(one: Incumbent, found: Fit) -> str:
    return f"p {found.p_value:.3g}, hedge ratio {found.hedge_ratio / one.hedge_ratio - 1:+.2%}"
