"""From an entry of the journal to the row of the ledger that it becomes: one function per kind, one place for types."""

import decimal
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from domain import entries as e
from domain.orders import DOLLARS
from storage.events import JOURNAL_ROW_UNREADABLE

DECIMAL_PLACES = Decimal(1).scaleb(-18)
DECIMAL_LIMIT = Decimal(10) ** 20  # What DECIMAL(38,18) can hold.
TIME_MS_MAX = 253_402_300_799_999  # The end of the year 9999.

_exact = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_EVEN)


class LedgerRow(NamedTuple):
    """One row for one table. Times are Unix milliseconds; money, words and flags are text that the table casts."""

    table: str
    values: dict[str, Any]


class Unrecordable(ValueError):
    """An entry was read but its values do not fit the ledger."""


def row_of(entry: e.AnyEntry) -> LedgerRow:
    """The ledger's row for an entry. Raises: Unrecordable."""
    table, values_of = _TABLES[type(entry)]
    return LedgerRow(table, {"at": time_ms(entry.at_ms)} | values_of(entry))


def unreadable(*, at_ms: int, seq: int, kind: str, problem: str) -> LedgerRow:
    """What stands in the ledger for a journal row that could not be read: never a silent gap."""
    facts = json.dumps({"seq": seq, "kind": kind, "problem": problem})
    at = at_ms if 0 <= at_ms <= TIME_MS_MAX else 0
    event = JOURNAL_ROW_UNREADABLE
    return LedgerRow("events", {"at": at, "level": event.severity.value, "event": event.name, "facts": facts})


def time_ms(value: int) -> int:
    """Raises: Unrecordable for a moment that no calendar of ours holds."""
    if not 0 <= value <= TIME_MS_MAX:
        raise Unrecordable(f"{value} is not a time in milliseconds")
    return value


def money(value: Decimal | None) -> str | None:
    """Plain digits, at most 18 places. Raises: Unrecordable for NaN, infinity and what DECIMAL(38,18) cannot hold."""
    if value is None:
        return None
    if not value.is_finite() or abs(value) >= DECIMAL_LIMIT:
        raise Unrecordable(f"{value} does not fit DECIMAL(38,18)")
    return format(_exact.quantize(value, DECIMAL_PLACES), "f")


def _facts(value: dict[str, Any]) -> str:
    return json.dumps(value)


def _same(entry: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in names}


def _moneys(entry: Any, *names: str) -> dict[str, Any]:
    return {name: money(getattr(entry, name)) for name in names}


def _trade_intended(entry: e.TradeIntended) -> dict[str, Any]:
    return (
        _same(entry, "trade_id", "pair_id", "signal_id", "side", "symbol_a", "symbol_b", "hedge_ratio", "spread_mean")
        | _same(entry, "spread_std", "entry_z", "exit_threshold", "stop_z", "hedge_error")
        | _moneys(entry, "quantity_a", "quantity_b", "price_a", "price_b", "expected_edge_usd")
        | {
            "time_stop_at": None if entry.time_stop_ms is None else time_ms(entry.time_stop_ms),
            "costs": json.dumps(entry.costs),
        }
    )


def _trade_advanced(entry: e.TradeAdvanced) -> dict[str, Any]:
    names = (
        "trade_id",
        "pair_id",
        "status",
        "reason",
        "exit_z",
        "exit_reason",
        "naked_seconds",
        "leg_skew_ms",
        "naked_notional_usd_seconds",
    )
    return _same(entry, *names) | _moneys(entry, "price_a", "price_b") | {"facts": _facts(entry.facts)}


def _order_intended(entry: e.OrderIntended) -> dict[str, Any]:
    intent = entry.intent
    return (
        _same(intent, "client_order_id", "trade_id", "pair_id", "leg", "purpose", "symbol", "side", "time_in_force")
        | _same(intent, "attempt")
        | _moneys(intent, "quantity", "limit_price")
        | {"type": intent.order_type, "reduce_only": str(intent.reduce_only)}
    )


def _order_advanced(entry: e.OrderAdvanced) -> dict[str, Any]:
    names = ("client_order_id", "trade_id", "change", "status", "exchange_order_id", "source", "reason")
    refusal = {"refusal_kind": entry.refusal_kind, "refusal_code": entry.refusal_code or None}
    return _same(entry, *names) | _moneys(entry, "filled", "average_price") | refusal


def _fill_seen(entry: e.FillSeen) -> dict[str, Any]:
    fill = entry.fill
    return (
        _same(fill, "symbol", "exchange_trade_id", "exchange_order_id", "client_order_id", "side", "fee_asset")
        | _same(entry, "trade_id", "pair_id", "leg", "purpose")
        | _moneys(fill, "quantity", "price", "fee")
        | {
            "at": time_ms(fill.at_ms),
            "seen_at": time_ms(entry.at_ms),
            "notional_usd": money(_exact.multiply(fill.quantity, fill.price)),
            "fee_usd": money(fill.fee) if fill.fee_asset in DOLLARS else None,
        }
    )


def _signal_resolved(entry: e.SignalResolved) -> dict[str, Any]:
    return _same(entry, "signal_id", "pair_id", "outcome", "reason", "trade_id") | {"facts": _facts(entry.facts)}


