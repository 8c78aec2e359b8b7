"""A few short stories, each told as often as it has moments: the process dies at every one of them, once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from sim_faults import Intensity, Road, UserFate
from sim_runner import SimRunner
from sim_scripts import pair_of, settings_of
from sim_world import Crashes, Deed, World

from domain.pairs import PairConfig, SignalType
from domain.symbols import Symbol
from paper.faults import FaultSpec, Kind, Parameters
from paper.liquidation import liquidate

SOL, XRP, ETH = Symbol("SOL/USDT:USDT"), Symbol("XRP/USDT:USDT"), Symbol("ETH/USDT:USDT")
PAIR = pair_of(SOL, XRP)
SHARING = pair_of(ETH, SOL)
HALF = pair_of(SOL, ETH, 0.5)
CALM_AT = 6.0


def enter(pair: PairConfig = PAIR, side: SignalType = SignalType.SELL) -> Deed:
    return lambda world: world.signal(pair.pair_id, side)


def leave(pair: PairConfig = PAIR) -> Deed:
    return lambda world: world.signal(pair.pair_id, SignalType.STOP)


def deleverage(symbol: str) -> Deed:
    def deed(world: World) -> None:
        exchange = world.exchange
        exchange.desk.core.auto_deleverage(exchange.portfolio, symbol, Decimal(1), exchange.clock.now_ms())
        exchange.commit()

    return deed


def deaf(world: World) -> None:
    """From now on the user stream tells nothing, and nobody notices."""
    world.faults.user_fates = (UserFate.LOST,)
    world.faults.intensity.user = 1.0


def liquidated(world: World) -> None:
    exchange = world.exchange
    liquidate(exchange.desk.books, exchange.portfolio, exchange.clock.now_ms())
    exchange.commit()


def person_closes(symbol: str) -> Deed:
    def deed(world: World) -> None:
        exchange = world.exchange
        amount = exchange.positions().get(symbol)
        if amount:
            exchange.desk.core.manual_trade(exchange.portfolio, symbol, -amount, None, exchange.clock.now_ms())
            exchange.commit()

    return deed


def refused(element: int, code: int) -> dict[int, list[FaultSpec]]:
    return {element: [FaultSpec(kind=Kind.REJECTED, parameters=Parameters(code=code))]}


def filled(element: int, fraction: str) -> dict[int, list[FaultSpec]]:
    return {element: [FaultSpec(kind=Kind.PARTIAL, parameters=Parameters(fraction=Decimal(fraction)))]}


@dataclass(frozen=True, kw_only=True)
class ShortStory:
    """Deeds at fixed times. `roads` and `elements` are what the order requests meet, one after another."""

    deeds: Sequence[tuple[float, Deed]] = ((1.0, enter()), (3.0, leave()))
    roads: Sequence[Road] = ()
    elements: Sequence[Mapping[int, list[FaultSpec]]] = ()
    pairs: Sequence[PairConfig] = (PAIR,)
    calm_at: float = CALM_AT
    prepare: Sequence[Deed] = field(default=())

    def begin(self, world: World) -> None:
        world.faults.planned_roads = list(self.roads)
        world.faults.planned_elements = [dict(element) for element in self.elements]
        for deed in self.prepare:
            deed(world)
        for when, deed in self.deeds:
            world.timeline.at(when, deed, world)


STORIES: Mapping[str, ShortStory] = {
    "an entry that fills, and its exit": ShortStory(),
    "the other leg is refused": ShortStory(elements=[refused(1, -2019)]),
    "one leg of the exit fails": ShortStory(elements=[{}, refused(0, -4131)]),
    "an entry with unknown outcome that was executed": ShortStory(roads=[Road.DROPPED]),
    "an entry with unknown outcome that never arrived": ShortStory(roads=[Road.LOST_503]),
    "an exit with unknown outcome that arrives late": ShortStory(roads=[Road.FINE, Road.LATE]),
    "a leg that fills in part": ShortStory(elements=[filled(1, "0.4")]),
    "a leg that is auto-deleveraged": ShortStory(deeds=((1.0, enter()), (2.0, deleverage("XRPUSDT")))),
    "a leg that a person closes": ShortStory(deeds=((1.0, enter()), (2.0, person_closes("SOLUSDT")))),
    "a leg that is lost during the exit": ShortStory(
        deeds=((1.0, enter()), (3.0, leave()), (3.0015, deleverage("XRPUSDT")))
    ),
    "two pairs on opposite sides of one symbol": ShortStory(
        pairs=(PAIR, SHARING),
        deeds=((1.0, enter()), (1.5, enter(SHARING)), (3.0, leave()), (3.5, leave(SHARING))),
        elements=[{}, {}, refused(0, -2022)],
    ),
    "two liquidations, and between them an exit that knows of none": ShortStory(
        pairs=(PAIR, HALF),
        deeds=(
            (1.0, enter(HALF, SignalType.BUY)),
            (1.9, deaf),
            (2.0, liquidated),
            (2.3, enter()),
            (3.0, leave(HALF)),
            (3.0024, liquidated),
        ),
    ),
}


def world_of(
    story: ShortStory,
    *,
    seed: int = 1,
    crashes: Crashes | None = None,
    trace: bool = False,
    sabotage: Callable[[SimRunner], None] | None = None,
) -> World:
    """One telling of a short story in an otherwise faultless world."""
    return World(
        seed,
        story,
        story.pairs,
        execution=settings_of(1000, 5.0, batch=True),
        intensity=Intensity(),
        crashes=crashes,
        trace=trace,
        sabotage=sabotage,
    )


def every_death(story: ShortStory, *, seed: int = 1) -> Iterator[tuple[str, Crashes]]:
    """The story is told once without a death to count its moments; then once with a death at each of them."""
    told = world_of(story, seed=seed).run()
    assert not told.violations, told.violations
    for step in range(1, told.steps + 1):
        yield f"step {step}", Crashes(steps={step})
    for commit in range(1, told.commits + 1):
        for durable in (False, True):
            yield (
                f"commit {commit} {'after' if durable else 'before'} it is durable",
                Crashes(commits={(commit, durable)}),
            )


def first_violation(story: ShortStory, worlds: Callable[[Crashes], World], *, seed: int = 1) -> str | None:
    """The first death that the story does not survive, told; None when it survives all of them."""
    for death, crashes in every_death(story, seed=seed):
        result = worlds(crashes).run()
        if result.violations:
            return f"{death}: {result.violations[0]}"
    return None
