"""The account beside our books: one conversation with an exchange whose replicas say what each row of the table lets them say."""

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from execution_rig import QuietLog
from trade_story import CAT, DOGE, A, B, Story

from domain.orders import Fill, OrderStatus, Side
from domain.pairs import PairSide, TradeStatus
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId
from runner.exchange.port import Position
from runner.execution.account.external_fills import AccountExecutions
from runner.execution.account.positions import PERSISTS_SECONDS, AccountPositions, Agreement
from runner.execution.context import Context
from runner.execution.orders.store import TradeStore
from storage.journal import Journal

NOW_MS = 1_790_000_000_000
HELD = Decimal(50)


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class FakeExchange:
    """Satisfies what `AccountPositions` asks of `runner.ports.Exchange`."""

    def __init__(self) -> None:
        self.net: dict[Symbol, Decimal] = {}
        self.listed: list[Fill] = []
        self.owners: dict[str, ClientOrderId] = {}

    async def positions(self) -> Mapping[Symbol, Position]:
        return {
            symbol: Position(symbol=symbol, quantity=quantity, entry_price=Decimal(1), mark_price=Decimal(1))
            for symbol, quantity in self.net.items()
            if quantity
        }

    async def fills(self, symbol: Symbol, *, since_ms: int, exchange_order_id: str | None = None) -> Sequence[Fill]:
        return [fill for fill in self.listed if fill.symbol == symbol and fill.at_ms >= since_ms]

    async def owner_of(self, symbol: Symbol, exchange_order_id: str) -> ClientOrderId | None:
        return self.owners.get(exchange_order_id)

    def is_forced(self, client_order_id: str) -> bool:
        return client_order_id.startswith(("adl_autoclose", "autoclose-"))

    def clock_offset_ms(self) -> int:
        return 0


class Scene:
    """One trade, short 50 CAT and long 100 DOGE for a minute, and whoever else trades."""

    def __init__(self, journal: Journal) -> None:
        self.clock, self.adapter, self.log = Hand(), FakeExchange(), QuietLog()
        self.story = Story()
        self.context = Context(book=self.story.book, clock=self.clock, log=self.log, halt=lambda _why: None)
        self.store = TradeStore(self.context, journal)
        self.positions = self.looking_anew()
        self.story.begin("t1", PairId("P"), PairSide.SELL, at_ms=NOW_MS - 60_000)
        for leg, quantity in ((A, "50"), (B, "100")):
            name = self.story.order(leg)
            self.story.fill(name, quantity, at_ms=NOW_MS - 59_000)
            self.story.advance(name, OrderStatus.FILLED, quantity)
        self.story.trade(TradeStatus.OPEN)
        self.trade = self.story.book.trades[TradeId("t1")]
        self.adapter.net = {CAT: -HELD, DOGE: Decimal(100)}

    def looking_anew(self) -> AccountPositions:
        """What a process that has just started knows."""
        exchange: Any = self.adapter
        return AccountPositions(self.context, exchange, AccountExecutions(self.context, exchange, self.store))

    def trades(
        self, side: Side, quantity: str, *, owner: str, is_listed: bool = True, moves: bool = True, ago_ms: int = 300
    ) -> Fill:
        """Somebody else's execution; the list, or the position, may not show it yet."""
        number = str(900 + len(self.adapter.owners))
        fill = Fill(
            symbol=CAT, exchange_trade_id=number, exchange_order_id=f"o{number}", client_order_id=ClientOrderId(owner), side=side,
            quantity=Decimal(quantity), price=Decimal(2), fee=Decimal(0), fee_asset="USDT", at_ms=self.clock.ms - ago_ms,
        )  # fmt: skip
        self.adapter.owners[fill.exchange_order_id] = fill.client_order_id
        if is_listed:
            self.adapter.listed.append(fill)
        if moves:
            self.adapter.net[CAT] += side.sign * fill.quantity
        return fill

    async def check(self, *, suspicious: bool = False) -> Agreement:
        return (await self.positions.check([CAT], suspicious=suspicious)).verdict


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    journal = Journal.open(tmp_path / "journal.sqlite")
    made = Scene(journal)
    assert await made.positions.survey() == frozenset()
    made.clock.ms += 20_000
    yield made
    await journal.close()


async def test_the_exchange_closes_and_everybody_says_so(scene: Scene) -> None:
    scene.trades(Side.BUY, "50", owner="adl_autoclose")
    assert await scene.check() is Agreement.CHANGED
    assert scene.trade.held[A] == 0
    assert await scene.check() is Agreement.AGREED


