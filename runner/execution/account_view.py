"""The account's positions beside our books: do they agree, and if not, who traded? Asked with the symbols' locks held.

What the account holds beside our trades (a person's position, another program's) is learned while none of our orders is in
flight, and only a *change* against it counts. A change is explained by executions: late ones of our own orders are booked,
those of the exchange (auto-deleveraging, liquidation, settlement) or a person that reduced what a trade holds are that
trade's exit, the others are not ours. What nothing explains is said, never passed over.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

import msgspec

from domain.attribution import FORCED_PREFIXES, Share, share_out, suffix_explains
from domain.entries import FillSeen
from domain.errors import OutcomeUnknown, Unreachable
from domain.orders import Fill, Purpose, is_ours
from domain.pairs import TradeStatus
from domain.symbols import ClientOrderId, Symbol
from domain.trades import ZERO, OrderState, TradeState
from runner.execution.records import Records
from runner.ports import Exchange, Position

FILLS_PAGE = 1000
FILLS_PAGES_MAX = 20
CLOCKS_APART_MS = 60_000
"""Our clock and the venue's, at the worst: executions are asked for from so much earlier."""
HISTORY_MS = 6 * 86_400_000
"""The venue tells executions of the last seven days."""
PERSISTS_SECONDS = 5.0
FORCED_LOOKS_SECONDS = (0.0, 0.2, 0.5, 1.0)
"""The exchange's own orders are told by the user stream before its queries know them."""


class Verdict(StrEnum):
    """What a comparison says; the worst of its symbols."""

    AGREED = "agreed"
    CHANGED = "changed"  # Executions were booked that we had not known: look again, then go on with what is held now.
    UNEXPLAINED = "unexplained"
    UNREADABLE = "unreadable"  # No answer, or orders in flight: nothing may be concluded.


