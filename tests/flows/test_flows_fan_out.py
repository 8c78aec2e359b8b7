"""Who does the testing of a universe, by its size and by what is asked for. That it works: test_flows_prefect."""

import pytest
from pydantic import ValidationError

from flows.common.fan_out import FanOut


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
