"""Stories whose entries rest: the same faults and crashes, and a market that trades with what rests.

`python tests/simulation/sim_resting.py FIRST COUNT` runs a range of seeds; one seed alone is told in full.
"""

import random
import sys
from collections import Counter

from sim_scripts import SeededScript, seeded_world
from sim_world import World

PULSE_SECONDS = 0.25


class RestingScript(SeededScript):
    """A person's own resting order would fall to the dead-man switch, as documented; here it has its own."""

    def __init__(self, seed: random.Random, *, person_rests: bool) -> None:
        super().__init__(seed)
        self._person_rests = person_rests

    def _person_opens(self, world: World) -> None:
        if self._person_rests:
            super()._person_opens(world)


def resting_world(seed: int, *, trace: bool = False) -> World:
    """The story of that seed, its entries resting."""
    draw = random.Random(f"{seed}-resting")
    world = seeded_world(seed, trace=trace)
    dead_man_seconds = draw.choice((0.0, 5.0, 10.0, 30.0))
    world.execution = world.execution.model_copy(
        update={
            "use_limit_orders": True,
            "limit_wait_seconds": draw.choice((2.0, 5.0, 20.0)),
            "limit_chases_max": draw.choice((0, 2, 10)),
            "dead_man_seconds": dead_man_seconds,
            "naked_notional_usd_seconds_max": draw.choice((50.0, 1_000.0, 10_000.0)),
        }
    )
    world.script = RestingScript(random.Random(f"{seed}-deeds"), person_rests=dead_man_seconds == 0)
    world.market._thin = draw.random() < 0.7
    world.market._volatility = draw.choice((0.00005, 0.0005, 0.002))
    world.timeline.after(PULSE_SECONDS, _pulse, world)
    return world


def _pulse(world: World) -> None:
    """The market moves under what rests, and the exchange's clock goes on."""
    if world.over:
        return
    world.timeline.after(PULSE_SECONDS, _pulse, world)
    exchange = world.exchange
    adapter, now_ms = exchange.desk.core, exchange.clock.now_ms()
    for symbol in sorted({order.symbol for order in exchange.portfolio.open.values()}):
        adapter.on_book(world.market.book(symbol), now_ms)
    adapter.on_timer(now_ms)
    exchange.commit()


def figures_of(world: World) -> Counter[str]:
    """How the resting orders of a story fared."""
    figures: Counter[str] = Counter()
    for order in world.exchange.our_orders():
        if order.time_in_force == "GTX":
            figures["rested"] += 1
            figures["filled"] += order.status == "FILLED"
            figures["filled in part"] += order.status != "FILLED" and order.filled > 0
    return figures


def main() -> int:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    bad = 0
    for seed in range(first, first + count):
        world = resting_world(seed, trace=count == 1)
        result = world.run()
        for when, text in result.story:
            sys.stdout.write(f"{when:10.4f}  {text}\n")
        totals.update({"crashes": result.crashes, "trades": result.trades, "orders": result.orders})
        totals.update(figures_of(world))
        faults.update(result.faults)
        for what in result.violations[:1]:
            bad += 1
            sys.stdout.write(f"seed {seed}: {what}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count} seeds, {bad} violations; {dict(totals)}; {sum(faults.values())} faults\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
