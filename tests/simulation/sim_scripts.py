"""The scripts of stories: one drawn by a seed, and a few short ones whose every moment is tried as the last."""

import random
from collections.abc import Callable
from decimal import Decimal
from functools import cache

from sim_faults import Intensity
from sim_market import CONTRACTS, listings
from sim_runner import SimRunner
from sim_world import Crashes, World

from domain.pairs import PairConfig, SignalType, TradeStatus
from domain.symbols import PairId, Symbol, unified
from paper.liquidation import liquidate
from paper.orders import OrderRequest
from runner.config import ExecutionSettings

PRICES = {unified(f"{name}/USDT"): float(price) for name, _, _, _, price, _ in CONTRACTS}
EXITS = (SignalType.EXIT, SignalType.EXIT, SignalType.STOP, SignalType.TIME_STOP, SignalType.FLATTEN)
ENTRIES = (SignalType.SELL, SignalType.BUY)


def pair_of(leg_a: Symbol, leg_b: Symbol, share: float = 1.0) -> PairConfig:
    """A pair whose leg a is worth `share` of leg b."""
    return PairConfig(
        pair_id=PairId(f"{leg_a.split('/')[0]}_{leg_b.split('/')[0]}"),
        leg_a=leg_a,
        leg_b=leg_b,
        hedge_ratio=PRICES[leg_b] / PRICES[leg_a] * share,
        entry_z=2.0,
        exit_z=0.0,
        stop_z=6.0,
        half_life_bars=5,
        half_life_bar_seconds=60,
    )


@cache
def settings_of(
    recv_window_ms: int,
    order_timeout_seconds: float,
    *,
    batch: bool,
    limits: bool = False,
    dead_man_seconds: float = 0.0,
) -> ExecutionSettings:
    return ExecutionSettings(
        recv_window_ms=recv_window_ms,
        order_timeout_seconds=order_timeout_seconds,
        batch_orders=batch,
        rollbacks_before_freeze=10**6,
        use_limit_orders=limits,
        limit_wait_seconds=4.0,
        dead_man_seconds=dead_man_seconds,
    )


