"""Random stories against the whole engine; `make simulate SEEDS=10000` tells more of them."""

import pytest
from sim_scripts import seeded_world

SEEDS = 300
PARTS = 6
ONCE_FOUND = (104_368, 500_322, 505_147, 505_624)
"""Seeds that found something once. Their stories move on with the engine, so what they found has a test of its own besides."""


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_whatever_happens(part: int) -> None:
    """Hedged or flat at rest, belief equals truth, nothing sent twice or before its intent: see sim_checks."""
    crashes = trades = 0
    for seed in range(part, SEEDS, PARTS):
        result = seeded_world(seed).run()
        assert not result.violations, f"make simulate SEEDS=1 FROM={seed}\n" + "\n".join(result.violations)
        crashes += result.crashes
        trades += result.trades
    assert crashes > SEEDS / PARTS / 2
    assert trades > SEEDS / PARTS


@pytest.mark.parametrize("seed", ONCE_FOUND)
def test_what_was_found_once(seed: int) -> None:
    result = seeded_world(seed).run()
    assert not result.violations, f"make simulate SEEDS=1 FROM={seed}\n" + "\n".join(result.violations)
