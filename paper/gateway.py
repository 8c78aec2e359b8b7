"""The gate of the REST side: budgets, faults, keys, signatures, and errors in Binance's words."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from paper.desk import Call, Desk, OrderArrival
from paper.errors import ApiError, refused
from paper.faults import ELEMENT_KINDS, ORDER_PATHS, FaultSpec, Kind, OrderFacts
from paper.limits import Limited, weight_of
from paper.outcomes import Outcome, fault_reply, json_reply, outcome_of
from paper.signing import check_signature, check_window

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Endpoint = Callable[[Call], object]
API_PREFIX = "/fapi/"


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The exact texts that were sent, and what they mean."""

    query: str
    body: str
    params: dict[str, str]


class OrderFaults(msgspec.Struct, kw_only=True):
    """What shall go wrong with single orders of a request, by element."""

    by_element: dict[int, list[FaultSpec]] = msgspec.field(default_factory=dict)


RECEIVED = web.RequestKey("received", Received)
FAULTS = web.RequestKey("faults", OrderFaults)
BATCH = msgspec.json.Decoder(list[dict[str, Any]], float_hook=str)  # A number stays the text that was sent.


async def receive(request: web.Request) -> Received:
    """Read a request once. A parameter in both places counts as the query has it."""
    _, _, query = request.raw_path.partition("?")
    body = (await request.read()).decode("utf-8", "replace") if request.body_exists else ""
    params = dict(parse_qsl(body, keep_blank_values=True)) if body else {}
    if query:
        params.update(parse_qsl(query, keep_blank_values=True))
    return Received(query=query, body=body, params=params)


def order_facts(path: str, params: Mapping[str, str]) -> tuple[OrderFacts, ...]:
    """What faults may look at; a request without orders counts as one order without properties."""
    rows: list[Mapping[str, str]] = [params]
    if path == "/fapi/v1/batchOrders" and "batchOrders" in params:
        try:
            rows = batch_elements(params)
        except ApiError:
            rows = []
    return tuple(
        OrderFacts(
            symbol=row.get("symbol", ""),
            side=row.get("side", ""),
            client_order_id=row.get("newClientOrderId") or row.get("origClientOrderId", ""),
            element=element,
        )
        for element, row in enumerate(rows)
    )


def batch_elements(params: Mapping[str, str]) -> list[Mapping[str, str]]:
    """The orders of a batch, every value as the text a single order would carry.

    Raises: VenueError -1102 or -1130.
    """
    text = params.get("batchOrders")
    if not text:
        raise refused(-1102, "batchOrders")
    try:
        rows = BATCH.decode(text)
    except msgspec.MsgspecError:
        raise refused(-1130, "batchOrders") from None
    return [{name: _text_of(field) for name, field in row.items()} for row in rows]


def _text_of(field: object) -> str:
    return str(field).lower() if isinstance(field, bool) else str(field)


class Gateway:
    """Middleware for everything under /fapi, and the door to signed endpoints."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def middleware(self) -> Middleware:
        """The aiohttp middleware."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith(API_PREFIX):
                return await handler(request)
            return await self._guard(request, handler)

        return guard

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        desk = self._desk
        received_ns = desk.clock.monotonic_ns()
        received = await receive(request)
        request[RECEIVED] = received
        request[FAULTS] = OrderFaults()
        method, path = request.method, request.path
        try:
            used = desk.limits.charge(request.remote or "", weight_of(method, path, received.params))
        except Limited as error:
            return json_reply(
                error.body(), status=error.status, headers={"Retry-After": str(error.retry_after_seconds)}
            )
        new_orders = method == "POST" and path in ORDER_PATHS
        response: web.StreamResponse | None = None
        if new_orders or not desk.board.idle:
            orders = order_facts(path, received.params)
            if new_orders:
                ids = tuple(order.client_order_id for order in orders)
                arrival = OrderArrival(received_monotonic_ns=received_ns, path=path, client_order_ids=ids)
                desk.orders_log.append(arrival)
            if not desk.board.idle:
                response = await self._suffer(request, handler, orders)
        if response is None:
            response = await self._answer(request, handler)
        response.headers["x-mbx-used-weight-1m"] = str(used)
        return response

    async def _suffer(
        self, request: web.Request, handler: Handler, orders: tuple[OrderFacts, ...]
    ) -> web.StreamResponse | None:
        """Let the board have its way with the request; None when it goes through."""
        board = self._desk.board
        method, path = request.method, request.path
        faults = request[FAULTS].by_element
        faults.update(board.take_orders(method, path, orders))
        spec = board.take_request(method, path, orders)
        if spec is None:
            return None
        if spec.kind in ELEMENT_KINDS:
            for order in orders:
                faults.setdefault(order.element, []).append(spec)
            return None
        outcome = outcome_of(spec)
        if spec.kind is Kind.LATE:
            self._desk.spawn(self._execute_late(request, handler, spec.parameters.delay_ms))
            return fault_reply(outcome, request)
        return await self._outcome_reply(request, handler, outcome, spec.parameters.delay_ms)

    async def _outcome_reply(
        self, request: web.Request, handler: Handler, outcome: Outcome, delay_ms: int
    ) -> web.StreamResponse:
        response = await self._answer(request, handler) if outcome.executed else None
        if outcome.delayed:
            await asyncio.sleep(delay_ms / 1000)
        truthful = outcome.code is None and outcome.text is None and not outcome.dropped
        return response if truthful and response is not None else fault_reply(outcome, request)

    async def _execute_late(self, request: web.Request, handler: Handler, delay_ms: int) -> None:
        """Reach matching later. The signature's window is checked then, so never beyond it."""
        await asyncio.sleep(delay_ms / 1000)
        await self._answer(request, handler)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return json_reply(error.body(), status=error.status)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            unknown = refused(-5000, request.path, request.method)
            return json_reply(unknown.body(), status=unknown.status)

    def keyed(self, endpoint: Endpoint) -> Handler:
        """An endpoint that needs the key header alone."""

        async def handle(request: web.Request) -> web.Response:
            return self._serve(request, endpoint, signed=False)

        return handle

    def signed(self, endpoint: Endpoint) -> Handler:
        """An endpoint that needs key, timestamp and signature."""

        async def handle(request: web.Request) -> web.Response:
            return self._serve(request, endpoint, signed=True)

        return handle

    def _serve(self, request: web.Request, endpoint: Endpoint, *, signed: bool) -> web.Response:
        desk = self._desk
        received = request[RECEIVED]
        key = request.headers.get("X-MBX-APIKEY", "")
        if not key:
            raise refused(-2014)
        portfolio = desk.books.portfolios.get(key)
        if portfolio is None:
            raise refused(-2015)
        now_ms = desk.clock.now_ms()
        if signed:
            check_window(received.params, now_ms)
            check_signature(portfolio.account.secret, received.query, received.body)
        call = Call(portfolio=portfolio, params=received.params, now_ms=now_ms, faults=request[FAULTS].by_element)
        try:
            payload = endpoint(call)
        finally:
            desk.commit()
        return json_reply(payload, headers=call.headers)
