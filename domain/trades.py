"""A pair trade as the fold of its journal entries: what is held, what it cost, how long it stood unhedged."""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from domain.entries import (
    TradeIntended,
)
from domain.legs import hedge_gap
from domain.orders import TERMINAL, Fill, LegName, OrderIntent, OrderStatus, Purpose
from domain.pairs import ExitReason, TradeStatus
from domain.refusals import Refusal
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId

ZERO = Decimal(0)


@dataclass(slots=True, kw_only=True)
class OrderState:
    """One order as far as the journal knows."""

    intent: OrderIntent
    intended_ms: int
    others_held: tuple[Decimal, int] | None = None
    """What the account held in the symbol that is not ours, and when that was compared, by the exchange's clock."""
    status: OrderStatus = OrderStatus.INTENDED
    exchange_order_id: str | None = None
    reported: Decimal = ZERO  # Cumulative filled quantity, as the exchange last said.
    seen: Decimal = ZERO  # Sum of the executions we hold in hand.
    refusal: Refusal | None = None
    """What the exchange last said against it. It proves nothing unless the order is refused."""

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_settled(self) -> bool:
        """Over, and every execution the exchange reported is in our books."""
        return self.is_over and self.seen >= self.reported

    @property
    def filled(self) -> Decimal:
        return max(self.reported, self.seen)

    @property
    def refused_for(self) -> Refusal | None:
        """The refusal that ended it, if it was refused and still is."""
        return self.refusal if self.status is OrderStatus.REFUSED else None

    @property
    def failed_for(self) -> Refusal | None:
        """What kept this order out of the book, as far as the exchange said: of one that was refused, or is proven dead."""
        return self.refusal if self.status in {OrderStatus.REFUSED, OrderStatus.DEAD} else None


