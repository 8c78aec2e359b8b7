"""Entries that rest, under every fault and crash: belief equals truth at rest, and nothing of ours rests for ever."""

from collections import Counter
from collections.abc import Callable

from sim_faults import Intensity, Road, UserFate
from sim_resting import figures_of, resting_world
from sim_runner import SimRunner
from sim_scripts import settings_of
from sim_stories import ShortStory, enter
from sim_world import Result, World

from paper.faults import FaultSpec, Kind, Parameters

SEEDS = range(50, 90)
"""A stretch in which the market often takes a part of what rests."""


def test_what_rests_ends_hedged_or_flat() -> None:
    figures: Counter[str] = Counter()
    for seed in SEEDS:
        world = resting_world(seed)
        assert world.run().violations == [], f"seed {seed}: python tests/simulation/sim_resting.py {seed} 1"
        figures += figures_of(world)
    assert min(figures["rested"], figures["filled"], figures["filled in part"]) > 1, figures


def hidden_while_it_rests(sabotage: Callable[[SimRunner], None] | None = None) -> Result:
    """The reply to a limit entry is lost, and every list denies the order for far longer than any proof takes."""
    hidden = FaultSpec(kind=Kind.HIDDEN, parameters=Parameters(delay_ms=60_000))
    story = ShortStory(deeds=((1.0, enter()),), roads=[Road.DROPPED], elements=[{0: [hidden]}], calm_at=30.0)
    execution = settings_of(1000, 5.0, batch=True, limits=True)
    world = World(1, story, story.pairs, execution=execution, intensity=Intensity(user=1.0), sabotage=sabotage)
    world.faults.user_fates = (UserFate.LOST,)
    result = world.run()
    assert [order.time_in_force for order in world.exchange.our_orders()][:1] == ["GTX"]
    return result


def test_a_cancel_finds_what_every_list_denies() -> None:
    """And without that last question it would rest for ever, believed dead."""
    assert hidden_while_it_rests().violations == []

    def believes_the_lists(runner: SimRunner) -> None:
        async def may_rest(_order: object) -> bool:
            return False

        runner.engine._entry_saga._tracker._may_rest = may_rest

    (found, *_) = hidden_while_it_rests(believes_the_lists).violations
    assert "still rests at the exchange" in found
