"""The backtest: configured pairs over stored bars, and what it adds up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from domain.entries import EventLogged
from domain.errors import ConfigError, ExchangeError
from domain.instruments import Instrument
from domain.pairs import PairConfig
from domain.symbols import Symbol
from flows.jobs import facts
from flows.jobs.backtest_engine import END_OF_DATA, BacktestTrade, Costs, PairBars, PairRun, Plan, run_pair
from flows.jobs.bars import Say, bars_in, refresh, refresh_funding, store_of
from flows.jobs.exchange_reads import ExchangeReads
from runner.config import Settings
from runner.pairs_file import load_pairs
from storage import market


class BacktestRules(BaseModel):
    """What is replayed, and at what cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    timeframe: str = Field(
        default="",
        pattern=r"^([1-9]\d{0,2}[mhd])?$",
        description="The bar. Empty: signal.bar_seconds of the configuration.",
    )
    days: float = Field(default=3, gt=0, le=730, description="How far back, in days.")
    lookback_bars: int | None = Field(
        default=None, ge=3, le=100_000, description="Closed bars behind mean and deviation. Empty: as configured."
    )
    half_spread_bps: float = Field(
        default=0.5, ge=0, le=100, description="Half the bid-ask spread paid on every fill, in basis points."
    )
    taker_fee_bps: float | None = Field(
        default=None, ge=0, le=100, description="Fee on every fill, in basis points. Empty: as configured."
    )
    min_edge_ratio: float | None = Field(
        default=None, ge=0, description="Expected reversion over costs that an entry needs. Empty: as configured."
    )
    fetch: bool = Field(default=True, description="Bring the stored bars up to date first; off: use what is stored.")


