"""Everything the journal says about trades, folded: which there are, whose orders and executions are whose, what is held."""

from collections.abc import Iterable
from decimal import Decimal

from domain.completion import BALANCINGS
from domain.entries import (
    AnyEntry,
    FillSeen,
    FundingPaid,
    OrderAdvanced,
    OrderIntended,
    PairFrozen,
    TradeAdvanced,
    TradeIntended,
)
from domain.errors import InvariantBroken
from domain.orders import Fill, LegName, OrderStatus
from domain.pairs import TradeStatus
from domain.refusals import CodeReader, Refusal, refusal_of_text, unlisted
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId
from domain.trades import ZERO, OrderState, TradeState
from domain.units import DAY_MS

KINDS_FOLDED = (
    "trade_intended",
    "trade_advanced",
    "order_intended",
    "order_advanced",
    "fill_seen",
    "funding_paid",
    "pair_frozen",
)
"""The journal's kinds that a TradeBook has use for; a start need not read the rest."""
ROLLBACKS_KEPT = 100
DUST_FACT = "dust_"
"""Facts of a trade's end that begin so declare what was left of a leg."""
SHARE_MARK = "#"
"""Parts of one execution that belong to several trades are booked as `7`, `7#2`, `7#3`."""
EVERY_PAIR = PairId("*")
"""Stands for all pairs where a freeze names its pair."""


