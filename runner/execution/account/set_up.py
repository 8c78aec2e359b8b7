"""Margin type and leverage of every symbol: set, confirmed, and kept so. A symbol that is not confirmed is not entered."""

from collections.abc import Callable, Collection

from domain.errors import ConfigError
from domain.reasons import SetUpCode
from domain.symbols import Symbol
from runner import events
from runner.exchange.errors import ExchangeError
from runner.exchange.port import Account, Reading, SetupProblem
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate

SETUP_RETRY_SECONDS = 30.0
SETUP_VERIFY_SECONDS = 1_800.0


class AccountSetUp:
    """Without `may_change` (a dry run, which sends nothing) only the account's modes are checked."""

    def __init__(
        self,
        context: Context,
        *,
        exchange: Account,
        gate: EntryGate,
        symbols: Callable[[], Collection[Symbol]],
        leverage: int,
        may_change: bool,
        retry_seconds: float = SETUP_RETRY_SECONDS,
    ) -> None:
        self._clock, self._log = context.clock, context.log
        self._exchange = exchange
        self._gate = gate
        self._symbols = symbols
        self._leverage = leverage
        self._may_change = may_change
        self._retry_seconds = retry_seconds

    async def prepare(self, symbols: Collection[Symbol]) -> dict[Symbol, SetupProblem]:
        """Set these symbols up. Until the exchange has confirmed it, they are not entered; a failure is tried again.

        Returns what could not be set. Raises: ConfigError (the account's modes), ExchangeError; the symbols stay closed then.
        """
        for symbol in symbols:
            self._gate.set_up.setdefault(symbol, SetUpCode.NOT_CONFIRMED.because())
        return await self._confirm(symbols)

    async def _confirm(self, symbols: Collection[Symbol]) -> dict[Symbol, SetupProblem]:
        set_up = self._gate.set_up
        try:
            problems = dict(await self._exchange.prepare(sorted(symbols), self._leverage, may_change=self._may_change))
        except ConfigError as error:
            set_up.update(dict.fromkeys(symbols, SetUpCode.ACCOUNT_MODES.because(why=str(error))))
            raise
        for symbol in symbols:
            if symbol not in problems:
                set_up[symbol] = None
        for symbol, problem in problems.items():
            reason = SetUpCode.NOT_SET.because(why=problem.why)
            if set_up.get(symbol) != reason:
                code = None if problem.refusal is None else problem.refusal.code
                self._log.emit(events.SYMBOL_NOT_PREPARED, symbol=symbol, why=problem.why, code=code)
            set_up[symbol] = reason
        return problems

    def settings_changed(self, symbol: Symbol | None, leverage: int | None) -> None:
        """The user stream says that somebody changed a setting of the account; None: one that concerns every symbol."""
        if not self._may_change or (symbol is not None and leverage == self._leverage):
            return
        for changed in self._symbols() if symbol is None else {symbol} & set(self._symbols()):
            if self._gate.set_up_problem(changed) is None:
                self._gate.set_up[changed] = SetUpCode.CHANGED_BY_OTHERS.because()

    async def run(self) -> None:
        """Ask again for what is not confirmed, and now and then for everything. Until cancelled."""
        verified_ns = self._clock.monotonic_ns()
        while True:
            await self._clock.sleep(self._retry_seconds)
            traded = set(self._symbols())
            # What is traded no more needs no set-up, and must not be asked for ever.
            for forgotten in self._gate.set_up.keys() - traded:
                self._gate.set_up.pop(forgotten)
            now_ns = self._clock.monotonic_ns()
            verify = self._may_change and now_ns - verified_ns > SETUP_VERIFY_SECONDS * 1e9
            due = traded if verify else {each for each in traded if self._gate.set_up_problem(each) is not None}
            if due and self._exchange.has_room(Reading.SETTINGS):
                verified_ns = now_ns if verify else verified_ns
                await self._confirm_again(due)

    async def _confirm_again(self, symbols: Collection[Symbol]) -> None:
        try:
            await self._confirm(symbols)
        except ConfigError as error:
            self._log.emit(events.ACCOUNT_NOT_PREPARED, why=str(error))
        except ExchangeError as error:
            self._log.emit(events.BACKGROUND_READ_FAILED, why=f"{type(error).__name__}: {error}"[:200])
