"""Recalibration: bars into the store, every pair tested, one decision a pair, and the pairs file whole or not at all.

fetch → test → confirm by statsmodels → decide → write, and tell the ledger before and after. Whatever fails on
the way, the file stays as it was.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from domain.entries import Entry
from domain.errors import ConfigError, TandemError
from domain.pairs import PairConfig
from domain.statistics.decisions import Action, Decision, Incumbent
from domain.statistics.engle_granger import Criterion, Method, Progress
from domain.statistics.panel import PricePanel
from domain.statistics.recalibration import Recalibration as Outcome
from domain.statistics.recalibration import recalibrate as decide
from domain.statistics.scan import hash_of
from domain.symbols import PairId, Symbol
from flows.common import facts
from flows.common.bars import Say
from flows.common.cointegration import confirm_numbers
from flows.common.spread_over import SpreadOver, nobody_else
from flows.common.steps import HOURS, MINUTES, Run, Step, plainly
from flows.recalibrate.evidence import Evidence, collect
from flows.recalibrate.ledger_entries import decision_entry, run_entry
from flows.recalibrate.report import decisions_of, end_of
from flows.recalibrate.result import Recalibration
from flows.recalibrate.rows import Stamp, incumbent_of, limits_of, row_of
from flows.recalibrate.rules import CalibrationRules
from runner.config import Settings
from runner.pairs.file import PairRow, PairsDocument, pairs_of, parse_document, read_raw, write_document
from storage import market
from storage.holdings import journal_holdings

WRITING, WRITTEN, UNCHANGED, REFUSED, FAILED = "writing", "written", "unchanged", "refused", "failed"
"""What became of a run, as the ledger says it; `writing` is what a process leaves that dies at that very moment."""


FETCH = Step(name="fetch", is_read=True, seconds_max=2 * HOURS)
TEST = Step(name="test", seconds_max=2 * HOURS)
CONFIRM = Step(name="confirm", seconds_max=30 * MINUTES)
DECIDE = Step(name="decide")
WRITE = Step(name="write")


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
    spread_over: SpreadOver = nobody_else,
    run: Run = plainly,
) -> Recalibration:
    """Test the universe anew and rewrite the file when a row changes. Safe to run twice. `spread_over`: who does the testing.

    Raises: ConfigError (a file is bad or changed meanwhile), ExchangeError, InvariantBroken (statsmodels says otherwise),
    JournalBroken (open trades cannot be read, the ledger cannot be written); the file stays as it was then.
    """
    started = time.monotonic()
    before = _incumbents(settings, pairs_path, rules, only)
    evidence = run(FETCH, lambda: collect(settings, rules, before.held, say=say), _fetched)
    say(f"testing {len(evidence.panel.symbols)} symbols over {evidence.window}")
    decided_on = f"{hash_of(evidence.panel)}-{rules.sha256}"

    def test() -> Outcome:
        with spread_over(len(evidence.panel.symbols)) as spread:
            return decide(
                evidence.panel,
                before.incumbents,
                limits_of(rules, settings.signal),
                open_trades=_open_pairs(settings),
                facts=evidence.facts,
                gone=evidence.gone,
                unreached=evidence.unreached,
                # The same bars by the same rules are no new evidence.
                same_bars=before.document.decided_on == decided_on,
                progress=progress,
                spread=spread,
            )

    def decided() -> Recalibration:
        stamp = Stamp(
            run_id=run_id,
            calibrated_at=facts.iso(facts.now_ms()),
            window=evidence.window,
            candle_seconds=market.timeframe_ms(rules.timeframe) // 1000,
            hedge_estimator=rules.hedge_estimator,
        )
        return Recalibration(
            run_id=run_id,
            verdict=verdict,
            evidence=evidence,
            rules=rules,
            rows_after=rows_after(before.document, verdict, stamp),
            written_version=None,
            dry_run=dry_run,
            seconds=time.monotonic() - started,
        )

    verdict = run(TEST, test, lambda found: f"{found.scanned.family} directions tested")
    run(CONFIRM, lambda: _confirm(evidence.panel, verdict.decisions, rules, say))
    result = run(DECIDE, decided, decisions_of)
    return run(WRITE, lambda: _written(settings, pairs_path, before, result, decided_on=decided_on, say=say), end_of)


def _fetched(evidence: Evidence) -> str:
    without = len(evidence.gone) + len(evidence.unreached)
    missing = f", {without} symbols without bars" if without else ""
    return f"{len(evidence.panel.symbols)} symbols over {evidence.window}{missing}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """The file as it stands, and those of its pairs that are asked for."""

    raw: bytes
    document: PairsDocument
    incumbents: Sequence[Incumbent]
    held: Sequence[Symbol]


def _incumbents(settings: Settings, path: Path, rules: CalibrationRules, only: Sequence[str]) -> _Before:
    """Raises: ConfigError."""
    raw = read_raw(path)
    document = parse_document(raw, where=str(path))
    chosen = _chosen(pairs_of(document, settings.signal, where=str(path)), only, rules, path)
    candle_seconds = market.timeframe_ms(rules.timeframe) // 1000
    return _Before(
        raw=raw,
        document=document,
        incumbents=[
            incumbent_of(row, candle_seconds=candle_seconds) for row in document.pairs if PairId(row.pair_id) in chosen
        ],
        held=sorted({symbol for pair in chosen.values() for symbol in pair.symbols}),
    )


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


def _confirm(panel: PricePanel, decisions: Sequence[Decision], rules: CalibrationRules, say: Say) -> str:
    """statsmodels' own word on everything that is or would be written; says so. Raises: InvariantBroken, naming the pair."""
    method = Method(criterion=Criterion(rules.criterion), lags_max=rules.lags_max, estimator=rules.hedge_estimator)
    written = [decision for decision in decisions if decision.action in {Action.UPDATE, Action.ADD}]
    for decision in written:
        fit = decision.found
        assert fit is not None
        assert fit.t_stat is not None
        b, a = (panel.prices[:, panel.symbols.index(leg)] for leg in (decision.leg_b, decision.leg_a))
        confirm_numbers(decision.pair_id, (fit.t_stat, fit.hedge_ratio), (b, a), method)
    message = f"statsmodels confirms {len(written)} pairs"
    if written:
        say(message)
    return message


