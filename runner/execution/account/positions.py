"""The account's positions beside our books: do they agree, and if not, who traded? Asked with the symbols' locks held.

What the account holds beside our trades (a person's position, another program's) is learned while none of our orders is in
flight, and only a *change* against it counts. A change is explained by executions: late ones of our own orders are booked,
those of the exchange (auto-deleveraging, liquidation, settlement) or a person that reduced what a trade holds are that
trade's exit, the others are not ours. What nothing explains is said, never passed over.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import takewhile

from domain.attribution import ExternalExecution, Share, Story, held_at, readings
from domain.orders import Fill, LegName
from domain.pairs import TradeStatus
from domain.symbols import Symbol
from domain.trades import ZERO
from runner import events
from runner.exchange.errors import OutcomeUnknown, Unreachable
from runner.exchange.port import Exchange, Position
from runner.execution.account.external_fills import CLOCKS_APART_MS, HISTORY_MS, AccountExecutions
from runner.execution.context import Context

PERSISTS_SECONDS = 5.0
REPORTED_LOOKS_SECONDS = (0.0, 0.2, 0.5, 1.0)
"""The user stream reports executions before all queries know them."""
BEHIND_MS = 2_000
"""The account's position may be older news than the list of its executions, by so much."""
SAME_MOMENT_MS = 2_000
REPLICA_LAG_MS = 10_000
"""Executions so little after, or before, a comparison may or may not be in it: replicas of the exchange lag."""


class Agreement(StrEnum):
    """What a comparison says; the worst of its symbols."""

    AGREED = "agreed"
    CHANGED = (
        "changed"  # AccountExecutions were booked that we had not known: look again, then go on with what is held now.
    )
    UNEXPLAINED = "unexplained"
    UNREADABLE = "unreadable"  # No answer, or orders in flight: nothing may be concluded.


