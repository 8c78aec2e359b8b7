"""One account at Binance: everything that the wiring makes of this folder."""

from collections.abc import Callable
from dataclasses import dataclass

from domain.symbols import Symbol
from runner.config import ExecutionSettings, Settings
from runner.events import EventCallback
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import Client, make_client
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.binance.contract_stream import ContractStream
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.binance.exchange_clock import MeasuredClock
from runner.exchange.binance.market_stream.provider import BinanceWebSocketProvider
from runner.exchange.binance.market_stream.settings import feed_settings
from runner.exchange.binance.user_stream import UserStream
from runner.exchange.connection import FailedCallback, InterruptedCallback, QuoteCallback, StaleCallback
from runner.exchange.port import UserNews
from runner.ports import Clock

REPLY_MARGIN_SECONDS = 1.0


def reply_timeout_seconds(execution: ExecutionSettings) -> float:
    """How long an order's reply is waited for: once its window has passed, a look-up knows more than patience."""
    return min(execution.order_timeout_seconds, execution.recv_window_ms / 1000 + REPLY_MARGIN_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binance:
    """Client, request budget, contract rules and the account's orders; and the streams, made with whom they call."""

    settings: Settings
    clock: Clock
    budget: Budget
    client: Client
    rules: ContractRules
    exchange: BinanceExchange

    @property
    def exchange_clock(self) -> MeasuredClock:
        return self.budget.exchange_clock

    @property
    def used_weight(self) -> int:
        """Of the request budget's running minute."""
        return self.budget.used_weight

    async def close(self) -> None:
        await self.client.close()

    def account_events(
        self,
        *,
        on_news: Callable[[UserNews], None],
        on_gap: Callable[[str], None],
        on_funding: Callable[[], None],
        on_settings: Callable[[Symbol | None, int | None], None],
        on_event: EventCallback,
    ) -> UserStream:
        """The account's own stream. Nothing connects yet."""
        return UserStream(
            self.clock,
            self.client,
            self.settings.exchange_stream_url,
            self.rules.symbol_of,
            on_news=on_news,
            on_gap=on_gap,
            on_funding=on_funding,
            on_settings=on_settings,
            on_event=on_event,
            request_timeout_seconds=self.settings.data.request_timeout_seconds,
        )

    def contract_hints(self, on_hint: Callable[[], None]) -> ContractStream:
        """News that some contract may have changed. Nothing connects yet."""
        return ContractStream(self.clock, self.settings.exchange_stream_url, self.rules.symbol_of, on_hint)

    def quotes(
        self,
        *,
        on_quote: QuoteCallback,
        on_stale: StaleCallback,
        on_interrupted: InterruptedCallback,
        on_event: EventCallback,
        on_failed: FailedCallback,
    ) -> BinanceWebSocketProvider:
        """Best bids and offers. Nothing connects yet."""
        return BinanceWebSocketProvider(
            self.clock,
            feed_settings(self.settings),
            on_quote=on_quote,
            on_stale=on_stale,
            on_interrupted=on_interrupted,
            on_event=on_event,
            on_failed=on_failed,
        )


def connect(settings: Settings, clock: Clock, on_rules_doubted: Callable[[Symbol, str], None]) -> Binance:
    """Make the parts; nothing connects yet. `on_rules_doubted`: see `BinanceExchange`."""
    budget = Budget(clock)
    client = make_client(settings, budget)
    timeout_seconds = settings.data.request_timeout_seconds
    rules = ContractRules(
        client,
        budget,
        timeout_seconds=timeout_seconds,
        taker_fee_bps=settings.risk.taker_fee_bps,
        maker_fee_bps=settings.risk.maker_fee_bps,
    )
    exchange = BinanceExchange(
        client,
        rules,
        budget,
        request_timeout_seconds=timeout_seconds,
        reply_timeout_seconds=reply_timeout_seconds(settings.execution),
        batch=settings.execution.batch_orders,
        on_rules_doubted=on_rules_doubted,
    )
    return Binance(settings=settings, clock=clock, budget=budget, client=client, rules=rules, exchange=exchange)
