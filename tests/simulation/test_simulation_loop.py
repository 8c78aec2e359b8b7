"""The simulator's own ground: time that jumps, an order that repeats, a death that leaves nothing behind."""

import asyncio
import random

from sim_faults import Intensity
from sim_loop import Ended, Timeline, VirtualLoop
from sim_scripts import seeded_world


def loop_of(timeline: Timeline, seed: int) -> VirtualLoop:
    return VirtualLoop(timeline, random.Random(seed), before_step=lambda: False)


def test_an_hour_takes_no_time() -> None:
    timeline = Timeline()
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(asyncio.get_running_loop().time())

    async def main() -> None:
        try:
            async with asyncio.timeout(3600):
                await asyncio.gather(sleeper(10), sleeper(5), sleeper(7200))
        except TimeoutError:
            woken.append(asyncio.get_running_loop().time())

    loop = loop_of(timeline, 1)
    assert loop.run(main()) is Ended.FINISHED
    loop.mark_crashed()
    assert woken == [5, 10, 3600]


def test_the_seed_decides_who_goes_first() -> None:
    def order_of(seed: int) -> tuple[int, ...]:
        ran: list[int] = []

        async def one(number: int) -> None:
            await asyncio.sleep(0)
            ran.append(number)

        async def main() -> None:
            await asyncio.gather(*(one(number) for number in range(6)))

        loop = loop_of(Timeline(), seed)
        loop.run(main())
        loop.mark_crashed()
        return tuple(ran)

    assert order_of(3) == order_of(3)
    assert len({order_of(seed) for seed in range(20)}) > 10


def test_everybody_waiting_for_ever_is_noticed() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    loop = loop_of(Timeline(), 1)
    assert loop.run(main()) is Ended.STUCK
    loop.mark_crashed()


def test_a_killed_process_says_nothing_more() -> None:
    timeline = Timeline()
    said: list[str] = []

    async def main() -> None:
        said.append("alive")
        await asyncio.sleep(2)
        said.append("undead")

    loop = loop_of(timeline, 1)
    timeline.at(1.0, loop.kill)
    assert loop.run(main()) is Ended.KILLED
    loop.mark_crashed()
    timeline.run_until(10)
    assert said == ["alive"]


def test_a_seed_tells_the_same_story_again() -> None:
    first, second = (seeded_world(7, trace=True).run() for _ in range(2))
    assert first.story == second.story
    assert len(first.story) > 20


def test_a_world_without_faults_trades() -> None:
    """Else the other stories would prove nothing."""
    world = seeded_world(5, intensity=Intensity(), crashes=False)
    result = world.run()
    assert not result.violations
    assert result.trades > 3
