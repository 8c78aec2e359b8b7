"""The scan: every pair of a universe, both directions, corrected for having looked at all of them. Writes no configuration."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from domain.errors import ConfigError
from domain.statistics.engle_granger import Criterion, Method, Progress, Spread
from domain.statistics.fdr import Correction
from domain.statistics.gates import REASONS, Costs, Gates
from domain.statistics.panel import PricePanel, Space
from domain.statistics.prefilter import Prefilter, SymbolFacts
from domain.statistics.scan import ScanOptions, ScanResult
from domain.statistics.scan import scan as scan_panel
from domain.statistics.status import STATUSES, Fitness, PairStatus
from flows.common.cointegration import confirm_tests
from flows.common.output_files import replacing
from flows.scan.rules import ScanRules

OUTPUT_SUFFIXES = (".parquet", ".csv", ".json")


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
            fitness=Fitness(
                observations_min=rules.observations_min,
                gap_share_max=rules.gap_share_max,
                must_be_current=rules.must_be_current,
                leg_p_min=rules.leg_p_min,
            ),
        ),
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


def write_directions(path: Path, result: ScanResult) -> int:
    """One row a direction, the ranked ones first and best first; the file is replaced whole (a link stays one). Returns the rows.

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
    try:
        with replacing("--output", path) as beside, duckdb.connect(config={"threads": 1}) as connection:
            for name, table in {
                "rows": rows, "names": names, "statuses": statuses, "reasons": reasons, "noted": noted,
                "left_out": left_out,
            }.items():  # fmt: skip
                connection.register(name, table)
            connection.execute(f"COPY ({_DIRECTIONS}) TO '{str(beside).replace(chr(39), chr(39) * 2)}' (FORMAT {kind})")
    except duckdb.Error as problem:
        raise ConfigError(f"--output {path}: cannot be written ({str(problem).splitlines()[0]})") from None
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
