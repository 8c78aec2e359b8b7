"""What stops entries, besides what a single entry is: set by the operator and by the monitors."""

from dataclasses import dataclass, field

from domain.symbols import ClientOrderId, Symbol
from runner.exchange.port import Balance
from runner.execution.entry.capital import Capital


@dataclass(slots=True)
class EntryGate:
    """What stops entries, set by the operator and by the watchers."""

    paused_because: str | None = None
    recovering: bool = True
    user_stream_down: bool = True
    unexplained_orders: set[ClientOrderId] = field(default_factory=set)
    """Orders with our prefix that the journal does not know."""
    balance: Balance | None = None
    capital: Capital = field(default_factory=Capital)
    balance_asked_ms: int = 0  # Wall clock: trades intended later are not in it.
    balance_asked_ns: int | None = None  # Monotonic: how old it is. None: nobody keeps it fresh.
    clock_problem: str | None = None
    rules_doubted: frozenset[Symbol] = frozenset()
    unprepared: dict[Symbol, str] = field(default_factory=dict)  # Margin type or leverage not as they must be, and why.

    @property
    def foreign_orders(self) -> int:
        return len(self.unexplained_orders)
