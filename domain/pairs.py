"""A pair, its rules, and the words for what happens to it."""

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from domain.orders import LegName, Side
from domain.symbols import PairId, Symbol

BAR_SECONDS = (60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 28_800, 43_200, 86_400)
"""The bar sizes that a window can be made of: those that the exchange keeps klines of, so that a missed bar can be repaired."""


class SignalType(StrEnum):
    SELL = "SELL"  # z ≤ −entry: sell a, buy b.
    BUY = "BUY"  # z ≥ entry: buy a, sell b.
    EXIT = "EXIT"  # z has come back.
    STOP = "STOP"  # z ran away.
    TIME_STOP = "TIME_STOP"  # Held for several half-lives without coming back.
    FLATTEN = "FLATTEN"  # The operator, a removed pair, or a lost other leg.

    @property
    def is_entry(self) -> bool:
        return self is SignalType.SELL or self is SignalType.BUY


class PairSide(StrEnum):
    """Which way leg a went."""

    SELL = "SELL"  # Short a, long b: profits when the spread rises.
    BUY = "BUY"  # Long a, short b: profits when the spread falls.

    def side_of(self, leg: LegName) -> Side:
        """The order side that opens this leg."""
        buys_a = self is PairSide.BUY
        return Side.BUY if buys_a == (leg is LegName.A) else Side.SELL


class TradeStatus(StrEnum):
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    ROLLED_BACK = "rolled_back"
    ATTENTION = "attention"  # A human is needed; we keep trying.

    @property
    def is_over(self) -> bool:
        return self in {TradeStatus.CLOSED, TradeStatus.ROLLED_BACK}


TRADE_STEPS: Mapping[TradeStatus, frozenset[TradeStatus]] = MappingProxyType(
    {
        TradeStatus.OPENING: frozenset(
            {TradeStatus.OPENING, TradeStatus.OPEN, TradeStatus.CLOSING, TradeStatus.ROLLED_BACK}
        ),
        TradeStatus.OPEN: frozenset({TradeStatus.CLOSING}),
        TradeStatus.CLOSING: frozenset({TradeStatus.CLOSED, TradeStatus.ROLLED_BACK, TradeStatus.ATTENTION}),
        TradeStatus.ATTENTION: frozenset({TradeStatus.CLOSING, TradeStatus.CLOSED, TradeStatus.ROLLED_BACK}),
        # A late execution re-opens what was over.
        TradeStatus.CLOSED: frozenset({TradeStatus.CLOSING}),
        TradeStatus.ROLLED_BACK: frozenset({TradeStatus.CLOSING}),
    }
)
"""Which status may follow which. The simulation takes every other step for a violation."""


class ExitReason(StrEnum):
    REVERTED = "reverted"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    FLATTENED = "flattened"
    DELISTED = "delisted"  # Closed ahead of the contract's announced end.
    OTHER_LEG_LOST = "sibling_lost"  # The exchange closed one leg (ADL, liquidation, delisting).
    ROLLED_BACK = "rolled_back"


EXIT_REASON_OF = {
    SignalType.EXIT: ExitReason.REVERTED,
    SignalType.STOP: ExitReason.STOPPED,
    SignalType.TIME_STOP: ExitReason.TIMED_OUT,
    SignalType.FLATTEN: ExitReason.FLATTENED,
}


class SignalOutcome(StrEnum):
    EXECUTED = "executed"
    DENIED = "denied"
    FAILED = "failed"


class PairConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One configured pair, checked. The spread is price_b − hedge_ratio·price_a, in price levels of leg b."""

    pair_id: PairId
    leg_a: Symbol
    leg_b: Symbol
    hedge_ratio: float
    entry_z: float
    exit_z: float
    stop_z: float
    half_life_bars: float | None  # In bars of `half_life_bar_seconds`; None: no time stop, no funding estimate.
    half_life_bar_seconds: int
    enabled: bool = True  # False: closes only.
    bar_seconds: int | None = None  # Of the bars behind mean and deviation; None: `signal.bar_seconds`.

    def __post_init__(self) -> None:
        if self.leg_a == self.leg_b:
            raise ValueError(f"{self.pair_id}: leg_a and leg_b are the same symbol; name two different ones")
        if not (math.isfinite(self.hedge_ratio) and self.hedge_ratio > 0):
            raise ValueError(f"{self.pair_id}: hedge_ratio must be a finite number above 0, not {self.hedge_ratio}")
        if not (0 <= self.exit_z < self.entry_z < self.stop_z < math.inf):
            raise ValueError(
                f"{self.pair_id}: need 0 <= exit_threshold < z_score_threshold < stop_loss_z,"
                f" not {self.exit_z}, {self.entry_z}, {self.stop_z}"
            )
        if self.half_life_bars is not None and not (math.isfinite(self.half_life_bars) and self.half_life_bars > 0):
            raise ValueError(f"{self.pair_id}: half_life_candles must be a finite number above 0")
        if self.bar_seconds is not None and self.bar_seconds not in BAR_SECONDS:
            known = ", ".join(map(str, BAR_SECONDS))
            raise ValueError(f"{self.pair_id}: bar_seconds must be one of {known}, not {self.bar_seconds}")
        if self.half_life_bar_seconds <= 0:
            raise ValueError(f"{self.pair_id}: candle_seconds must be above 0, not {self.half_life_bar_seconds}")

    @property
    def symbols(self) -> tuple[Symbol, Symbol]:
        return (self.leg_a, self.leg_b)

    def symbol_of(self, leg: LegName) -> Symbol:
        return self.leg_a if leg is LegName.A else self.leg_b


class TradingSignal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A decision to act on one pair, before any guard has seen it."""

    signal_id: str
    pair_id: PairId
    signal_type: SignalType
    z_score: float
    spread: float
    spread_mean: float
    spread_std: float
    price_a: float
    price_b: float
    confidence: float  # 0..1: how far beyond the threshold, towards the stop.
    suggested_position_size: float  # USD notional of leg b.
    at_ms: int
