"""Whole or not at all: a fault at each step, the gates, a listed universe with open trades, twice in a row; files, journal, ledger."""

import errno
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from calibration_project import evidence_of, row, write_files
from click.testing import CliRunner
from storage_entries import fill_journal, trade

import flows.recalibrate.job as work
from domain.errors import ConfigError, InvariantBroken, JournalBroken, TandemError
from domain.statistics.batches import Batch, Piece, cut, solve
from domain.statistics.decisions import Action
from domain.statistics.engle_granger import Spread
from domain.statistics.estimators import ESTIMATORS, HedgeEstimator
from domain.symbols import PairId
from flows.common import facts
from flows.recalibrate.cli import recalibrate as recalibrate_command
from flows.recalibrate.evidence import Evidence
from flows.recalibrate.report import summary_of, table_of
from flows.recalibrate.rows import UNFIT
from flows.recalibrate.rules import CalibrationRules
from runner.config import load_settings
from runner.exchange.errors import ExchangeError
from runner.pairs.file import history_folder, read_document
from storage import ledger

RULES = CalibrationRules()
LISTED = CalibrationRules(universe="listed", max_turnover=1.0)
Collected = Callable[..., None]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_files(tmp_path, [row(0), row(1), row(2)])


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    """From now on these are the candles."""

    def use(evidence: Evidence) -> None:
        monkeypatch.setattr(work, "collect", lambda *_, **__: evidence)

    use(evidence_of())
    return use


def _run(
    files: tuple[Path, Path], rules: CalibrationRules = RULES, *, run_id: str = "r1", **more: Any
) -> work.Recalibration:
    said = more.pop("say", lambda _: None)
    return work.recalibrate(load_settings(files[0]), files[1], rules, run_id=run_id, say=said, **more)


def _ledger(files: tuple[Path, Path], sql: str) -> list[tuple[Any, ...]]:
    settings = load_settings(files[0])
    facts.publish(settings)
    return ledger.read(settings.storage.ledger, sql).rows


def _fail(problem: BaseException) -> Callable[..., Any]:
    def step(*_: object, **__: object) -> Any:
        raise problem

    return step


@pytest.mark.parametrize("estimator", HedgeEstimator)
def test_the_file_and_the_ledger_say_which_estimator_it_was(
    files: tuple[Path, Path], collected: Collected, estimator: HedgeEstimator
) -> None:
    """statsmodels confirms the test of each of them; the hedge ratio that is written is the estimator's."""
    rules = RULES.model_copy(update={"hedge_estimator": estimator})
    assert _run(files, rules).written_version == 1
    (first, *_) = read_document(files[1]).pairs
    assert first.hedge_estimator == estimator
    panel = evidence_of().panel
    b, a = (panel.symbols.index(f"{leg}:USDT") for leg in (first.leg_b, first.leg_a))
    assert first.hedge_ratio == pytest.approx(ESTIMATORS[estimator].hedge_ratio(panel.prices[:, [b, a]]))
    assert _ledger(files, "SELECT parameters->>'hedge_estimator' FROM calibration_runs") == [(str(estimator),)]


FAULTS: list[tuple[str, str, BaseException, type[BaseException], list[str]]] = [
    ("the exchange is away", "collect", ExchangeError("away"), ExchangeError, []),
    ("the kernel dies", "decide", MemoryError(), MemoryError, []),
    ("statsmodels says otherwise", "confirm_numbers", InvariantBroken("P0: t"), InvariantBroken, []),
    ("open trades cannot be read", "journal_holdings", JournalBroken("torn"), JournalBroken, []),
    ("a row cannot be made", "row_of", ValueError("nan"), ValueError, []),
    ("the ledger cannot be written", "facts.record", JournalBroken("disk full"), JournalBroken, []),
    ("the disk is full", "write_document", OSError(errno.ENOSPC, "No space left on device"), ConfigError, ["failed"]),
    ("the file would not load", "write_document", ConfigError("bad"), ConfigError, ["failed"]),
    ("somebody stops it", "write_document", KeyboardInterrupt(), KeyboardInterrupt, ["writing"]),
]  # fmt: skip


