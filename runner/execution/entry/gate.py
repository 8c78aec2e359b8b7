"""What stops entries, besides what a single entry is: set by the operator and by the monitors. What nobody has said is closed."""

from dataclasses import dataclass, field

from domain.reasons import ClockCode, Reason, SetUpCode
from domain.symbols import ClientOrderId, Symbol
from runner.exchange.port import Balance
from runner.execution.entry.capital import Capital


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceReading:
    """A balance, and when it was asked for."""

    balance: Balance
    asked_ms: int  # Wall clock: trades intended later are not in it.
    asked_ns: int  # Monotonic: how old it is.


@dataclass(slots=True)
class EntryGate:
    """As it is made, it lets nothing pass: each part opens what it has seen to be in order."""

    paused_because: str | None = None
    recovering: bool = True
    user_stream_down: bool = True
    unexplained_orders: set[ClientOrderId] = field(default_factory=set)
    """Orders with our prefix that the journal does not know. What rests is looked up before `recovering` ends."""
    reading: BalanceReading | None = None
    capital: Capital = field(default_factory=Capital)
    clock_problem: Reason | None = field(default_factory=ClockCode.UNKNOWN.because)
    rules_doubted: frozenset[Symbol] | None = None  # None: nobody has looked yet, so all of them are.
    set_up: dict[Symbol, Reason | None] = field(default_factory=dict)
    """None: margin type and leverage are confirmed. A symbol that is missing is not."""

    @property
    def unprepared(self) -> dict[Symbol, Reason]:
        """The symbols that are known not to be set up, and why."""
        return {symbol: reason for symbol, reason in self.set_up.items() if reason is not None}

    def set_up_problem(self, symbol: Symbol) -> Reason | None:
        return self.set_up.get(symbol, SetUpCode.NOT_CONFIRMED.because())

    def doubts_rules_of(self, symbol: Symbol) -> bool:
        return self.rules_doubted is None or symbol in self.rules_doubted

    @property
    def balance(self) -> Balance | None:
        return None if self.reading is None else self.reading.balance

    @property
    def foreign_orders(self) -> int:
        return len(self.unexplained_orders)
