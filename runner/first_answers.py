"""What the exchange must say before anything can be decided: its clock, the rules, the account's set-up, the balance."""

import asyncio
from collections.abc import Sequence

from domain.errors import ConfigError, TandemError
from domain.ladder import step_of
from domain.refusals import RefusalKind
from domain.symbols import Symbol
from runner import events
from runner.components import Components
from runner.exchange.errors import ExchangeError, OutcomeUnknown, Refused, Unreachable
from runner.exchange.priority import Priority, with_priority
from runner.logs import Log
from runner.pairs.registry import PairsRegistry

FIRST_ANSWER_SECONDS = 30.0
RETRY_SECONDS = (0.3, 0.6, 1.2, 2.5, 5.0)


class FirstAnswers:
    """Asked again and again until they are there, or `stop` is set."""

    def __init__(self, parts: Components, pairs: PairsRegistry, log: Log, stop: asyncio.Event) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._pairs = pairs
        self._log = log
        self._stop = stop

    async def gather(self) -> None:
        """Rules, account, balance. With trades open we wait for the exchange for ever; without, we say so and end."""
        deadline_ns = self._clock.monotonic_ns() + int(FIRST_ANSWER_SECONDS * 1e9)
        tries = 0
        while not self._stop.is_set():
            try:
                await self._ask_everything()
            except (OutcomeUnknown, Refused) as error:
                if error.kind is RefusalKind.KEY:
                    raise ConfigError(
                        f"the exchange does not accept the API key ({error.code});"
                        " check BINANCE_API_KEY and BINANCE_API_SECRET, their permissions and allowed addresses"
                    ) from None
                failure: TandemError = error
            except Unreachable as error:
                failure = error
            else:
                return
            if not self._parts.book.open_by_pair and self._clock.monotonic_ns() > deadline_ns:
                raise failure
            self._log.emit(events.WAITING_FOR_EXCHANGE, why=str(failure))
            await self._clock.sleep(step_of(RETRY_SECONDS, tries))
            tries += 1

    async def _ask_everything(self) -> None:
        parts, book = self._parts, self._parts.book
        held = {symbol for trade in book.live_trades() for symbol in trade.symbols}
        configured = self._pairs.symbols
        # What a close needs comes first and waits for nobody; the rest stops entries while it is missing, not the start.
        with with_priority(Priority.UNWIND):
            await parts.connection.exchange.synchronise_clock()
            parts.clock_monitor.judge()
            await parts.connection.rules.load(() if held else configured, held=held)
        self._drop_unlisted()
        symbols = sorted(symbol for symbol in held | configured if parts.connection.rules.knows(symbol))
        try:
            with with_priority(Priority.PROOF):
                await self._prepare(symbols, is_flat=not book.open_by_pair)
                await parts.connection.rules.load_funding()
                await parts.account.sampler.sample()
        except ExchangeError as error:
            if not book.open_by_pair:
                raise
            self._log.emit(events.BACKGROUND_READ_FAILED, why=f"{type(error).__name__}: {error}"[:200])

    def _drop_unlisted(self) -> None:
        """With trades open a pair whose contract is gone must not keep us from managing the others: it is left out."""
        for pair in list(self._pairs):
            gone = [symbol for symbol in pair.symbols if not self._parts.connection.rules.knows(symbol)]
            if gone:
                self._pairs.drop(pair.pair_id)
                self._parts.generator.reconfigure(self._pairs)
                self._log.emit(events.PAIR_NOT_LISTED, pair_id=pair.pair_id, symbols=gone)

    async def _prepare(self, symbols: Sequence[Symbol], *, is_flat: bool) -> None:
        """With trades open nothing about the set-up keeps us from closing them: it stops entries instead.

        Raises: ConfigError for what an operator must correct before anything starts; ExchangeError.
        """
        try:
            problems = await self._parts.account.set_up.prepare(symbols)
        except ConfigError as error:
            if is_flat:
                raise
            self._log.emit(events.ACCOUNT_NOT_PREPARED, why=str(error))
            return
        invalid = [
            problem
            for problem in problems.values()
            if problem.refusal is not None and problem.refusal.kind is RefusalKind.LEVERAGE_INVALID
        ]
        if invalid and is_flat:
            raise ConfigError(invalid[0].why)
