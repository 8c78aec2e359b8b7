"""The scan: every pair of a universe, both directions, corrected for having looked at all of them. Writes no configuration."""

import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
from pydantic import Field

from domain.errors import ConfigError
from domain.statistics.engle_granger import Criterion, Method, Progress, Spread
from domain.statistics.fdr import Correction
from domain.statistics.gates import REASONS, Costs, Gates
from domain.statistics.panel import PricePanel, Space
from domain.statistics.prefilter import SymbolFacts
from domain.statistics.scan import ScanOptions, ScanResult
from domain.statistics.scan import scan as scan_panel
from domain.statistics.status import STATUSES, Fitness, PairStatus
from flows.jobs.cointegration import confirm_tests
from flows.jobs.universe_rules import UniverseRules

OUTPUT_SUFFIXES = (".parquet", ".csv", ".json")


class ScanRules(UniverseRules):
    """What is looked at, for how long back, how it is tested, and what a pair must show to be kept."""

    symbols: list[str] = Field(
        default_factory=list, description="Contracts to pair up, as BASE/USDT. Empty: what the exchange lists."
    )
    symbols_max: int = Field(
        default=200, ge=2, le=2000, description="Cap on the universe; fetching takes a request or more a symbol."
    )
    timeframe: str = Field(default="1h", pattern=r"^[1-9]\d{0,2}[mhd]$", description="The candle of the test.")
    window_days: float = Field(default=60, gt=0, le=730, description="How far back the test looks, in days.")
    space: Literal["levels", "logs"] = Field(default="levels", description="Prices as they are, or their logarithms.")
    criterion: Literal["aic", "bic", "t-stat", "fixed"] = Field(
        default="aic", description="How the number of lags is chosen."
    )
    lags_max: int | None = Field(default=None, ge=0, le=500, description="Most lags; empty: Schwert's rule.")
    observations_min: int = Field(default=200, ge=50, description="Fewest common candles that count as evidence.")
    gap_share_max: float = Field(default=0.02, ge=0, lt=0.5, description="Largest share of missing candles.")
    must_be_current: bool = Field(
        default=True, description="A symbol without its newest candles has a gap. False: each pair's own common window."
    )
    leg_p_min: float | None = Field(
        default=0.05, ge=0, lt=1, description="ADF p-value up to which a leg is stationary; empty: legs are not tested."
    )
    q_max: float = Field(default=0.05, gt=0, lt=1, description="Largest q-value: the share of false pairs let pass.")
    correction: Literal["by", "bh"] = Field(default="by", description="Benjamini-Yekutieli or Benjamini-Hochberg.")
    half_life_candles_min: float = Field(default=0.1, ge=0, description="Shortest half-life that is believed.")
    half_life_candles_max: float = Field(default=120, gt=0, description="Longest half-life worth waiting for.")
    sub_windows: int = Field(default=3, ge=0, le=20, description="Parts in which the hedge ratio must agree; 0: off.")
    sub_window_drift_max: float = Field(default=0.5, gt=0, description="Largest difference of a part, as a share.")
    holdout_share: float = Field(default=0.25, ge=0, le=0.5, description="Newest share that no fit sees.")
    holdout_z_max: float = Field(default=4, gt=0, description="Largest |z| out of sample.")
    taker_fee_bps: float = Field(default=5, ge=0, description="Fee on each of the four fills.")
    half_spread_bps: float = Field(default=0.5, ge=0, description="Half the spread, on each of the four fills.")
    funding_bps_per_day: float = Field(default=3, ge=0, description="Funding of each leg, always paid.")
    min_edge_ratio: float = Field(default=1, ge=0, description="Reversion of a half-life over its costs; 0: off.")
    pairs_per_symbol_max: int = Field(default=3, ge=1, description="Most kept pairs that share a symbol.")
    pairs_max: int = Field(default=20, ge=1, description="Most kept pairs.")

    @property
    def options(self) -> ScanOptions:
        costs = Costs(
            taker_fee_bps=self.taker_fee_bps,
            half_spread_bps=self.half_spread_bps,
            funding_bps_per_day=self.funding_bps_per_day,
            min_edge_ratio=self.min_edge_ratio,
        )
        return ScanOptions(
            method=Method(
                space=Space(self.space),
                criterion=Criterion(self.criterion),
                lags_max=self.lags_max,
                fitness=Fitness(
                    observations_min=self.observations_min,
                    gap_share_max=self.gap_share_max,
                    must_be_current=self.must_be_current,
                    leg_p_min=self.leg_p_min,
                ),
            ),
            gates=Gates(
                q_max=self.q_max,
                correction=Correction(self.correction),
                half_life_bars_min=self.half_life_candles_min,
                half_life_bars_max=self.half_life_candles_max,
                sub_windows=self.sub_windows,
                sub_window_drift_max=self.sub_window_drift_max,
                holdout_share=self.holdout_share,
                holdout_z_max=self.holdout_z_max,
                costs=costs if self.min_edge_ratio > 0 else None,
                pairs_per_symbol_max=self.pairs_per_symbol_max,
                pairs_max=self.pairs_max,
            ),
            prefilter=self.prefilter,
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


def scan(
    panel: PricePanel,
    options: ScanOptions,
    *,
    facts: Mapping[str, SymbolFacts] | None = None,
    progress: Progress | None = None,
    spread: Spread | None = None,
) -> Scan:
    """Test every pair both ways; what is kept, statsmodels has confirmed. `spread`: who tests, when it is not this process alone.

    Raises: ConfigError when there are not two symbols; InvariantBroken when statsmodels does not agree.
    """
    if len(panel.symbols) < 2:
        raise ConfigError(f"a scan needs at least two symbols, not {len(panel.symbols)}")
    if options.method.lags_max is not None and options.method.lags_max > panel.bars // 4:
        raise ConfigError(
            f"--lags-max {options.method.lags_max} is too many for {panel.bars} bars; at most a quarter of them"
        )
    started = time.monotonic()
    result = scan_panel(panel, options, facts=facts, progress=progress, spread=spread)
    formation = panel.between(0, result.formation_bars)
    for survivor in result.kept:
        confirm_tests(formation, result.tests, survivor.y, survivor.x, options.method)
    return Scan(result=result, seconds=time.monotonic() - started)


def table_of(found: Scan, *, rows_max: int) -> list[dict[str, Any]]:
    """One row a ranked pair, best first: for a terminal and an artifact."""
    result, tests = found.result, found.result.tests
    notes = _notes(result)
    rows: list[dict[str, Any]] = []
    seen: set[frozenset[int]] = set()
    for y, x in result.ranked().tolist():
        if len(rows) == rows_max:
            break
        if frozenset((y, x)) in seen:
            continue
        seen.add(frozenset((y, x)))
        rows.append(
            {
                "y": tests.symbols[y],
                "x": tests.symbols[x],
                "n": int(tests.bars[y, x]),
                "hedge_ratio": float(tests.hedge_ratio[y, x]),
                "t_stat": float(tests.t_stat[y, x]),
                "p_value": float(tests.p_value[y, x]),
                "q_value": float(result.q_value[y, x]),
                "half_life": None if math.isnan(tests.half_life[y, x]) else float(tests.half_life[y, x]),
                "reason": notes.get((y, x), result.reason_of(y, x)),
            }
        )
    return rows


def excluded_lines(found: Scan, *, most: int = 20) -> list[str]:
    """Which symbols were not looked at, and why; a line each, and one for those that are too many."""
    lines = [f"left out: {symbol}: {reason}" for symbol, reason in sorted(found.result.excluded_symbols.items())]
    return lines if len(lines) <= most else [*lines[:most], f"left out: {len(lines) - most} more"]


def _notes(result: ScanResult) -> dict[tuple[int, int], str]:
    """The refusals of the gates, with their facts."""
    return {
        (survivor.y, survivor.x): f"{survivor.rejection.reason}: {survivor.rejection.facts}"
        for survivor in result.survivors
        if survivor.rejection is not None
    }


def check_output(path: Path) -> None:
    """Before any work is done. Raises: ConfigError."""
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise ConfigError(f"--output {path}: need a name that ends in .parquet, .csv or .json")
    if path.is_dir():
        raise ConfigError(f"--output {path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: there is no folder {path.parent}; create it")
    _beside(path).unlink()


def _beside(path: Path) -> Path:
    """An empty file in the same folder, to be written and put in place. Raises: ConfigError."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
        os.fchmod(descriptor, 0o644)
        os.close(descriptor)
    except OSError as problem:
        raise ConfigError(f"--output {path}: cannot be written ({problem.strerror}); choose another folder") from None
    return Path(name)


def write_directions(path: Path, result: ScanResult) -> int:
    """One row a direction, the ranked ones first and best first; the file is replaced whole. Returns the number of rows.

    Raises: ConfigError.
    """
    tests = result.tests
    rest = np.argwhere((tests.status != STATUSES.index(PairStatus.OK)) & ~np.eye(len(tests.symbols), dtype=bool))
    places = np.concatenate((result.ranked(), rest))
    at = tuple(places.T)
    rows = {
        "y": at[0],
        "x": at[1],
        "n": tests.bars[at],
        **{name: getattr(tests, name)[at] for name in ("hedge_ratio", "intercept", "lag", "t_stat", "p_value")},
        "q_value": result.q_value[at],
        **{name: getattr(tests, name)[at] for name in ("half_life", "hurst", "johansen_trace")},
        "status": tests.status[at],
        "reason": result.reason[at],
    }
    names = {"place": np.arange(len(tests.symbols)), "name": np.array(tests.symbols, dtype=object)}
    statuses = {"place": np.arange(len(STATUSES)), "name": np.array([str(word) for word in STATUSES], dtype=object)}
    reasons = {"place": np.arange(len(REASONS)), "name": np.array([str(word) for word in REASONS], dtype=object)}
    notes = _notes(result)
    left_out = {
        "name": np.array(list(result.excluded_symbols), dtype=object),
        "why": np.array(list(result.excluded_symbols.values()), dtype=object),
    }
    noted = {
        "y": np.array([y for y, _ in notes], dtype=np.int64),
        "x": np.array([x for _, x in notes], dtype=np.int64),
        "note": np.array(list(notes.values()), dtype=object),
    }
    kind = {".parquet": "PARQUET, COMPRESSION ZSTD", ".csv": "CSV, HEADER", ".json": "JSON, ARRAY true"}[
        path.suffix.lower()
    ]
    beside = _beside(path)
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            for name, table in {
                "rows": rows, "names": names, "statuses": statuses, "reasons": reasons, "noted": noted,
                "left_out": left_out,
            }.items():  # fmt: skip
                connection.register(name, table)
            connection.execute(f"COPY ({_DIRECTIONS}) TO '{str(beside).replace(chr(39), chr(39) * 2)}' (FORMAT {kind})")
        beside.replace(path)
    except (duckdb.Error, OSError) as problem:
        raise ConfigError(f"--output {path}: cannot be written ({str(problem).splitlines()[0]})") from None
    finally:
        beside.unlink(missing_ok=True)
    return len(places)


def _number(name: str) -> str:
    return f"CASE WHEN isfinite(rows.{name}) THEN rows.{name} END AS {name}"


_DIRECTIONS = f"""
SELECT y.name AS y, x.name AS x, rows.n, {_number("hedge_ratio")}, {_number("intercept")},
    CASE WHEN rows.lag < 0 THEN NULL ELSE rows.lag END AS lag, {_number("t_stat")}, {_number("p_value")},
    {_number("q_value")}, {_number("half_life")}, {_number("hurst")}, {_number("johansen_trace")},
    statuses.name AS status, reasons.name = 'kept' AS kept,
    CASE
        WHEN noted.note IS NOT NULL THEN noted.note
        WHEN statuses.name = 'excluded'
        THEN 'excluded: ' || coalesce(y.name || ': ' || y_out.why, x.name || ': ' || x_out.why, 'not the same sector')
        WHEN reasons.name = 'not_ranked' THEN statuses.name
        ELSE reasons.name
    END AS reason
FROM (SELECT *, row_number() OVER () AS number FROM rows) AS rows
JOIN names AS y ON y.place = rows.y JOIN names AS x ON x.place = rows.x
JOIN statuses ON statuses.place = rows.status JOIN reasons ON reasons.place = rows.reason
LEFT JOIN left_out AS y_out ON y_out.name = y.name LEFT JOIN left_out AS x_out ON x_out.name = x.name
LEFT JOIN noted ON noted.y = rows.y AND noted.x = rows.x
ORDER BY rows.number
"""  # noqa: S608 - names of our own.


def summary_of(found: Scan) -> str:
    """One line for people."""
    result = found.result
    tests = result.tests
    count = len(tests.symbols)
    unfit = {
        str(status): int((tests.status == code).sum()) - (count if status is PairStatus.EXCLUDED else 0)
        for code, status in enumerate(STATUSES)
        if status is not PairStatus.OK
    }
    told = ", ".join(f"{number} {status}" for status, number in sorted(unfit.items()) if number) or "none"
    gates = result.options.gates
    formation = f"{result.formation_bars} bars" + (f", {result.holdout_bars} held out" if result.holdout_bars else "")
    passed = len(result.survivors)
    filtered = f"; {len(result.excluded_symbols)} symbols left out beforehand" if result.excluded_symbols else ""
    return (
        f"{count * (count - 1)} directions of {count} symbols over {formation} in {found.seconds:.1f} s: {result.family} ranked,"
        f" {passed} pairs with q ≤ {gates.q_max:g} ({str(gates.correction).upper()} over all of them), {len(result.kept)} kept;"
        f" not ranked: {told}{filtered}"
    )