async def test_a_position_without_an_execution_is_unexplained(scene: Scene) -> None:
    """The list may be behind: as soon as it tells, it is explained."""
    late = scene.trades(Side.BUY, "50", owner="web_1", is_listed=False)
    assert await scene.check() is Agreement.UNEXPLAINED
    assert scene.trade.held[A] == HELD
    scene.adapter.listed.append(late)
    assert await scene.check() is Agreement.CHANGED
    assert scene.trade.held[A] == 0


async def test_a_position_that_is_behind_is_told_by_the_list(scene: Scene) -> None:
    """A refused close is a reason to ask for executions, though the position says that all is there."""
    scene.trades(Side.BUY, "50", owner="autoclose-1", moves=False)
    assert await scene.check() is Agreement.AGREED, "nobody is suspicious"
    assert await scene.check(suspicious=True) is Agreement.CHANGED
    assert scene.trade.held[A] == 0


async def test_news_that_closes_nobody_of_ours_makes_old_positions_unreadable(scene: Scene) -> None:
    """Somebody sold beside us, and the position does not show it: it may hide more than that."""
    scene.trades(Side.SELL, "20", owner="web_1", moves=False)
    assert await scene.check(suspicious=True) is Agreement.UNREADABLE
    scene.adapter.net[CAT] -= 20
    assert await scene.check() is Agreement.AGREED
    assert scene.positions.external(CAT) == -20


async def test_what_the_stream_tells_needs_no_list(scene: Scene) -> None:
    """No query knows of the liquidation yet; the exchange's own word must do."""
    fill = scene.trades(Side.BUY, "50", owner="autoclose-1", is_listed=False, moves=False)
    assert scene.positions.concerns_us(fill)
    await scene.positions.absorb(fill)
    assert scene.trade.held[A] == 0
    assert scene.clock.ms < NOW_MS + 20_000 + 100, "at once: its other leg stands alone"


async def test_a_person_closes_their_own_before_ours(scene: Scene) -> None:
    scene.trades(Side.SELL, "30", owner="web_1")
    assert await scene.check() is Agreement.AGREED
    scene.trades(Side.BUY, "30", owner="web_2", ago_ms=200)
    assert await scene.check() is Agreement.AGREED
    assert (scene.positions.external(CAT), scene.trade.held[A]) == (0, HELD)


async def test_a_person_is_not_believed_while_something_is_missing(scene: Scene) -> None:
    """Was it theirs? The missing execution would say. After as long as a replica may be behind, what is listed must do."""
    scene.trades(Side.BUY, "20", owner="web_1")
    scene.adapter.net[CAT] += 7
    assert await scene.check() is Agreement.UNEXPLAINED
    assert scene.trade.held[A] == HELD
    scene.clock.ms += int(PERSISTS_SECONDS * 1000) + 1
    assert await scene.check() is Agreement.CHANGED
    assert scene.trade.held[A] == 30
    assert await scene.check() is Agreement.UNEXPLAINED, "seven are explained by nobody"


@pytest.mark.parametrize("foreign", ["0", "80"])
async def test_a_restart_knows_what_its_predecessor_knew(scene: Scene, foreign: str) -> None:
    """A person's old position on the other side, from before all history, must not look as if our leg were gone."""
    name = scene.story.order(B)
    intended = scene.story.timeline[-1]
    scene.story.advance(name, OrderStatus.REFUSED, reason="-1 no")
    learned = {"others_held": Decimal(foreign), "others_held_ms": NOW_MS - 60_000}
    intent = msgspec.structs.replace(
        intended, intent=msgspec.structs.replace(intended.intent, symbol=CAT, client_order_id="tdm-t1-ae9"), **learned
    )
    scene.story.apply(intent)
    scene.story.advance(ClientOrderId("tdm-t1-ae9"), OrderStatus.REFUSED, reason="-1 no")
    restarted = scene.looking_anew()
    scene.adapter.net[CAT] += Decimal(foreign)
    assert await restarted.survey() == frozenset()
    assert restarted.external(CAT) == Decimal(foreign)
    scene.trades(Side.BUY, "50", owner="adl_autoclose")
    assert (await restarted.check([CAT])).verdict is Agreement.CHANGED
    assert scene.trade.held[A] == 0
    assert restarted.external(CAT) == Decimal(foreign)