def rows_after(document: PairsDocument, verdict: Outcome, stamp: Stamp) -> tuple[PairRow, ...]:
    """The file's rows when this is written: rows that nobody looked at stay, what is added comes last."""
    if verdict.refusals:
        return document.pairs
    by_id = {decision.pair_id: decision for decision in verdict.decisions}
    rows = [row_of(by_id[row.pair_id], row, stamp) if row.pair_id in by_id else row for row in document.pairs]
    rows += [row_of(decision, None, stamp) for decision in verdict.decisions if decision.action is Action.ADD]
    return tuple(row for row in rows if row is not None)


def _written(
    settings: Settings, path: Path, before: _Before, result: Recalibration, *, decided_on: str, say: Say
) -> Recalibration:
    """Into the ledger, into the file, into the ledger: it never says of a file what is not so. Nothing of it in a dry run."""
    if result.dry_run:
        return result
    entries: list[Entry] = [decision_entry(result.run_id, facts.now_ms(), decision) for decision in result.decisions]
    if result.rows_after == before.document.pairs:
        outcome = REFUSED if result.is_refused else UNCHANGED
        facts.record(settings, [*entries, run_entry(result, outcome)])
        return result
    facts.record(settings, [*entries, run_entry(result, WRITING)])
    try:
        version = write_document(
            path,
            result.rows_after,
            generated_at=facts.iso(facts.now_ms()),
            run_id=result.run_id,
            decided_on=decided_on,
            expected=before.raw,
        ).version
    except (TandemError, OSError) as problem:
        facts.record(settings, [run_entry(result, FAILED, refusals=str(problem))])
        if isinstance(problem, OSError):
            raise ConfigError(
                f"{path}: cannot be written ({problem.strerror}); make room or correct permissions"
            ) from None
        raise
    result = replace(result, written_version=version)
    try:
        facts.record(settings, [run_entry(result, WRITTEN)])
    except TandemError as problem:
        # The file stands; that the ledger still says `writing` of it is no reason to call it undone.
        say(f"version {version} is written, but the ledger could not be written: {problem}")
    return result