_WORST_LAST = (Verdict.AGREED, Verdict.CHANGED, Verdict.UNEXPLAINED, Verdict.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison."""

    verdict: Verdict
    positions: Mapping[Symbol, Position] = field(default_factory=dict)
    differences: Mapping[Symbol, Decimal] = field(default_factory=dict)  # Unexplained ones.

    def net(self, symbol: Symbol) -> Decimal:
        """The account's signed position."""
        return self.positions[symbol].quantity if symbol in self.positions else ZERO


class AccountView:
    """What the venue's positions say about our books."""

    def __init__(self, exchange: Exchange, records: Records) -> None:
        self._exchange = exchange
        self._records = records
        self._foreign: dict[Symbol, Decimal] = {}
        self._surveyed = False
        self._surveyed_ms = 0
        self._never_learned: frozenset[Symbol] = frozenset()  # In doubt at the first survey.
        self._agreed_ms: dict[Symbol, int] = {}
        self._doubts: dict[Symbol, tuple[Decimal, int]] = {}
        self._owners: dict[tuple[Symbol, str], ClientOrderId] = {}
        self._strangers: set[tuple[Symbol, str]] = set()  # Executions found to be nobody's of ours.
        self.on_lost_leg: Callable[[TradeState], None] = lambda _trade: None
        """Called with an open trade that lost a part of a leg to others and is not hedged any more."""

    def expected_net(self, symbol: Symbol) -> Decimal:
        """The account's position as we believe it without asking."""
        return self._records.book.positions().get(symbol, ZERO) + self._foreign.get(symbol, ZERO)

    def foreign(self, symbol: Symbol) -> Decimal:
        """What the account holds in a symbol that is not ours, as last learned."""
        return self._foreign.get(symbol, ZERO)

    async def check(self, symbols: Collection[Symbol], *, suspicious: bool = False) -> Finding:
        """Compare, explain, book. Raises: JournalBroken. A venue that does not answer is a verdict, not an error.

        `suspicious`: something else says that a position is gone, so agreement alone is not believed: executions are asked for.
        """
        before = self._records.book.positions()
        try:
            positions = await self._exchange.positions()
            after = self._records.book.positions()
            differences = {}
            verdicts = [Verdict.AGREED]
            for symbol in sorted(symbols):
                verdict, rest = await self._judge(symbol, positions, (before, after), suspicious=suspicious)
                verdicts.append(verdict)
                if verdict is Verdict.UNEXPLAINED:
                    differences[symbol] = rest
        except (OutcomeUnknown, Unreachable) as failure:
            self._records.log.warning("positions_unknown", why=str(failure))
            return Finding(Verdict.UNREADABLE)
        return Finding(max(verdicts, key=_WORST_LAST.index), positions, differences)

    async def survey(self) -> frozenset[Symbol]:
        """The symbols of our trades in which the account holds something else than we expect: `check` them under their locks.

        At start, from time to time, and after news may have been missed; books nothing. Raises: OutcomeUnknown, Unreachable.
        """
        live = self._symbols_of_orders()
        before = self._records.book.positions()
        positions = await self._exchange.positions()
        after = self._records.book.positions()
        live |= self._symbols_of_orders()
        doubtful = set()
        for symbol in sorted({*positions, *live}):
            gap = self._net(positions, symbol) - after.get(symbol, ZERO)
            known, moves = self._known(symbol), before.get(symbol) != after.get(symbol) or self._in_flight(symbol)
            if gap == (known or ZERO) and not moves:
                self._agree(symbol, gap)
            elif known is None and symbol not in live and self._persists(symbol, gap):
                self._agree(symbol, gap)  # Nobody of ours is there, and it was there before we looked first.
            else:
                doubtful.add(symbol)
        if not self._surveyed:
            self._surveyed, self._never_learned = True, frozenset(doubtful)
            self._surveyed_ms = self._venue_ms()
        return frozenset(doubtful & live)

    def _symbols_of_orders(self) -> set[Symbol]:
        """An order believed dead may have come true after all: its trade need not be alive."""
        return {order.intent.symbol for order in self._records.book.orders.values()}

    def learned(self, symbol: Symbol) -> tuple[Decimal, int] | None:
        """What is not ours in a symbol, and when, by the venue's clock, that was last compared; None while nobody could tell."""
        known = self._known(symbol)
        return None if known is None else (known, self._agreed_ms.get(symbol, self._surveyed_ms))

    @property
    def has_to_learn(self) -> bool:
        """Somebody else holds something, and one answer was not enough to know how much."""
        return not self._surveyed or not self._never_learned <= self._foreign.keys()

    def _venue_ms(self) -> int:
        """What the venue's clock shows: ours may jump between a comparison and its use."""
        return self._records.clock.now_ms() + self._exchange.clock_offset_ms()

    def _known(self, symbol: Symbol) -> Decimal | None:
        """What is not ours in a symbol; None while nobody could tell."""
        if symbol in self._foreign:
            return self._foreign[symbol]
        return ZERO if self._surveyed and symbol not in self._never_learned else None

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
    ) -> tuple[Verdict, Decimal]:
        if self._in_flight(symbol):
            return Verdict.UNREADABLE, ZERO
        held = self._net(positions, symbol)
        gaps = [
            held - book.get(symbol, ZERO) for book in books
        ]  # News may have been booked while the question was away.
        known = self._known(symbol)
        if (known or ZERO) in gaps:
            if suspicious and await self._hears_of_strangers(symbol):
                return Verdict.UNREADABLE, ZERO
            self._agree(symbol, known or ZERO)
            return Verdict.AGREED, ZERO
        if gaps[0] != gaps[1]:
            return Verdict.UNREADABLE, ZERO  # The books moved meanwhile: which of them was the answer about?
        rest, adopted = gaps[-1] - (known or ZERO), list[Share]()
        # First what was executed since we last agreed; then all there is, for what we took for known may have come from a
        # replica that was behind.
        for whole_history in (True,) if known is None else (False, True):
            booked, strangers = await self._fills_of_others(symbol, whole_history=whole_history)
            if booked:
                return Verdict.CHANGED, ZERO  # Late executions of our own: the comparison was about older books.
            shares = await self._adopt(strangers, rest, whatever_is_forced=known is None)
            adopted += shares
            rest -= sum((share.fill.quantity * share.fill.side.sign for share in shares), ZERO)
            theirs = [self._left_of(fill) * fill.side.sign for fill in strangers]
            if rest == 0 or suffix_explains(theirs, rest + (known or ZERO) if whole_history else rest):
                break
        else:
            # Never learned, it may have been there before us; but not if it is our own holding that seems to be gone.
            reduces = rest * self._records.book.positions().get(symbol, ZERO) < 0
            if known is not None or reduces:
                return Verdict.UNEXPLAINED, rest
            if not self._persists(symbol, rest):
                return Verdict.UNREADABLE, ZERO
        if rest != 0:
            self._records.log.warning("foreign_holding", symbol=symbol, quantity=str((known or ZERO) + rest))
        self._agree(symbol, (known or ZERO) + rest)
        return (Verdict.CHANGED if adopted else Verdict.AGREED), ZERO

    async def _hears_of_strangers(self, symbol: Symbol) -> bool:
        """Somebody traded whom we had not heard of: the positions that agree with us may be older than that."""
        heard_of = set(self._strangers)
        booked, _ = await self._fills_of_others(symbol, whole_history=False)
        return booked or self._strangers != heard_of

    def _persists(self, symbol: Symbol, rest: Decimal) -> bool:
        """One answer may come from a replica that is behind; the same one seconds later does not."""
        now_ns = self._records.clock.monotonic_ns()
        seen, since_ns = self._doubts.get(symbol, (rest, now_ns))
        self._doubts[symbol] = (rest, since_ns if seen == rest else now_ns)
        return now_ns - self._doubts[symbol][1] > PERSISTS_SECONDS * 1e9

    def _in_flight(self, symbol: Symbol) -> bool:
        return any(
            order.intent.symbol == symbol for trade in self._records.book.live_trades() for order in trade.unsettled()
        )

    def _agree(self, symbol: Symbol, foreign: Decimal) -> None:
        self._foreign[symbol] = foreign
        self._doubts.pop(symbol, None)
        self._agreed_ms[symbol] = self._venue_ms()

    # Who traded

    async def _fills_of_others(self, symbol: Symbol, *, whole_history: bool) -> tuple[bool, list[Fill]]:
        """Book what turns out to be ours; return whether there was any, and the executions of strangers, oldest first."""
        book, now_ms = self._records.book, self._records.clock.now_ms()
        since = [trade.plan.at_ms for trade in book.live_trades() if symbol in trade.symbols]
        since += [self._agreed_ms[symbol]] if symbol in self._agreed_ms else []
        since_ms = now_ms - HISTORY_MS if whole_history else min(since, default=now_ms) - CLOCKS_APART_MS
        fills = await self.executions(symbol, max(since_ms, now_ms - HISTORY_MS))
        by_exchange_id = {order.exchange_order_id: order for order in book.orders.values() if order.exchange_order_id}
        booked, strangers = False, []
        for fill in fills:
            if book.knows_fill(fill):
                if 0 < sum(book.shares_of(fill), ZERO) < fill.quantity:
                    strangers.append(fill)  # Only a part of it was an exit of ours.
                continue
            order = by_exchange_id.get(fill.exchange_order_id)
            owner = order.intent.client_order_id if order is not None else await self._owner(symbol, fill)
            order = order or book.orders.get(owner)
            if order is not None:
                await self._book_late(order, fill)
                booked = True
            elif not is_ours(owner):  # With our prefix: an old order, forgotten since.
                strangers.append(fill)
                self._strangers.add((symbol, fill.exchange_trade_id))
        return booked, strangers

    async def executions(self, symbol: Symbol, since_ms: int) -> list[Fill]:
        """All of the account's in one symbol, oldest first: the venue gives the oldest thousand at a time.

        Raises: OutcomeUnknown, Unreachable.
        """
        found: dict[str, Fill] = {}
        for _ in range(FILLS_PAGES_MAX):
            page = await self._exchange.fills(symbol, since_ms=since_ms)
            found |= {fill.exchange_trade_id: fill for fill in page}
            if len(page) < FILLS_PAGE or page[-1].at_ms <= since_ms:
                break
            since_ms = page[-1].at_ms
        return sorted(found.values(), key=lambda fill: fill.at_ms)

    async def _owner(self, symbol: Symbol, fill: Fill) -> ClientOrderId:
        key = (symbol, fill.exchange_order_id)
        if key not in self._owners:
            owner = await self._exchange.owner_of(symbol, fill.exchange_order_id)
            if owner is None:  # A slower part of the venue does not know it yet: it may as well be ours.
                raise OutcomeUnknown(f"the owner of order {fill.exchange_order_id} is not known yet")
            self._owners[key] = owner
        return self._owners[key]

    async def _book_late(self, order: OrderState, fill: Fill) -> None:
        """An execution of ours that neither stream nor driver brought."""
        client_order_id = order.intent.client_order_id
        self._records.log.error("late_fill", pair_id=order.intent.pair_id, trade_id=order.intent.trade_id)
        await self._records.take_fill(order, msgspec.structs.replace(fill, client_order_id=client_order_id))
        report = await self._exchange.look_up(order.intent.symbol, client_order_id)
        if report is not None:
            await self._records.take_report(order, report, "query")

    async def _adopt(self, strangers: Sequence[Fill], difference: Decimal, *, whatever_is_forced: bool) -> list[Share]:
        """Book what others closed of our trades: newest executions first, as much as the position says is gone.

        `whatever_is_forced`: it cannot say, for what else is there is not known yet; the exchange's own orders only ever close.
        """
        left, adopted = abs(difference), []
        for fill in reversed(strangers):
            is_forced = self._owners.get((fill.symbol, fill.exchange_order_id), "").startswith(FORCED_PREFIXES)
            if whatever_is_forced and is_forced:
                shares = self._shares(fill, fill.quantity)
            elif fill.side.sign * difference > 0 and left > 0:
                shares = self._shares(fill, left)
            else:
                continue
            left = max(ZERO, left - sum((share.fill.quantity for share in shares), ZERO))
            adopted += shares
            await self._book(shares)
        return adopted

    def _shares(self, fill: Fill, quantity_max: Decimal) -> list[Share]:
        book = self._records.book
        return share_out(fill, book.trades.values(), quantity_max, booked=book.shares_of(fill))

    def _left_of(self, fill: Fill) -> Decimal:
        """What of somebody else's execution was no exit of ours."""
        return fill.quantity - sum(self._records.book.shares_of(fill), ZERO)

    async def _book(self, shares: Iterable[Share]) -> None:
        touched: dict[str, TradeState] = {}
        for trade, leg, fill in shares:
            await self._records.establish(
                FillSeen(
                    at_ms=self._records.clock.now_ms(),
                    fill=fill,
                    trade_id=trade.trade_id,
                    pair_id=trade.pair_id,
                    leg=leg,
                    purpose=Purpose.EXIT,
                )
            )
            self._records.log.error(
                "leg_closed_by_others",
                pair_id=trade.pair_id,
                trade_id=trade.trade_id,
                leg=str(leg),
                symbol=fill.symbol,
                quantity=str(fill.quantity),
            )
            touched[trade.trade_id] = trade
        for trade in touched.values():
            if trade.status is TradeStatus.OPEN and not trade.is_hedged:
                self.on_lost_leg(trade)
            elif trade.status.is_over:  # It closed what was not there any more: somebody else's share is missing now.
                self._records.on_late_news(trade.trade_id)

    # News of the stream

    def concerns_us(self, fill: Fill) -> bool:
        """Whether somebody else's execution may have closed what one of our trades holds. If not, it is remembered as theirs."""
        if self._records.book.knows_fill(fill):
            return False
        trades = [trade for trade in self._records.book.live_trades() if fill.symbol in trade.symbols]
        known = self._known(fill.symbol)
        if not trades and known is not None:
            self._agree(fill.symbol, known + fill.quantity * fill.side.sign)
        return bool(trades)

    async def absorb(self, fill: Fill) -> None:
        """An execution of the exchange or of a stranger in a symbol we hold, told by the stream. Locks held."""
        forced = fill.client_order_id.startswith(FORCED_PREFIXES)
        for seconds in FORCED_LOOKS_SECONDS:
            await self._records.clock.sleep(seconds)
            if self._records.book.knows_fill(fill):
                return
            finding = await self.check([fill.symbol])
            if finding.verdict is not Verdict.UNREADABLE and (fill.symbol, fill.exchange_trade_id) in self._strangers:
                break
        if not forced or self._records.book.knows_fill(fill):
            return
        if (fill.symbol, fill.exchange_trade_id) not in self._strangers:
            # The queries do not say: the exchange's own word must do.
            await self._book(self._shares(fill, fill.quantity))
        if not self._records.book.knows_fill(fill):
            self._records.log.error(
                "forced_fill_unexplained", symbol=fill.symbol, side=str(fill.side), quantity=str(fill.quantity)
            )
