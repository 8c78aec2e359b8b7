"""Entries that rest, under every fault and crash: belief equals truth at rest, and nothing of ours rests for ever."""

from collections import Counter

from sim_resting import figures_of, resting_world

SEEDS = 40


def test_what_rests_ends_hedged_or_flat() -> None:
    figures: Counter[str] = Counter()
    for seed in range(SEEDS):
        world = resting_world(seed)
        assert world.run().violations == [], f"seed {seed}: python tests/simulation/sim_resting.py {seed} 1"
        figures += figures_of(world)
    assert min(figures["rested"], figures["filled"], figures["filled in part"]) > 1, figures
