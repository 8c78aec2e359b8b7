"""What a run amounts to, printed when it ends."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """Counted since the runner started."""

    uptime_seconds: float
    signals_processed: int
    trades_executed: int
    trades_closed: int
    trades_rolled_back: int
    signals_denied: int
    open_trades: int
    success_rate: float  # Entries that ended hedged, of those that were sent.
    reason: str
