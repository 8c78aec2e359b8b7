"""Everything that is read of Binance, for the live runner and for jobs alike. How a request is sent, each of them says itself."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from domain.klines import FundingRate, Kline
from domain.orders import Fill, OrderReport
from domain.symbols import ClientOrderId, Symbol
from runner.exchange.binance.client import Client
from runner.exchange.binance.shapes import object_of, reading, rows_of
from runner.exchange.binance.symbols import exchange_id
from runner.exchange.binance.weights import Cost, cost_of
from runner.exchange.binance.wire import SymbolOf, decimal_of, fill_of_user_trade, order_report
from runner.exchange.port import Balance, FundingPayment, Position
from runner.exchange.priority import Priority

FILLS_PER_REQUEST_MAX = 1000
INCOME_PER_REQUEST_MAX = 1000
FUNDINGS_PER_REQUEST_MAX = 1000


class Send(Protocol):
    """Sends one request and returns the parsed reply. Raises: ExchangeError."""

    async def __call__(
        self, what: str, request: Callable[[], Awaitable[Any]], priority: Priority, cost: Cost
    ) -> Any: ...


class Resting(NamedTuple):
    """One open order as it is listed."""

    symbol: Symbol
    client_order_id: str
    exchange_order_id: str
    quantity: Decimal
    filled: Decimal


class Reads:
    """Every read raises what `send` raises, and OutcomeUnknown for a reply that is not as documented."""

    def __init__(self, client: Client, send: Send, symbol_of: SymbolOf) -> None:
        self._client = client
        self._send = send
        self._symbol_of = symbol_of

    async def _get(
        self,
        path: str,
        call: Callable[[Any], Awaitable[Any]],
        priority: Priority,
        parameters: Mapping[str, Any] | None = None,
        what: str = "",
    ) -> Any:
        parameters_sent = dict(parameters or {})
        name = what or path.rsplit("/", 1)[1]
        return await self._send(name, lambda: call(parameters_sent), priority, cost_of(path, parameters_sent))

    def _symbol(self, row: Mapping[str, Any]) -> Symbol:
        """What is unlisted is still reported, under the exchange's own name."""
        name = str(row["symbol"])
        return self._symbol_of(name) or Symbol(name)

    # The account

    async def fills(self, symbol: Symbol, *, since_ms: int, exchange_order_id: str | None = None) -> Sequence[Fill]:
        """The account's own executions, of one order or since then."""
        parameters: dict[str, Any] = {"symbol": exchange_id(symbol), "limit": FILLS_PER_REQUEST_MAX}
        if exchange_order_id is not None:
            parameters["orderId"] = exchange_order_id
        else:
            parameters["startTime"] = since_ms
        rows = await self._get("/fapi/v1/userTrades", self._client.fapiPrivateGetUserTrades, Priority.PROOF, parameters)
        return rows_of("userTrades", rows, lambda row: fill_of_user_trade(row, ClientOrderId(""), self._symbol_of))

    async def open_orders(self) -> Sequence[OrderReport]:
        """Those in listed contracts: what else a person trades must not keep us from reading the rest."""
        rows = await self._get("/fapi/v1/openOrders", self._client.fapiPrivateGetOpenOrders, Priority.PROOF)
        reports = rows_of(
            "openOrders",
            rows,
            lambda row: order_report(row, self._symbol_of) if self._symbol_of(str(row["symbol"])) else None,
        )
        return [report for report in reports if report is not None]

    async def resting_orders(self) -> list[Resting]:
        """Every one, whoever placed it."""
        rows = await self._get("/fapi/v1/openOrders", self._client.fapiPrivateGetOpenOrders, Priority.BACKGROUND)
        return rows_of(
            "openOrders",
            rows,
            lambda row: Resting(
                symbol=self._symbol(row),
                client_order_id=str(row["clientOrderId"]),
                exchange_order_id=str(row["orderId"]),
                quantity=decimal_of(row["origQty"]),
                filled=decimal_of(row.get("executedQty", "0")),
            ),
        )

    async def positions(self, priority: Priority = Priority.PROOF) -> list[Position]:
        """Every row that is not zero; in hedge mode a symbol has two."""
        rows = await self._get("/fapi/v3/positionRisk", self._client.fapiPrivateV3GetPositionRisk, priority)
        found = rows_of(
            "positionRisk",
            rows,
            lambda row: Position(
                symbol=self._symbol(row),
                quantity=decimal_of(row["positionAmt"]),
                entry_price=decimal_of(row["entryPrice"]),
                mark_price=decimal_of(row.get("markPrice", "0")),
            ),
        )
        return [position for position in found if position.quantity != 0]

    async def balance(self) -> Balance:
        row = await self._get("/fapi/v3/account", self._client.fapiPrivateV3GetAccount, Priority.ACCOUNT)
        with reading("account"):
            return Balance(
                wallet_usd=decimal_of(row["totalWalletBalance"]),
                unrealized_usd=decimal_of(row["totalUnrealizedProfit"]),
                available_usd=decimal_of(row["availableBalance"]),
            )

    async def funding_payments(self, since_ms: int) -> Sequence[FundingPayment]:
        """Income of type FUNDING_FEE since then in listed contracts, ascending."""
        parameters = {"incomeType": "FUNDING_FEE", "startTime": since_ms, "limit": INCOME_PER_REQUEST_MAX}
        rows = await self._get("/fapi/v1/income", self._client.fapiPrivateGetIncome, Priority.BACKGROUND, parameters)
        found = rows_of("income", rows, self._funding_payment)
        return [payment for payment in found if payment is not None]

    def _funding_payment(self, row: Mapping[str, Any]) -> FundingPayment | None:
        symbol = self._symbol_of(str(row["symbol"]))
        if symbol is None:
            return None
        return FundingPayment(
            symbol=symbol,
            amount_usd=decimal_of(row["income"]),
            at_ms=int(row["time"]),
            transaction_id=str(row["tranId"]),
        )

    # The market

    async def klines(self, symbol: Symbol, interval: str, limit: int, end_ms: int | None = None) -> list[Kline]:
        """Bars that opened up to `end_ms` (inclusive), ascending. Without `end_ms` the last one is still open."""
        parameters: dict[str, Any] = {"symbol": exchange_id(symbol), "interval": interval, "limit": limit}
        if end_ms is not None:
            parameters["endTime"] = end_ms
        what = f"klines {symbol}"
        call = self._client.fapiPublicGetKlines
        rows = await self._get("/fapi/v1/klines", call, Priority.BACKGROUND, parameters, what)
        return rows_of(what, rows, lambda row: Kline(int(row[0]), *(float(value) for value in row[1:6])))

    async def funding_rates(self, symbol: Symbol, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Settlements in [start_ms, end_ms), at most `FUNDINGS_PER_REQUEST_MAX` of them, ascending."""
        times = {"startTime": start_ms, "endTime": end_ms - 1, "limit": FUNDINGS_PER_REQUEST_MAX}
        parameters = {"symbol": exchange_id(symbol)} | times
        what = f"fundingRate {symbol}"
        call = self._client.fapiPublicGetFundingRate
        rows = await self._get("/fapi/v1/fundingRate", call, Priority.BACKGROUND, parameters, what)
        return rows_of(what, rows, lambda row: FundingRate(int(row["fundingTime"]), float(row["fundingRate"])))

    async def contracts(self) -> Mapping[str, Any]:
        """exchangeInfo as it is told: `symbols` is a list of objects, `rateLimits` may be anything."""
        info = object_of(
            "exchangeInfo",
            await self._get("/fapi/v1/exchangeInfo", self._client.fapiPublicGetExchangeInfo, Priority.BACKGROUND),
        )
        with reading("exchangeInfo"):
            rows_of("exchangeInfo", info["symbols"], lambda row: object_of("exchangeInfo", row))
        return info

    async def quote_volumes(self) -> dict[Symbol, float]:
        """What was traded of each contract in the last 24 hours, in USD."""
        call = self._client.fapiPublicGetTicker24hr
        rows = await self._get("/fapi/v1/ticker/24hr", call, Priority.BACKGROUND, what="ticker/24hr")
        return dict(rows_of("ticker/24hr", rows, lambda row: (self._symbol(row), float(row["quoteVolume"]))))

    async def time_ms(self, priority: Priority = Priority.BACKGROUND) -> int:
        """What the exchange's clock shows."""
        reply = await self._get("/fapi/v1/time", self._client.fapiPublicGetTime, priority)
        with reading("time"):
            return int(reply["serverTime"])
