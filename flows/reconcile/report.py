"""A reconciliation for people: differences first, then what each pair holds, and one line over all of it."""

from typing import Any

from flows.reconcile.job import Reconciliation


def table_of(result: Reconciliation) -> list[dict[str, Any]]:
    """Differences first, then what each pair holds; one line that says so when there is nothing to show."""
    rows: list[dict[str, Any]] = [
        {
            "verdict": "mismatch" if item.is_mismatch else "explained",
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