class SeededScript:
    """Signals, the operator, a person in the same account, the exchange's own hand, a wrong clock, a bad disk."""

    def __init__(self, seed: random.Random) -> None:
        self._seed = seed
        self.calm_at = seed.uniform(4.0, 25.0)

    def begin(self, world: World) -> None:
        self._person_opens(world)
        for pair_id in world.pairs:
            self._again(world, pair_id)
        for chance, deed in (
            (0.25, self._deleverage),
            (0.05, self._liquidate),
            (0.1, self._halt),
            (0.2, self._person_closes),
            (0.2, self._shut_down),
            (0.2, self._flatten),
            (0.3, self._jump),
            (0.2, self._leave_the_band),
            (0.15, self._clock_jumps),
            (0.1, self._disk_full),
            (0.2, self._pause),
        ):
            if self._seed.random() < chance:
                for _ in range(self._seed.choice((1, 1, 2, 4))):
                    world.timeline.at(self._seed.uniform(0.5, self.calm_at), self._unless_calm, world, deed)
        if self._seed.random() < 0.2:
            world.disk.stall_chance = self._seed.choice((0.01, 0.1))
        world.clock.skew_ms = self._seed.choice((0, 0, -700, 300, 2_000, -5_000))

    def _unless_calm(self, world: World, deed: Callable[[World], None]) -> None:
        if not world.faults.calm:
            deed(world)

    def _again(self, world: World, pair_id: PairId) -> None:
        world.timeline.after(self._seed.expovariate(1 / 2.0), self._act, world, pair_id)

    def _act(self, world: World, pair_id: PairId) -> None:
        if world.faults.calm:
            return
        self._again(world, pair_id)
        if world.runner is None:
            return
        trade = world.runner.book.open_by_pair.get(pair_id)
        closes = trade is not None and trade.status is TradeStatus.OPEN
        if self._seed.random() < 0.1:
            closes = not closes  # A signal that makes no sense.
        for _ in range(2 if self._seed.random() < 0.1 else 1):
            world.signal(pair_id, self._seed.choice(EXITS if closes else ENTRIES))

    def _symbol(self, world: World) -> str:
        pair = self._seed.choice(list(world.pairs.values()))
        return self._seed.choice(pair.symbols).split(":")[0].replace("/", "")

    def _person_opens(self, world: World) -> None:
        """Before the first process: a position by hand, an order resting far away."""
        if self._seed.random() < 0.4:
            symbol = self._symbol(world)
            quantity = self._quantity(symbol, 200.0) * self._seed.choice((1, -1))
            adapter = world.exchange.desk.core
            adapter.manual_trade(world.exchange.portfolio, symbol, quantity, None, world.exchange.clock.now_ms())
            world.exchange.commit()
            world.by_hand[symbol] = quantity
            world.tell(f"a person holds {quantity} {symbol}")
        # The dead-man switch takes a person's orders with it, which is documented; so there are none where it is used.
        if self._seed.random() < 0.4 and world.execution.dead_man_seconds == 0:
            symbol = self._symbol(world)
            listing = listings()[symbol]
            price = (world.market.mark(symbol).mark_price * Decimal("0.96")).quantize(listing.tick)
            world.exchange.desk.core.place(
                world.exchange.portfolio,
                OrderRequest(
                    symbol=symbol, side="BUY", type="LIMIT", time_in_force="GTC", quantity=self._quantity(symbol, 300.0),
                    price=price, reduce_only=False, position_side="BOTH", client_order_id="person-1", stp_mode="NONE",
                    good_till_ms=0, result=True,
                ),
                world.exchange.clock.now_ms(),
            )  # fmt: skip
            world.exchange.commit()

    def _quantity(self, symbol: str, usd: float) -> Decimal:
        price = next(price for name, _, _, _, price, _ in CONTRACTS if name + "USDT" == symbol)
        step = listings()[symbol].step
        return max(step, (Decimal(usd) / Decimal(price)).quantize(step))

    def _deleverage(self, world: World) -> None:
        symbol = self._symbol(world)
        share = Decimal(self._seed.choice((1, 1, 5, 10))) / 10
        world.tell(f"ADL of {share} of {symbol}")
        world.faults.count("adl")
        adapter = world.exchange.desk.core
        adapter.auto_deleverage(world.exchange.portfolio, symbol, share, world.exchange.clock.now_ms())
        world.exchange.commit()

    def _liquidate(self, world: World) -> None:
        world.tell("the account is liquidated")
        world.faults.count("liquidation")
        liquidate(world.exchange.desk.books, world.exchange.portfolio, world.exchange.clock.now_ms())
        world.exchange.commit()

    def _halt(self, world: World) -> None:
        symbol = self._symbol(world)
        world.tell(f"{symbol} is halted")
        world.faults.count("symbol halted")
        world.market.set_status(symbol, self._seed.choice(("SETTLING", "CLOSE")))
        world.timeline.after(self._seed.uniform(0.2, 6.0), world.market.set_status, symbol, "TRADING")

    def _person_closes(self, world: World) -> None:
        symbol = self._symbol(world)
        amount = world.exchange.positions().get(symbol)
        if amount and symbol not in world.by_hand:  # Else nobody could say whose it was.
            world.tell(f"a person closes {amount} {symbol}")
            world.faults.count("leg closed by a person")
            adapter = world.exchange.desk.core
            adapter.manual_trade(world.exchange.portfolio, symbol, -amount, None, world.exchange.clock.now_ms())
            world.exchange.commit()

    def _shut_down(self, world: World) -> None:
        world.faults.count("graceful stop")
        world.shut_down()

    def _flatten(self, world: World) -> None:
        world.flatten(list(world.pairs))

    def _jump(self, world: World) -> None:
        world.market.jump(self._symbol(world), self._seed.choice((-0.03, -0.003, 0.003, 0.03)))

    def _leave_the_band(self, world: World) -> None:
        world.faults.count("book outside the price band")
        world.market.off_band[self._symbol(world)] = world.timeline.now + self._seed.uniform(0.5, 6.0)

    def _clock_jumps(self, world: World) -> None:
        world.faults.count("clock jump")
        world.clock.skew_ms += self._seed.choice((-3_000, -800, 400, 1_500, 10_000))
        world.tell(f"our clock is {world.clock.skew_ms} ms ahead")

    def _disk_full(self, world: World) -> None:
        world.faults.count("disk full")
        world.journal_may_break = True
        world.disk.full = True
        world.timeline.after(self._seed.uniform(0.1, 3.0), setattr, world.disk, "full", False)

    def _pause(self, world: World) -> None:
        if world.runner is not None:
            world.runner.gate.paused_because = "by hand"
            world.timeline.after(2.0, setattr, world.runner.gate, "paused_because", None)


def seeded_world(
    seed: int,
    *,
    trace: bool = False,
    intensity: Intensity | None = None,
    crashes: bool = True,
    sabotage: Callable[[SimRunner], None] | None = None,
) -> World:
    """Everything of one random story."""
    draw = random.Random(f"{seed}-world")
    symbols = draw.sample(list(PRICES), draw.randint(3, 5))
    pairs: dict[PairId, PairConfig] = {}
    for _ in range(draw.randint(2, 4)):
        leg_a, leg_b = draw.sample(symbols, 2)
        pair = pair_of(leg_a, leg_b, draw.choice((0.5, 0.9, 1.0, 1.3)))
        pairs[pair.pair_id] = pair
    deaths = Crashes()
    for _ in range(draw.choice((0, 0, 1, 1, 2, 3, 5))):
        if draw.random() < 0.6:
            deaths.steps.add(draw.randint(1, draw.choice((60, 300, 900))))
        else:
            deaths.commits.add((draw.randint(1, draw.choice((12, 60, 150))), draw.random() < 0.5))
    return World(
        seed,
        SeededScript(random.Random(f"{seed}-deeds")),
        list(pairs.values()),
        execution=settings_of(
            draw.choice((500, 1000, 2500)),
            draw.choice((1.0, 5.0, 30.0)),
            batch=draw.random() < 0.8,
            limits=draw.random() < 0.25,
            dead_man_seconds=draw.choice((0.0, 5.0, 30.0)),
        ),
        intensity=intensity,
        crashes=deaths if crashes else None,
        volatility=draw.choice((0.0, 0.00005, 0.0005)),
        thin=draw.random() < 0.3,
        trace=trace,
        sabotage=sabotage,
    )
