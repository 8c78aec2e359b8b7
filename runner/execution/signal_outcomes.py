"""What became of each signal: one row when it comes, one when it is settled, one readable line for people."""

from dataclasses import dataclass, field
from typing import Any

from domain.entries import SignalReceived, SignalResolved
from domain.guards import DenialCode, Denied
from domain.pairs import SignalOutcome, TradingSignal
from domain.symbols import TradeId
from runner import events
from runner.execution.context import Context
from runner.execution.orders.store import TradeStore
from runner.execution.signal_port import Outcome


@dataclass(slots=True)
class Counters:
    """What the final statistics and the metrics say."""

    signals: int = 0
    executed: int = 0
    closed: int = 0
    rolled_back: int = 0
    denied: dict[str, int] = field(default_factory=dict)


class Outcomes:
    """Counts, logs and notes; no decision rests on these rows."""

    def __init__(self, context: Context, store: TradeStore) -> None:
        self._clock, self._log = context.clock, context.log
        self._store = store
        self.counters = Counters()

    def received(self, signal: TradingSignal) -> None:
        self.counters.signals += 1
        self._store.note(
            SignalReceived(
                at_ms=self._clock.now_ms(),
                signal_id=signal.signal_id,
                pair_id=signal.pair_id,
                signal_type=signal.signal_type,
                z_score=signal.z_score,
                spread=signal.spread,
                price_a=signal.price_a,
                price_b=signal.price_b,
            )
        )
        self._log.emit(events.SIGNAL, pair_id=signal.pair_id, type=str(signal.signal_type), z=round(signal.z_score, 3))

    def deny(self, signal: TradingSignal, denied: Denied) -> Outcome:
        self.counters.denied[denied.code] = self.counters.denied.get(denied.code, 0) + 1
        self.resolve(signal, SignalOutcome.DENIED, denied.code, denied.facts)
        self._log.emit(events.DENIED, pair_id=signal.pair_id, code=str(denied.code), **denied.facts)
        return Outcome(executed=False, denial=denied.code)

    def resolve(
        self,
        signal: TradingSignal,
        outcome: SignalOutcome,
        code: DenialCode | None,
        facts: dict[str, Any],
        trade_id: TradeId | None = None,
    ) -> None:
        """`code` is None only for an executed signal."""
        self._store.note(
            SignalResolved(
                at_ms=self._clock.now_ms(),
                signal_id=signal.signal_id,
                pair_id=signal.pair_id,
                outcome=outcome,
                reason="" if code is None else str(code),
                trade_id=trade_id,
                facts=facts,
            )
        )
