"""The scan: every pair of a universe, both directions, corrected for having looked at all of them. Writes no configuration."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from domain.errors import ConfigError, ExchangeError
from domain.symbols import unified
from flows.jobs.bars import Say, bars_in, refresh, store_of
from flows.jobs.cointegration import Fitness, PairStatus, PairTest, Prices, examine, q_values
from flows.jobs.exchange_reads import ExchangeReads
from runner.config import Settings
from storage import market

SAY_EVERY_SECONDS = 5.0


class ScanRules(BaseModel):
    """What is looked at, and for how long back."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    symbols: list[str] = Field(
        default_factory=list, description="Contracts to pair up, as BASE/USDT. Empty: what the exchange lists."
    )
    symbols_max: int = Field(
        default=30,
        ge=2,
        le=200,
        description="Cap on the universe; the time grows with its square (30: about a minute).",
    )
    timeframe: str = Field(default="1h", pattern=r"^[1-9]\d{0,2}[mhd]$", description="The candle of the test.")
    window_days: float = Field(default=60, gt=0, le=730, description="How far back the test looks, in days.")
    observations_min: int = Field(default=200, ge=50, description="Fewest common candles that count as evidence.")
    gap_share_max: float = Field(default=0.02, ge=0, lt=0.5, description="Largest share of missing candles.")

    @property
    def fitness(self) -> Fitness:
        return Fitness(observations_min=self.observations_min, gap_share_max=self.gap_share_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """Aligned closes, one column a name."""

    names: tuple[str, ...]
    prices: Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One direction of one pair, tested. `q_value` counts every test of the scan."""

    leg_a: str
    leg_b: str
    test: PairTest
    q_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The better direction of every pair that could be tested, best first."""

    candidates: tuple[Candidate, ...]
    unfit: dict[PairStatus, int]
    tests: int
    seconds: float


def gather(settings: Settings, rules: ScanRules, *, say: Say) -> Universe:
    """Bring the store up to date and read the universe from it. Raises: ConfigError, ExchangeError."""
    root = store_of(settings)
    bars = bars_in(rules.window_days, rules.timeframe)
    try:
        wanted = [unified(name) for name in rules.symbols]
    except ValueError as problem:
        raise ConfigError(f"--symbol: {problem}") from None
    with ExchangeReads(settings) as reads:
        listed = reads.listed()
        unknown = [symbol for symbol in wanted if symbol not in listed]
        if unknown:
            raise ConfigError(f"--symbol: the exchange does not list {', '.join(unknown)}")
        trading = [symbol for symbol in listed if listed[symbol].is_trading and symbol.endswith(":USDT")]
        symbols = wanted or sorted(trading)
        if len(symbols) > rules.symbols_max:
            say(f"taking the first {rules.symbols_max} of {len(symbols)} symbols; raise symbols_max for more")
            symbols = symbols[: rules.symbols_max]
        fetched = refresh(reads, root, symbols, rules.timeframe, bars=bars, say=say)
    if fetched.end_ms is None:
        raise ExchangeError(f"no candles from the exchange ({next(iter(fetched.failures.values()), 'none listed')})")
    start_ms = fetched.end_ms - bars * market.timeframe_ms(rules.timeframe)
    reached = [symbol for symbol in symbols if symbol not in fetched.failures]
    closes = market.read_closes(root, reached, rules.timeframe, start_ms, fetched.end_ms)
    return Universe(names=tuple(closes.symbols), prices=closes.matrix)


def scan(universe: Universe, fitness: Fitness, *, say: Say) -> Scan:
    """Test every pair both ways. Raises: ConfigError when there are not two names."""
    if len(universe.names) < 2:
        raise ConfigError(f"a scan needs at least two symbols, not {len(universe.names)}")
    started = time.monotonic()
    tested: list[tuple[str, str, PairTest]] = []
    unfit: dict[PairStatus, int] = {}
    total = len(universe.names) * (len(universe.names) - 1)
    said = started
    for number, (a, b) in enumerate(_directions(len(universe.names)), start=1):
        test = examine(universe.prices[:, a], universe.prices[:, b], fitness)
        if test.status is PairStatus.OK:
            tested.append((universe.names[a], universe.names[b], test))
        else:
            unfit[test.status] = unfit.get(test.status, 0) + 1
        if time.monotonic() - said >= SAY_EVERY_SECONDS:
            said = time.monotonic()
            say(f"{number} of {total} tests, {said - started:.0f} s")
    corrected = q_values([test.p_value for _, _, test in tested if test.p_value is not None])
    best: dict[frozenset[str], Candidate] = {}
    for (leg_a, leg_b, test), q_value in zip(tested, corrected, strict=True):
        candidate = Candidate(leg_a=leg_a, leg_b=leg_b, test=test, q_value=q_value)
        rival = best.get(frozenset((leg_a, leg_b)))
        if rival is None or _rank(candidate) < _rank(rival):
            best[frozenset((leg_a, leg_b))] = candidate
    ordered = tuple(sorted(best.values(), key=_rank))
    return Scan(candidates=ordered, unfit=unfit, tests=total, seconds=time.monotonic() - started)


def _directions(count: int) -> Iterator[tuple[int, int]]:
    return itertools.permutations(range(count), 2)


def _rank(candidate: Candidate) -> tuple[float, float, str, str]:
    assert candidate.test.t_stat is not None
    return (candidate.q_value, candidate.test.t_stat, candidate.leg_a, candidate.leg_b)


def read_prices(path: Path) -> Universe:
    """A table of prices: long (symbol, ts or open_ms, close) or wide (a time column first, then one column a symbol).

    Parquet or CSV by the file's ending. Raises: ConfigError, one line.
    """
    reader = {".parquet": "read_parquet", ".csv": "read_csv"}.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: need a .parquet or .csv file of prices")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            relation = f"{reader}('{str(path).replace(chr(39), chr(39) * 2)}')"
            columns = [str(row[0]) for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()]
            time_column = next((name for name in ("open_ms", "ts", "time", "timestamp") if name in columns), columns[0])
            query = f'FROM {relation} ORDER BY "{time_column}"'
            if {"symbol", "close"} <= set(columns):
                query = f'PIVOT {relation} ON symbol USING any_value("close") GROUP BY "{time_column}" ORDER BY "{time_column}"'
            table = connection.execute(query).fetchnumpy()
    except duckdb.Error as problem:
        raise ConfigError(f"{path}: cannot be read as prices: {str(problem).splitlines()[0]}") from None
    names = tuple(name for name in table if name != time_column)
    try:
        series = [np.ma.filled(np.ma.asarray(table[name]).astype(np.float64), np.nan) for name in names]
    except (ValueError, TypeError):
        raise ConfigError(f"{path}: every column but {time_column} must hold prices") from None
    if not names or not len(series[0]):
        raise ConfigError(f"{path}: no prices in it")
    return Universe(names=names, prices=np.column_stack(series))


def table_of(result: Scan, *, rows_max: int | None = None) -> list[dict[str, Any]]:
    """One row a pair, best first."""
    return [
        {
            "leg_a": candidate.leg_a,
            "leg_b": candidate.leg_b,
            "hedge_ratio": candidate.test.hedge_ratio,
            "t": candidate.test.t_stat,
            "p": candidate.test.p_value,
            "q": candidate.q_value,
            "half_life": candidate.test.half_life,
            "candles": candidate.test.observations,
        }
        for candidate in result.candidates[:rows_max]
    ]


def summary_of(result: Scan, *, q_max: float = 0.05) -> str:
    """One line for people."""
    found = sum(candidate.q_value <= q_max for candidate in result.candidates)
    unfit = ", ".join(f"{count} {status}" for status, count in sorted(result.unfit.items())) or "none"
    return (
        f"{result.tests} tests of {len(result.candidates)} pairs in {result.seconds:.1f} s: {found} pairs with q ≤ {q_max:g}"
        f" (Benjamini–Yekutieli over all tests); unfit: {unfit}"
    )
