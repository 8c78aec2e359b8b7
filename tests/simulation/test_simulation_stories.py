"""Short stories told once per moment, with kill -9 at that moment: at every step of the event loop, on both sides of every commit."""

import pytest
from sim_stories import STORIES, every_death, world_of


@pytest.mark.parametrize("name", STORIES)
def test_no_moment_to_die_costs_a_leg(name: str) -> None:
    story = STORIES[name]
    told = 0
    for death, crashes in every_death(story):
        result = world_of(story, crashes=crashes).run()
        assert not result.violations, f"{name}, death at {death}: {result.violations}"
        assert result.crashes <= 1
        told += 1
    assert told > 60, "a story without moments proves nothing"


def test_the_stories_are_about_what_they_say() -> None:
    """Each of them trades, and the faults it plans are met."""
    for name, story in STORIES.items():
        world = world_of(story)
        result = world.run()
        assert result.commits > 4, name
        assert not world.faults.planned_roads, name
        assert not world.faults.planned_elements, name
