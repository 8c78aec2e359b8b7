"""A simulator that finds nothing proves nothing: it must find an engine with one safety taken out."""

import pytest
from sim_sabotage import SABOTAGES, Sabotage
from sim_scripts import seeded_world

SEEDS_MAX = 150


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.__name__)
def test_a_missing_safety_is_found(sabotage: Sabotage) -> None:
    """By a seed that the whole engine survives."""
    for seed in range(SEEDS_MAX):
        if seeded_world(seed, sabotage=sabotage).run().violations and not seeded_world(seed).run().violations:
            return
    pytest.fail(f"{SEEDS_MAX} seeds did not notice an engine that {sabotage.__name__.replace('_', ' ')}")
