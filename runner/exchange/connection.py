"""One account at one exchange: all of its ports together, and the streams, made with whom they call. Adapters satisfy it by shape."""

from collections.abc import Callable
from typing import Protocol

from domain.quotes import Quote
from domain.symbols import Symbol
from runner.events import EventCallback
from runner.exchange.port import (
    Account,
    AccountEvents,
    ContractHints,
    ContractSource,
    Exchange,
    ExchangeClock,
    KlineSource,
    QuoteFeed,
    TimeSource,
    UserNews,
)

QuoteCallback = Callable[[Symbol, Quote], None]
StaleCallback = Callable[[Symbol, bool, float | None], None]
"""Symbol, whether it has gone quiet, and for how many seconds it has been (None: never heard)."""
InterruptedCallback = Callable[[frozenset[Symbol]], None]
"""Quotes of these symbols may have been missed."""
FailedCallback = Callable[[BaseException], None]
"""A task died of a bug of ours (a callback that raised); its symbols get no more quotes."""


class Trading(Exchange, Account, TimeSource, KlineSource, Protocol):
    """Everything that is requested for one account."""


class Connection(Protocol):
    """What the wiring makes of an exchange. Nothing connects before something is run or read."""

    @property
    def exchange(self) -> Trading: ...

    @property
    def rules(self) -> ContractSource: ...

    @property
    def exchange_clock(self) -> ExchangeClock: ...

    @property
    def used_weight(self) -> int:
        """Of the request budget's running minute."""
        ...

    def account_events(
        self,
        *,
        on_news: Callable[[UserNews], None],
        on_gap: Callable[[str], None],
        on_funding: Callable[[], None],
        on_settings: Callable[[Symbol | None, int | None], None],
        on_event: EventCallback,
    ) -> AccountEvents:
        """`on_gap`: events may have been missed. `on_settings`: somebody changed a symbol's leverage; None: the whole account's."""
        ...

    def contract_hints(self, on_hint: Callable[[], None]) -> ContractHints: ...

    def quotes(
        self,
        *,
        on_quote: QuoteCallback,
        on_stale: StaleCallback,
        on_interrupted: InterruptedCallback,
        on_event: EventCallback,
        on_failed: FailedCallback,
    ) -> QuoteFeed: ...

    async def close(self) -> None:
        """Every request's socket; streams are closed by whoever runs them."""
        ...