_HOW_IT_WAS_RECKONED = (
    "Decided on a bar's close by the statistics of the closed bars before it; filled at the next bar's open for a taker fee and"
    " half a spread on each leg. The daily loss limit and limits across pairs are not simulated."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSummary:
    """One pair's result, or the total's. USD; net = gross − fees + funding. Drawdown is of realised profit, positive."""

    name: str
    trades: int
    wins: int
    gross_usd: float
    fees_usd: float
    funding_usd: float
    drawdown_usd_max: float
    stops: int
    average_hold_hours: float | None
    denials: dict[str, int]
    bars: int

    @property
    def net_usd(self) -> float:
        return self.gross_usd - self.fees_usd + self.funding_usd

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.trades if self.trades else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """All of it. `window` says which stretch of market time."""

    pairs: tuple[PairSummary, ...]
    total: PairSummary
    trades: tuple[BacktestTrade, ...]
    window: str
    notes: tuple[str, ...]


def backtest(
    settings: Settings, pairs_path: Path, rules: BacktestRules, *, only: Sequence[str] = (), run_id: str, say: Say
) -> Backtest:
    """Replay the configured pairs. Raises: ConfigError, ExchangeError when bars must be fetched and cannot be."""
    pairs = _chosen(load_pairs(pairs_path, settings.signal), only, pairs_path)
    timeframe = rules.timeframe or _timeframe_of(settings.signal.bar_seconds)
    root = store_of(settings)
    symbols = sorted({symbol for pair in pairs for symbol in pair.symbols})
    instruments: Mapping[Symbol, Instrument] = {}
    notes: list[str] = []
    count = bars_in(rules.days, timeframe)
    step_ms = market.timeframe_ms(timeframe)
    if rules.fetch:
        with ExchangeReads(settings) as reads:
            instruments = reads.listed()
            known = [symbol for symbol in symbols if symbol in instruments]
            fetched = refresh(reads, root, known, timeframe, bars=count, say=say)
            if fetched.end_ms is None:
                raise ExchangeError(
                    f"no bars from the exchange ({next(iter(fetched.failures.values()), 'not listed')})"
                )
            end_ms = fetched.end_ms
            refresh_funding(reads, root, known, end_ms - count * step_ms - 2 * 86_400_000, end_ms)
    else:
        opened = [market.last_open_ms(root, symbol, timeframe) for symbol in symbols]
        newest = max((time_ms for time_ms in opened if time_ms is not None), default=None)
        if newest is None:
            raise ConfigError(f"{root}: no {timeframe} bars of these pairs are stored; run without --no-fetch")
        end_ms = newest + step_ms
    if not instruments:
        notes.append("contract rules unknown: quantities are not rounded to the exchange's steps")
    runs: list[tuple[PairConfig, PairRun]] = []
    for number, pair in enumerate(pairs, start=1):
        bars = read_bars(root, pair.symbols, timeframe, end_ms - count * step_ms, end_ms)
        run = run_pair(bars, plan_of(settings, pair, rules, instruments=instruments, root=root, end_ms=end_ms))
        runs.append((pair, run))
        say(f"[{number}/{len(pairs)}] {pair.pair_id}: {len(run.trades)} trades over {run.bars} bars")
    result = summarise(
        runs, window=f"{facts.iso(end_ms - count * step_ms)}/{facts.iso(end_ms)} {timeframe}", notes=tuple(notes)
    )
    facts.record(settings, [_event(run_id, result)])
    return result


def _chosen(pairs: Sequence[PairConfig], only: Sequence[str], path: Path) -> list[PairConfig]:
    known = {str(pair.pair_id) for pair in pairs}
    for pair_id in only:
        if pair_id not in known:
            raise ConfigError(f"{path}: no pair is called {pair_id}; it has {', '.join(sorted(known)) or 'none'}")
    chosen = [pair for pair in pairs if not only or pair.pair_id in only]
    if not chosen:
        raise ConfigError(f"{path}: there is no pair to test; add one")
    return chosen


def _timeframe_of(seconds: int) -> str:
    for unit_seconds, unit in ((86_400, "d"), (3_600, "h")):
        if seconds % unit_seconds == 0:
            return f"{seconds // unit_seconds}{unit}"
    return f"{seconds // 60}m"


def plan_of(
    settings: Settings,
    pair: PairConfig,
    rules: BacktestRules,
    *,
    instruments: Mapping[Symbol, Instrument],
    root: Path,
    end_ms: int,
) -> Plan:
    """How this pair is traded, from the configuration where the rules leave it open."""
    fee_bps = settings.risk.taker_fee_bps if rules.taker_fee_bps is None else rules.taker_fee_bps
    ratio = settings.risk.min_edge_ratio if rules.min_edge_ratio is None else rules.min_edge_ratio
    return Plan(
        pair=pair,
        lookback_bars=rules.lookback_bars or settings.signal.lookback_bars,
        notional_usd=settings.risk.pair_notional_usd,
        min_edge_ratio=ratio,
        hedge_error_max=settings.execution.hedge_error_max,
        costs=Costs(taker_fee_rate=fee_bps / 10_000, half_spread=rules.half_spread_bps / 10_000),
        instrument_a=instruments.get(pair.leg_a) or unbounded(pair.leg_a),
        instrument_b=instruments.get(pair.leg_b) or unbounded(pair.leg_b),
        funding_a=market.read_funding(root, pair.leg_a, 0, end_ms),
        funding_b=market.read_funding(root, pair.leg_b, 0, end_ms),
    )


def unbounded(symbol: Symbol) -> Instrument:
    """A contract whose rules nobody told us: fine steps, no minimum."""
    small, large = Decimal("0.00000001"), Decimal("1e15")
    return Instrument(
        symbol=symbol,
        tick=small,
        step=small,
        market_step=small,
        quantity_min=small,
        quantity_max=large,
        market_quantity_min=small,
        market_quantity_max=large,
        notional_min_usd=Decimal(0),
        percent_price_up=Decimal(2),
        percent_price_down=Decimal("0.5"),
        is_trading=True,
    )


def read_bars(root: Path, symbols: tuple[Symbol, Symbol], timeframe: str, start_ms: int, end_ms: int) -> PairBars:
    """Both legs on one grid without holes; NaN where a leg has no bar."""
    step_ms = market.timeframe_ms(timeframe)
    first = -(-start_ms // step_ms) * step_ms
    times = np.arange(first, end_ms, step_ms, dtype=np.int64)
    columns: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    for symbol in symbols:
        held = market.read_klines(root, symbol, timeframe, first, end_ms)
        places = (held["open_ms"].astype(np.int64) - first) // step_ms
        for name in ("open", "close"):
            column = np.full(times.size, np.nan)
            column[places] = held[name]
            columns.append(column)
    open_a, close_a, open_b, close_b = columns
    return PairBars(times=times, step_ms=step_ms, open_a=open_a, close_a=close_a, open_b=open_b, close_b=close_b)


def summarise(runs: Sequence[tuple[PairConfig, PairRun]], *, window: str, notes: tuple[str, ...] = ()) -> Backtest:
    """Per pair and in total; the total's drawdown is of all trades in order of their closing."""
    trades = sorted((trade for _, run in runs for trade in run.trades), key=lambda trade: trade.closed_ms)
    denials: dict[str, int] = {}
    for _, run in runs:
        for reason, number in run.denials.items():
            denials[reason] = denials.get(reason, 0) + number
    return Backtest(
        pairs=tuple(_summary(pair.pair_id, run.trades, run.denials, run.bars) for pair, run in runs),
        total=_summary("total", trades, denials, sum(run.bars for _, run in runs)),
        trades=tuple(trades),
        window=window,
        notes=notes,
    )


def _summary(name: str, trades: Sequence[BacktestTrade], denials: dict[str, int], bars: int) -> PairSummary:
    hours = [(trade.closed_ms - trade.opened_ms) / 3_600_000 for trade in trades]
    return PairSummary(
        name=name,
        trades=len(trades),
        wins=sum(trade.net_usd > 0 for trade in trades),
        gross_usd=sum(trade.gross_usd for trade in trades),
        fees_usd=sum(trade.fees_usd for trade in trades),
        funding_usd=sum(trade.funding_usd for trade in trades),
        drawdown_usd_max=drawdown([trade.net_usd for trade in trades]),
        stops=sum(trade.exit_reason == "stopped" for trade in trades),
        average_hold_hours=sum(hours) / len(hours) if hours else None,
        denials=denials,
        bars=bars,
    )


def drawdown(profits: Sequence[float]) -> float:
    """The deepest fall of the running sum below its highest point so far, starting at 0."""
    level = peak = deepest = 0.0
    for profit in profits:
        level += profit
        peak = max(peak, level)
        deepest = max(deepest, peak - level)
    return deepest


def _event(run_id: str, result: Backtest) -> EventLogged:
    total = result.total
    return EventLogged(
        at_ms=facts.now_ms(),
        level="info",
        event="backtest_done",
        facts={
            "run_id": run_id,
            "window": result.window,
            "trades": total.trades,
            "gross_usd": round(total.gross_usd, 6),
            "fees_usd": round(total.fees_usd, 6),
            "funding_usd": round(total.funding_usd, 6),
            "net_usd": round(total.net_usd, 6),
            "drawdown_usd_max": round(total.drawdown_usd_max, 6),
        },
    )


def table_of(result: Backtest) -> list[dict[str, Any]]:
    """One row a pair, the total last."""
    return [_row(summary) for summary in (*result.pairs, result.total)]


def _row(summary: PairSummary) -> dict[str, Any]:
    return {
        "pair": summary.name,
        "trades": summary.trades,
        "win rate": "" if summary.win_rate is None else f"{summary.win_rate:.0%}",
        "gross USD": f"{summary.gross_usd:.2f}",
        "fees USD": f"{summary.fees_usd:.2f}",
        "funding USD": f"{summary.funding_usd:.2f}",
        "net USD": f"{summary.net_usd:.2f}",
        "max drawdown USD": f"{summary.drawdown_usd_max:.2f}",
        "stops": summary.stops,
        "hours held": "" if summary.average_hold_hours is None else f"{summary.average_hold_hours:.2f}",
        "passed over": ", ".join(f"{number} {reason}" for reason, number in sorted(summary.denials.items())),
    }


def summary_of(result: Backtest) -> str:
    """One line for people."""
    total = result.total
    unfinished = sum(trade.exit_reason == END_OF_DATA for trade in result.trades)
    notes = "".join(f"; {note}" for note in result.notes)
    return (
        f"{result.window}: {total.trades} trades ({unfinished} cut off by the end of the data), gross {total.gross_usd:.2f},"
        f" fees {total.fees_usd:.2f}, funding {total.funding_usd:.2f}, net {total.net_usd:.2f} USD{notes}"
    )


def as_json(result: Backtest) -> bytes:
    """Everything, trades included, with the derived figures spelt out."""
    pairs = [{**msgspec.to_builtins(one), "net_usd": one.net_usd} for one in (*result.pairs, result.total)]
    trades = [{**msgspec.to_builtins(one), "net_usd": one.net_usd} for one in result.trades]
    body = {"window": result.window, "notes": result.notes, "pairs": pairs[:-1], "total": pairs[-1], "trades": trades}
    return msgspec.json.encode(body)


def report_of(result: Backtest, *, trades_max: int = 200) -> str:
    """Markdown: the outcome, how it was reckoned, and the latest trades."""
    lines = [
        "## Backtest",
        summary_of(result),
        "",
        _HOW_IT_WAS_RECKONED,
        "",
        f"### Latest {min(trades_max, len(result.trades))} of {len(result.trades)} trades",
        "",
        "| pair | side | opened | closed | entry z | exit z | why | gross | fees | funding | net |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {trade.pair_id} | {trade.side} | {facts.iso(trade.opened_ms)} | {facts.iso(trade.closed_ms)} |"
        f" {trade.entry_z:.2f} | {trade.exit_z:.2f} | {trade.exit_reason} | {trade.gross_usd:.3f} | {trade.fees_usd:.3f} |"
        f" {trade.funding_usd:.3f} | {trade.net_usd:.3f} |"
        for trade in result.trades[-trades_max:]
    ]
    return "\n".join(lines) + "\n"
