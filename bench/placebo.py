"""What the scan finds where nothing is, where something was put, and in real prices: the tables of docs/statistics.md.

    python -m bench.placebo [--runs 200] [--only TABLE] [--write]

Every row is seeded and comes out the same again. Real prices are read from ../shared/data; without them their rows are left out
and nothing is written.
"""

import os

from domain.units import HOUR_MS

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import duckdb
import numpy as np

from domain.statistics.engle_granger import Method
from domain.statistics.gates import Gates
from domain.statistics.panel import PricePanel, Space
from domain.statistics.scan import ScanOptions, ScanResult, scan
from domain.statistics.status import STATUSES, Fitness, PairStatus
from domain.statistics.surrogates import Shifted, independent_walks, phase_randomised, planted_pairs, shifted_periods

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "statistics.md"
DATA = ROOT.parent / "shared" / "data"
SYMBOLS, BARS = 40, 1440
PLANTED_PAIRS, PLANTED_RUNS = 10, 40
OPTIONS = ScanOptions(method=Method(space=Space.LOGS, fitness=Fitness(leg_p_min=0.05)))
REAL = {
    "55 perpetuals, 5 m, July 2023": ("binance_um_2023_alpergulsen/klines_5m", 300),
    "126 spot symbols, 1 h, 2021": ("binance_spot_2021_nfi/close_1h", 3600),
    "16 perpetuals, 1 m, May 2025": ("binance_um_2025_1m_typhonun/klines_1m", 60),
}


def real(name: str, seconds: int) -> PricePanel | None:
    """(bars, symbols), NaN where a symbol has no bar, from the first to the last moment that nine in ten of them share."""
    path = DATA / f"{name}.parquet"
    if not path.is_file():
        return None
    query = (
        f"PIVOT (SELECT symbol, epoch_ms(ts) AS ts, close FROM '{path}') ON symbol USING first(close)"  # noqa: S608
        " GROUP BY ts ORDER BY ts"
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        table = connection.execute(query).fetchnumpy()
    names = tuple(name for name in table if name != "ts")
    prices = np.column_stack([np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan) for name in names])
    listed = np.isfinite(prices).sum(axis=1)
    shared = np.flatnonzero(listed >= 0.9 * listed.max())
    here = slice(shared[0], shared[-1] + 1)
    return PricePanel(symbols=names, prices=prices[here], open_ms=table["ts"][here], bar_seconds=seconds)


