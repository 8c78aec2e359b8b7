"""Reconciliation: read the books and the exchange twice, compare, write down what was found. It never trades."""

import time
from dataclasses import dataclass
from pathlib import Path

from domain.entries import (
    Entry,
    ReconciliationDone,
    ReconciliationItemFound,
)
from domain.errors import ConfigError, JournalBroken
from domain.symbols import Symbol
from flows.common import facts
from flows.common.bars import Say
from flows.common.reads import ExchangeReads
from flows.common.steps import MINUTES, Run, Step, plainly
from flows.reconcile.books import read_books
from flows.reconcile.comparison import Comparison, Look, Verdict, compare, incomplete
from flows.reconcile.rules import ReconciliationRules
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from runner.pairs.file import load_pairs
from storage.ledger import LedgerUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """One check."""

    run_id: str
    comparison: Comparison

    @property
    def is_good(self) -> bool:
        return self.comparison.verdict in {Verdict.MATCH, Verdict.EXPLAINED}


_READ_SECONDS_MAX = 5 * MINUTES
FIRST_LOOK = (
    Step(name="orders", is_read=True, seconds_max=_READ_SECONDS_MAX),
    Step(name="positions", is_read=True, seconds_max=_READ_SECONDS_MAX),
)
SECOND_LOOK = (
    Step(name="orders again", is_read=True, seconds_max=_READ_SECONDS_MAX),
    Step(name="positions again", is_read=True, seconds_max=_READ_SECONDS_MAX),
)
COMPARE = Step(name="compare")
ACT = Step(name="act")


def reconcile(
    settings: Settings,
    pairs_path: Path,
    rules: ReconciliationRules,
    *,
    run_id: str,
    say: Say,
    run: Run = plainly,
) -> Reconciliation:
    """Compare and record. What cannot be read gives the verdict `incomplete`. Raises: ConfigError, JournalBroken on writing."""
    comparison = _compared(settings, pairs_path, rules, say, run)
    say(_described(comparison))
    run(ACT, lambda: facts.record(settings, _entries(run_id, comparison)), lambda _: _done(comparison))
    return Reconciliation(run_id=run_id, comparison=comparison)


def _described(comparison: Comparison) -> str:
    return f"{comparison.verdict}: {comparison.detail}"


def _done(comparison: Comparison) -> str:
    """What is to be done: by people, for a reconciliation never trades."""
    if comparison.verdict is Verdict.INCOMPLETE:
        return "recorded; nothing may be concluded"
    actions = sorted({item.action for item in comparison.items if item.action})
    return f"recorded; {'; '.join(actions) or 'nothing to do'}"


def _compared(settings: Settings, pairs_path: Path, rules: ReconciliationRules, say: Say, run: Run) -> Comparison:
    configured = _configured(settings, pairs_path, say)
    try:
        with ExchangeReads(settings) as reads:
            first = _look(settings, reads, configured, run, FIRST_LOOK)
            say(f"first look taken, waiting {rules.settle_seconds:g} s")
            time.sleep(rules.settle_seconds)
            second = _look(settings, reads, configured, run, SECOND_LOOK)
    except ExchangeError as problem:
        return incomplete(f"the exchange cannot be read: {problem}")
    except (LedgerUnavailable, JournalBroken, ConfigError) as problem:
        return incomplete(f"our books cannot be read: {problem}")
    return run(COMPARE, lambda: compare(first, second, tolerance=rules.tolerance), _described)


def _configured(settings: Settings, pairs_path: Path, say: Say) -> frozenset[Symbol]:
    """A broken pairs file is no reason not to look at the account."""
    try:
        return frozenset(symbol for pair in load_pairs(pairs_path, settings.signal) for symbol in pair.symbols)
    except ConfigError as problem:
        say(f"going on without the configured pairs: {problem}")
        return frozenset()


def _look(
    settings: Settings, reads: ExchangeReads, configured: frozenset[Symbol], run: Run, steps: tuple[Step, Step]
) -> Look:
    """The exchange between two readings of our books; a read that is tried again has its own reading of them."""
    orders_step, positions_step = steps
    before, orders = run(
        orders_step,
        lambda: (read_books(settings, configured), reads.open_orders()),
        lambda found: f"{len(found[1])} open orders",
    )
    positions, after = run(
        positions_step,
        lambda: (reads.positions(), read_books(settings, configured)),
        lambda found: f"{len(found[0])} positions",
    )
    return Look(before=before, positions=positions, orders=orders, after=after)


def _entries(run_id: str, comparison: Comparison) -> list[Entry]:
    at_ms = facts.now_ms()
    done = ReconciliationDone(
        at_ms=at_ms,
        run_id=run_id,
        verdict=str(comparison.verdict),
        symbols_checked=comparison.symbols_checked,
        detail=comparison.detail,
    )
    items = [
        ReconciliationItemFound(
            at_ms=at_ms,
            run_id=run_id,
            symbol=item.symbol,
            pair_id=item.pair_id,
            ledger_quantity=item.ledger_quantity,
            exchange_quantity=item.exchange_quantity,
            explanation=item.explanation,
            action=item.action,
        )
        for item in comparison.items
    ]
    return [done, *items]
