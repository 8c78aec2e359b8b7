"""The live half, fed by hand: the real signal generator, pre_trade_check, guards and book. Orders are filled at the quotes."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from trade_story import Story

from domain.edge import FundingTerms
from domain.entries import Entry
from domain.guards import Denied, review
from domain.instruments import Instrument
from domain.orders import LegName, OrderStatus, Purpose
from domain.pairs import PairConfig, SignalType, TradeStatus, TradingSignal
from domain.quotes import Quote
from domain.symbols import Symbol
from domain.trades import TradeState
from flows.backtest.engine.market import Quotes
from flows.backtest.engine.terms import Terms
from runner.config import ExecutionSettings, RiskSettings, SignalSettings
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate
from runner.execution.signal_port import held_of
from runner.execution.wiring import Surroundings, wire
from runner.pairs.registry import PairsRegistry
from runner.signals.generator import SignalGenerator

Found = tuple[str, str, int, float, str]
"""Pair, type, market time, z, denial code."""


class MarketClock:
    """Market time, for everything."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000

    async def sleep(self, _seconds: float) -> None:
        raise AssertionError("nobody waits here")


class FakeExchange:
    """Rules of contracts, and an exchange that is never blocked."""

    def __init__(self, terms: Terms, funding: FundingTerms) -> None:
        self._terms = terms
        self._funding = funding

    def instrument(self, symbol: Symbol) -> Instrument:
        return self._terms.instrument(symbol)

    def funding(self, _symbol: Symbol) -> FundingTerms:
        return self._funding

    def taker_fee_rate(self, _symbol: Symbol) -> float:
        return self._terms.taker_fee_rate

    def maker_fee_rate(self, _symbol: Symbol) -> float:
        return self._terms.taker_fee_rate

    def orders_blocked_ms(self, _purpose: Purpose) -> int:
        return 0


class NoJournal:
    """Nothing is written down."""

    broken = False

    async def append(self, *_entries: Entry) -> None:
        raise AssertionError("nobody writes here")

    def note(self, _entry: Entry) -> None: ...


class Silence:
    """Nothing is said."""

    def info(self, event: str, **facts: Any) -> None: ...

    warning = error = info


def open_all(gate: EntryGate, pairs: Sequence[PairConfig]) -> None:
    """As on a healthy exchange."""
    gate.recovering = gate.user_stream_down = False
    gate.clock_problem, gate.rules_doubted = None, frozenset()
    gate.set_up = {symbol: None for pair in pairs for symbol in pair.symbols}