@dataclass(slots=True, kw_only=True)
class TradeState:
    """One pair trade."""

    plan: TradeIntended
    status: TradeStatus = TradeStatus.OPENING
    exit_reason: ExitReason | None = None
    exit_z: float | None = None
    orders: dict[ClientOrderId, OrderState] = field(default_factory=dict)
    held: dict[LegName, Decimal] = field(default_factory=lambda: {LegName.A: ZERO, LegName.B: ZERO})
    entered: dict[LegName, Decimal] = field(default_factory=lambda: {LegName.A: ZERO, LegName.B: ZERO})
    first_fill_ms: dict[LegName, int] = field(default_factory=dict)
    cash_usd: Decimal = ZERO  # Sales minus purchases.
    fees_usd: Decimal = ZERO
    funding_usd: Decimal = ZERO
    naked_ms: int = 0
    naked_notional_usd_ms: Decimal = ZERO
    balancings: int = 0  # Choices to complete or trim an unequal opening.
    naked_since_ms: int | None = None
    naked_since_usd: Decimal = ZERO  # What has stood unhedged since then.
    ended_ms: int | None = None
    executions: list[tuple[int, LegName, Decimal, str]] = field(default_factory=list)
    """When, of which leg, by how much its holding changed, by which of the exchange's executions: in the order of time, however
    they were reported."""
    fill_ids: list[tuple[Symbol, str]] = field(default_factory=list)
    hedge_tolerance: float = 0.02
    dust: dict[LegName, Decimal] = field(default_factory=lambda: {LegName.A: ZERO, LegName.B: ZERO})
    """What it ended with because no order can name so little (see `domain.pieces.is_dust`); unsigned."""

    @property
    def trade_id(self) -> TradeId:
        return self.plan.trade_id

    @property
    def pair_id(self) -> PairId:
        return self.plan.pair_id

    @property
    def symbols(self) -> tuple[Symbol, Symbol]:
        return (self.plan.symbol_a, self.plan.symbol_b)

    def symbol_of(self, leg: LegName) -> Symbol:
        return self.plan.symbol_a if leg is LegName.A else self.plan.symbol_b

    def signed_held(self, leg: LegName) -> Decimal:
        """What this trade holds of a leg: positive long, negative short."""
        return self.held[leg] * self.plan.side.side_of(leg).sign

    @property
    def is_flat(self) -> bool:
        """Holds nothing but the dust it ended with."""
        return self.held == self.dust

    @property
    def hedge_error(self) -> float:
        """0 when flat or hedged, up to 1 when one leg stands alone."""
        return self._error_of(self.held)

    def _error_of(self, held: Mapping[LegName, Decimal]) -> float:
        a, b = max(held[LegName.A], ZERO), max(held[LegName.B], ZERO)
        if a == 0 and b == 0:
            return 0.0
        return hedge_gap(a, b, Decimal(str(self.plan.hedge_ratio))).error

    @property
    def is_hedged(self) -> bool:
        """Within what was tolerated at the start: the configured error, or what rounding had left anyway."""
        return self._is_hedged_by(self.held)

    def _is_hedged_by(self, held: Mapping[LegName, Decimal]) -> bool:
        return self._error_of(held) <= max(self.hedge_tolerance, self.plan.hedge_error)

    @property
    def leg_skew_ms(self) -> float | None:
        """Between the first fills of the two legs."""
        if len(self.first_fill_ms) < 2:
            return None
        return float(abs(self.first_fill_ms[LegName.A] - self.first_fill_ms[LegName.B]))

    @property
    def net_pnl_usd(self) -> Decimal:
        """Meaningful once flat."""
        return self.cash_usd - self.fees_usd + self.funding_usd

    def naked_seconds(self, now_ms: int | None = None) -> float:
        """So far; with `now_ms` the running stretch is counted too."""
        running = 0
        if now_ms is not None and self.naked_since_ms is not None:
            running = max(0, now_ms - self.naked_since_ms)
        return (self.naked_ms + running) / 1000

    @property
    def naked_notional_usd(self) -> Decimal:
        """What stands unhedged now, at the decision's prices; 0 within tolerance."""
        return self._naked_usd_by(self.held)

    def _naked_usd_by(self, held: Mapping[LegName, Decimal]) -> Decimal:
        if self._is_hedged_by(held):
            return ZERO
        gap = hedge_gap(held[LegName.A], held[LegName.B], Decimal(str(self.plan.hedge_ratio)))
        if gap.excess_a > 0:
            return gap.excess_a * self.plan.price_a
        return gap.excess_b * self.plan.price_b

    def naked_notional_usd_seconds(self, now_ms: int | None = None) -> float:
        """So far: each naked second times the notional that stood unhedged; with `now_ms` as for `naked_seconds`."""
        running = ZERO
        if now_ms is not None and self.naked_since_ms is not None:
            running = self.naked_notional_usd * max(0, now_ms - self.naked_since_ms)
        return float(self.naked_notional_usd_ms + running) / 1000

    def unsettled(self) -> list[OrderState]:
        return [order for order in self.orders.values() if not order.is_settled]

    def attempts(self, leg: LegName, purpose: Purpose) -> int:
        """How many orders this leg has had for this purpose; the next one takes this number."""
        return sum(1 for order in self.orders.values() if order.intent.leg is leg and order.intent.purpose is purpose)

    def absorb(self, fill: Fill, leg: LegName, purpose: Purpose) -> None:
        """Book one execution and run the clock of unhedged seconds."""
        change = fill.quantity if fill.side is self.plan.side.side_of(leg) else -fill.quantity
        self.held[leg] += change
        if purpose is Purpose.ENTRY:
            self.entered[leg] += fill.quantity
            self.first_fill_ms[leg] = min(fill.at_ms, self.first_fill_ms.get(leg, fill.at_ms))
        self.cash_usd -= fill.side.sign * fill.quantity * fill.price
        self.fees_usd += fill.fee_usd_at_most
        was_reported_late = bool(self.executions) and fill.at_ms < self.executions[-1][0]
        execution = (fill.at_ms, leg, change, fill.exchange_trade_id)
        insort(self.executions, execution, key=lambda execution: execution[0])
        if was_reported_late:
            self._run_clock_again()
        else:
            self._run_clock(fill.at_ms, self.held)

    def _run_clock(self, at_ms: int, held: Mapping[LegName, Decimal]) -> None:
        """From this moment the legs hold so much."""
        if self.naked_since_ms is not None:
            self.naked_ms += at_ms - self.naked_since_ms
            self.naked_notional_usd_ms += self.naked_since_usd * (at_ms - self.naked_since_ms)
        self.naked_since_usd = self._naked_usd_by(held)
        self.naked_since_ms = None if self._is_hedged_by(held) else at_ms

    def _run_clock_again(self) -> None:
        """An execution was reported after a later one: only the whole history says how long the trade stood unhedged."""
        self.naked_ms, self.naked_notional_usd_ms, self.naked_since_ms = 0, ZERO, None
        held: dict[LegName, Decimal] = dict.fromkeys(LegName, ZERO)
        for at_ms, leg, change, _ in self.executions:
            held[leg] += change
            self._run_clock(at_ms, held)
