"""A recalibration as entries of the ledger: one of the run, one of each decision."""

from domain.entries import CalibrationDecided, CalibrationRun
from domain.statistics.decisions import Action, Decision
from domain.symbols import PairId, Symbol
from flows.common import facts
from flows.recalibrate.result import Recalibration


def run_entry(result: Recalibration, outcome: str, *, refusals: str = "") -> CalibrationRun:
    evidence, scanned = result.evidence, result.verdict.scanned
    counts = result.counts
    return CalibrationRun(
        at_ms=facts.now_ms(),
        run_id=result.run_id,
        universe=result.rules.universe,
        symbols=len(evidence.panel.symbols),
        tests=scanned.family,
        correction=result.rules.correction,
        level=result.rules.q_max,
        kept=counts[Action.KEEP],
        updated=counts[Action.UPDATE],
        added=counts[Action.ADD],
        retired=counts[Action.RETIRE],
        rejected=counts[Action.REJECT],
        data_hash=scanned.data_hash,
        timeframe=evidence.timeframe,
        bars_from_ms=evidence.start_ms,
        bars_to_ms=evidence.end_ms,
        parameters=result.rules.model_dump(mode="json"),
        duration_seconds=result.seconds,
        outcome=outcome,
        refusals=refusals or "; ".join(map(str, result.verdict.refusals)),
        written_version=result.written_version,
    )


def decision_entry(run_id: str, at_ms: int, decision: Decision) -> CalibrationDecided:
    before, found = decision.before, decision.found
    old = None if before is None else before.fit
    return CalibrationDecided(
        at_ms=at_ms,
        run_id=run_id,
        pair_id=PairId(decision.pair_id),
        symbol_a=Symbol(decision.leg_a),
        symbol_b=Symbol(decision.leg_b),
        hedge_ratio=None if found is None else found.hedge_ratio,
        intercept=None if found is None else found.intercept,
        spread_std=None if found is None else found.residual_std,
        t_stat=None if found is None else found.t_stat,
        p_value=None if found is None else found.p_value,
        q_value=None if found is None else found.q_value,
        half_life=None if found is None else found.half_life_bars,
        observations=0 if found is None else found.observations,
        previous_hedge_ratio=None if before is None else before.hedge_ratio,
        decision=str(decision.action),
        reason=decision.reason,
        codes=",".join(decision.codes),
        edge_ratio=None if found is None else found.edge_ratio,
        enabled=None if decision.after is None else decision.after.enabled,
        previous_half_life=None if old is None else old.half_life_bars,
        previous_t_stat=None if old is None else old.t_stat,
        previous_p_value=None if old is None else old.p_value,
    )