def _run_started(entry: e.RunStarted) -> dict[str, Any]:
    names = ("run_id", "trading_mode", "version", "config_sha256", "pairs_sha256")
    return _same(entry, *names) | {"dry_run": str(entry.dry_run)}


def _event_logged(entry: e.EventLogged) -> dict[str, Any]:
    return _same(entry, "level", "event", "pair_id", "trade_id") | {"facts": _facts(entry.facts)}


def _calibration_decided(entry: e.CalibrationDecided) -> dict[str, Any]:
    names = (
        *("run_id", "pair_id", "symbol_a", "symbol_b", "hedge_ratio", "intercept", "spread_std", "t_stat", "p_value"),
        *("q_value", "half_life", "observations", "previous_hedge_ratio", "decision", "reason", "codes", "edge_ratio"),
        *("previous_half_life", "previous_t_stat", "previous_p_value"),
    )
    return _same(entry, *names) | {"enabled": None if entry.enabled is None else str(entry.enabled)}


def _calibration_run(entry: e.CalibrationRun) -> dict[str, Any]:
    names = (
        *("run_id", "universe", "symbols", "tests", "correction", "level", "kept", "updated", "added", "retired"),
        *("rejected", "data_hash", "timeframe", "duration_seconds", "outcome", "refusals", "written_version"),
    )
    return _same(entry, *names) | {
        "bars_from": time_ms(entry.bars_from_ms),
        "bars_to": time_ms(entry.bars_to_ms),
        "parameters": _facts(entry.parameters),
    }


def _reconciliation_item(entry: e.ReconciliationItemFound) -> dict[str, Any]:
    named = _same(entry, "run_id", "symbol", "pair_id", "explanation", "action")
    return named | _moneys(entry, "ledger_quantity", "exchange_quantity")


def _backtest_done(entry: e.BacktestDone) -> dict[str, Any]:
    moneys = (
        "gross_usd",
        "fees_usd",
        "funding_usd",
        "net_usd",
        "drawdown_usd_max",
        "turnover_usd",
        "exposure_usd_average",
    )
    return (
        _same(entry, "run_id", "mode", "timeframe", "data_hash", "pairs", "trades", "wins", "seconds")
        | _moneys(entry, *moneys)
        | {"from_at": time_ms(entry.from_ms), "to_at": time_ms(entry.to_ms)}
        | {name: json.dumps(getattr(entry, name)) for name in ("parameters", "cost_sensitivity", "stretches", "notes")}
    )


def _backtest_traded(entry: e.BacktestTraded) -> dict[str, Any]:
    names = (
        "run_id",
        "trade_id",
        "pair_id",
        "symbol_a",
        "symbol_b",
        "side",
        "hedge_ratio",
        "entry_z",
        "exit_z",
        "exit_reason",
    )
    moneys = (
        *("quantity_a", "quantity_b", "entry_price_a", "entry_price_b", "exit_price_a", "exit_price_b"),
        *("gross_pnl_usd", "fees_usd", "funding_usd", "net_pnl_usd", "expected_edge_usd"),
    )
    times = {"opened_at": time_ms(entry.opened_ms), "closed_at": time_ms(entry.closed_ms)}
    return _same(entry, *names) | _moneys(entry, *moneys) | times


def _plain(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda entry: _same(entry, *names)


_TABLES: dict[type, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    e.TradeIntended: ("journal.trade_intents", _trade_intended),
    e.TradeAdvanced: ("journal.trade_steps", _trade_advanced),
    e.OrderIntended: ("journal.order_intents", _order_intended),
    e.OrderAdvanced: ("journal.order_steps", _order_advanced),
    e.SignalReceived: (
        "journal.signals_received",
        _plain("signal_id", "pair_id", "signal_type", "z_score", "spread", "price_a", "price_b"),
    ),
    e.SignalResolved: ("journal.signals_resolved", _signal_resolved),
    e.RunStarted: ("journal.runs_started", _run_started),
    e.RunStopped: (
        "journal.runs_stopped",
        _plain("run_id", "reason", "uptime_seconds", "signals_processed", "trades_executed", "success_rate"),
    ),
    e.FillSeen: ("fills", _fill_seen),
    e.FundingPaid: (
        "fundings",
        lambda entry: _same(entry, "trade_id", "symbol", "transaction_id") | _moneys(entry, "amount_usd"),
    ),
    e.EquitySampled: ("equity", lambda entry: _moneys(entry, "wallet_usd", "unrealized_usd")),
    e.SpreadSampled: ("spreads", _plain("pair_id", "price_a", "price_b", "spread", "z_score")),
    e.PairFrozen: (
        "pair_freezes",
        lambda entry: _same(entry, "pair_id", "reason") | {"until": time_ms(entry.until_ms)},
    ),
    e.EventLogged: ("events", _event_logged),
    e.CalibrationDecided: ("calibrations", _calibration_decided),
    e.CalibrationRun: ("journal.calibration_runs", _calibration_run),
    e.ReconciliationDone: ("reconciliations", _plain("run_id", "verdict", "symbols_checked", "detail")),
    e.ReconciliationItemFound: ("reconciliation_items", _reconciliation_item),
    e.HealthChecked: ("health_checks", _plain("run_id", "name", "status", "detail")),
    e.BacktestDone: ("backtests", _backtest_done),
    e.BacktestTraded: ("backtest_trades", _backtest_traded),
}