@pytest.mark.parametrize(("story", "step", "problem", "raised", "outcomes"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_at_any_step_changes_nothing(
    *,
    tmp_path: Path,
    collected: Collected,
    monkeypatch: pytest.MonkeyPatch,
    story: str,
    step: str,
    problem: BaseException,
    raised: type[BaseException],
    outcomes: list[str],
) -> None:
    files = write_files(tmp_path, [row(0)])
    before = files[1].read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr(f"flows.recalibrate.job.{step}", _fail(problem))
        with pytest.raises(raised) as caught:
            _run(files)
    assert files[1].read_bytes() == before
    assert not history_folder(files[1]).exists()
    assert not list(files[1].parent.glob(".*.tmp"))
    if isinstance(caught.value, TandemError):
        assert "\n" not in str(caught.value)
    if outcomes:
        assert [word for (word,) in _ledger(files, "SELECT outcome FROM calibration_runs")] == outcomes
    # And the way is free for the next one.
    assert _run(files, run_id="r2").written_version == 1


def test_the_last_word_to_the_ledger_is_no_reason_to_call_it_undone(
    files: tuple[Path, Path], collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    told = facts.record
    with monkeypatch.context() as broken:

        def second_fails(settings: Any, entries: Any) -> None:
            if len(entries) == 1:
                raise JournalBroken("disk full")
            told(settings, entries)

        broken.setattr(facts, "record", second_fails)
        assert _run(files, say=said.append).written_version == 1
    assert "version 1 is written, but the ledger could not be written: disk full" in said
    assert read_document(files[1]).version == 1
    assert _ledger(files, "SELECT outcome FROM calibration_runs") == [("writing",)]


def test_one_row_a_run_and_one_a_pair_that_mattered(files: tuple[Path, Path], collected: Collected) -> None:
    collected(evidence_of(frozenset({1})))
    result = _run(files)
    assert result.counts == {"kept": 0, "updated": 2, "added": 0, "retired": 1, "rejected": 0}
    (run,) = _ledger(
        files,
        """SELECT run_id, universe, symbols, tests, correction, level, kept, updated, added, retired, rejected, data_hash, timeframe,
        date_diff('hour', bars_from, bars_to) = 400, parameters->>'window_days', duration_seconds > 0, outcome, refusals, written_version
        FROM calibration_runs""",
    )
    family = result.verdict.scanned.family
    assert run[:5] == ("r1", "configured", 12, family, "by")
    assert run[5:13] == (0.05, 0, 2, 0, 1, 0, result.verdict.scanned.data_hash, "1h")
    assert run[13:] == (True, "60.0", True, "written", "", 1)
    assert family == 6
    rows = _ledger(
        files,
        "SELECT pair_id, decision, codes, enabled, previous_hedge_ratio, edge_ratio > 1 FROM calibrations ORDER BY ALL",
    )
    assert rows == [
        ("P0", "updated", "passed", True, 2.0, True),
        ("P1", "retired", "p_above_level,close_only", False, 2.0, rows[1][5]),
        ("P2", "updated", "passed", True, 2.0, True),
    ]


def test_what_could_not_be_tested_is_said_in_the_one_line(tmp_path: Path, collected: Collected) -> None:
    """Kept because nothing could be learnt is not kept because it is good."""
    result = _run(write_files(tmp_path, [row(0), row(1), row(7)]))
    assert "1 kept, 2 updated, 1 of them not tested; pairs file is now version 1" in summary_of(result)


@pytest.mark.parametrize("rules", [RULES, LISTED], ids=["configured", "listed"])
def test_twice_in_a_row_writes_once(files: tuple[Path, Path], collected: Collected, rules: CalibrationRules) -> None:
    collected(evidence_of(frozenset({1})))
    first = _run(files, rules)
    assert first.written_version == 1
    standing = files[1].read_bytes()
    second = _run(files, rules, run_id="r2")
    assert second.written_version is None
    assert files[1].read_bytes() == standing
    assert "no row changed" in summary_of(second)
    assert second.counts["added"] == 0
    assert _ledger(files, "SELECT run_id, outcome FROM calibration_runs ORDER BY run_id") == [
        ("r1", "written"),
        ("r2", "unchanged"),
    ]


@pytest.mark.parametrize("rules", [RULES, LISTED], ids=["configured", "listed"])
def test_whoever_does_the_testing_the_decisions_are_the_same(
    files: tuple[Path, Path], collected: Collected, rules: CalibrationRules
) -> None:
    evidence = evidence_of(frozenset({1}))
    evidence.panel.prices[7, 0] = math.nan  # Pairs by themselves can be cut; of a block this small there is one strip.
    collected(evidence)
    told: list[int] = []
    batches: list[Batch] = []

    def spread(whole: Batch) -> Iterator[Piece]:
        batches.extend(cut(whole, 3))
        for batch in reversed(batches):
            yield from solve(batch)

    @contextmanager
    def over(symbols: int) -> Iterator[Spread]:
        told.append(symbols)
        yield spread

    alone = _run(files, rules, dry_run=True).verdict
    found = _run(files, rules, dry_run=True, spread_over=over).verdict
    assert told == [12]
    assert len(batches) > 1
    assert (found.decisions, found.refusals) == (alone.decisions, alone.refusals)
    for name in ("t_stat", "hedge_ratio", "half_life", "johansen_trace"):
        assert getattr(found.scanned.tests, name).tobytes() == getattr(alone.scanned.tests, name).tobytes(), name
    assert found.scanned.q_value.tobytes() == alone.scanned.q_value.tobytes()


def test_other_rules_on_the_same_bars_may_add_more(files: tuple[Path, Path], collected: Collected) -> None:
    """The cap held one back; whoever raises it does not have to wait for new bars."""
    assert _run(files, LISTED.model_copy(update={"pairs_max": 3})).counts["added"] == 0
    again = _run(files, LISTED.model_copy(update={"pairs_max": 4}), run_id="r2")
    assert (again.counts["added"], again.written_version) == (1, 2)
    assert _run(files, LISTED.model_copy(update={"pairs_max": 4}), run_id="r3").written_version is None


def test_a_listed_universe_drops_adds_and_never_drops_an_open_trade(
    files: tuple[Path, Path], collected: Collected
) -> None:
    collected(evidence_of(frozenset({0, 1})))
    settings = load_settings(files[0])
    settings.storage.journal.parent.mkdir(parents=True, exist_ok=True)
    fill_journal(settings.storage.journal, [trade("t1", pair_id=PairId("P0"))])
    result = _run(files, LISTED)
    after = {pair.pair_id: pair for pair in read_document(files[1]).pairs}
    assert sorted(after) in (["A3_B3", "P0", "P2"], ["B3_A3", "P0", "P2"])
    assert (after["P0"].enabled, after["P0"].hedge_ratio) == (False, 2.0)
    assert (after["P0"].reason or "").startswith(UNFIT)
    added = next(pair for name, pair in after.items() if name not in {"P0", "P2"})
    assert added.leg_a.count(":") == 0
    assert added.run_id == "r1"
    assert added.z_score_threshold is None, "the thresholds are the configuration's"
    assert result.counts == {"kept": 0, "updated": 1, "added": 1, "retired": 2, "rejected": 0}


def test_a_gate_that_refuses_is_red_and_says_how_to_go_on(files: tuple[Path, Path], collected: Collected) -> None:
    collected(evidence_of(frozenset({0, 1})))
    before = files[1].read_bytes()
    where = ["--config", str(files[0]), "--pairs", str(files[1])]
    result = CliRunner().invoke(recalibrate_command, [*where, "--json"])
    assert result.exit_code == 1, result.output
    answer = json.loads(result.stdout)
    assert "refused, nothing was written: turnover_exceeded: 2 of 3 pairs would be retired" in answer["summary"]
    assert "larger max_turnover" in answer["summary"]
    assert [line["decision"] for line in answer["rows"]] == ["retired", "retired", "updated"]
    assert files[1].read_bytes() == before
    assert _ledger(files, "SELECT outcome, left(refusals, 17), written_version FROM calibration_runs") == [
        ("refused", "turnover_exceeded", None)
    ]
    allowed = CliRunner().invoke(recalibrate_command, [*where, "--max-turnover", "1"])
    assert allowed.exit_code == 0
    assert "pairs file is now version 1" in allowed.stdout


def test_the_incumbents_numbers_stand_beside_the_new_ones(files: tuple[Path, Path], collected: Collected) -> None:
    _run(files)
    collected(evidence_of(seed=2))
    result = _run(files, run_id="r2")
    (line, *_) = table_of(result)
    assert line["t before"] != line["t"]
    assert line["hedge ratio before"] != line["hedge ratio new"]
    assert all(decision.action is Action.UPDATE for decision in result.decisions)


def test_the_first_pairs_of_an_empty_file(tmp_path: Path, collected: Collected) -> None:
    files = write_files(tmp_path, [])
    with pytest.raises(ConfigError, match="find some with --universe listed"):
        _run(files)
    result = _run(files, CalibrationRules(universe="listed"))
    assert result.counts["added"] == 4
    assert len(read_document(files[1]).pairs) == 4


def test_nothing_to_be_found_leaves_an_empty_file_empty(tmp_path: Path, collected: Collected) -> None:
    collected(evidence_of(frozenset(range(4))))
    files = write_files(tmp_path, [])
    result = _run(files, CalibrationRules(universe="listed"))
    assert (result.written_version, result.is_refused) == (None, False)
    assert "no row changed" in summary_of(result)


def test_only_some_pairs_of_a_listed_universe_is_bad_usage(files: tuple[Path, Path], collected: Collected) -> None:
    with pytest.raises(ConfigError, match="--only names pairs of the file"):
        _run(files, LISTED, only=["P0"])
