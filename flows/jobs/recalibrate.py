"""Recalibration: bars into the store, one test a pair, one decision a pair, and the pairs file whole or not at all."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domain.entries import CalibrationDecided, Entry
from domain.errors import ConfigError, ExchangeError
from domain.pairs import PairConfig
from domain.statistics.fdr import q_values
from domain.symbols import PairId, Symbol, unified
from flows.jobs import facts
from flows.jobs.bars import Fetched, Say, bars_in, refresh, store_of
from flows.jobs.calibration import CalibrationRules, PairDecision, Stamp, decide_pair
from flows.jobs.cointegration import Fitness, PairStatus, PairTest, confirm, examine
from flows.jobs.exchange_reads import ExchangeReads
from runner.config import Settings
from runner.pairs_file import PairsDocument, pairs_of, parse_document, write_document
from storage import market


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """What was decided, and the version that was written; None when nothing changed or nothing was to be written."""

    run_id: str
    decisions: tuple[PairDecision, ...]
    written_version: int | None
    dry_run: bool
    bars_fetched: int
    window: str

    @property
    def counts(self) -> dict[str, int]:
        words = [decision.decision for decision in self.decisions]
        return {word: words.count(word) for word in ("updated", "refused", "kept")}

    @property
    def learnt_nothing(self) -> bool:
        return all(decision.decision == "kept" for decision in self.decisions)


def recalibrate(
    settings: Settings,
    pairs_path: Path,
    rules: CalibrationRules,
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    run_id: str,
    say: Say,
) -> Recalibration:
    """Test the configured pairs anew and rewrite the file when a row changes. Safe to run twice.

    Raises: ConfigError (a file is bad or changed meanwhile), ExchangeError, InvariantBroken (statsmodels says otherwise); nothing
    was written then.
    """
    raw = _read(pairs_path)
    document = parse_document(raw, where=str(pairs_path))
    configured = pairs_of(document, settings.signal, where=str(pairs_path))
    chosen = _chosen(configured, only, pairs_path)
    if not chosen:
        raise ConfigError(f"{pairs_path}: there is no pair to recalibrate; add one")
    root = store_of(settings)
    fetched, bars = _fetch(settings, root, chosen, rules, say)
    if fetched.end_ms is None:
        first = next(iter(fetched.failures.values()), "no bars")
        raise ExchangeError(f"no candles from the exchange for any pair ({first}); nothing was changed")
    step_ms = market.timeframe_ms(rules.timeframe)
    start_ms = fetched.end_ms - bars * step_ms
    window = f"{facts.iso(start_ms)}/{facts.iso(fetched.end_ms)} {rules.timeframe}"
    tests = _test_all(root=root, chosen=chosen, rules=rules, start_ms=start_ms, fetched=fetched, say=say)
    at_ms = facts.now_ms()
    stamp = Stamp(
        run_id=run_id, calibrated_at=facts.iso(at_ms), window=window, candle_seconds=step_ms // 1000
    )  # fmt: skip
    decisions = _decide_all(document, tests, rules, stamp)
    version = None if dry_run else _write(pairs_path, raw, document, decisions, stamp)
    if not dry_run:
        facts.record(settings, [_entry(run_id, at_ms, decision) for decision in decisions])
    return Recalibration(
        run_id=run_id,
        decisions=tuple(decisions),
        written_version=version,
        dry_run=dry_run,
        bars_fetched=fetched.bars,
        window=window,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; create it, or name another with --pairs") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None


def _chosen(configured: Sequence[PairConfig], only: Sequence[str], path: Path) -> list[PairConfig]:
    known = {str(pair.pair_id) for pair in configured}
    for pair_id in only:
        if pair_id not in known:
            raise ConfigError(f"{path}: no pair is called {pair_id}; it has {', '.join(sorted(known)) or 'none'}")
    return [pair for pair in configured if not only or pair.pair_id in only]


def _fetch(
    settings: Settings, root: Path, chosen: Sequence[PairConfig], rules: CalibrationRules, say: Say
) -> tuple[Fetched, int]:
    bars = bars_in(rules.window_days, rules.timeframe)
    symbols = sorted({symbol for pair in chosen for symbol in pair.symbols})
    with ExchangeReads(settings) as reads:
        listed = reads.listed()
        wanted = [symbol for symbol in symbols if symbol in listed and listed[symbol].is_trading]
        fetched = refresh(reads, root, wanted, rules.timeframe, bars=bars, say=say)
    for symbol in symbols:
        if symbol not in wanted:
            fetched.failures[symbol] = "not trading" if symbol in listed else "not listed by the exchange"
    return fetched, bars


def _test_all(
    *,
    root: Path,
    chosen: Sequence[PairConfig],
    rules: CalibrationRules,
    start_ms: int,
    fetched: Fetched,
    say: Say,
) -> dict[PairId, PairTest]:
    fitness = Fitness(observations_min=rules.observations_min, gap_share_max=rules.gap_share_max)
    tests: dict[PairId, PairTest] = {}
    assert fetched.end_ms is not None
    for number, pair in enumerate(chosen, start=1):
        missing = [f"{symbol}: {fetched.failures[symbol]}" for symbol in pair.symbols if symbol in fetched.failures]
        if missing:
            tests[pair.pair_id] = PairTest(status=PairStatus.UNUSABLE, observations=0, detail="; ".join(missing))
        else:
            tests[pair.pair_id] = examine_stored(
                root, pair.symbols, rules.timeframe, start_ms, fetched.end_ms, fitness=fitness
            )
        say(f"[{number}/{len(chosen)}] {pair.pair_id}: {tests[pair.pair_id].status}")
    return tests


def examine_stored(
    root: Path, symbols: tuple[Symbol, Symbol], timeframe: str, start_ms: int, end_ms: int, *, fitness: Fitness
) -> PairTest:
    """Test two stored symbols over [start_ms, end_ms), statsmodels agreeing. Bars that both lack at the end count as missing.

    Raises: InvariantBroken when statsmodels does not agree.
    """
    closes = market.read_closes(root, symbols, timeframe, start_ms, end_ms)
    prices = closes.matrix
    if closes.times.size:
        behind = (end_ms - int(closes.times[-1])) // market.timeframe_ms(timeframe) - 1
        prices = np.vstack([prices, np.full((behind, 2), np.nan)])
    test = examine(prices[:, 0], prices[:, 1], fitness)
    confirm("/".join(symbols), test, prices[:, 0], prices[:, 1])
    return test


def _decide_all(
    document: PairsDocument, tests: dict[PairId, PairTest], rules: CalibrationRules, stamp: Stamp
) -> list[PairDecision]:
    tested = {pair_id: test.p_value for pair_id, test in tests.items() if test.p_value is not None}
    corrected = dict(zip(tested, q_values(np.array(list(tested.values()))).tolist(), strict=True))
    return [
        decide_pair(row, tests[PairId(row.pair_id)], corrected.get(PairId(row.pair_id)), rules, stamp)
        for row in document.pairs
        if row.pair_id in tests
    ]


def _write(
    path: Path, raw: bytes, document: PairsDocument, decisions: Sequence[PairDecision], stamp: Stamp
) -> int | None:
    """Replace the file when a row changed; None when none did. Raises: ConfigError; then the old file stands."""
    after = {decision.before.pair_id: decision.after for decision in decisions}
    rows = [after.get(row.pair_id, row) for row in document.pairs]
    if tuple(rows) == document.pairs:
        return None
    if hashlib.sha256(_read(path)).digest() != hashlib.sha256(raw).digest():
        raise ConfigError(f"{path}: was edited while the recalibration ran; nothing was written, run it again")
    return write_document(path, rows, generated_at=stamp.calibrated_at, run_id=stamp.run_id).version


def _entry(run_id: str, at_ms: int, decision: PairDecision) -> Entry:
    test = decision.test
    return CalibrationDecided(
        at_ms=at_ms,
        run_id=run_id,
        pair_id=PairId(decision.before.pair_id),
        symbol_a=unified(decision.before.leg_a),
        symbol_b=unified(decision.before.leg_b),
        hedge_ratio=test.hedge_ratio,
        intercept=test.intercept,
        spread_std=test.spread_std,
        t_stat=test.t_stat,
        p_value=test.p_value,
        q_value=decision.q_value,
        half_life=test.half_life,
        observations=test.observations,
        previous_hedge_ratio=decision.before.hedge_ratio,
        decision=decision.decision,
        reason=decision.reason,
    )


def table_of(result: Recalibration) -> list[dict[str, Any]]:
    """One row a pair, for the artifact and the terminal."""
    return [
        {
            "pair": decision.before.pair_id,
            "decision": decision.decision,
            "hedge ratio before": _figures(decision.before.hedge_ratio),
            "hedge ratio new": _figures(decision.test.hedge_ratio),
            "t": _figures(decision.test.t_stat, 4),
            "p": _figures(decision.test.p_value, 3),
            "q": _figures(decision.q_value, 3),
            "half-life": _figures(decision.test.half_life, 3),
            "candles": decision.test.observations,
            "enabled": decision.after.enabled,
            "reason": decision.reason,
        }
        for decision in result.decisions
    ]


def summary_of(result: Recalibration) -> str:
    """One line for people."""
    counts = ", ".join(f"{count} {word}" for word, count in result.counts.items())
    if result.dry_run:
        end = "dry run, nothing written"
    elif result.written_version is None:
        end = "no row changed, the file stays as it was"
    else:
        end = f"pairs file is now version {result.written_version}"
    return f"{len(result.decisions)} pairs over {result.window}: {counts}; {end}"


def _figures(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}g}"