_WORST_LAST = (Agreement.AGREED, Agreement.CHANGED, Agreement.UNEXPLAINED, Agreement.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison."""

    verdict: Agreement
    positions: Mapping[Symbol, Position] = field(default_factory=dict)
    differences: Mapping[Symbol, Decimal] = field(default_factory=dict)  # Unexplained ones.

    def net(self, symbol: Symbol) -> Decimal:
        """The account's signed position."""
        return self.positions[symbol].quantity if symbol in self.positions else ZERO


class AccountPositions:
    """What the exchange's positions say about our books."""

    def __init__(self, context: Context, exchange: Exchange, executions: AccountExecutions) -> None:
        self._book, self._clock, self._log, self._notices = context.book, context.clock, context.log, context.notices
        self._exchange = exchange
        self._external: dict[Symbol, Decimal] = {}
        self._surveyed = False
        self._surveyed_ms = 0
        self._never_learned: frozenset[Symbol] = frozenset()  # In doubt at the first survey.
        self._agreed: dict[Symbol, tuple[Decimal, int]] = {}  # What the account held then, by the exchange's clock.
        self._doubts: dict[Symbol, tuple[Decimal, int]] = {}
        self.executions = executions

    def expected_net(self, symbol: Symbol) -> Decimal:
        """The account's position as we believe it without asking."""
        return self._book.positions().get(symbol, ZERO) + self._external.get(symbol, ZERO)

    def external(self, symbol: Symbol) -> Decimal:
        """What the account holds in a symbol that is not ours, as last learned."""
        return self._external.get(symbol, ZERO)

    async def check(self, symbols: Collection[Symbol], *, suspicious: bool = False) -> Finding:
        """Compare, explain, book. Raises: JournalBroken. An exchange that does not answer is a verdict, not an error.

        `suspicious`: something else says that a position is gone, so agreement alone is not believed: executions are asked for.
        """
        before = self._book.positions()
        try:
            positions = await self._exchange.positions()
            after = self._book.positions()
            differences = {}
            verdicts = [Agreement.AGREED]
            for symbol in sorted(symbols):
                verdict, rest = await self._judge(symbol, positions, (before, after), suspicious=suspicious)
                verdicts.append(verdict)
                if verdict is Agreement.UNEXPLAINED:
                    differences[symbol] = rest
        except (OutcomeUnknown, Unreachable) as failure:
            self._log.emit(events.POSITIONS_UNREADABLE, why=str(failure))
            return Finding(Agreement.UNREADABLE)
        return Finding(max(verdicts, key=_WORST_LAST.index), positions, differences)

    async def survey(self) -> frozenset[Symbol]:
        """The symbols of our trades in which the account holds something else than we expect: `check` them under their locks.

        At start, from time to time, and after news may have been missed; books nothing. Raises: OutcomeUnknown, Unreachable.
        """
        live = self._symbols_of_orders()
        before = self._book.positions()
        positions = await self._exchange.positions()
        after = self._book.positions()
        live |= self._symbols_of_orders()
        doubtful = set()
        for symbol in sorted({*positions, *live}):
            net = self._net(positions, symbol)
            gap = net - after.get(symbol, ZERO)
            known, moves = self._known(symbol), before.get(symbol) != after.get(symbol) or self._in_flight(symbol)
            if gap == (known or ZERO) and not moves:
                self._agree(symbol, gap, net)
            elif known is None and symbol not in live and self._persists(symbol, gap):
                self._agree(symbol, gap, net)  # Nobody of ours is there, and it was there before we looked first.
            else:
                doubtful.add(symbol)
        if not self._surveyed:
            self._surveyed, self._never_learned = True, frozenset(doubtful)
            self._surveyed_ms = self._exchange_ms()
        return frozenset(doubtful & live)

    def _symbols_of_orders(self) -> set[Symbol]:
        """An order believed dead may have come true after all: its trade need not be alive."""
        return {order.intent.symbol for order in self._book.orders.values()}

    def learned(self, symbol: Symbol) -> tuple[Decimal, int] | None:
        """What is not ours in a symbol, and when, by the exchange's clock, that was last compared; None while nobody could tell."""
        if symbol in self._external:
            return self._external[symbol], self._agreed[symbol][1]
        journaled = self._book.others_held(symbol)
        if journaled is not None and journaled[1] > self._exchange_ms() - HISTORY_MS:
            return journaled  # A predecessor knew, and the list of executions reaches back to that moment.
        return (ZERO, self._surveyed_ms) if self._surveyed and symbol not in self._never_learned else None

    def _known(self, symbol: Symbol) -> Decimal | None:
        learned = self.learned(symbol)
        return None if learned is None else learned[0]

    def _observed(self, symbol: Symbol) -> tuple[Decimal, int] | None:
        """What the account held in all when that was last compared, and when: the executions since then lead on from there."""
        learned = self.learned(symbol)
        if symbol in self._agreed or learned is None:
            return self._agreed.get(symbol)
        return learned[0] + self._ours(symbol, learned[1]) + self._forgotten(symbol), learned[1]

    @property
    def has_to_learn(self) -> bool:
        """Somebody else holds something, and one answer was not enough to know how much."""
        return not self._surveyed or any(self._known(symbol) is None for symbol in self._never_learned)

    def _exchange_ms(self) -> int:
        """What the exchange's clock shows: ours may jump between a comparison and its use."""
        return self._clock.now_ms() + self._exchange.clock_offset_ms()

    @staticmethod
    def _net(positions: Mapping[Symbol, Position], symbol: Symbol) -> Decimal:
        return positions[symbol].quantity if symbol in positions else ZERO

    async def _judge(
        self,
        symbol: Symbol,
        positions: Mapping[Symbol, Position],
        books: tuple[Mapping[Symbol, Decimal], Mapping[Symbol, Decimal]],
        *,
        suspicious: bool,
    ) -> tuple[Agreement, Decimal]:
        if self._in_flight(symbol):
            return Agreement.UNREADABLE, ZERO
        net = self._net(positions, symbol)
        # News may have been booked while the question was away.
        gaps = [net - book.get(symbol, ZERO) for book in books]
        known = self._known(symbol)
        agrees = (known or ZERO) in gaps
        if agrees and not suspicious:
            self._agree(symbol, known or ZERO, net)
            return Agreement.AGREED, ZERO
        if gaps[0] != gaps[1]:
            return Agreement.UNREADABLE, ZERO  # The books moved meanwhile: which of them was the answer about?
        # First what was executed since our trades began and we last agreed; then all there is, for what we took for known may have
        # come from a replica that was behind.
        story, is_explained = None, False
        for whole_history in (True,) if known is None else (False, True):
            external = await self.executions.external(symbol, self._since_ms(symbol, whole_history=whole_history))
            if external is None:
                return Agreement.CHANGED, ZERO  # Late executions of our own: the comparison was about older books.
            if self._in_flight(symbol) or self._book.positions().get(symbol, ZERO) != net - gaps[-1]:
                return Agreement.UNREADABLE, ZERO
            story, is_explained = self._read(symbol, net, external, whole_history=whole_history)
            if is_explained:
                break
        assert story is not None
        if is_explained:
            is_behind = story.moments[-1].net != net - self._forgotten(symbol)
            return await self._accept(symbol, story, is_behind=is_behind), ZERO
        return await self._doubt(symbol, net, gaps[-1], story, agrees=agrees)

    def _read(
        self, symbol: Symbol, net: Decimal, external: Sequence[ExternalExecution], *, whole_history: bool
    ) -> tuple[Story, bool]:
        """The account's story, and whether it leads from what was known to what the account holds now."""
        trades = [trade for trade in self._book.trades.values() if symbol in trade.symbols]
        since_ms = self._exchange_ms() - BEHIND_MS
        stories = list(readings(symbol, trades, external, net - self._forgotten(symbol), since_ms))
        known, observed = self._known(symbol), self._observed(symbol)
        if known is not None and observed is not None:
            net, at_ms = observed[0] - self._forgotten(symbol), observed[1]
            # To the moment; then as if that comparison had been behind; then as if what we held at that moment had not been known.
            for others_held, back_ms, on_ms in ((known, 0, 0), (known, REPLICA_LAG_MS, SAME_MOMENT_MS), (None, 0, 0)):
                for story in stories:
                    if story.passes(net, others_held, at_ms - back_ms, at_ms + on_ms):
                        return story, True
        for story in stories if whole_history else ():
            if any(moment.others_held == 0 for moment in story.moments):
                return story, True
        return stories[0], False

    def _forgotten(self, symbol: Symbol) -> Decimal:
        """What trades left behind that we no longer remember: dust."""
        return self._book.positions().get(symbol, ZERO) - self._ours(symbol, self._exchange_ms() + HISTORY_MS)

    def _ours(self, symbol: Symbol, at_ms: int) -> Decimal:
        """What the trades we remember held at a moment of the exchange's clock; signed."""
        legs = [(trade, leg) for trade in self._book.trades.values() for leg in LegName]
        held = [
            held_at(trade, leg, at_ms) * trade.plan.side.side_of(leg).sign
            for trade, leg in legs
            if trade.symbol_of(leg) == symbol
        ]
        return sum(held, ZERO)

    async def _accept(self, symbol: Symbol, story: Story, *, is_behind: bool) -> Agreement:
        if is_behind and not story.shares:
            return Agreement.UNREADABLE  # The positions are older news than the executions: nothing is compared.
        last = story.moments[-1]
        if last.others_held != (self._known(symbol) or ZERO):
            self._log.emit(events.EXTERNAL_POSITION, symbol=symbol, quantity=str(last.others_held))
        self._agree(symbol, last.others_held, last.net + self._forgotten(symbol))
        await self._book_shares(story.shares)
        return Agreement.CHANGED if story.shares else Agreement.AGREED

    async def _doubt(
        self, symbol: Symbol, net: Decimal, gap: Decimal, story: Story, *, agrees: bool
    ) -> tuple[Agreement, Decimal]:
        known = self._known(symbol)
        rest = gap - (known or ZERO)
        # Something is missing. What the exchange itself closed is a fact all the same; a person's trade is one, too, but whether
        # it was their own that they closed depends on what is missing: it waits for as long as a replica may be behind.
        persists = self._persists(symbol, rest)
        if shares := list(takewhile(lambda share: share.is_forced or persists, story.shares)):
            await self._book_shares(shares)
            return Agreement.CHANGED, ZERO
        if agrees:
            return Agreement.UNREADABLE, ZERO
        # Never learned by this process, it may have been there before us; but not if it is our own holding that seems to be gone.
        has_learned = symbol in self._external or (self._surveyed and symbol not in self._never_learned)
        if has_learned or rest * self._book.positions().get(symbol, ZERO) < 0:
            return Agreement.UNEXPLAINED, rest
        if not persists:
            return Agreement.UNREADABLE, ZERO
        self._log.emit(events.EXTERNAL_POSITION, symbol=symbol, quantity=str(gap))
        self._agree(symbol, gap, net)
        return Agreement.AGREED, ZERO

    def _since_ms(self, symbol: Symbol, *, whole_history: bool) -> int:
        now_ms = self._clock.now_ms()
        if whole_history:
            return now_ms - HISTORY_MS
        observed = self._observed(symbol)
        since = [trade.plan.at_ms for trade in self._book.trades.values() if symbol in trade.symbols]
        since += [observed[1]] if observed is not None else []
        return max(min(since, default=now_ms) - CLOCKS_APART_MS, now_ms - HISTORY_MS)

    def _persists(self, symbol: Symbol, rest: Decimal) -> bool:
        """One answer may come from a replica that is behind; the same one seconds later does not."""
        now_ns = self._clock.monotonic_ns()
        seen, since_ns = self._doubts.get(symbol, (rest, now_ns))
        self._doubts[symbol] = (rest, since_ns if seen == rest else now_ns)
        return now_ns - self._doubts[symbol][1] > PERSISTS_SECONDS * 1e9

    def _in_flight(self, symbol: Symbol) -> bool:
        return any(order.intent.symbol == symbol for trade in self._book.live_trades() for order in trade.unsettled())

    def _agree(self, symbol: Symbol, others_held: Decimal, net: Decimal) -> None:
        self._external[symbol] = others_held
        self._doubts.pop(symbol, None)
        self._agreed[symbol] = (net, self._exchange_ms())

    async def _book_shares(self, shares: Sequence[Share]) -> None:
        await self.executions.book(shares)
        for trade in {share.trade.trade_id: share.trade for share in shares}.values():
            if trade.status is TradeStatus.OPEN and not trade.is_hedged:
                self._notices.leg_lost(trade)
            elif trade.status.is_over:  # It closed what was not there any more: somebody else's share is missing now.
                self._notices.trade_changed(trade.trade_id)

    # News of the stream

    def concerns_us(self, fill: Fill) -> bool:
        """Whether somebody else's execution may have closed what one of our trades holds. If not, it is remembered as theirs."""
        if self._book.knows_fill(fill):
            return False
        trades = [trade for trade in self._book.live_trades() if fill.symbol in trade.symbols]
        known = self._known(fill.symbol)
        if not trades and known is not None:
            change = fill.quantity * fill.side.sign
            net, _ = self._observed(fill.symbol) or (known, 0)
            self._agree(fill.symbol, known + change, net + change)
        if trades:
            self.executions.report(fill)
        return bool(trades)

    async def absorb(self, fill: Fill) -> None:
        """An execution by the exchange or somebody else in a symbol we hold, reported by the stream. Locks held."""
        for seconds in REPORTED_LOOKS_SECONDS:
            await self._clock.sleep(seconds)
            if self._book.knows_fill(fill):
                return
            finding = await self.check([fill.symbol], suspicious=True)
            if finding.verdict is Agreement.AGREED or self._book.knows_fill(fill):
                return  # At once: whoever lost the leg waits for this lock to close the other one.
        if self._exchange.is_forced(fill.client_order_id) and not self._book.knows_fill(fill):
            self._log.emit(
                events.FORCED_FILL_UNEXPLAINED, symbol=fill.symbol, side=str(fill.side), quantity=str(fill.quantity)
            )
