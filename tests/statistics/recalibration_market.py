"""Prices in levels for recalibrations: pairs that belong together, with a hedge ratio that is known, among walks."""

import numpy as np

from domain.statistics.decisions import Incumbent
from domain.statistics.engle_granger import Method
from domain.statistics.gates import Gates
from domain.statistics.panel import PricePanel
from domain.statistics.scan import ScanOptions
from domain.statistics.status import Fitness

BARS = 400
OPTIONS = ScanOptions(method=Method(fitness=Fitness(leg_p_min=0.05)), gates=Gates())


def market(
    *,
    walks: int = 4,
    pairs: int = 3,
    seed: int = 0,
    bars: int = BARS,
    broken: frozenset[int] = frozenset(),
    hedge: float = 2.0,
) -> PricePanel:
    """`W0`, `W1`, … walk alone; `An`, `Bn` belong together: B = 10 + hedge · A + noise, but for those in `broken`, which only walk."""
    rng = np.random.default_rng(seed)
    names, columns = [], []
    for number in range(walks):
        names.append(f"W{number}/USDT:USDT")
        columns.append(100 * np.exp(np.cumsum(rng.normal(0, 0.005, bars))))
    for number in range(pairs):
        a = 50 * np.exp(np.cumsum(rng.normal(0, 0.005, bars)))
        other = 110 * np.exp(np.cumsum(rng.normal(0, 0.005, bars)))
        together = 10 + hedge * a + rng.normal(0, 0.8, bars)
        names += [f"A{number}/USDT:USDT", f"B{number}/USDT:USDT"]
        columns += [a, other if number in broken else together]
    return PricePanel(symbols=tuple(names), prices=np.column_stack(columns), bar_seconds=3600)


def incumbent(number: int, hedge_ratio: float = 2.0, **more: object) -> Incumbent:
    """The pair `An`, `Bn` as the file has it."""
    legs = {"pair_id": f"P{number}", "leg_a": f"A{number}/USDT:USDT", "leg_b": f"B{number}/USDT:USDT"}
    return Incumbent(**legs, hedge_ratio=hedge_ratio, **more)  # type: ignore[arg-type]
