"""The scan over Prefect's task runners: threads, and Dask with two workers of its own. The bits are those of one process."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness
from pydantic import ValidationError

from domain.statistics.scan import ScanResult
from domain.statistics.surrogates import independent_walks
from flows.fan_out import FanOut
from flows.jobs.scan import options_of, scan
from flows.jobs.scan_rules import ScanRules


@pytest.mark.parametrize(
    ("fan_out", "symbols", "batches"),
    [
        (FanOut(workers=2), 1000, 1),
        (FanOut(workers=2), 1001, 4),
        (FanOut(workers=8), 2000, 16),
        (FanOut(workers=8, batches=1), 2000, 1),
        (FanOut(workers=8, batches=3), 20, 3),
    ],
)
def test_small_universes_stay_in_one_piece(fan_out: FanOut, symbols: int, batches: int) -> None:
    assert fan_out.batches_for(symbols) == batches
    if batches == 1:
        with fan_out.over(symbols) as spread:
            assert spread is None, "no runner is started for it"


@pytest.mark.parametrize("runner", ["processes", "http://host:1", "", "tcp://"])
def test_only_known_runners(runner: str) -> None:
    with pytest.raises(ValidationError):
        FanOut(runner=runner)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=240):
        yield


@flow(name="fan-out", persist_result=False)
def _scanned(fan_out: FanOut) -> list[Any]:
    """A list, because a flow's result is looked into: an object of ours is left alone in it."""
    with fan_out.over(len(PANEL.symbols)) as spread:
        return [scan(PANEL, options_of(RULES), spread=spread).result]


PANEL = independent_walks(np.random.default_rng(3), symbols=150, bars=200)
RULES = ScanRules(q_max=0.99, holdout_share=0, half_life_candles_max=1e9, min_edge_ratio=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fan_out",
    [FanOut(runner="threads", workers=2, batches=3), FanOut(runner="dask", workers=2, batches=3)],
    ids=["threads", "dask"],
)
@pytest.mark.filterwarnings("default")  # Dask's own, at its end.
def test_the_bits_are_those_of_one_process(server: None, fan_out: FanOut) -> None:
    alone = scan(PANEL, options_of(RULES)).result
    (found,) = _scanned(fan_out)
    assert isinstance(found, ScanResult)
    assert found.family == alone.family > 10_000
    assert found.survivors == alone.survivors
    for name in (
        "hedge_ratio",
        "intercept",
        "t_stat",
        "p_value",
        "half_life",
        "hurst",
        "johansen_trace",
        "lag",
        "crossings",
    ):
        assert getattr(found.tests, name).tobytes() == getattr(alone.tests, name).tobytes(), name
