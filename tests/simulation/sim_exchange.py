"""The exchange as the adapter sees it: ccxt's raw endpoints, without sockets, over the paper exchange's own core.

What the exchange *is* (orders, fills, positions) lives in `Exchange` and survives every process; what it *tells* goes through
`Wire`, which belongs to one process and loses, delays, repeats and falsifies by the seed. The real `BinanceExchange` with its
refusals, time-outs and parsing sits on top.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import ccxt
import msgspec
from sim_faults import ERRORS, EXECUTED, Faults, Road
from sim_loop import Dead, SimExchangeClock, Timeline
from sim_market import SimMarket

from domain.orders import is_ours
from paper import payloads
from paper.books import Books
from paper.core import ExchangeCore
from paper.desk import Call, Desk
from paper.errors import ApiError, refused
from paper.faults import FaultBoard
from paper.limits import Limits
from paper.options import CoreOptions, ExchangeOptions, LimitOptions
from paper.orders import Order
from paper.private_orders import OrderEndpoints
from paper.signing import AHEAD_MS_MAX
from runner.exchange.binance.budget import Budget, HeldBack
from runner.exchange.binance.client import ExchangeReply

KEY = "simulated"
OPTIONS = ExchangeOptions(
    core=CoreOptions(api_key=KEY, balance_usdt=Decimal(1_000_000)),
    limits=LimitOptions(weight_per_minute_max=0, orders_per_10s_max=0, orders_per_minute_max=0),
)
AMOUNTS_KEPT = 200


class Exchange:
    """The true account."""

    def __init__(
        self, timeline: Timeline, market: SimMarket, faults: Faults, balance_usd: Decimal = OPTIONS.core.balance_usdt
    ) -> None:
        self.timeline = timeline
        self.market = market
        self.faults = faults
        self.clock = SimExchangeClock(timeline)
        adapter = ExchangeCore(Books(market, OPTIONS.core))
        limits = Limits(OPTIONS.limits, self.clock)
        self.desk = Desk(adapter, self.clock, FaultBoard(self.clock, limits), limits, OPTIONS)
        self.orders = OrderEndpoints(self.desk)
        self.portfolio = adapter.books.open_account(KEY, "", balance_usd, self.clock.now_ms())
        self.portfolio.account.leverages = dict.fromkeys(market.listings, 20)
        self.desk.commit()
        self.sent: dict[str, int] = {}
        """How often each client id of ours left a process."""
        self.in_the_air = 0
        self._amounts: list[tuple[float, dict[str, Decimal]]] = []
        self.endpoints: Mapping[str, Callable[[Call], Any]] = {
            "POST order": self.orders.place,
            "POST batchOrders": self.orders.place_batch,
            "GET order": self.orders.query,
            "DELETE order": self.orders.cancel,
            "GET openOrders": self.orders.open_orders,
            "GET userTrades": self.orders.trades,
            "POST countdownCancelAll": self.orders.countdown,
            "GET positionRisk": lambda call: payloads.position_risk_rows(
                self.desk.books, call.portfolio, version=3, symbol=None
            ),
            "GET account": lambda call: payloads.account_body(self.desk.books, call.portfolio, version=3),
            "GET time": lambda call: {"serverTime": call.now_ms},
        }

    def serve(self, endpoint: str, params: Mapping[str, str], faults: Mapping[int, list[Any]] | None = None) -> Any:
        """One request inside the exchange. Raises: VenueError."""
        call = Call(portfolio=self.portfolio, params=params, now_ms=self.clock.now_ms(), faults=faults or {})
        try:
            return self.endpoints[endpoint](call)
        finally:
            self.commit()

    def commit(self) -> None:
        before = len(self.portfolio.trades)
        self.desk.commit()
        if before or self._amounts:
            amounts = self.positions()
            if not self._amounts or self._amounts[-1][1] != amounts:
                self._amounts.append((self.timeline.now, amounts))
                del self._amounts[:-AMOUNTS_KEPT]

    def tick(self) -> None:
        """The market moves over what rests; countdowns run out."""
        adapter, now_ms = self.desk.core, self.clock.now_ms()
        for symbol in sorted({order.symbol for order in self.portfolio.open.values()}):
            adapter.on_book(self.market.book(symbol), now_ms)
        if self.portfolio.account.countdowns or self.portfolio.open:
            adapter.on_timer(now_ms)
            self.commit()

    def positions(self) -> dict[str, Decimal]:
        """The truth."""
        return {position.symbol: position.amount for position in self.portfolio.held()}

    def our_orders(self) -> list[Order]:
        return [order for order in self.portfolio.orders.values() if is_ours(order.client_order_id)]

    def lagging(self, endpoint: str, reply: Any, lag_seconds: float) -> Any:
        """The same answer from a replica that is `lag_seconds` behind. Raises: VenueError (−2013)."""
        since_ms = self.clock.now_ms() - int(lag_seconds * 1000)
        if endpoint == "GET order":
            if reply["time"] > since_ms:
                raise refused(-2013)
            if reply["updateTime"] > since_ms:
                return {**reply, "status": "NEW", "executedQty": "0", "avgPrice": "0"}
        if endpoint == "GET userTrades":
            return [row for row in reply if row["time"] <= since_ms]
        if endpoint == "GET openOrders":
            return [row for row in reply if row["time"] <= since_ms]
        if endpoint == "GET positionRisk":
            then: dict[str, Decimal] = {}
            for when, amounts in self._amounts:
                if when > self.timeline.now - lag_seconds:
                    break
                then = amounts
            rows = {row["symbol"]: row for row in reply}
            return [
                {
                    **rows.get(symbol, {"symbol": symbol, "entryPrice": "1", "markPrice": "1"}),
                    "positionAmt": str(amount),
                }
                for symbol, amount in then.items()
            ]
        return reply


@dataclass(frozen=True, slots=True)
class _Request:
    """One request on its way."""

    endpoint: str
    params: Mapping[str, str]
    timestamp_ms: int | None
    road: Road
    orders: int
    reply: "asyncio.Future[Any]"


class Wire:
    """Satisfies `runner.exchange.binance.client.Client` for one process. After its death requests arrive, replies reach nobody."""

    def __init__(
        self,
        exchange: Exchange,
        budget: Budget,
        *,
        recv_window_ms: int,
        on_leaving: Callable[[list[str]], None],
    ) -> None:
        self._exchange = exchange
        self._faults = exchange.faults
        self._budget = budget
        self._recv_window_ms = recv_window_ms
        self._on_leaving = on_leaving
        self.dead = False

    async def close(self) -> None: ...

    async def fapiPublicGetTime(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("GET time", {}, signed=False)

    async def fapiPrivatePostOrder(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("POST order", params, ids=[params["newClientOrderId"]])

    async def fapiPrivatePostBatchOrders(self, params: Any = None) -> Any:  # noqa: N802
        rows = params["batchOrders"]
        sent = {"batchOrders": msgspec.json.encode(rows).decode()}
        return await self._ask("POST batchOrders", sent, ids=[row["newClientOrderId"] for row in rows])

    async def fapiPrivateGetOrder(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("GET order", params)

    async def fapiPrivateDeleteOrder(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("DELETE order", params)

    async def fapiPrivateGetOpenOrders(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("GET openOrders", params or {})

    async def fapiPrivateGetUserTrades(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("GET userTrades", params)

    async def fapiPrivateV3GetPositionRisk(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("GET positionRisk", {})

    async def fapiPrivateV3GetAccount(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("GET account", {})

    async def fapiPrivatePostCountdownCancelAll(self, params: Any = None) -> Any:  # noqa: N802
        return await self._ask("POST countdownCancelAll", params)

    async def _ask(
        self, endpoint: str, params: Mapping[str, Any], *, ids: list[str] | None = None, signed: bool = True
    ) -> Any:
        """One request there and back. Raises what ccxt and its hook raise."""
        if self.dead:
            raise Dead
        if self._budget.blocked_ms() > 0:
            raise HeldBack(self._budget.blocked_ms())
        faults = self._faults
        road = faults.road(is_order=ids is not None)
        if road is Road.UNREACHABLE:
            raise ccxt.ExchangeNotAvailable("cannot connect") from socket.gaierror()
        if ids:
            self._on_leaving(ids)
        timestamp_ms = self._budget.exchange_clock.now_ms() if signed else None
        texts = {name: str(value) for name, value in params.items()}
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._send(_Request(endpoint, texts, timestamp_ms, road, len(ids or ()), reply))
        return await reply

    def _send(self, request: "_Request") -> None:
        faults, timeline, road, reply = self._faults, self._exchange.timeline, request.road, request.reply
        there = faults.latency()
        if road is Road.LATE:
            there += faults.seed.choice((0.3, 1.0, 2.0, 3.0, 6.0))
            if faults.seed.random() < 0.5:
                self._later(faults.latency(), reply, ccxt.ExchangeNotAvailable("connection lost"))
        if road in EXECUTED:
            self._exchange.in_the_air += 1
            timeline.after(there, self._arrive, request)
        elif road in ERRORS:
            self._later(there + faults.latency(), reply, self._error(road))
        elif road is Road.LOST_DROPPED:
            self._later(there, reply, ccxt.ExchangeNotAvailable("connection lost"))

    def _arrive(self, request: "_Request") -> None:
        exchange, faults, road = self._exchange, self._faults, request.road
        exchange.in_the_air -= 1
        outcome: Any
        if self._is_outside_window(request.timestamp_ms):
            outcome = ExchangeReply(400, -1021, "Timestamp for this request is outside of the recvWindow.")
        else:
            try:
                elements = faults.elements(request.orders) if request.orders else None
                outcome = exchange.serve(request.endpoint, request.params, elements)
                lag = faults.lag_seconds(request.endpoint) if request.endpoint.startswith("GET") else 0.0
                if lag:
                    outcome = exchange.lagging(request.endpoint, outcome, lag)
            except ApiError as error:
                outcome = ExchangeReply(error.status, error.code, error.text)
        if request.orders:
            faults.tell(
                f"  ++ {request.endpoint} arrives: {outcome if isinstance(outcome, Exception) else _brief(outcome)}"
            )
        back = faults.latency()
        if road in {Road.SILENT, Road.LATE}:
            return
        if road is Road.DROPPED:
            outcome = ccxt.ExchangeNotAvailable("connection lost")
        elif road is Road.SLOW:
            back += faults.seed.choice((0.5, 2.0, 5.0))
        elif road is Road.EXECUTED_MANGLED:
            outcome = self._mangled(request.endpoint, outcome)
        elif road in ERRORS:
            outcome = self._error(road)
        self._later(back, request.reply, outcome)

    def _is_outside_window(self, timestamp_ms: int | None) -> bool:
        if timestamp_ms is None:
            return False
        now_ms = self._exchange.clock.now_ms()
        return not now_ms - self._recv_window_ms <= timestamp_ms < now_ms + AHEAD_MS_MAX

    def _mangled(self, endpoint: str, outcome: Any) -> Any:
        """JSON that is not the answer. A list that merely lacks a row would be a lie nobody can see through."""
        draw = self._faults.seed.randrange(4)
        if isinstance(outcome, list) and endpoint.startswith("GET"):
            return [None, {"rows": outcome}, [None], "maintenance"][draw]
        if isinstance(outcome, list):
            return [outcome[:-1], [*outcome, *outcome], [None for _ in outcome], list(reversed(outcome))][draw]
        if isinstance(outcome, dict):
            return [None, [], {}, {**outcome, "clientOrderId": "somebody-else", "symbol": "NOSUCH"}][draw]
        return outcome

    def _error(self, road: Road) -> ExchangeReply:
        status, code, text = ERRORS[road]
        headers = {}
        if status in {418, 429}:
            headers = {"Retry-After": str(self._faults.seed.choice((1, 2, 5)))}
        return _Told(status, code, text, headers)

    def _later(self, seconds: float, reply: "asyncio.Future[Any]", outcome: Any) -> None:
        self._exchange.timeline.after(seconds, self._deliver, reply, outcome)

    def _deliver(self, reply: "asyncio.Future[Any]", outcome: Any) -> None:
        if self.dead or reply.done():  # Done: its reader gave up.
            return
        if isinstance(outcome, ExchangeReply):
            headers = outcome.headers if isinstance(outcome, _Told) else {}
            self._budget.observe(outcome.http_status, headers, outcome.message)
        if isinstance(outcome, Exception):
            reply.set_exception(outcome)
        else:
            reply.set_result(outcome)


def _brief(reply: Any) -> str:
    rows = reply if isinstance(reply, list) else [reply]
    return "; ".join(
        f"{row['clientOrderId']} {row['status']} {row['executedQty']}" if "orderId" in row else str(row) for row in rows
    )


class _Told(ExchangeReply):
    """An error with the headers it came with."""

    def __init__(self, http_status: int, code: int | None, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(http_status, code, message)
        self.headers = headers
