"""What a person asks first: how it stands, as JSON-able values; and whether it is healthy, with the reasons if not."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from domain.orders import LegName
from domain.trades import TradeState
from runner.components import Components
from runner.config import Settings


def trade_row(trade: TradeState, now_ms: int) -> Mapping[str, Any]:
    """One open trade."""
    return {
        "trade_id": trade.trade_id,
        "pair_id": trade.pair_id,
        "side": str(trade.plan.side),
        "status": str(trade.status),
        "entry_z": round(trade.plan.entry_z, 3),
        "quantity_a": str(trade.held[LegName.A]),
        "quantity_b": str(trade.held[LegName.B]),
        "age_seconds": round((now_ms - trade.plan.at_ms) / 1000, 1),
        "naked_seconds": trade.naked_seconds(now_ms),
        "naked_notional_usd_seconds": round(trade.naked_notional_usd_seconds(now_ms), 3),
    }


def status_of(parts: Components, settings: Settings, *, uptime_ns: int) -> Mapping[str, Any]:
    """The whole picture."""
    now_ms = parts.clock.now_ms()
    gate, counters = parts.execution.gate, parts.execution.engine.counters
    balance = gate.balance
    return {
        "mode": settings.trading_mode,
        "dry_run": settings.dry_run,
        "uptime_seconds": round(uptime_ns / 1e9, 1),
        "paused_because": gate.paused_because,
        "recovering": gate.recovering,
        "pairs": {str(pair_id): dict(row) for pair_id, row in parts.generator.status().items()},
        "open_trades": [trade_row(trade, now_ms) for trade in parts.book.live_trades()],
        "signals": counters.signals,
        "executed": counters.executed,
        "closed": counters.closed,
        "rolled_back": counters.rolled_back,
        "denied": dict(counters.denied),
        "wallet_usd": None if balance is None else str(balance.wallet_usd),
        "unrealized_usd": None if balance is None else str(balance.unrealized_usd),
        "exchange_blocked_ms": parts.connection.exchange.blocked_ms(),
        "used_weight": parts.connection.used_weight,
        "user_stream_down": gate.user_stream_down,
        "foreign_orders": gate.foreign_orders,
        "clock_skew_ms": parts.connection.exchange_clock.skew_ms(),
        "clock_problem": None if gate.clock_problem is None else str(gate.clock_problem),
        "rules_doubted": sorted(gate.rules_doubted or ()),
        "unprepared": {symbol: str(reason) for symbol, reason in gate.unprepared.items()},
        "feed": asdict(parts.provider.statistics),
        "journal": {
            "broken": parts.journal.broken,
            "last_seq": parts.journal.last_seq,
            "dropped_notes": parts.journal.dropped_notes,
        },
    }


def health_of(parts: Components, *, fatal: str | None) -> tuple[bool, Mapping[str, Any]]:
    """Healthy, or every reason why not."""
    feed, gate = parts.provider.statistics, parts.execution.gate
    reasons = {
        "fatal": fatal,
        "journal": "broken" if parts.journal.broken else None,
        "recovering": "waiting for the exchange" if gate.recovering else None,
        "user_stream": "down" if gate.user_stream_down else None,
        "quotes": f"{feed.symbols_stale} of {feed.symbols} symbols stale" if feed.symbols_stale else None,
        "feed": "no connection open" if feed.connections and not feed.connections_open else None,
        "exchange": f"blocked for {parts.connection.exchange.blocked_ms()} ms"
        if parts.connection.exchange.blocked_ms()
        else None,
        "clock": None if gate.clock_problem is None else str(gate.clock_problem),
        "set_up": "; ".join(str(reason) for reason in gate.unprepared.values()) or None,
        "foreign_orders": f"{gate.foreign_orders} seen" if gate.foreign_orders else None,
        "attention": ", ".join(t.trade_id for t in parts.book.live_trades() if t.status == "attention") or None,
    }
    bad = {name: reason for name, reason in reasons.items() if reason is not None}
    return (not bad, {"ok": not bad, "reasons": bad})
