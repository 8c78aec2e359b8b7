"""Reconciliation: read the books and the exchange twice, compare, write down what was found. It never trades."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.entries import (
    Entry,
    OrderAdvanced,
    OrderIntended,
    ReconciliationDone,
    ReconciliationItemFound,
    TradeIntended,
)
from domain.errors import ConfigError, ExchangeError, JournalBroken
from domain.orders import OrderStatus
from domain.symbols import Symbol
from flows.common import facts
from flows.common.bars import Say
from flows.common.exchange_reads import ExchangeReads
from flows.reconcile.comparison import BookedOrder, Books, Comparison, Look, Verdict, compare, incomplete
from runner.config import Settings
from runner.pairs.file import load_pairs
from storage import entries_file, ledger
from storage.holdings import journal_holdings
from storage.ledger import LedgerUnavailable

_ORDER_KINDS = ("order_intended", "order_advanced", "trade_intended")


class ReconciliationRules(BaseModel):
    """How strict, and how patient."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tolerance: float = Field(
        default=0.0, ge=0, lt=0.1, description="Difference that is let pass, as a share of the larger quantity."
    )
    settle_seconds: float = Field(
        default=3.0, ge=0, le=120, description="Pause between the two looks; only a difference that outlives it counts."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """One check."""

    run_id: str
    comparison: Comparison

    @property
    def is_good(self) -> bool:
        return self.comparison.verdict in {Verdict.MATCH, Verdict.EXPLAINED}


def reconcile(
    settings: Settings, pairs_path: Path, rules: ReconciliationRules, *, run_id: str, say: Say
) -> Reconciliation:
    """Compare and record. What cannot be read gives the verdict `incomplete`. Raises: ConfigError, JournalBroken on writing."""
    comparison = _compared(settings, pairs_path, rules, say)
    say(f"{comparison.verdict}: {comparison.detail}")
    facts.record(settings, _entries(run_id, comparison))
    return Reconciliation(run_id=run_id, comparison=comparison)


def _compared(settings: Settings, pairs_path: Path, rules: ReconciliationRules, say: Say) -> Comparison:
    configured = _configured(settings, pairs_path, say)
    try:
        with ExchangeReads(settings) as reads:
            first = _look(settings, reads, configured)
            say(f"first look taken, waiting {rules.settle_seconds:g} s")
            time.sleep(rules.settle_seconds)
            second = _look(settings, reads, configured)
    except ExchangeError as problem:
        return incomplete(f"the exchange cannot be read: {problem}")
    except (LedgerUnavailable, JournalBroken, ConfigError) as problem:
        return incomplete(f"our books cannot be read: {problem}")
    return compare(first, second, tolerance=rules.tolerance)


def _configured(settings: Settings, pairs_path: Path, say: Say) -> frozenset[Symbol]:
    """A broken pairs file is no reason not to look at the account."""
    try:
        return frozenset(symbol for pair in load_pairs(pairs_path, settings.signal) for symbol in pair.symbols)
    except ConfigError as problem:
        say(f"going on without the configured pairs: {problem}")
        return frozenset()


def _look(settings: Settings, reads: ExchangeReads, configured: frozenset[Symbol]) -> Look:
    before = read_books(settings, configured)
    orders = reads.open_orders()
    positions = reads.positions()
    return Look(before=before, positions=positions, orders=orders, after=read_books(settings, configured))


def read_books(settings: Settings, configured: frozenset[Symbol] = frozenset()) -> Books:
    """Ledger first, then the journal, which can then only be ahead. Raises: LedgerUnavailable, JournalBroken, ConfigError."""
    published = ledger.positions(settings.storage.ledger)
    ledger_seq = ledger.freshness(settings.storage.ledger).runner_seq
    orders, traded = _orders(settings.storage.journal)
    holdings = journal_holdings(settings.storage.journal)
    return Books(
        journal=holdings.positions,
        ledger=published,
        trades=tuple(holdings.trades.values()),
        dust=holdings.dust,
        orders=orders,
        journal_seq=_last_seq(settings.storage.journal),
        ledger_seq=ledger_seq,
        traded=configured | traded,
    )


def _last_seq(journal: Path) -> int:
    if not journal.exists():
        return 0
    connection = entries_file.open_for_reading(journal)
    try:
        return entries_file.last_seq_of(connection)
    finally:
        connection.close()


def _orders(journal: Path) -> tuple[dict[str, BookedOrder], frozenset[Symbol]]:
    """Every order's last believed standing, and every symbol that a trade of ours was meant for."""
    orders: dict[str, BookedOrder] = {}
    traded: set[Symbol] = set()
    for _, entry in entries_file.replay(journal, kinds=_ORDER_KINDS) if journal.exists() else ():
        match entry:
            case TradeIntended():
                traded.update((entry.symbol_a, entry.symbol_b))
            case OrderIntended():
                intent = entry.intent
                orders[intent.client_order_id] = BookedOrder(
                    symbol=intent.symbol,
                    pair_id=intent.pair_id,
                    status=OrderStatus.INTENDED,
                    quantity=intent.quantity,
                    filled=intent.quantity * 0,
                )
            case OrderAdvanced() if (known := orders.get(entry.client_order_id)) is not None:
                orders[entry.client_order_id] = BookedOrder(
                    symbol=known.symbol,
                    pair_id=known.pair_id,
                    status=entry.status,
                    quantity=known.quantity,
                    filled=max(known.filled, entry.filled),
                )
            case _:
                continue
    return orders, frozenset(traded)


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


def table_of(result: Reconciliation) -> list[dict[str, Any]]:
    """Differences first, then what each pair holds; one line that says so when there is nothing to show."""
    rows: list[dict[str, Any]] = [
        {
            "verdict": "to mend" if item.is_ours_to_mend else "explained",
            "symbol": item.symbol,
            "pair": item.pair_id or "",
            "ledger": f"{item.ledger_quantity:f}",
            "exchange": f"{item.exchange_quantity:f}",
            "explanation": item.explanation,
            "action": item.action,
        }
        for item in result.comparison.items
    ]
    for line in result.comparison.pairs:
        for symbol, held in ((line.symbol_a, line.held_a), (line.symbol_b, line.held_b)):
            rows.append(
                {
                    "verdict": line.status,
                    "symbol": symbol,
                    "pair": line.pair_id,
                    "ledger": f"{held:f}",
                    "exchange": "",
                    "explanation": "this pair's share of the symbol, by our books",
                    "action": "",
                }
            )
    if not rows:
        empty = dict.fromkeys(("symbol", "pair", "ledger", "exchange", "action"), "")
        rows = [{"verdict": str(result.comparison.verdict), **empty, "explanation": result.comparison.detail}]
    return rows


def summary_of(result: Reconciliation) -> str:
    """One line for people."""
    return f"{result.comparison.verdict}: {result.comparison.detail}"