class Live:
    """One run over a stream of quotes; `signals` is what was decided."""

    def __init__(
        self, terms: Terms, pairs: Sequence[PairConfig], settings: SignalSettings, funding: FundingTerms
    ) -> None:
        self.signals: list[Found] = []
        self._terms = terms
        self._pairs = {pair.pair_id: pair for pair in pairs}
        self._clock = MarketClock()
        self._story = Story()
        self._pending: dict[str, tuple[int, TradingSignal]] = {}
        self.generator = SignalGenerator(pairs, settings, position_usd=float(terms.notional_usd))
        self.generator.register_signal_callback(self._on_signal)
        adapter = FakeExchange(terms, funding)
        context = Context(book=self._story.book, clock=self._clock, log=Silence(), halt=lambda _why: None)
        execution = wire(
            context,
            Surroundings(
                exchange=adapter,  # type: ignore[arg-type]  # As much of it as is asked.
                rules=adapter,
                journal=NoJournal(),
                pairs=PairsRegistry(pairs),
                signals=self.generator,
                quote_of=self.generator.quote_of,
                execution=ExecutionSettings(hedge_error_max=terms.hedge_error_max),
                risk=RiskSettings(
                    pair_notional_usd=terms.notional_usd,
                    gross_notional_usd_max=terms.limits.gross_notional_usd_max,
                    daily_loss_usd_max=terms.limits.daily_loss_usd_max,
                    min_edge_ratio=terms.limits.min_edge_ratio,
                ),
                quote_age_ms_max=10**9,
                dry_run=False,
            ),
        )
        self._pre_trade_check = execution.pre_trade_check
        open_all(execution.gate, pairs)

    def run(self, quotes: Quotes) -> "Live":
        """Fills first, then the quote is heard: an order that is due meets the quotes there are."""
        for at_ms, place, bid, ask in zip(
            quotes.at_ms.tolist(), quotes.place.tolist(), quotes.bid.tolist(), quotes.ask.tolist(), strict=True
        ):
            self._clock.ms = at_ms
            symbol = quotes.symbols[place]
            for pair_id, (due_ms, _) in list(self._pending.items()):
                if symbol in self._pairs[pair_id].symbols and at_ms >= due_ms:  # type: ignore[index]
                    self._fill(pair_id, symbol, Quote(bid, ask, 1, 1, at_ms, 0))
            self.generator.update(symbol, Quote(bid, ask, 1.0, 1.0, at_ms, at_ms * 1_000_000))
        return self

    def _on_signal(self, signal: TradingSignal) -> None:
        pair = self._pairs[signal.pair_id]
        denial = ""
        if signal.signal_type.is_entry:
            denial = self._enter(signal, pair)
        else:
            self.generator.trade_closing(pair.pair_id)
        self.signals.append((signal.pair_id, str(signal.signal_type), signal.at_ms, signal.z_score, denial))
        if not denial:
            self._pending[signal.pair_id] = (signal.at_ms + self._terms.latency_ms, signal)

    def _enter(self, signal: TradingSignal, pair: PairConfig) -> str:
        busy = {symbol for pair_id in self._pending for symbol in self._pairs[pair_id].symbols}  # type: ignore[index]
        if busy & set(pair.symbols):
            self.generator.denied(pair.pair_id)
            return "SYMBOL_BUSY"  # What the engine's locks would say.
        snapshot = self._pre_trade_check.snapshot(signal, pair, journal_broken=False)
        # No account is asked for its margin here.
        verdict = review(
            replace(snapshot, margin_free_usd=snapshot.margin_needed_usd, balance_age_ms=0),
            self._pre_trade_check.limits,
        )
        if isinstance(verdict, Denied):
            self.generator.denied(pair.pair_id)
            return verdict.code.value
        plan, _ = self._pre_trade_check.plan(verdict, pair)
        self._story.apply(plan)
        self.generator.trade_opening(pair.pair_id)
        return ""

    def _fill(self, pair_id: str, symbol: Symbol, newest: Quote) -> None:
        _, signal = self._pending.pop(pair_id)
        trade = self._story.book.open_by_pair[signal.pair_id]
        is_entry = signal.signal_type.is_entry
        purpose = Purpose.ENTRY if is_entry else Purpose.EXIT
        for leg in LegName:
            quote = newest if trade.symbol_of(leg) == symbol else self.generator.quote_of(trade.symbol_of(leg))
            assert quote is not None
            opens = trade.plan.side.side_of(leg)
            price = Decimal(str(quote.ask if (opens.sign > 0) is is_entry else quote.bid))
            quantity = trade.plan.quantity_a if leg is LegName.A else trade.plan.quantity_b
            fee = quantity * price * Decimal(str(self._terms.taker_fee_rate))
            name = self._story.order(leg, purpose, trade.trade_id, str(quantity))
            self._story.fill(name, str(quantity), str(price), str(fee), newest.event_ms)
            self._story.advance(name, OrderStatus.FILLED, str(quantity))
        if is_entry:
            self._story.trade(TradeStatus.OPEN, trade.trade_id, newest.event_ms)
            self.generator.trade_opened(signal.pair_id, held_of(trade))
            return
        self._close(trade, signal, newest.event_ms)

    def _close(self, trade: TradeState, signal: TradingSignal, at_ms: int) -> None:
        self._story.trade(TradeStatus.CLOSED, trade.trade_id, at_ms)
        is_stop = signal.signal_type is SignalType.STOP
        self.generator.trade_closed(signal.pair_id, (-1 if signal.z_score < 0 else 1) if is_stop else 0)

    @property
    def net_usd(self) -> float:
        """Of the trades that are over, by the book."""
        return float(self._story.book.realized_since(0))