def hourly(panel: PricePanel) -> PricePanel:
    """The close of the last bar of each full hour."""
    assert panel.open_ms is not None
    assert panel.bar_seconds is not None
    last = (panel.open_ms // 1000 + panel.bar_seconds) % 3600 == 0
    return PricePanel(
        symbols=panel.symbols, prices=panel.prices[last], open_ms=panel.open_ms[last] + panel.bar_seconds * 1000 - HOUR_MS,
        bar_seconds=3600,
    )  # fmt: skip


def without_gaps(panel: PricePanel) -> PricePanel:
    """The symbols that have nearly every bar, and the bars that all of these have."""
    own = np.isfinite(panel.prices).mean(axis=0) > 0.98
    prices = panel.prices[:, own]
    prices = prices[np.isfinite(prices).all(axis=1)]
    names = tuple(name for name, kept in zip(panel.symbols, own, strict=True) if kept)
    return PricePanel(symbols=names, prices=prices, bar_seconds=panel.bar_seconds)


@dataclass
class Tally:
    """Of many runs on data with nothing in it."""

    runs: int = 0
    directions: int = 0
    below_5: int = 0
    pairs: int = 0
    either_below_5: int = 0
    found: int = 0
    kept: int = 0

    def add(self, result: ScanResult) -> None:
        ranked = result.tests.status == STATUSES.index(PairStatus.OK)
        p = np.where(ranked, result.tests.p_value, np.nan)
        upper = np.triu(ranked, 1)
        self.runs += 1
        self.directions += int(ranked.sum())
        self.below_5 += int((p[ranked] < 0.05).sum())
        self.pairs += int(upper.sum())
        self.either_below_5 += int((np.minimum(p, p.T)[upper] < 0.05).sum())
        self.found += bool(result.survivors)
        self.kept += bool(result.kept)

    def row(self, name: str) -> list[str]:
        shares = (
            self.below_5 / self.directions, self.either_below_5 / self.pairs, self.found / self.runs, self.kept / self.runs,
        )  # fmt: skip
        return [name, str(self.runs), str(round(self.directions / self.runs)), *(f"{share:.1%}" for share in shares)]


def placebo(runs: int, panels: dict[str, PricePanel]) -> list[list[str]]:
    makers: dict[str, Callable[[np.random.Generator], Shifted]] = {
        "independent walks": lambda rng: _whole(independent_walks(rng, symbols=SYMBOLS, bars=BARS)),
        "walks with fat tails (t, 4 degrees)": lambda rng: _whole(
            independent_walks(rng, symbols=SYMBOLS, bars=BARS, tails=4)
        ),
        "walks with a common factor": lambda rng: _whole(
            independent_walks(rng, symbols=SYMBOLS, bars=BARS, factor=0.7)
        ),
    }
    for name, panel in panels.items():
        whole = without_gaps(panel)
        # At least four periods.
        bars = min(BARS, whole.bars // 4)
        makers[f"{name}: legs from different periods"] = lambda rng, p=whole, n=bars: shifted_periods(rng, p, n)
        makers[f"{name}: phases at random"] = lambda rng, p=whole: _whole(phase_randomised(rng, p, BARS))
    rows = []
    for name, make in makers.items():
        tally = Tally()
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            given = make(rng)
            some = rng.permutation(len(given.panel.symbols))[:SYMBOLS]
            tally.add(scan(given.panel.only(some.tolist()), OPTIONS, excluded=given.excluded[np.ix_(some, some)]))
        rows.append(tally.row(name))
        print(rows[-1], flush=True)
    return rows


def _whole(panel: PricePanel) -> Shifted:
    return Shifted(panel=panel, excluded=np.zeros((len(panel.symbols),) * 2, dtype=bool))


def power() -> list[list[str]]:
    rows = []
    for half_life, noise in ((2, 0.5), (4, 0.5), (8, 0.5), (16, 0.5), (32, 0.5), (4, 3.0)):
        right = found = kept = right_kept = passed = 0
        for seed in range(PLANTED_RUNS):
            rng = np.random.default_rng(1000 + seed)
            given = planted_pairs(
                rng, symbols=SYMBOLS, bars=BARS, pairs=PLANTED_PAIRS, half_life_bars=half_life, noise=noise
            )
            result = scan(given.panel, OPTIONS)
            claims = {frozenset((s.y, s.x)) for s in result.survivors}
            keeps = {frozenset((s.y, s.x)) for s in result.kept}
            found += len(claims)
            right += len(claims & given.pairs)
            kept += len(keeps)
            right_kept += len(keeps & given.pairs)
            fit = {
                pair
                for pair in given.pairs
                if result.tests.status[tuple(sorted(pair))] == STATUSES.index(PairStatus.OK)
            }
            passed += len(fit)
        planted = PLANTED_PAIRS * PLANTED_RUNS
        rows.append(
            [
                str(half_life),
                f"{noise:g}", f"{passed / planted:.0%}", f"{right / planted:.0%}", f"{_share(found - right, found)}",
                f"{right_kept / planted:.0%}", f"{_share(kept - right_kept, kept)}",
            ]
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def survivors(panels: dict[str, PricePanel]) -> list[list[str]]:
    """What is kept in real prices, and how far we are from statsmodels on a sample of them."""
    rows = []
    for name, panel in panels.items():
        ways = {name: panel}
        if panel.bar_seconds != 3600:
            ways[f"the same, 1 h from {panel.bar_seconds // 60 if panel.bar_seconds else 0} m"] = hourly(panel)
        for (panel_name, prices), space in itertools.product(ways.items(), (Space.LOGS, Space.LEVELS)):
            options = replace(OPTIONS, method=replace(OPTIONS.method, space=space))
            result = scan(prices, options)
            ranked = result.ranked()
            # A direction of 32,000 bars takes statsmodels seconds.
            sample = ranked[np.random.default_rng(0).permutation(len(ranked))[: 50 if prices.bars < 10_000 else 10]]
            off = _distance(prices.between(0, result.formation_bars), result, sample)
            reasons = [f"{s.rejection.reason}" for s in result.survivors if s.rejection is not None]
            listed = ", ".join(f"{reasons.count(word)} {word}" for word in sorted(set(reasons))) or "none"
            rows.append(
                [
                    panel_name, str(space), f"{result.formation_bars} + {result.holdout_bars}", str(result.family),
                    str(len(result.survivors)), listed, str(len(result.kept)), f"{off:.0e} of {len(sample)}",
                ]
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def _distance(panel: PricePanel, result: ScanResult, sample: np.ndarray) -> float:
    from statsmodels.tsa.stattools import coint

    with np.errstate(all="ignore"):
        values = np.log(panel.prices) if result.options.method.space is Space.LOGS else panel.prices
    worst = 0.0
    for y, x in sample:
        together = np.isfinite(values[:, [y, x]]).all(axis=1)
        expected = coint(values[together, y], values[together, x])[0]
        worst = max(worst, abs(float(result.tests.t_stat[y, x]) - expected))
    return worst


HEADS = {
    "placebo": [
        "nothing to find in", "runs", "directions ranked", "p < 5 %", "better of both < 5 %", "runs with any q ≤ 5 %",
        "runs that keep any",
    ],
    "power": ["half-life, bars", "noise over walk", "fit to rank", "q ≤ 5 %", "false among them", "kept", "false among them"],
    "survivors": ["prices", "space", "bars + held out", "family", "q ≤ 5 %", "refused by a gate", "kept", "largest Δt"],
}  # fmt: skip


def written(name: str, rows: Sequence[Sequence[str]]) -> str:
    lines = [HEADS[name], ["---"] * len(HEADS[name]), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@click.command()
@click.option("--runs", default=200, show_default=True, help="Of each kind of placebo.")
@click.option(
    "--only", type=click.Choice(list(HEADS)), multiple=True, help="This table; several times. All of them otherwise."
)
@click.option("--write", is_flag=True, help="Put the tables into docs/statistics.md.")
def main(*, runs: int, only: tuple[str, ...], write: bool) -> None:
    """Measure how often nothing is found in nothing, and how much of what was put there."""
    panels = {name: panel for name, (path, seconds) in REAL.items() if (panel := real(path, seconds)) is not None}
    placebo_panels = {name: panel for name, panel in panels.items() if not name.startswith("16")}
    makers = {
        "placebo": lambda: placebo(runs, placebo_panels), "power": power, "survivors": lambda: survivors(panels),
    }  # fmt: skip
    tables = {name: make() for name, make in makers.items() if name in (only or makers)}
    for name, rows in tables.items():
        print(f"\n{written(name, rows)}")
    if write and len(panels) == len(REAL):
        text = PAGE.read_text(encoding="utf-8")
        for name, rows in tables.items():
            before, rest = text.split(f"<!-- measured: {name} -->\n", 1)
            after = rest.split("<!-- end -->", 1)[1]
            text = f"{before}<!-- measured: {name} -->\n{written(name, rows)}\n<!-- end -->{after}"
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    # Options of its own, and the gates of the scan as they are shipped.
    assert OPTIONS.gates == Gates()
    sys.exit(main())
