"""Recalibration's functions on real candles: sixteen perpetuals, two weeks of May 2025, hourly."""

import math
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner
from statsmodels.tsa.stattools import adfuller, coint

from domain.statistics.decisions import Action, Incumbent
from domain.statistics.panel import PricePanel
from domain.statistics.recalibration import recalibrate
from domain.symbols import Symbol
from domain.units import HOUR_MS
from flows.common.prices import read_prices
from flows.recalibrate.rows import limits_of
from flows.recalibrate.rules import CalibrationRules
from flows.scan.cli import scan as scan_command
from flows.scan.job import options_of, scan
from flows.scan.rules import ScanRules
from runner.config import SignalSettings
from storage import market

BARS = Path(__file__).parents[2].parent / "shared" / "data" / "binance_um_2025_1m_typhonun" / "klines_1m.parquet"
pytestmark = pytest.mark.skipif(not BARS.is_file(), reason="the real bars are not beside this clone")
HOURLY = f"""SELECT symbol, epoch_ms(time_bucket(INTERVAL 1 HOUR, ts)) AS open_ms, first(open ORDER BY ts), max(high),
    min(low), last(close ORDER BY ts) AS close, sum(volume), count(*) AS minutes
    FROM '{BARS}' GROUP BY ALL HAVING minutes = 60 ORDER BY ALL"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Symbol]]:
    root = tmp_path_factory.mktemp("market")
    with duckdb.connect(config={"threads": 1}) as connection:
        rows = connection.execute(HOURLY).fetchall()
    names = sorted({row[0] for row in rows})
    symbols = [Symbol(f"{name.removesuffix('USDT')}/USDT:USDT") for name in names]
    for name, symbol in zip(names, symbols, strict=True):
        market.write_klines(root, symbol, "1h", [row[1:7] for row in rows if row[0] == name])
    return root, symbols


def test_every_pair_gets_a_sound_decision(store: tuple[Path, list[Symbol]]) -> None:
    """Fifteen pairs that somebody might have written, and then whatever the market lists."""
    root, symbols = store
    end_ms = min(market.last_open_ms(root, symbol, "1h") or 0 for symbol in symbols) + HOUR_MS
    closes = market.read_closes(root, symbols, "1h", end_ms - 14 * 24 * HOUR_MS, end_ms)
    panel = PricePanel(symbols=tuple(symbols), prices=closes.matrix, open_ms=closes.times, bar_seconds=3600)
    last = panel.prices[-1]
    incumbents = [
        Incumbent(pair_id=f"P{n}", leg_a=symbols[n], leg_b=symbols[n + 1], hedge_ratio=float(last[n + 1] / last[n]))
        for n in range(len(symbols) - 1)
    ]
    for universe in ("configured", "listed"):
        rules = limits_of(CalibrationRules(universe=universe, max_turnover=1, hedge_drift_max=2), SignalSettings())
        result = recalibrate(panel, incumbents, rules)
        assert not result.refusals
        assert result.counts[Action.UPDATE] + result.counts[Action.RETIRE] + result.counts[Action.KEEP] == 15
        assert result.counts[Action.ADD] <= 2, "corrected for 240 looks, hardly a pair comes in"
        assert all(math.isfinite(one.hedge_ratio) and one.hedge_ratio > 0 for one in result.pairs_after)
        assert not recalibrate(panel, result.pairs_after, rules, same_bars=True).is_change


def test_a_scan_of_the_real_universe_claims_little(tmp_path: Path) -> None:
    """Sixteen coins over three weeks: corrected for 240 looks, hardly a pair is left, and none is infinite."""
    path = tmp_path / "hourly.parquet"
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"COPY (SELECT symbol, open_ms, close FROM ({HOURLY}) ORDER BY ALL) TO '{path}'")
    universe = read_prices(path)
    assert len(universe.symbols) == 16
    assert universe.bar_seconds == 3600
    rules = ScanRules(must_be_current=False, space="logs")
    result = scan(universe, options_of(rules)).result
    ranked = tuple(result.ranked().T)
    assert result.family == len(ranked[0]) > 50
    assert (result.q_value[ranked] >= result.tests.p_value[ranked]).all()
    assert (result.tests.t_stat[ranked] > -20).all()
    assert len(result.kept) <= 2


def test_the_written_numbers_are_statsmodels_own(tmp_path: Path) -> None:
    """Directions from the best to the worst of the file that `tandem scan` wrote, each computed once more from the prices it read."""
    prices, out = tmp_path / "hourly.csv", tmp_path / "found.csv"
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT symbol, open_ms AS ts, close FROM ({HOURLY}) ORDER BY random()) TO '{prices}'"
        )
        result = CliRunner().invoke(scan_command, ["--prices", str(prices), "--space", "logs", "--output", str(out)])
        assert result.exit_code == 0, result.output
        rows = connection.execute(
            f"SELECT y, x, n, lag, t_stat, p_value FROM '{out}' WHERE t_stat IS NOT NULL"
        ).fetchall()
        closes = {
            name: dict(connection.execute(f"SELECT ts, close FROM '{prices}' WHERE symbol = '{name}'").fetchall())
            for name in {row[0] for row in rows}
        }
    assert len(rows) > 150
    chosen = rows[::4]
    for number, (y, x, n, lag, t_stat, p_value) in enumerate(chosen):
        times = sorted(closes[y].keys() & closes[x].keys())
        assert len(times) == n
        log_y, log_x = (np.log([closes[name][time] for time in times]) for name in (y, x))
        expected_t, expected_p, _ = coint(log_y, log_x)
        assert t_stat == pytest.approx(expected_t, abs=1e-8), (y, x)
        assert p_value == pytest.approx(expected_p, abs=1e-9), (y, x)
        if number % 5:
            continue
        residual = log_y - np.polynomial.Polynomial.fit(log_x, log_y, 1)(log_x)
        assert adfuller(residual, regression="n", result_object=False)[2] == lag
