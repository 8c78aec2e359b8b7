"""What the engine needs from its neighbours: quotes to price with, and the signal generator to tell how trades went."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from domain.decide import HeldTrade
from domain.guards import DenialCode
from domain.orders import LegName
from domain.pairs import PairConfig
from domain.quotes import Quote
from domain.spread import SpreadMoments
from domain.symbols import PairId, Symbol
from domain.trades import TradeState

QuoteOf = Callable[[Symbol], Quote | None]


class SignalPort(Protocol):
    """Satisfied by `runner.signals.generator.SignalGenerator`."""

    def trade_opening(self, pair_id: PairId) -> None: ...
    def trade_opened(self, pair_id: PairId, held: HeldTrade) -> None: ...
    def trade_closing(self, pair_id: PairId) -> None: ...
    def trade_closed(self, pair_id: PairId, stopped_sign: int) -> None: ...
    def trade_failed(self, pair_id: PairId) -> None: ...
    def denied(self, pair_id: PairId) -> None: ...
    def not_judged(self, pair_id: PairId) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one signal."""

    executed: bool
    denial: DenialCode | None = None


def held_of(trade: TradeState) -> HeldTrade:
    """What the signal side must know of an open trade, from the plan it was opened with."""
    plan = trade.plan
    return HeldTrade(
        side=plan.side,
        statistics=SpreadMoments(plan.spread_mean, plan.spread_std),
        hedge_ratio=plan.hedge_ratio,
        exit_z=plan.exit_threshold,
        stop_z=plan.stop_z,
        time_stop_ms=plan.time_stop_ms,
    )


def pair_to_close(trade: TradeState, bar_seconds: int) -> PairConfig:
    """The pair as the trade was opened, for a trade whose pair is configured no more, or otherwise: to close only."""
    plan = trade.plan
    return PairConfig(
        pair_id=trade.pair_id,
        leg_a=trade.symbol_of(LegName.A),
        leg_b=trade.symbol_of(LegName.B),
        hedge_ratio=plan.hedge_ratio,
        entry_z=(plan.exit_threshold + plan.stop_z) / 2,
        exit_z=plan.exit_threshold,
        stop_z=plan.stop_z,
        half_life_bars=None,
        half_life_bar_seconds=bar_seconds,
        enabled=False,
    )


class Pairs(Protocol):
    """The configured pairs, as of now."""

    def get(self, pair_id: PairId) -> PairConfig | None: ...
