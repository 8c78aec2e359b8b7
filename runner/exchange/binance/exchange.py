"""The private half of Binance as `runner.exchange.port.Exchange`: orders, look-ups, positions, and the account's settings."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from domain.orders import Fill, OrderIntent, OrderReport, Purpose, purpose_of
from domain.refusals import RefusalKind
from domain.symbols import ClientOrderId, Symbol
from runner.exchange.binance.account_setup import AccountSetup
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import Client, code_of
from runner.exchange.binance.codes import (
    BATCH_ELEMENT_STATUS,
    ORDER_NOT_FOUND,
    RULES_DOUBTED,
    TOO_MANY_NEW_ORDERS,
    UNKNOWN_ORDER_SENT,
    is_refusal,
    kind_of,
)
from runner.exchange.binance.contract_rules import ContractRules
from runner.exchange.binance.reads import Reads
from runner.exchange.binance.requests import send
from runner.exchange.binance.shapes import reading
from runner.exchange.binance.symbols import FORCED_PREFIXES, exchange_id
from runner.exchange.binance.weights import BATCH_ORDERS, BATCH_WEIGHT, Cost
from runner.exchange.binance.wire import order_parameters, order_report
from runner.exchange.errors import OutcomeUnknown, Refused, Unreachable
from runner.exchange.port import Answer, Balance, FundingPayment, Position, Reading, SetupProblem
from runner.exchange.priority import Priority

TIME_SAMPLES_MAX, TIME_ROUND_TRIP_MS_GOOD = 3, 250


class _OfAnother(OutcomeUnknown):
    """The reply names an order that was not requested."""


class BinanceExchange:
    """Satisfies `runner.exchange.port.Exchange`; every call is bounded by its own time-out."""

    def __init__(
        self,
        client: Client,
        rules: ContractRules,
        budget: Budget,
        *,
        request_timeout_seconds: float,
        reply_timeout_seconds: float,
        batch: bool,
        on_rules_doubted: Callable[[Symbol, str], None],
    ) -> None:
        """`on_rules_doubted` is called when a refusal says that our idea of a contract's rules is out of date."""
        self._client = client
        self._rules = rules
        self._budget = budget
        self._timeout = request_timeout_seconds
        self._reply_timeout = reply_timeout_seconds
        self._batch = batch
        self._setup = AccountSetup(client, self._send)
        self._reads = Reads(client, self._read, rules.symbol_of)
        self._plain_reads = Reads(client, self._send_read, rules.symbol_of)
        self.clock_is_off = asyncio.Event()
        """Set when the exchange says our clock is wrong; whoever watches the clock reads it anew and clears this."""
        self._on_rules_doubted = on_rules_doubted

    def clock_offset_ms(self) -> int:
        return -self._budget.exchange_clock.skew_ms()

    def blocked_ms(self) -> int:
        return self._budget.blocked_ms()

    def orders_blocked_ms(self, purpose: Purpose) -> int:
        if purpose is Purpose.ENTRY:
            return self._budget.entry_wait_ms()
        return self._budget.wait_ms(Priority.UNWIND, 0, 1)

    async def _send(self, what: str, request: Callable[[], Awaitable[Any]], priority: Priority) -> Any:
        """Every request but those that place orders."""
        try:
            return await send(what, request, timeout_seconds=self._timeout, priority=priority)
        except Refused as refused:
            self._notice(refused)
            raise

    # Orders

    async def place(self, intents: Sequence[OrderIntent]) -> Sequence[Answer]:
        # An entry was weighed against the reserve when it was approved; what may belong to a half-filled pair is not held up now.
        reduces = all(intent.purpose is not Purpose.ENTRY for intent in intents)
        priority = Priority.UNWIND if reduces else Priority.PROOF
        wait_ms = self._budget.wait_ms(priority, 0, len(intents))
        if wait_ms > 0:
            return [Unreachable(f"order: no order may leave for {wait_ms} ms; nothing was sent") for _ in intents]
        # A single order weighs nothing: when the minute is used up, the legs leave side by side instead.
        if len(intents) > 1 and self._batch and self._budget.wait_ms(priority, BATCH_WEIGHT, BATCH_ORDERS) == 0:
            return await self._place_batch(intents, priority)
        return await asyncio.gather(*(self._place_one(intent, priority) for intent in intents))

    async def _place_one(self, intent: OrderIntent, priority: Priority) -> Answer:
        parameters = order_parameters(intent)
        try:
            reply = await send(
                "order",
                lambda: self._client.fapiPrivatePostOrder(parameters),
                timeout_seconds=self._reply_timeout,
                priority=priority,
            )
        except (Refused, OutcomeUnknown, Unreachable) as outcome:
            self._notice(outcome, intent.symbol)
            return outcome
        return self._answer_of(intent, reply)

    async def _place_batch(self, intents: Sequence[OrderIntent], priority: Priority) -> Sequence[Answer]:
        parameters = {"batchOrders": [order_parameters(intent) for intent in intents]}
        try:
            replies = await send(
                "batchOrders",
                lambda: self._client.fapiPrivatePostBatchOrders(parameters),
                timeout_seconds=self._reply_timeout,
                priority=priority,
            )
        except (Refused, OutcomeUnknown, Unreachable) as outcome:
            self._notice(outcome)
            return [outcome for _ in intents]
        if not isinstance(replies, list) or len(replies) != len(intents):
            return [OutcomeUnknown("batchOrders: the reply does not match the request") for _ in intents]
        answers = [self._answer_of(intent, reply) for intent, reply in zip(intents, replies, strict=True)]
        if any(isinstance(answer, _OfAnother) for answer in answers):
            # A refusal names no order: once one element stands in the wrong place, whose refusal is it?
            unplaced = OutcomeUnknown("batchOrders: the reply's elements are not in the request's order")
            return [answer if isinstance(answer, OrderReport) else unplaced for answer in answers]
        return answers

    def _answer_of(self, intent: OrderIntent, reply: Any) -> Answer:
        """Which leg a reply is about is reported by its place in the list, and checked by its client id."""
        if isinstance(reply, dict) and "code" in reply and "orderId" not in reply:
            code = code_of(reply["code"])
            kind = kind_of(BATCH_ELEMENT_STATUS, code)
            if code is not None and kind is not None and is_refusal(BATCH_ELEMENT_STATUS, code):
                refused = Refused(kind, code, str(reply.get("msg", ""))[:300])
                self._notice(refused, intent.symbol)
                return refused
            unlisted = OutcomeUnknown(f"batch element: code {code}", code, kind)
            self._notice(unlisted, intent.symbol)
            return unlisted
        try:
            report = self._report(reply, "order")
        except OutcomeUnknown as unknown:
            return unknown
        if report.client_order_id != intent.client_order_id:
            return _OfAnother("order: the reply is about another order")
        return report

    def _notice(self, outcome: Exception, symbol: Symbol | None = None) -> None:
        """What an answer says beside its own matter: about the clock, the order rate, the contract's rules."""
        if not isinstance(outcome, Refused | OutcomeUnknown):
            return
        if isinstance(outcome, Refused) and outcome.kind is RefusalKind.CLOCK:
            self.clock_is_off.set()
        if isinstance(outcome, Refused) and outcome.code == TOO_MANY_NEW_ORDERS:
            self._budget.too_many_orders(outcome.message)
        if symbol is not None and outcome.code is not None and outcome.code in RULES_DOUBTED:
            self._on_rules_doubted(symbol, str(outcome.code))

    async def look_up(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | None:
        parameters = {"symbol": exchange_id(symbol), "origClientOrderId": client_order_id}
        reduces = purpose_of(client_order_id) in {Purpose.EXIT, Purpose.UNWIND}
        return await self._query(parameters, Priority.UNWIND if reduces else Priority.PROOF)

    async def owner_of(self, symbol: Symbol, exchange_order_id: str) -> ClientOrderId | None:
        report = await self._query({"symbol": exchange_id(symbol), "orderId": exchange_order_id}, Priority.PROOF)
        return None if report is None else report.client_order_id

    async def _query(self, parameters: Mapping[str, str], priority: Priority) -> OrderReport | None:
        try:
            reply = await self._send("order query", lambda: self._client.fapiPrivateGetOrder(parameters), priority)
        except OutcomeUnknown as outcome:
            if outcome.code == ORDER_NOT_FOUND:
                return None
            raise
        except Refused as refused:
            raise OutcomeUnknown(f"order query: {refused}", refused.code, refused.kind) from None
        return self._report(reply, "order query")

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | None:
        parameters = {"symbol": exchange_id(symbol), "origClientOrderId": client_order_id}
        try:
            reply = await self._send(
                "order cancel", lambda: self._client.fapiPrivateDeleteOrder(parameters), Priority.UNWIND
            )
        except OutcomeUnknown as outcome:
            if outcome.code == UNKNOWN_ORDER_SENT:
                return None
            raise
        except Refused as refused:
            raise OutcomeUnknown(f"order cancel: {refused}", refused.code, refused.kind) from None
        return self._report(reply, "order cancel")

    async def arm_dead_man(self, symbol: Symbol, countdown_ms: int) -> None:
        listed_id = exchange_id(symbol)
        parameters = {"symbol": listed_id, "countdownTime": countdown_ms}
        request = lambda: self._client.fapiPrivatePostCountdownCancelAll(parameters)  # noqa: E731
        reply = await self._send("countdownCancelAll", request, Priority.PROOF)
        with reading("countdownCancelAll"):
            if (str(reply["symbol"]), int(reply["countdownTime"])) != (listed_id, countdown_ms):
                raise OutcomeUnknown("countdownCancelAll: the reply is about something else")

    def _report(self, reply: Any, what: str) -> OrderReport:
        with reading(what):
            return order_report(reply, self._rules.symbol_of)

    # Reads: a refusal here is only a failed look-up.

    async def _send_read(
        self,
        what: str,
        request: Callable[[], Awaitable[Any]],
        priority: Priority,
        cost: Cost,  # noqa: ARG002  (Nothing here waits for the budget; it turns away what has no room.)
    ) -> Any:
        return await self._send(what, request, priority)

    async def _read(self, what: str, request: Callable[[], Awaitable[Any]], priority: Priority, cost: Cost) -> Any:
        try:
            return await self._send_read(what, request, priority, cost)
        except Refused as refused:
            raise OutcomeUnknown(f"{what}: {refused}", refused.code, refused.kind) from None

    async def fills(self, symbol: Symbol, *, since_ms: int, exchange_order_id: str | None = None) -> Sequence[Fill]:
        return await self._reads.fills(symbol, since_ms=since_ms, exchange_order_id=exchange_order_id)

    async def open_orders(self) -> Sequence[OrderReport]:
        return await self._reads.open_orders()

    async def positions(self) -> Mapping[Symbol, Position]:
        return {position.symbol: position for position in await self._reads.positions()}

    async def balance(self) -> Balance:
        return await self._reads.balance()

    def is_forced(self, client_order_id: str) -> bool:
        return client_order_id.startswith(FORCED_PREFIXES)

    def has_room(self, reading: Reading) -> bool:
        return self._budget.has_room(reading)

    async def funding_payments(self, *, since_ms: int) -> Sequence[FundingPayment]:
        return await self._reads.funding_payments(since_ms)

    async def klines(
        self, symbol: Symbol, *, interval: str, limit: int, end_ms: int | None = None
    ) -> Sequence[tuple[int, float]]:
        """(open time, close), ascending; the last row may be the bar that is still open. Raises: ExchangeError."""
        return [(bar.open_ms, bar.close) for bar in await self._reads.klines(symbol, interval, limit, end_ms)]

    async def synchronise_clock(self) -> None:
        """Read the exchange's clock, again when the answer was slow: half a round trip is how wrong the reading may be.

        Raises: OutcomeUnknown, Unreachable, Refused.
        """
        ticks = self._budget.exchange_clock.ticks_ns
        best: tuple[int, int, int] | None = None
        for _ in range(TIME_SAMPLES_MAX):
            asked_ns = ticks()
            exchange_ms = await self._plain_reads.time_ms(Priority.UNWIND)
            answered_ns = ticks()
            if best is None or answered_ns - asked_ns < best[2] - best[1]:
                best = (exchange_ms, asked_ns, answered_ns)
            if answered_ns - asked_ns <= TIME_ROUND_TRIP_MS_GOOD * 1_000_000:
                break
        assert best is not None
        self._budget.exchange_clock.measured(*best)
        self.clock_is_off.clear()

    async def prepare(
        self, symbols: Sequence[Symbol], leverage: int, *, may_change: bool = True
    ) -> Mapping[Symbol, SetupProblem]:
        """Modes, margin type and leverage; see `AccountSetup.prepare`."""
        return await self._setup.prepare(symbols, leverage, may_change=may_change)
