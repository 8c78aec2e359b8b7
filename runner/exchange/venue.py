"""The private half of Binance as `runner.ports.Exchange`: orders, look-ups, positions, and the account's settings."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from domain.errors import ConfigError, OutcomeUnknown, Refused, Unreachable
from domain.orders import Fill, OrderIntent, OrderReport
from domain.symbols import ClientOrderId, Symbol, exchange_id
from runner.exchange.budget import Budget
from runner.exchange.client import Client, code_of
from runner.exchange.refusals import BATCH_ELEMENT_STATUS, is_refusal
from runner.exchange.requests import CLOCK_CODES, ask, reading
from runner.exchange.rules import ContractRules
from runner.exchange.wire import decimal_of, fill_of_user_trade, order_parameters, order_report
from runner.ports import Answer, Balance, Position

ORDER_NOT_FOUND = -2013
UNKNOWN_ORDER_SENT = -2011
NO_CHANGE_MARGIN_TYPE = -4046
MARGIN_TYPE_FIXED = frozenset({-4047, -4048})  # Open orders or a position: it stays what it is.


class _OfAnother(OutcomeUnknown):
    """The reply names an order that was not asked about."""


class BinanceExchange:
    """Satisfies `runner.ports.Exchange`; every call is bounded by its own time-out."""

    def __init__(
        self,
        client: Client,
        rules: ContractRules,
        budget: Budget,
        *,
        request_timeout_seconds: float,
        reply_timeout_seconds: float,
        batch: bool,
    ) -> None:
        self._client = client
        self._rules = rules
        self._budget = budget
        self._timeout = request_timeout_seconds
        self._reply_timeout = reply_timeout_seconds
        self._batch = batch
        self.clock_is_off = asyncio.Event()
        """Set when the venue says our clock is wrong; the bot resynchronises and clears it."""

    def blocked_ms(self) -> int:
        return self._budget.blocked_ms()

    async def _ask(self, what: str, request: Callable[[], Awaitable[Any]]) -> Any:
        return await ask(what, request, timeout_seconds=self._timeout)

    # Orders

    async def place(self, intents: Sequence[OrderIntent]) -> Sequence[Answer]:
        if self._budget.blocked_ms() > 0:
            return [Unreachable("the exchange has banned us for a while; nothing was sent") for _ in intents]
        if len(intents) > 1 and self._batch:
            return await self._place_batch(intents)
        return await asyncio.gather(*(self._place_one(intent) for intent in intents))

    async def _place_one(self, intent: OrderIntent) -> Answer:
        parameters = order_parameters(intent)
        try:
            reply = await ask(
                "order", lambda: self._client.fapiPrivatePostOrder(parameters), timeout_seconds=self._reply_timeout
            )
        except (Refused, OutcomeUnknown, Unreachable) as outcome:
            self._notice_clock(outcome)
            return outcome
        return self._answer_of(intent, reply)

    async def _place_batch(self, intents: Sequence[OrderIntent]) -> Sequence[Answer]:
        parameters = {"batchOrders": [order_parameters(intent) for intent in intents]}
        try:
            replies = await ask(
                "batchOrders",
                lambda: self._client.fapiPrivatePostBatchOrders(parameters),
                timeout_seconds=self._reply_timeout,
            )
        except (Refused, OutcomeUnknown, Unreachable) as outcome:
            self._notice_clock(outcome)
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
        """Which leg a reply is about is told by its place in the list, and checked by its client id."""
        if isinstance(reply, dict) and "code" in reply and "orderId" not in reply:
            code = code_of(reply["code"])
            if code is not None and is_refusal(BATCH_ELEMENT_STATUS, code):
                refused = Refused(code, str(reply.get("msg", ""))[:300])
                self._notice_clock(refused)
                return refused
            return OutcomeUnknown(f"batch element: code {code}", code)
        try:
            report = self._report(reply, "order")
        except OutcomeUnknown as unknown:
            return unknown
        if report.client_order_id != intent.client_order_id:
            return _OfAnother("order: the reply is about another order")
        return report

    def _notice_clock(self, outcome: Exception) -> None:
        if isinstance(outcome, Refused) and outcome.code in CLOCK_CODES:
            self.clock_is_off.set()

    async def look_up(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | None:
        return await self._query({"symbol": exchange_id(symbol), "origClientOrderId": client_order_id})

    async def owner_of(self, symbol: Symbol, exchange_order_id: str) -> ClientOrderId | None:
        report = await self._query({"symbol": exchange_id(symbol), "orderId": exchange_order_id})
        return None if report is None else report.client_order_id

    async def _query(self, parameters: Mapping[str, str]) -> OrderReport | None:
        try:
            reply = await self._ask("order query", lambda: self._client.fapiPrivateGetOrder(parameters))
        except OutcomeUnknown as outcome:
            if outcome.code == ORDER_NOT_FOUND:
                return None
            raise
        except Refused as refused:
            self._notice_clock(refused)
            raise OutcomeUnknown(f"order query: {refused}", refused.code) from None
        return self._report(reply, "order query")

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | None:
        parameters = {"symbol": exchange_id(symbol), "origClientOrderId": client_order_id}
        try:
            reply = await self._ask("order cancel", lambda: self._client.fapiPrivateDeleteOrder(parameters))
        except OutcomeUnknown as outcome:
            if outcome.code == UNKNOWN_ORDER_SENT:
                return None
            raise
        except Refused as refused:
            self._notice_clock(refused)
            raise OutcomeUnknown(f"order cancel: {refused}", refused.code) from None
        return self._report(reply, "order cancel")

    async def arm_dead_man(self, symbol: Symbol, countdown_ms: int) -> None:
        venue_id = exchange_id(symbol)
        parameters = {"symbol": venue_id, "countdownTime": countdown_ms}
        try:
            reply = await self._ask(
                "countdownCancelAll", lambda: self._client.fapiPrivatePostCountdownCancelAll(parameters)
            )
        except Refused as refused:
            self._notice_clock(refused)
            raise
        with reading("countdownCancelAll"):
            if (str(reply["symbol"]), int(reply["countdownTime"])) != (venue_id, countdown_ms):
                raise OutcomeUnknown("countdownCancelAll: the reply is about something else")

    def _report(self, reply: Any, what: str) -> OrderReport:
        with reading(what):
            return order_report(reply, self._rules.symbol_of)

    # Reads: a refusal here is only a failed look-up.

    async def _read(self, what: str, request: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._ask(what, request)
        except Refused as refused:
            self._notice_clock(refused)
            raise OutcomeUnknown(f"{what}: {refused}", refused.code) from None

    async def fills(self, symbol: Symbol, *, since_ms: int, exchange_order_id: str | None = None) -> Sequence[Fill]:
        parameters: dict[str, Any] = {"symbol": exchange_id(symbol), "limit": 1000}
        if exchange_order_id is not None:
            parameters["orderId"] = exchange_order_id
        else:
            parameters["startTime"] = since_ms
        rows = await self._read("userTrades", lambda: self._client.fapiPrivateGetUserTrades(parameters))
        with reading("userTrades"):
            return [fill_of_user_trade(row, ClientOrderId(""), self._rules.symbol_of) for row in rows]

    async def open_orders(self) -> Sequence[OrderReport]:
        rows = await self._read("openOrders", self._client.fapiPrivateGetOpenOrders)
        with reading("openOrders"):
            # A contract that is no perpetual of ours, traded by a person, must not keep us from reading the rest.
            listed = [row for row in rows if self._rules.symbol_of(str(row["symbol"])) is not None]
            return [self._report(row, "openOrders") for row in listed]

    async def positions(self) -> Mapping[Symbol, Position]:
        rows = await self._read("positionRisk", self._client.fapiPrivateV3GetPositionRisk)
        with reading("positionRisk"):
            held = [self._position(row) for row in rows]
        return {position.symbol: position for position in held if position.quantity != 0}

    def _position(self, row: Mapping[str, Any]) -> Position:
        symbol = self._rules.symbol_of(str(row["symbol"])) or Symbol(str(row["symbol"]))
        return Position(
            symbol=symbol,
            quantity=decimal_of(row["positionAmt"]),
            entry_price=decimal_of(row["entryPrice"]),
            mark_price=decimal_of(row.get("markPrice", "0")),
        )

    async def balance(self) -> Balance:
        row = await self._read("account", self._client.fapiPrivateV3GetAccount)
        with reading("account"):
            return Balance(
                wallet_usd=decimal_of(row["totalWalletBalance"]),
                unrealized_usd=decimal_of(row["totalUnrealizedProfit"]),
                available_usd=decimal_of(row["availableBalance"]),
            )

    async def funding_payments(self, *, since_ms: int) -> Sequence[Mapping[str, Any]]:
        """Rows of income of type FUNDING_FEE since then, ascending (weight 30). Raises: OutcomeUnknown, Unreachable."""
        parameters = {"incomeType": "FUNDING_FEE", "startTime": since_ms, "limit": 1000}
        rows = await self._read("income", lambda: self._client.fapiPrivateGetIncome(parameters))
        with reading("income"):
            return [row for row in rows if isinstance(row, dict)]

    async def klines(
        self, symbol: Symbol, *, interval: str, limit: int, end_ms: int | None = None
    ) -> Sequence[tuple[int, float]]:
        """(open time, close), ascending; the last row may be the bar that is still open. Raises: ExchangeError."""
        parameters: dict[str, Any] = {"symbol": exchange_id(symbol), "interval": interval, "limit": limit}
        if end_ms is not None:
            parameters["endTime"] = end_ms
        rows = await self._read("klines", lambda: self._client.fapiPublicGetKlines(parameters))
        with reading("klines"):
            return [(int(row[0]), float(row[4])) for row in rows]

    async def synchronise_clock(self) -> None:
        """Measure the distance between the venue's clock and ours. Raises: OutcomeUnknown, Unreachable, Refused."""
        await self._ask("time", self._client.load_time_difference)
        self.clock_is_off.clear()

    # Settings of the account, made before the first order.

    async def prepare(self, symbols: Sequence[Symbol], leverage: int, *, may_change: bool = True) -> None:
        """One-way mode, cross margin, leverage. Raises: ConfigError when the account cannot be traded; ExchangeError.

        Without `may_change` (a dry run) the mode is checked and nothing is set.
        """
        mode = await self._read("positionSide/dual", self._client.fapiPrivateGetPositionSideDual)
        with reading("positionSide/dual"):
            in_hedge_mode = str(mode["dualSidePosition"]).lower() == "true"
        if in_hedge_mode:
            raise ConfigError(
                "the account is in hedge mode; switch it to one-way mode (Binance: Preferences → Position Mode) and start again"
            )
        if not may_change:
            return
        rows = await self._read("symbolConfig", self._client.fapiPrivateGetSymbolConfig)
        with reading("symbolConfig"):
            current = {str(row["symbol"]): (str(row["marginType"]), int(row["leverage"])) for row in rows}
        for symbol in symbols:
            venue_id = exchange_id(symbol)
            margin_type, set_leverage = current.get(venue_id, ("", 0))
            if margin_type != "CROSSED":
                await self._set_cross_margin(venue_id)
            if set_leverage != leverage:
                await self._set_leverage(symbol, leverage)

    async def _set_cross_margin(self, venue_id: str) -> None:
        parameters = {"symbol": venue_id, "marginType": "CROSSED"}
        try:
            await self._ask("marginType", lambda: self._client.fapiPrivatePostMarginType(parameters))
        except (OutcomeUnknown, Refused) as outcome:
            if outcome.code not in MARGIN_TYPE_FIXED | {NO_CHANGE_MARGIN_TYPE}:
                raise

    async def _set_leverage(self, symbol: Symbol, leverage: int) -> None:
        parameters = {"symbol": exchange_id(symbol), "leverage": leverage}
        try:
            await self._ask("leverage", lambda: self._client.fapiPrivatePostLeverage(parameters))
        except (OutcomeUnknown, Refused) as outcome:
            if outcome.code is not None:
                raise ConfigError(
                    f"the exchange refuses leverage {leverage} for {symbol} ({outcome.code}); lower risk.leverage"
                ) from None
            raise
