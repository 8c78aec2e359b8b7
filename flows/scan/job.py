"""The scan: every pair of a universe, both directions, corrected for having looked at all of them. Writes no configuration."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from domain.errors import ConfigError
from domain.statistics.engle_granger import Criterion, Method, Progress
from domain.statistics.fdr import Correction
from domain.statistics.gates import Costs, Gates
from domain.statistics.panel import PricePanel, Space
from domain.statistics.prefilter import Prefilter, SymbolFacts
from domain.statistics.scan import ScanOptions, ScanResult
from domain.statistics.scan import scan as scan_panel
from domain.statistics.status import Fitness
from flows.common.bars import Say
from flows.common.cointegration import confirm_tests
from flows.common.spread_over import SpreadOver, nobody_else
from flows.common.steps import HOURS, MINUTES, Run, Step, plainly
from flows.common.universe import Universe, gather
from flows.scan.rules import ScanRules
from runner.config import Settings


def options_of(rules: ScanRules) -> ScanOptions:
    """The rules as the statistics take them."""
    costs = Costs(
        taker_fee_bps=rules.taker_fee_bps,
        half_spread_bps=rules.half_spread_bps,
        funding_bps_per_day=rules.funding_bps_per_day,
        min_edge_ratio=rules.min_edge_ratio,
    )
    return ScanOptions(
        method=Method(
            space=Space(rules.space),
            criterion=Criterion(rules.criterion),
            lags_max=rules.lags_max,
            estimator=rules.hedge_estimator,
            fitness=Fitness(
                observations_min=rules.observations_min,
                gap_share_max=rules.gap_share_max,
                must_be_current=rules.must_be_current,
                leg_p_min=rules.leg_p_min,
            ),
        ),
        statistic=rules.statistic,
        gates=Gates(
            q_max=rules.q_max,
            correction=Correction(rules.correction),
            half_life_bars_min=rules.half_life_candles_min,
            half_life_bars_max=rules.half_life_candles_max,
            sub_windows=rules.sub_windows,
            sub_window_drift_max=rules.sub_window_drift_max,
            holdout_share=rules.holdout_share,
            holdout_z_max=rules.holdout_z_max,
            costs=costs if rules.min_edge_ratio > 0 else None,
            pairs_per_symbol_max=rules.pairs_per_symbol_max,
            pairs_max=rules.pairs_max,
        ),
        prefilter=prefilter_of(rules),
    )


def prefilter_of(rules: ScanRules) -> Prefilter:
    return Prefilter(
        quote_volume_usd_per_day_min=rules.quote_volume_usd_per_day_min,
        age_days_min=rules.age_days_min,
        funding_bps_per_day_max=rules.funding_bps_per_day_max,
        same_sector=rules.same_sector,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What was found, and how long it took."""

    result: ScanResult
    seconds: float

    @property
    def tested(self) -> int:
        """How many directions have numbers, ranked or not."""
        return int(np.isfinite(self.result.tests.t_stat).sum())


FETCH = Step(name="fetch", is_read=True, seconds_max=2 * HOURS)
TEST = Step(name="test", seconds_max=2 * HOURS)
CONFIRM = Step(name="confirm", seconds_max=30 * MINUTES)


def scan_exchange(
    settings: Settings,
    rules: ScanRules,
    *,
    say: Say,
    progress: Progress | None = None,
    spread_over: SpreadOver = nobody_else,
    run: Run = plainly,
) -> Scan:
    """Scan what the exchange lists, over fresh candles. Raises: ConfigError, ExchangeError, InvariantBroken."""
    universe = run(FETCH, lambda: gather(settings, rules, say=say), _fetched)
    return scan(
        universe.panel,
        options_of(rules),
        facts=universe.facts,
        progress=progress,
        spread_over=spread_over,
        run=run,
    )


def _fetched(universe: Universe) -> str:
    return f"{len(universe.panel.symbols)} symbols, {universe.panel.bars} bars of each"


def scan(
    panel: PricePanel,
    options: ScanOptions,
    *,
    facts: Mapping[str, SymbolFacts] | None = None,
    progress: Progress | None = None,
    spread_over: SpreadOver = nobody_else,
    run: Run = plainly,
) -> Scan:
    """Test every pair both ways; what is kept, statsmodels has confirmed. `spread_over`: who tests, when it is not this process.

    Raises: ConfigError when there are not two symbols; InvariantBroken when statsmodels does not agree.
    """
    if len(panel.symbols) < 2:
        raise ConfigError(f"a scan needs at least two symbols, not {len(panel.symbols)}")
    if options.method.lags_max is not None and options.method.lags_max > panel.bars // 4:
        raise ConfigError(
            f"--lags-max {options.method.lags_max} is too many for {panel.bars} bars; at most a quarter of them"
        )
    started = time.monotonic()

    def test() -> ScanResult:
        with spread_over(len(panel.symbols)) as spread:
            return scan_panel(panel, options, facts=facts, progress=progress, spread=spread)

    result = run(TEST, test, lambda found: f"{found.family} directions ranked, {len(found.survivors)} pairs pass")
    run(CONFIRM, lambda: _confirm(panel, result), lambda count: f"statsmodels confirms {count} pairs")
    return Scan(result=result, seconds=time.monotonic() - started)


def _confirm(panel: PricePanel, result: ScanResult) -> int:
    """statsmodels' own word on everything that is kept. Raises: InvariantBroken, naming the pair."""
    formation = panel.between(0, result.formation_bars)
    for survivor in result.kept:
        confirm_tests(formation, result.tests, survivor.y, survivor.x, result.options.method)
    return len(result.kept)
