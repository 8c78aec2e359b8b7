"""From quotes to signals: the spread of every pair at every tick, and a decision when its band is left.

z is computed only when a band is left (see `spread_calculator.py`). All of it is synchronous: nothing queues between a quote
and its signal.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from domain.decide import HeldTrade, confidence_of, decide, rearmed
from domain.entries import SpreadSampled
from domain.errors import InvariantBroken
from domain.pairs import PairConfig, SignalType, TradingSignal
from domain.quotes import Quote
from domain.symbols import PairId, Symbol
from runner.config import SignalSettings
from runner.signals.pair_slot import PairSlot
from runner.signals.spread_calculator import PairsSpreadCalculator, ignore

SignalCallback = Callable[[TradingSignal], None]
SampleCallback = Callable[[SpreadSampled], None]
PairFailedCallback = Callable[[PairId, Exception], None]


class SignalGenerator:
    """Knows where every pair stands, and gives each signal once to whoever registered."""

    def __init__(
        self,
        pairs: Iterable[PairConfig],
        settings: SignalSettings,
        *,
        position_usd: float,
        on_sample: SampleCallback = ignore,
        on_pair_failed: PairFailedCallback = ignore,
        on_torn: Callable[[], None] = ignore,
    ) -> None:
        self._settings = settings
        self._position_usd = position_usd
        self._on_sample = on_sample
        self._on_pair_failed = on_pair_failed
        self._callbacks: list[SignalCallback] = []
        self._debounce_ns = settings.debounce_ms * 1_000_000
        self._wanted: dict[PairId, PairConfig] = {}
        self.signals_emitted = 0
        self.calculator = PairsSpreadCalculator(
            bar_seconds=settings.bar_seconds, lookback_bars=settings.lookback_bars, on_left=self._look, on_torn=on_torn
        )
        self.update = self.calculator.update
        """Take the newest quote of one symbol: the calculator's own method, so that a tick pays for one call."""
        self.reconfigure(pairs)

    def register_signal_callback(self, callback: SignalCallback) -> None:
        """Call this with every signal, synchronously, in order of registration. It must not wait."""
        self._callbacks.append(callback)

    # What the feed says.

    def interrupt(self, symbols: Iterable[Symbol]) -> None:
        """The connection of these symbols broke: their quotes are not quotes until the next one."""
        self.calculator.interrupt(symbols)

    def mark_stale(self, symbol: Symbol, *, stale: bool) -> None:
        """A stale leg blocks entries; exits still go by its last quote."""
        self.calculator.mark_stale(symbol, stale=stale)

    # What the engine says.

    def trade_opening(self, pair_id: PairId) -> None:
        self._slot(pair_id).stand(now_ms=self._now_ms, busy=True)

    def trade_opened(self, pair_id: PairId, held: HeldTrade) -> None:
        self._slot(pair_id).stand(now_ms=self._now_ms, busy=False, held=held)

    def trade_closing(self, pair_id: PairId) -> None:
        self._slot(pair_id).stand(now_ms=self._now_ms, busy=True)

    def trade_closed(self, pair_id: PairId, stopped_sign: int = 0) -> None:
        """The pair is flat. `stopped_sign`: the sign of z if it was a stop, so that it re-arms past the mean only."""
        slot = self._slot(pair_id)
        slot.stand(now_ms=self._now_ms, busy=False, held=None, stopped_at_sign=stopped_sign)
        self._follow(slot)

    def trade_failed(self, pair_id: PairId) -> None:
        """An opening came to nothing, or a closing did: what was held before is held now."""
        slot = self._slot(pair_id)
        slot.stand(now_ms=self._now_ms, busy=False)
        self._follow(slot)

    def denied(self, pair_id: PairId) -> None:
        """A guard said no: the same signal may come again once the repeat time has passed."""
        self.trade_failed(pair_id)

    def not_judged(self, pair_id: PairId) -> None:
        """Its entry came before the engine could judge any: nothing was given, so it may come at once."""
        self._slot(pair_id).stand(now_ms=self._now_ms, last_signal=None)

    def adopt(self, pair: PairConfig, held: HeldTrade) -> None:
        """Take over an open trade after a restart; if the pair is not configured as it was traded, to close only."""
        slot = self.calculator.slots.get(pair.pair_id)
        if slot is not None and slot.pair.symbols != pair.symbols:
            self.calculator.drop(slot)
            slot = None
        if slot is None:
            slot = self.calculator.add(pair)
            slot.close_only = True
        slot.stand(now_ms=self._now_ms, held=held, busy=False)

    def remember(self, pair_id: PairId, signal_type: SignalType, at_ms: int) -> None:
        """What the journal says was signalled last, `at_ms` in market time: a restart does not shorten the repeat time."""
        slot = self.calculator.slots.get(pair_id)
        if slot is not None:
            slot.stand(now_ms=self._now_ms, last_signal=signal_type, last_signal_ms=at_ms)

    # What the operator says.

    def reconfigure(self, pairs: Iterable[PairConfig]) -> None:
        """Take another list of pairs. Windows and standings stay; a removed pair with a trade closes only."""
        self._wanted = {pair.pair_id: pair for pair in pairs}
        for slot in list(self.calculator.slots.values()):
            self._follow(slot)
        for pair in self._wanted.values():
            if pair.pair_id not in self.calculator.slots:
                self.calculator.add(pair)
        self.calculator.sweep(self._wanted.values())

    def _follow(self, slot: PairSlot) -> None:
        """Bring one pair to what is configured, as far as an open trade allows."""
        pair_id = slot.pair.pair_id
        wanted = self._wanted.get(pair_id)
        if wanted is not None and wanted.symbols == slot.pair.symbols:
            if wanted != slot.pair or slot.close_only == wanted.enabled:
                self.calculator.configure(slot, wanted)
            return
        if not slot.is_idle:
            slot.close_only = True
            return
        self.calculator.drop(slot)
        if wanted is not None:
            self.calculator.add(wanted)
        self.calculator.sweep(self._wanted.values())

    # What others ask.

    @property
    def symbols(self) -> frozenset[Symbol]:
        """Every leg that wants quotes."""
        return self.calculator.symbols

    def quote_of(self, symbol: Symbol) -> Quote | None:
        """The newest quote; None before the first one and after an interruption."""
        return self.calculator.quote_of(symbol)

    def z_score_of(self, pair_id: PairId) -> float | None:
        """At the newest mids; None while the window or a quote is missing."""
        slot = self._slot(pair_id)
        statistics = slot.judged_by
        z_score = math.nan if statistics is None else statistics.z_score(slot.spread)
        return z_score if math.isfinite(z_score) else None

    def sample(self, at_ms: int) -> None:
        """Hand every pair's spread to the sample callback."""
        for slot in self.calculator.slots.values():
            self._sample(slot, slot.spread, at_ms)

    def status(self) -> Mapping[PairId, Mapping[str, Any]]:
        """One row a pair, for people."""
        return {
            pair_id: {
                "standing": slot.state_label,
                "z_score": self.z_score_of(pair_id),
                "leg_a": slot.pair.leg_a,
                "leg_b": slot.pair.leg_b,
                "price_a": _number(slot.leg_a.mid),
                "price_b": _number(slot.leg_b.mid),
                "hedge_ratio": slot.hedge_ratio,
                "bar_seconds": slot.bar_seconds,
                "stale": slot.leg_a.stale or slot.leg_b.stale,
            }
            for pair_id, slot in self.calculator.slots.items()
        }

    # The decision.

    def _look(self, slot: PairSlot, spread: float, quote: Quote) -> None:
        """The band was left. One failing pair never stops the others."""
        try:
            self._consider(slot, spread, quote)
        except Exception as error:  # noqa: BLE001  (Whatever it is, it is this pair's alone.)
            slot.failed = True
            slot.refresh(self._now_ms)
            self._on_pair_failed(slot.pair.pair_id, error)

    def _consider(self, slot: PairSlot, spread: float, quote: Quote) -> None:
        if not self._callbacks:
            return  # A start: given now it would be heard by nobody, and not be repeated for half a minute.
        now_ms = max(slot.leg_a.event_ms, slot.leg_b.event_ms)
        if rearmed(slot.standing, spread, slot.statistics):
            slot.stand(now_ms=now_ms, stopped_at_sign=0)
        signal_type = decide(spread, slot.standing, slot.rules, slot.statistics, now_ms)
        if signal_type is None:
            return
        if signal_type.is_entry and (slot.close_only or slot.leg_a.stale or slot.leg_b.stale):
            return
        if slot.signalled_ns is not None and quote.received_ns - slot.signalled_ns < self._debounce_ns:
            return
        signal = self._signal_of(slot, signal_type, spread, now_ms)
        slot.remember(signal_type, now_ms, quote.received_ns)
        self.signals_emitted += 1
        self._sample(slot, spread, now_ms)
        for callback in self._callbacks:
            callback(signal)

    def _signal_of(self, slot: PairSlot, signal_type: SignalType, spread: float, now_ms: int) -> TradingSignal:
        pair = slot.pair
        statistics = slot.judged_by
        if statistics is None:
            raise InvariantBroken(f"{pair.pair_id}: a signal without statistics")
        z_score = statistics.z_score(spread)
        return TradingSignal(
            signal_id=f"{pair.pair_id}:{now_ms}:{signal_type}",
            pair_id=pair.pair_id,
            signal_type=signal_type,
            z_score=z_score,
            spread=spread,
            spread_mean=statistics.mean,
            spread_std=statistics.std,
            price_a=slot.leg_a.mid,
            price_b=slot.leg_b.mid,
            confidence=confidence_of(z_score, pair.entry_z, pair.stop_z) if signal_type.is_entry else 1.0,
            suggested_position_size=self._position_usd,
            at_ms=now_ms,
        )

    def _sample(self, slot: PairSlot, spread: float, at_ms: int) -> None:
        if not math.isfinite(spread):
            return
        statistics = slot.judged_by
        self._on_sample(
            SpreadSampled(
                at_ms=at_ms,
                pair_id=slot.pair.pair_id,
                price_a=slot.leg_a.mid,
                price_b=slot.leg_b.mid,
                spread=spread,
                z_score=None if statistics is None else statistics.z_score(spread),
            )
        )

    @property
    def _now_ms(self) -> int:
        return self.calculator.market_ms

    def _slot(self, pair_id: PairId) -> PairSlot:
        try:
            return self.calculator.slots[pair_id]
        except KeyError:
            raise InvariantBroken(f"{pair_id}: no such pair among those watched") from None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
