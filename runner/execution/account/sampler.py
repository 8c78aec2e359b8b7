"""Wallet, unrealised profit and free margin, and each symbol's own fees."""

from collections.abc import Callable, Collection

from domain.entries import EquitySampled
from domain.symbols import Symbol
from runner.exchange.port import Account, ContractSource, Reading
from runner.execution.account.background import attempt
from runner.execution.context import Context
from runner.execution.entry.gate import BalanceReading, EntryGate
from runner.execution.orders.store import TradeStore

EQUITY_SECONDS = 10.0
FEES_SECONDS = 60.0


class EquitySampler:
    """Reads the balance for the guards and the ledger."""

    def __init__(self, context: Context, *, exchange: Account, store: TradeStore, gate: EntryGate) -> None:
        self._context, self._clock = context, context.clock
        self._exchange = exchange
        self._store = store
        self._gate = gate

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EQUITY_SECONDS)
            if self._exchange.has_room(Reading.BALANCE):
                await attempt(self._context, self.sample)

    async def sample(self) -> None:
        """One reading. Raises: OutcomeUnknown, Unreachable."""
        asked_ms, asked_ns = self._clock.now_ms(), self._clock.monotonic_ns()
        balance = await self._exchange.balance()
        self._gate.reading = BalanceReading(balance=balance, asked_ms=asked_ms, asked_ns=asked_ns)
        self._store.note(
            EquitySampled(
                at_ms=self._clock.now_ms(), wallet_usd=balance.wallet_usd, unrealized_usd=balance.unrealized_usd
            )
        )


class FeeReader:
    """Each symbol's own fees, once, slowly: the configured ones stand in until then."""

    def __init__(
        self, context: Context, *, exchange: Account, rules: ContractSource, symbols: Callable[[], Collection[Symbol]]
    ) -> None:
        self._context, self._clock = context, context.clock
        self._rules = rules
        self._exchange = exchange
        self._symbols = symbols

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for symbol in list(self._symbols()):
                if not self._rules.has_fees(symbol) and self._exchange.has_room(Reading.FEES):
                    await attempt(self._context, lambda symbol=symbol: self._rules.load_fees(symbol))  # type: ignore[misc]
                    await self._clock.sleep(1.0)
            await self._clock.sleep(FEES_SECONDS)
