"""What the account has at stake: notional held and promised, today's loss, margin that a balance cannot know of yet."""

from decimal import Decimal

from domain.entries import TradeIntended
from domain.orders import LegName, Purpose
from domain.symbols import Symbol
from domain.trades import ZERO, TradeState
from domain.units import DAY_MS
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate
from runner.execution.signal_port import QuoteOf


class Exposure:
    """Read from the book and the quotes at the moment it is asked for; all figures in USD."""

    def __init__(self, context: Context, gate: EntryGate, quote_of: QuoteOf) -> None:
        self._book = context.book
        self._gate = gate
        self._quote_of = quote_of

    def gross_notional_usd(self) -> Decimal:
        """Both legs of every live trade at mid, with what its entry orders may still fill; those still reserved left out."""
        gross = ZERO
        for trade in self._book.live_trades():
            if self._gate.capital.is_reserved_for(trade.pair_id):
                continue
            for leg in LegName:
                gross += (abs(trade.held[leg]) + _may_still_fill(trade, leg)) * self._price(trade, leg)
        return gross

    def lost_usd_since(self, since_ms: int) -> Decimal:
        """Realised since then plus what open trades are under water, as a positive number."""
        result = self._book.realized_since(since_ms)
        for trade in self._book.live_trades():
            result += trade.cash_usd - trade.fees_usd + trade.funding_usd
            for leg in LegName:
                result += trade.signed_held(leg) * self._price(trade, leg)
        return max(ZERO, -result)

    def lost_today_usd(self, now_ms: int) -> Decimal:
        """Since midnight UTC."""
        return self.lost_usd_since(now_ms - now_ms % DAY_MS)

    def unseen_notional_usd(self, since_ms: int) -> Decimal:
        """Of live trades that a balance, asked for at that moment, cannot know of, and of what entry orders of unknown fate may
        still fill; those still reserved left out.
        """
        notional = ZERO
        for trade in self._book.live_trades():
            if self._gate.capital.is_reserved_for(trade.pair_id):
                continue
            is_newer = trade.plan.at_ms >= since_ms
            for leg in LegName:
                quantity = _may_still_fill(trade, leg) + (abs(trade.held[leg]) if is_newer else ZERO)
                notional += quantity * _plan_price(trade.plan, leg)
        return notional

    def held_usd(self, symbol: Symbol) -> Decimal:
        """What our trades hold in one symbol together, at mid; 0 without a quote."""
        quote = self._quote_of(symbol)
        return abs(self._book.positions().get(symbol, ZERO)) * Decimal(str(quote.mid if quote else 0))

    def _price(self, trade: TradeState, leg: LegName) -> Decimal:
        quote = self._quote_of(trade.symbol_of(leg))
        return Decimal(str(quote.mid)) if quote is not None else _plan_price(trade.plan, leg)


def _plan_price(plan: TradeIntended, leg: LegName) -> Decimal:
    return plan.price_a if leg is LegName.A else plan.price_b


def _may_still_fill(trade: TradeState, leg: LegName) -> Decimal:
    """Base units that entry orders of this leg may yet add: after a restart an order's fate may be open, and nothing is reserved."""
    orders = (order for order in trade.unsettled() if order.intent.leg is leg and order.intent.purpose is Purpose.ENTRY)
    return sum((max(ZERO, order.intent.quantity - order.seen) for order in orders), ZERO)
