"""The backtest: pairs over recorded prices, as configured or recalibrated on the way, and what it adds up to."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from domain.errors import ConfigError
from domain.pairs import PairConfig
from domain.statistics.recalibration import Recalibration
from domain.symbols import PairId
from domain.units import DAY_MS
from flows.backtest.engine.figures import curve_of, drawdown, sums_of
from flows.backtest.engine.forward import ForwardRules, Question, Stretch, recalibration_times, walk_forward
from flows.backtest.engine.market import Market
from flows.backtest.engine.terms import Terms, limits_of
from flows.backtest.engine.trades import BacktestTrade
from flows.backtest.engine.walk import Progress, Walk
from flows.backtest.ledger_entries import entries_of
from flows.backtest.load import Loaded, load, timeframe_of
from flows.backtest.report import summary_of
from flows.backtest.result import Backtest, PairSummary, Scaled
from flows.backtest.rules import BacktestRules
from flows.common import facts
from flows.common.bars import Say
from flows.common.steps import HOURS, Run, Step, plainly
from flows.recalibrate.rows import limits_of as calibration_limits
from runner.config import Settings
from runner.pairs.file import load_pairs
from storage import market as store

LOAD = Step(name="load", is_read=True, seconds_max=6 * HOURS)
WALK = Step(name="walk", seconds_max=12 * HOURS)
RECORD = Step(name="record")


def backtest(
    settings: Settings,
    pairs_path: Path,
    rules: BacktestRules,
    *,
    only: Sequence[str] = (),
    run_id: str,
    say: Say,
    progress: Progress | None = None,
    run: Run = plainly,
) -> Backtest:
    """Replay, add up, and tell the ledger. Raises: ConfigError, ExchangeError when bars must be fetched and cannot be."""
    started = time.monotonic()
    pairs = _pairs(settings, pairs_path, rules, only)
    loaded = run(LOAD, lambda: load(settings, rules, pairs, say=say), _loaded)
    result = run(
        WALK,
        lambda: _walked(settings, rules, pairs, loaded, run_id=run_id, started=started, say=say, progress=progress),
        summary_of,
    )
    run(RECORD, lambda: _recorded(settings, result), lambda count: f"{count} entries for the ledger")
    return result


def _loaded(loaded: Loaded) -> str:
    bars = loaded.market.bars
    return f"{bars.count} bars of {len(bars.symbols)} symbols from {facts.iso(bars.start_ms)}"


def _recorded(settings: Settings, result: Backtest) -> int:
    entries = entries_of(result)
    facts.record(settings, entries)
    return len(entries)


def _walked(
    settings: Settings,
    rules: BacktestRules,
    pairs: Sequence[PairConfig],
    loaded: Loaded,
    *,
    run_id: str,
    started: float,
    say: Say,
    progress: Progress | None,
) -> Backtest:
    """Every fee's walk, and what it adds up to. Raises: ConfigError when there is nothing to trade."""
    market = loaded.market
    terms = terms_of(settings, rules, loaded)
    longest_ms = max((terms.bar_ms_of(pair) or market.bars.step_ms for pair in pairs), default=loaded.bar_ms)
    count = market.bars.count * market.bars.step_ms // longest_ms
    if count <= terms.lookback_bars:
        raise ConfigError(
            f"--lookback-bars {terms.lookback_bars}: there are {count} bars of"
            f" {timeframe_of(longest_ms // 1000)}, and nothing is left to trade; give more"
        )
    forward = _forward(settings, rules, market) if rules.walk_forward else None
    start_ms = recalibration_times(market.bars, forward)[0] if forward is not None else market.bars.start_ms
    scales = sorted({1.0, *rules.cost_scales})
    runs: dict[float, tuple[Walk, list[Stretch]]] = {}
    known: dict[Question, Recalibration] = {}
    for number, scale in enumerate(scales):
        on_progress = _part_of(progress, number, len(scales))
        runs[scale] = _run(
            market, terms.with_fees(scale), pairs, forward, known, is_main=scale == 1, progress=on_progress
        )
        say(f"{scale:g} × fees: {len(runs[scale][0].trades)} trades")
    curves = {
        scale: curve_of(
            market, walk.trades, fee_rate=walk.terms.taker_fee_rate, start_ms=start_ms, end_ms=market.bars.end_ms
        )
        for scale, (walk, _) in runs.items()
    }
    walk, stretches = runs[1.0]
    return Backtest(
        run_id=run_id,
        pairs=tuple(_of_pairs(walk, [pair.pair_id for pair in pairs])),
        total=_summary("total", walk.trades, sum(walk.denials.values(), Counter())),
        trades=tuple(walk.trades),
        curve=curves[1.0],
        scaled=tuple(
            Scaled(scale=scale, sums=sums_of(runs[scale][0].trades), drawdown_usd_max=curves[scale].drawdown_usd_max)
            for scale in scales
        ),
        stretches=tuple(stretches),
        rules=rules,
        terms=terms,
        timeframe=timeframe_of(market.bars.step_ms // 1000),
        is_of_quotes=market.quotes is not None,
        start_ms=start_ms,
        end_ms=market.bars.end_ms,
        data_hash=loaded.data_hash,
        seconds=time.monotonic() - started,
        notes=loaded.notes,
    )


def _pairs(settings: Settings, path: Path, rules: BacktestRules, only: Sequence[str]) -> list[PairConfig]:
    """None for a walk over everything listed: today's pairs were chosen by looking at what is replayed. Raises: ConfigError."""
    if rules.walk_forward and rules.calibration.universe == "listed":
        if only:
            raise ConfigError("--only: a walk over what is listed begins without pairs; use --universe configured")
        return []
    pairs = load_pairs(path, settings.signal)
    known = {str(pair.pair_id) for pair in pairs}
    for pair_id in only:
        if pair_id not in known:
            raise ConfigError(f"{path}: no pair is called {pair_id}; it has {', '.join(sorted(known)) or 'none'}")
    chosen = [pair for pair in pairs if not only or pair.pair_id in only]
    if not chosen:
        raise ConfigError(f"{path}: there is no pair to test; add one")
    return chosen


def terms_of(settings: Settings, rules: BacktestRules, loaded: Loaded) -> Terms:
    """The configuration's, where the rules leave it open."""
    risk = settings.risk
    fee_bps = risk.taker_fee_bps if rules.taker_fee_bps is None else rules.taker_fee_bps
    return Terms(
        lookback_bars=rules.lookback_bars or settings.signal.lookback_bars,
        bar_ms=loaded.bar_ms,
        notional_usd=risk.pair_notional_usd,
        hedge_error_max=settings.execution.hedge_error_max,
        taker_fee_rate=fee_bps / 10_000,
        half_spread=rules.half_spread_bps / 10_000,
        slippage=rules.slippage_bps / 10_000,
        latency_bars=rules.latency_bars,
        latency_ms=rules.latency_ms,
        leverage=risk.leverage,
        limits=limits_of(
            gross_notional_usd_max=risk.gross_notional_usd_max,
            daily_loss_usd_max=risk.daily_loss_usd_max,
            min_edge_ratio=risk.min_edge_ratio if rules.min_edge_ratio is None else rules.min_edge_ratio,
        ),
        instruments=loaded.instruments,
    )


def _forward(settings: Settings, rules: BacktestRules, market: Market) -> ForwardRules:
    """Raises: ConfigError when it cannot be walked."""
    calibration, bars, signal = rules.calibration, market.bars, settings.signal
    candle_ms = store.timeframe_ms(calibration.timeframe)
    if candle_ms % bars.step_ms:
        raise ConfigError(
            f"--calibration-timeframe {calibration.timeframe}: candles cannot be made of bars of"
            f" {timeframe_of(bars.step_ms // 1000)}; name a multiple"
        )
    if calibration.quote_volume_usd_per_day_min is not None:
        raise ConfigError("calibration.quote_volume_usd_per_day_min: a backtest knows no volumes; leave it out")
    forward = ForwardRules(
        recalibration=calibration_limits(calibration, signal),
        formation_ms=round(calibration.window_days * DAY_MS),
        every_days=rules.recalibrate_every_days,
        candle_ms=candle_ms,
        entry_z=signal.entry_threshold,
        exit_z=signal.exit_threshold,
        stop_z=signal.stop_loss_threshold,
    )
    if not recalibration_times(bars, forward):
        days = bars.count * bars.step_ms / DAY_MS
        raise ConfigError(
            f"--formation-days {calibration.window_days:g}: there are {days:.1f} days of bars, and nothing is left to trade"
        )
    return forward


def _run(
    market: Market,
    terms: Terms,
    pairs: Sequence[PairConfig],
    forward: ForwardRules | None,
    known: dict[Question, Recalibration],
    *,
    is_main: bool,
    progress: Progress | None,
) -> tuple[Walk, list[Stretch]]:
    if forward is not None:
        return walk_forward(market, terms, forward, pairs, in_sample=is_main, known=known, progress=progress)
    walk = Walk(market, terms, progress=progress)
    walk.configure(pairs, at_ms=0)
    walk.run(market.bars.end_ms)
    walk.finish()
    return walk, []


def _part_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """One of several runs, each as long as the others."""
    if progress is None:
        return None

    def on_progress(done: int, total: int) -> None:
        progress(number * 100 + 100 * done // max(total, 1), count * 100)

    return on_progress


def _of_pairs(walk: Walk, first: Sequence[PairId]) -> list[PairSummary]:
    """Those that were configured, then every other one that did something, best first."""
    trades: dict[PairId, list[BacktestTrade]] = {}
    for trade in walk.trades:
        trades.setdefault(trade.pair_id, []).append(trade)
    others = sorted(set(trades) - set(first), key=lambda pair_id: -sums_of(trades[pair_id]).net_usd)
    return [
        _summary(pair_id, trades.get(pair_id, []), walk.denials.get(pair_id, Counter()))
        for pair_id in (*first, *others)
    ]


def _summary(name: str, trades: Sequence[BacktestTrade], denials: Mapping[str, int]) -> PairSummary:
    return PairSummary(
        name=name,
        sums=sums_of(trades),
        drawdown_usd_max=drawdown([trade.net_usd for trade in trades]),
        denials={code: number for code, number in sorted(denials.items()) if number},
    )