class TradeBook:
    """Everything the journal says about trades: one way in, live or replayed."""

    def __init__(self, hedge_tolerance: float, kind_of_code: CodeReader = unlisted) -> None:
        """`kind_of_code` reads the exchange's codes in rows of releases that kept no more of a refusal than its text."""
        self._hedge_tolerance = hedge_tolerance
        self._kind_of_code = kind_of_code
        self.trades: dict[TradeId, TradeState] = {}
        self.open_by_pair: dict[PairId, TradeState] = {}
        """The one trade each pair's signals are about; an older one that a late fill re-opened may live beside it."""
        self.orders: dict[ClientOrderId, OrderState] = {}
        self.last_plans: dict[PairId, TradeIntended] = {}
        """The newest entry that was decided for each pair, whatever became of it."""
        self.frozen_until_ms: dict[PairId, int] = {}
        self.rollbacks: dict[PairId, list[int]] = {}
        """When entries were taken back that had filled something, since the pair last closed a trade."""
        self.fruitless: dict[PairId, list[int]] = {}
        """The same for entries of which nothing was filled: they cost requests, not money."""
        self.dust: dict[Symbol, Decimal] = {}
        """Signed remainders of ended trades, too small for any order."""
        self.executed = 0
        self._live: dict[TradeId, TradeState] = {}
        self._late: dict[TradeId, TradeState] = {}
        self._fills: set[tuple[Symbol, str]] = set()
        self._shared: dict[tuple[Symbol, str], list[Decimal]] = {}
        self._fundings: set[str] = set()
        self._last_funding_ms = 0
        self._closed: dict[TradeId, tuple[int, Decimal]] = {}
        self._others_held: dict[Symbol, tuple[Decimal, int]] = {}

    def knows_fill(self, fill: Fill) -> bool:
        return (fill.symbol, fill.exchange_trade_id) in self._fills

    def shares_of(self, fill: Fill) -> list[Decimal]:
        """The parts of somebody else's execution that are booked as exits of our trades."""
        return self._shared.get((fill.symbol, fill.exchange_trade_id), [])

    def others_held(self, symbol: Symbol) -> tuple[Decimal, int] | None:
        """What was not ours in a symbol, and when that was compared by the exchange's clock, as the latest intent says."""
        return self._others_held.get(symbol)

    def knows_funding(self, unique_key: str) -> bool:
        return unique_key in self._fundings

    def apply(self, entry: AnyEntry) -> None:
        """Raises: InvariantBroken for a journal that contradicts itself."""
        match entry:
            case TradeIntended():
                self._begin(entry)
            case OrderIntended():
                self._intend(entry)
            case OrderAdvanced():
                self._advance_order(entry)
            case FillSeen():
                self._fill(entry)
            case TradeAdvanced():
                self._advance_trade(entry)
            case FundingPaid():
                self._fund(entry)
            case PairFrozen():
                self._freeze(entry)
            case _:
                pass

    def _begin(self, entry: TradeIntended) -> None:
        if entry.pair_id in self.open_by_pair:
            raise InvariantBroken(f"{entry.pair_id} has an open trade already")
        trade = TradeState(plan=entry, hedge_tolerance=self._hedge_tolerance)
        self.trades[entry.trade_id] = self._live[entry.trade_id] = trade
        self.open_by_pair[entry.pair_id] = trade
        self.last_plans[entry.pair_id] = entry

    def _intend(self, entry: OrderIntended) -> None:
        intent = entry.intent
        order = OrderState(intent=intent, intended_ms=entry.at_ms)
        if entry.others_held is not None and entry.others_held_ms is not None:
            order.others_held = (entry.others_held, entry.others_held_ms)
            latest = self._others_held.get(intent.symbol, order.others_held)
            self._others_held[intent.symbol] = max(latest, order.others_held, key=lambda learned: learned[1])
        self.orders[intent.client_order_id] = order
        self.trades[intent.trade_id].orders[intent.client_order_id] = order

    def _advance_order(self, entry: OrderAdvanced) -> None:
        order = self.orders[entry.client_order_id]
        order.status = entry.status
        order.exchange_order_id = entry.exchange_order_id or order.exchange_order_id
        order.reported = max(order.reported, entry.filled)
        if entry.refusal_kind is not None:
            message = entry.reason.removeprefix(entry.refusal_code).strip()
            order.refusal = Refusal(kind=entry.refusal_kind, code=entry.refusal_code, message=message)
        elif entry.status is OrderStatus.REFUSED and entry.reason:  # Written before refusals had a kind.
            order.refusal = refusal_of_text(entry.reason, self._kind_of_code)

    def _fill(self, entry: FillSeen) -> None:
        identity = (entry.fill.symbol, entry.fill.exchange_trade_id)
        if identity in self._fills:
            raise InvariantBroken(f"execution {identity} is booked twice")
        self._fills.add(identity)
        order = self.orders.get(entry.fill.client_order_id)
        if order is None:
            whole = (identity[0], identity[1].split(SHARE_MARK)[0])
            self._shared.setdefault(whole, []).append(entry.fill.quantity)
        if order is not None:
            order.seen += entry.fill.quantity
        if entry.trade_id is None or entry.leg is None or entry.purpose is None:
            return
        trade = self.trades[entry.trade_id]
        trade.fill_ids.append(identity)
        trade.absorb(entry.fill, entry.leg, entry.purpose)
        if trade.status.is_over:
            self._file_late(trade)

    def _file_late(self, trade: TradeState) -> None:
        """Over, and a late execution came: held is held, whatever the status says."""
        if trade.is_flat:
            self._late.pop(trade.trade_id, None)
        else:
            self._late[trade.trade_id] = trade

    def _advance_trade(self, entry: TradeAdvanced) -> None:
        trade = self.trades[entry.trade_id]
        was_over = trade.status.is_over
        trade.status = entry.status
        trade.exit_reason = entry.exit_reason or trade.exit_reason
        trade.exit_z = entry.exit_z if entry.exit_z is not None else trade.exit_z
        if entry.status is TradeStatus.OPEN:
            self.executed += 1
        if entry.status is TradeStatus.OPENING and entry.reason in BALANCINGS:
            trade.balancings += 1
        if entry.status.is_over and not was_over:
            if any(key.startswith(DUST_FACT) for key in entry.facts):
                trade.dust, trade.naked_since_ms = dict(trade.held), None
                self._sweep(trade, +1)
            self._end(trade, entry.at_ms)
            if entry.status is TradeStatus.ROLLED_BACK:
                counted = self.rollbacks if any(trade.entered.values()) else self.fruitless
                counted[trade.pair_id] = [*counted.get(trade.pair_id, [])[-ROLLBACKS_KEPT:], entry.at_ms]
        elif was_over and not entry.status.is_over:
            # A late fill re-opened it. The pair's present trade, if there is one, stays the one its signals are about.
            trade.ended_ms = None
            self._sweep(trade, -1)
            trade.dust = dict.fromkeys(LegName, ZERO)
            self._closed.pop(trade.trade_id, None)
            self._late.pop(trade.trade_id, None)
            self._live[trade.trade_id] = trade
            self.open_by_pair.setdefault(trade.pair_id, trade)
        if entry.status is TradeStatus.CLOSED:
            self.rollbacks.pop(trade.pair_id, None)
            self.fruitless.pop(trade.pair_id, None)

    def _freeze(self, entry: PairFrozen) -> None:
        """A freeze that ends at once is the end of the freeze: what led to it is forgotten."""
        self.frozen_until_ms[entry.pair_id] = entry.until_ms
        if entry.until_ms > entry.at_ms:
            return
        for counted in (self.rollbacks, self.fruitless):
            if entry.pair_id == EVERY_PAIR:
                counted.clear()
            counted.pop(entry.pair_id, None)

    def _sweep(self, trade: TradeState, sign: int) -> None:
        """Add an ended trade's dust to the symbols', or take it away when the trade lives again."""
        for leg in LegName:
            quantity = trade.dust[leg] * trade.plan.side.side_of(leg).sign * sign
            if quantity:
                self.dust[trade.symbol_of(leg)] = self.dust.get(trade.symbol_of(leg), ZERO) + quantity

    def _end(self, trade: TradeState, at_ms: int) -> None:
        trade.ended_ms = at_ms
        self._closed[trade.trade_id] = (at_ms, trade.net_pnl_usd)
        del self._live[trade.trade_id]
        self._file_late(trade)
        if self.open_by_pair.get(trade.pair_id) is trade:
            del self.open_by_pair[trade.pair_id]
            for other in self._live.values():
                if other.pair_id == trade.pair_id:
                    self.open_by_pair[trade.pair_id] = other

    def _fund(self, entry: FundingPaid) -> None:
        self._fundings.add(entry.unique_key)
        self._last_funding_ms = max(self._last_funding_ms, entry.at_ms)
        if entry.trade_id is not None and entry.trade_id in self.trades:
            self.trades[entry.trade_id].funding_usd += entry.amount_usd
        if entry.trade_id is not None and entry.trade_id in self._closed:
            at_ms, pnl_usd = self._closed[entry.trade_id]
            self._closed[entry.trade_id] = (at_ms, pnl_usd + entry.amount_usd)

    def positions(self) -> dict[Symbol, Decimal]:
        """What our trades hold, dust included, net per symbol; zero rows left out."""
        net: dict[Symbol, Decimal] = dict(self.dust)
        for trade in (*self._live.values(), *self._late.values()):
            for leg in LegName:
                symbol = trade.symbol_of(leg)
                swept = trade.dust[leg] * trade.plan.side.side_of(leg).sign
                net[symbol] = net.get(symbol, ZERO) + trade.signed_held(leg) - swept
        return {symbol: quantity for symbol, quantity in net.items() if quantity != 0}

    def live_trades(self) -> Iterable[TradeState]:
        """Trades that are not over."""
        return self._live.values()

    def late_trades(self) -> Iterable[TradeState]:
        """Trades that are over and hold something all the same: a late execution nobody has dealt with yet."""
        return self._late.values()

    def funding_owed_since_ms(self, now_ms: int) -> int:
        """From when settlements may be missing: the last one booked, or the oldest live trade; now when nothing is held."""
        oldest_ms = min((trade.plan.at_ms for trade in self.live_trades()), default=now_ms)
        return max(oldest_ms, self._last_funding_ms + 1)

    def realized_since(self, since_ms: int) -> Decimal:
        """Net result of the trades that ended since then, in USD."""
        return sum((pnl for at_ms, pnl in self._closed.values() if at_ms >= since_ms), ZERO)

    def remember(self, entries: Iterable[AnyEntry]) -> None:
        """Take back one trade that was forgotten, from all of its entries in order: there is late news of it."""
        past = TradeBook(self._hedge_tolerance, self._kind_of_code)
        for entry in entries:
            past.apply(entry)
        for whole, shares in past._shared.items():
            self._shared.setdefault(whole, shares)
        for trade_id, trade in past.trades.items():
            if trade_id in self.trades or not trade.status.is_over:
                continue  # Known, or not one that could have been forgotten.
            self.trades[trade_id] = trade
            self.orders |= trade.orders
            self._fills.update(trade.fill_ids)
            self._file_late(trade)

    def forget_ended_before(self, cutoff_ms: int) -> None:
        """Drop what ended long ago, so that a process of months stays small; `remember` brings it back."""
        for trade in [
            trade
            for trade in self.trades.values()
            if trade.ended_ms is not None and trade.ended_ms < cutoff_ms and trade.is_flat
        ]:
            del self.trades[trade.trade_id]
            for client_order_id in trade.orders:
                self.orders.pop(client_order_id, None)
            self._fills.difference_update(trade.fill_ids)
        # The day's result needs a day, whatever else is forgotten.
        kept = {trade_id: end for trade_id, end in self._closed.items() if end[0] >= cutoff_ms - DAY_MS}
        self._closed = kept
