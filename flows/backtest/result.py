"""What a backtest comes to: the result, and the facts that the ledger and a program read from it."""

from dataclasses import dataclass
from typing import Any

from domain.units import DAY_MS
from flows.backtest.engine.figures import Curve, Sums
from flows.backtest.engine.forward import Stretch
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.trades import BacktestTrade
from flows.backtest.rules import BacktestRules
from flows.common import facts


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSummary:
    """One pair's result, or the total's. Drawdown is of realised profit here, positive; the curve's counts open trades, too."""

    name: str
    sums: Sums
    drawdown_usd_max: float
    denials: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The same with so many times the fee, decided anew."""

    scale: float
    sums: Sums
    drawdown_usd_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """All of it. [start_ms, end_ms) is the stretch of market time that was traded."""

    run_id: str
    pairs: tuple[PairSummary, ...]
    total: PairSummary
    trades: tuple[BacktestTrade, ...]
    curve: Curve
    scaled: tuple[Scaled, ...]
    stretches: tuple[Stretch, ...]  # Empty unless it walked forward.
    rules: BacktestRules
    terms: Terms
    timeframe: str
    is_of_quotes: bool
    start_ms: int
    end_ms: int
    data_hash: str
    seconds: float
    notes: tuple[str, ...]

    @property
    def window(self) -> str:
        return f"{facts.iso(self.start_ms)}/{facts.iso(self.end_ms)} {self.timeframe}"

    @property
    def days(self) -> float:
        return (self.end_ms - self.start_ms) / DAY_MS


def parameters_of(result: Backtest) -> dict[str, Any]:
    """What was asked for, and what the configuration filled in."""
    terms = result.terms
    return result.rules.model_dump(mode="json") | {
        "timeframe": result.timeframe,
        "lookback_bars": terms.lookback_bars,
        "taker_fee_bps": terms.taker_fee_rate * 10_000,
        "min_edge_ratio": terms.limits.min_edge_ratio,
        "pair_notional_usd": str(terms.notional_usd),
        "gross_notional_usd_max": str(terms.limits.gross_notional_usd_max),
        "daily_loss_usd_max": str(terms.limits.daily_loss_usd_max),
    }


def rounded(sums: Sums) -> dict[str, float]:
    return {
        "trades": sums.trades,
        "gross_usd": round(sums.gross_usd, 6),
        "fees_usd": round(sums.fees_usd, 6),
        "funding_usd": round(sums.funding_usd, 6),
        "net_usd": round(sums.net_usd, 6),
        "turnover_usd": round(sums.turnover_usd, 6),
    }


def stretch_row(one: Stretch) -> dict[str, Any]:
    """One stretch between two recalibrations."""
    return {
        "from": facts.iso(one.start_ms),
        "days": round(one.days, 3),
        "pairs": sum(pair.enabled for pair in one.pairs),
        "decisions": {str(action): count for action, count in one.decided.counts.items() if count},
        "refused": [str(refusal) for refusal in one.decided.refusals],
        "in_sample_days": round(one.in_sample_days, 3),
        "in_sample": rounded(one.in_sample),
        "out_of_sample": rounded(one.out_of_sample),
    }
