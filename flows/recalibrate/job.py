"""Recalibration: bars into the store, every pair tested, one decision a pair, and the pairs file whole or not at all.

fetch → test → confirm by statsmodels → decide → tell the ledger what will be done → write → tell it that it was. Whatever fails on
the way, the file stays as it was.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from domain.entries import CalibrationDecided, CalibrationRun, Entry
from domain.errors import ConfigError, TandemError
from domain.pairs import PairConfig
from domain.statistics.decisions import Action, Decision
from domain.statistics.engle_granger import Criterion, Method, Progress, Spread
from domain.statistics.panel import PricePanel
from domain.statistics.recalibration import Recalibration as Verdict
from domain.statistics.recalibration import recalibrate as decide
from domain.statistics.scan import hash_of
from domain.symbols import PairId, Symbol
from flows.common import facts
from flows.common.bars import Say
from flows.common.cointegration import confirm_numbers
from flows.recalibrate.evidence import Evidence, collect
from flows.recalibrate.rows import Stamp, incumbent_of, limits_of, row_of
from flows.recalibrate.rules import CalibrationRules
from runner.config import Settings
from runner.pairs.file import PairRow, PairsDocument, pairs_of, parse_document, write_document
from storage import market
from storage.holdings import journal_holdings

WRITING, WRITTEN, UNCHANGED, REFUSED, FAILED = "writing", "written", "unchanged", "refused", "failed"
"""What became of a run, as the ledger says it; `writing` is what a process leaves that dies at that very moment."""


SpreadOver = Callable[[int], AbstractContextManager[Spread | None]]
"""Who tests so many symbols instead of this process, as long as the context lasts; None: nobody else."""


def _nobody_else(_: int) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """What was decided and why, and the version that was written; None when nothing changed or nothing was to be written."""

    run_id: str
    verdict: Verdict
    evidence: Evidence
    rules: CalibrationRules
    rows_after: tuple[PairRow, ...]
    written_version: int | None
    dry_run: bool
    seconds: float

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self.verdict.decisions

    @property
    def bars_fetched(self) -> int:
        return self.evidence.bars_fetched

    @property
    def window(self) -> str:
        return self.evidence.window

    @property
    def counts(self) -> dict[str, int]:
        return {str(action): count for action, count in self.verdict.counts.items()}

    @property
    def is_refused(self) -> bool:
        """A gate over the whole refused: nothing was written, and somebody should look."""
        return bool(self.verdict.refusals)


def recalibrate(
    settings: Settings,
    pairs_path: Path,
    rules: CalibrationRules,
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    run_id: str,
    say: Say,
    progress: Progress | None = None,
    spread_over: SpreadOver = _nobody_else,
) -> Recalibration:
    """Test the universe anew and rewrite the file when a row changes. Safe to run twice. `spread_over`: who does the testing.

    Raises: ConfigError (a file is bad or changed meanwhile), ExchangeError, InvariantBroken (statsmodels says otherwise),
    JournalBroken (open trades cannot be read, the ledger cannot be told); the file stays as it was then.
    """
    started = time.monotonic()
    raw = _read(pairs_path)
    document = parse_document(raw, where=str(pairs_path))
    chosen = _chosen(pairs_of(document, settings.signal, where=str(pairs_path)), only, rules, pairs_path)
    candle_seconds = market.timeframe_ms(rules.timeframe) // 1000
    incumbents = [
        incumbent_of(row, candle_seconds=candle_seconds) for row in document.pairs if PairId(row.pair_id) in chosen
    ]
    held = sorted({symbol for pair in chosen.values() for symbol in pair.symbols})
    evidence = collect(settings, rules, held, say=say)
    say(f"testing {len(evidence.panel.symbols)} symbols over {evidence.window}")
    # The same bars by the same rules are no new evidence.
    decided_on = f"{hash_of(evidence.panel)}-{rules.sha256}"
    with spread_over(len(evidence.panel.symbols)) as spread:
        verdict = decide(
            evidence.panel,
            incumbents,
            limits_of(rules, settings.signal),
            open_trades=_open_pairs(settings),
            facts=evidence.facts,
            gone=evidence.gone,
            unreached=evidence.unreached,
            same_bars=document.decided_on == decided_on,
            progress=progress,
            spread=spread,
        )
    _confirm(evidence.panel, verdict.decisions, rules, say)
    at_ms = facts.now_ms()
    stamp = Stamp(run_id=run_id, calibrated_at=facts.iso(at_ms), window=evidence.window, candle_seconds=candle_seconds)
    rows = rows_after(document, verdict, stamp)
    result = Recalibration(
        run_id=run_id,
        verdict=verdict,
        evidence=evidence,
        rules=rules,
        rows_after=rows,
        written_version=None,
        dry_run=dry_run,
        seconds=time.monotonic() - started,
    )
    if dry_run:
        return result
    is_change = rows != document.pairs
    return _commit(settings, pairs_path, result, raw=raw, is_change=is_change, decided_on=decided_on, say=say)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; create it, or name another with --pairs") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None


def _chosen(
    configured: Sequence[PairConfig], only: Sequence[str], rules: CalibrationRules, path: Path
) -> dict[PairId, PairConfig]:
    known = {pair.pair_id: pair for pair in configured}
    if only and rules.universe == "listed":
        raise ConfigError("--only names pairs of the file; with --universe listed all of them are looked at")
    for pair_id in only:
        if pair_id not in known:
            raise ConfigError(f"{path}: no pair is called {pair_id}; it has {', '.join(sorted(known)) or 'none'}")
    if not known and rules.universe == "configured":
        raise ConfigError(f"{path}: there is no pair to recalibrate; add one, or find some with --universe listed")
    return {pair_id: pair for pair_id, pair in known.items() if not only or pair_id in only}


def _open_pairs(settings: Settings) -> set[str]:
    """The pairs that have a trade which is not over. Raises: ConfigError, JournalBroken: not knowing is not none."""
    return {str(trade.pair_id) for trade in journal_holdings(settings.storage.journal).trades.values()}


def _confirm(panel: PricePanel, decisions: Sequence[Decision], rules: CalibrationRules, say: Say) -> None:
    """statsmodels' own word on everything that is or would be written. Raises: InvariantBroken, naming the pair."""
    method = Method(criterion=Criterion(rules.criterion), lags_max=rules.lags_max)
    written = [decision for decision in decisions if decision.action in {Action.UPDATE, Action.ADD}]
    for decision in written:
        fit = decision.found
        assert fit is not None
        assert fit.t_stat is not None
        b, a = (panel.prices[:, panel.symbols.index(leg)] for leg in (decision.leg_b, decision.leg_a))
        confirm_numbers(decision.pair_id, (fit.t_stat, fit.hedge_ratio), (b, a), method)
    if written:
        say(f"statsmodels confirms {len(written)} pairs")


def rows_after(document: PairsDocument, verdict: Verdict, stamp: Stamp) -> tuple[PairRow, ...]:
    """The file's rows when this is written: rows that nobody looked at stay, what is added comes last."""
    if verdict.refusals:
        return document.pairs
    by_id = {decision.pair_id: decision for decision in verdict.decisions}
    rows = [row_of(by_id[row.pair_id], row, stamp) if row.pair_id in by_id else row for row in document.pairs]
    rows += [row_of(decision, None, stamp) for decision in verdict.decisions if decision.action is Action.ADD]
    return tuple(row for row in rows if row is not None)


def _commit(
    settings: Settings, path: Path, result: Recalibration, *, raw: bytes, is_change: bool, decided_on: str, say: Say
) -> Recalibration:
    """Into the ledger, into the file, into the ledger: it never says of a file what is not so."""
    entries: list[Entry] = [_decided(result.run_id, facts.now_ms(), decision) for decision in result.decisions]
    if not is_change:
        outcome = REFUSED if result.is_refused else UNCHANGED
        facts.record(settings, [*entries, _run(result, outcome)])
        return result
    facts.record(settings, [*entries, _run(result, WRITING)])
    try:
        version = write_document(
            path,
            result.rows_after,
            generated_at=facts.iso(facts.now_ms()),
            run_id=result.run_id,
            decided_on=decided_on,
            expected=raw,
        ).version
    except (TandemError, OSError) as problem:
        facts.record(settings, [_run(result, FAILED, refusals=str(problem))])
        if isinstance(problem, OSError):
            raise ConfigError(
                f"{path}: cannot be written ({problem.strerror}); make room or mend permissions"
            ) from None
        raise
    result = replace(result, written_version=version)
    try:
        facts.record(settings, [_run(result, WRITTEN)])
    except TandemError as problem:
        # The file stands; that the ledger still says `writing` of it is no reason to call it undone.
        say(f"version {version} is written, but the ledger could not be told: {problem}")
    return result


def _run(result: Recalibration, outcome: str, *, refusals: str = "") -> CalibrationRun:
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


def _decided(run_id: str, at_ms: int, decision: Decision) -> CalibrationDecided:
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
