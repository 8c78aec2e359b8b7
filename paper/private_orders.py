"""Signed endpoints about orders and trades."""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
from aiohttp import web

from domain.units import DAY_MS, WEEK_MS
from paper import payloads
from paper.desk import Call, Desk
from paper.errors import ApiError, refused
from paper.faults import FaultSpec, Kind
from paper.gateway import Gateway, batch_elements
from paper.numbers import ZERO
from paper.orders import Order, check_client_order_id, decimal_of, parse_order
from paper.outcomes import OUTCOMES, error_for, outcome_of
from paper.portfolio import Portfolio

BATCH_MAX = 5
BATCH_CANCEL_MAX = 10
ROWS_DEFAULT = 500
ROWS_MAX = 1000
UNFILLED_KEPT_MS = 3 * DAY_MS
POST_ONLY_WOULD_TAKE = 11
NO_ID = "Param 'origclientorderid' or 'orderid' must be sent, but both were empty/null!"


def integer_of(params: Mapping[str, str], name: str, *, default: int | None = None) -> int | None:
    """An unsigned integer parameter. Raises: VenueError -1130."""
    text = params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise refused(-1130, name)
    return int(text)


def limit_of(params: Mapping[str, str], *, default: int = ROWS_DEFAULT) -> int:
    """The parameter "limit". Raises: VenueError -1130 beyond 1..1000."""
    limit = integer_of(params, "limit", default=default)
    if limit is None or not 1 <= limit <= ROWS_MAX:
        raise refused(-1130, "limit")
    return limit


def period_of(params: Mapping[str, str], *, length_ms_max: int | None) -> tuple[int | None, int | None]:
    """startTime and endTime. Raises: VenueError -1023, -1127 or -1130."""
    start_ms, end_ms = integer_of(params, "startTime"), integer_of(params, "endTime")
    if start_ms is not None and end_ms is not None:
        if start_ms > end_ms:
            raise refused(-1023)
        if length_ms_max is not None and end_ms - start_ms > length_ms_max:
            raise refused(-1127)
    return start_ms, end_ms


def inside(time_ms: int, start_ms: int | None, end_ms: int | None) -> bool:
    """Whether a row falls into the asked period."""
    return (start_ms is None or time_ms >= start_ms) and (end_ms is None or time_ms <= end_ms)


class OrderEndpoints:
    """Handlers; each takes a Call and returns the JSON payload."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._core = desk.core
        self._with_average = desk.options.core.replies_carry_average_price

    def routes(self, gateway: Gateway) -> list[web.RouteDef]:
        """All routes of this desk."""
        v1 = "/fapi/v1"
        table = [
            ("POST", "/order", self.place),
            ("PUT", "/order", self.amend),
            ("GET", "/order", self.query),
            ("DELETE", "/order", self.cancel),
            ("POST", "/batchOrders", self.place_batch),
            ("DELETE", "/batchOrders", self.cancel_batch),
            ("GET", "/openOrders", self.open_orders),
            ("GET", "/openOrder", self.open_order),
            ("GET", "/allOrders", self.all_orders),
            ("DELETE", "/allOpenOrders", self.cancel_all),
            ("GET", "/userTrades", self.trades),
            ("POST", "/countdownCancelAll", self.countdown),
            ("GET", "/openAlgoOrders", lambda _call: []),
            ("GET", "/allAlgoOrders", lambda _call: []),
            ("DELETE", "/algoOpenOrders", self.cancel_algo),
            ("GET", "/rateLimit/order", lambda call: desk_limits(self._desk, call)),
        ]
        return [web.route(method, v1 + path, gateway.signed(endpoint)) for method, path, endpoint in table]

    def place(self, call: Call) -> object:
        """POST order."""
        call.headers.update(self._desk.limits.count_orders(call.portfolio.account.key, in_10s=1, in_minute=1))
        return self._place(call.portfolio, call.params, call.now_ms, call.faults.get(0, []))

    def place_batch(self, call: Call) -> object:
        """POST batchOrders: each element is judged for itself."""
        rows = batch_elements(call.params)
        if not 1 <= len(rows) <= BATCH_MAX:
            raise ApiError(-4082, "Invalid number of batch place orders.")
        call.headers.update(self._desk.limits.count_orders(call.portfolio.account.key, in_10s=5, in_minute=1))
        replies: list[object] = []
        for element, row in enumerate(rows):
            try:
                replies.append(self._place(call.portfolio, row, call.now_ms, call.faults.get(element, [])))
            except ApiError as error:
                replies.append(error.body())
        return replies

    def _place(
        self, portfolio: Portfolio, params: Mapping[str, str], now_ms: int, faults: Sequence[FaultSpec]
    ) -> object:
        fill_quantity_max: Decimal | None = None
        hidden_ms = 0
        overtaken = False
        instead: ApiError | None = None
        for spec in faults:
            match spec.kind:
                case Kind.REJECTED:
                    raise refused(spec.parameters.code)
                case Kind.PARTIAL:
                    quantity = decimal_of(params, "quantity") or ZERO
                    share = spec.parameters.quantity
                    fill_quantity_max = share if share is not None else quantity * (spec.parameters.fraction or ZERO)
                case Kind.POST_ONLY_EXPIRED:
                    overtaken = True
                case Kind.HIDDEN:
                    hidden_ms = spec.parameters.delay_ms
                case Kind.LATE:
                    self._desk.spawn(self._place_late(portfolio, params, spec.parameters.delay_ms))
                    raise error_for(outcome_of(spec))
                case _:
                    instead = error_for(OUTCOMES[spec.kind])
                    if not OUTCOMES[spec.kind].executed:
                        raise instead
        request = parse_order(params, now_ms)
        order = self._core.place(portfolio, request, now_ms, fill_quantity_max=fill_quantity_max)
        form = payloads.order_reply if request.result else payloads.acknowledgement
        listing = self._core.listing(order.symbol)
        reply = form(order, listing, with_average=self._with_average)  # As it stood when it was accepted.
        if overtaken and order.time_in_force == "GTX" and order.open:
            self._desk.books.end(portfolio, order, "EXPIRED", now_ms, expiry_reason=POST_ONLY_WOULD_TAKE)
        if hidden_ms:
            self._desk.hide(order.order_id, hidden_ms)
        if instead is not None:
            raise instead
        return reply

    async def _place_late(self, portfolio: Portfolio, params: Mapping[str, str], delay_ms: int) -> None:
        await asyncio.sleep(delay_ms / 1000)
        now_ms = self._desk.clock.now_ms()
        try:
            self._core.place(portfolio, parse_order(params, now_ms), now_ms)
        except ApiError:
            return  # Nobody waits for the answer.
        finally:
            self._desk.commit()

    def _reply(self, order: Order) -> object:
        listing = self._core.listing(order.symbol)
        return payloads.order_reply(order, listing, with_average=self._with_average)

    def _address(self, call: Call) -> tuple[str, int | None, str | None]:
        """Symbol and one of the two ids. Raises: VenueError -1102, -1121."""
        symbol = self._core.listing(call.params.get("symbol")).symbol
        order_id = integer_of(call.params, "orderId")
        client_order_id = call.params.get("origClientOrderId") or None
        if order_id is None and client_order_id is None:
            raise ApiError(-1102, NO_ID)
        if client_order_id is not None:
            check_client_order_id(client_order_id, "origClientOrderId")
        return symbol, order_id, client_order_id

    def _find(self, call: Call) -> Order:
        order = call.portfolio.find(*self._address(call))
        if order is None or self._desk.hidden(order.order_id):
            raise refused(-2013)
        old = call.now_ms - order.created_ms > UNFILLED_KEPT_MS
        if old and not order.filled and order.status in ("CANCELED", "EXPIRED"):
            raise refused(-2013)
        return order

    def query(self, call: Call) -> object:
        """GET order."""
        order = self._find(call)
        return payloads.order_row(order, self._core.listing(order.symbol))

    def open_order(self, call: Call) -> object:
        """GET openOrder."""
        order = self._find(call)
        if not order.open:
            raise refused(-2013)
        return payloads.order_row(order, self._core.listing(order.symbol))

    def cancel(self, call: Call) -> object:
        """DELETE order."""
        return self._reply(self._core.cancel(call.portfolio, *self._address(call), call.now_ms))

    def cancel_batch(self, call: Call) -> object:
        """DELETE batchOrders."""
        symbol = self._core.listing(call.params.get("symbol")).symbol
        try:
            ids = msgspec.json.decode(call.params.get("orderIdList", "[]"), type=list[int])
            names = msgspec.json.decode(call.params.get("origClientOrderIdList", "[]"), type=list[str])
        except msgspec.MsgspecError:
            raise refused(-1130, "orderIdList") from None
        if not 1 <= len(ids) + len(names) <= BATCH_CANCEL_MAX:
            raise ApiError(-4083, "Invalid number of batch cancel orders.")
        replies: list[object] = []
        for order_id, name in [(order_id, None) for order_id in ids] + [(None, name) for name in names]:
            try:
                replies.append(self._reply(self._core.cancel(call.portfolio, symbol, order_id, name, call.now_ms)))
            except ApiError as error:
                replies.append(error.body())
        return replies

    def amend(self, call: Call) -> object:
        """PUT order."""
        order = self._find(call)
        quantity, price = decimal_of(call.params, "quantity"), decimal_of(call.params, "price")
        if quantity is None:
            raise refused(-1102, "quantity")
        if price is None:
            raise refused(-1102, "price")
        return self._reply(self._core.amend(call.portfolio, order, quantity, price, call.now_ms))

    def open_orders(self, call: Call) -> object:
        """GET openOrders."""
        symbol = call.params.get("symbol")
        if symbol is not None:
            self._core.listing(symbol)
        return [
            payloads.order_row(order, self._core.listing(order.symbol))
            for order in call.portfolio.open_orders(symbol)
            if not self._desk.hidden(order.order_id)
        ]

    def all_orders(self, call: Call) -> object:
        """GET allOrders: from an id, from a time, or the latest."""
        listing = self._core.listing(call.params.get("symbol"))
        limit = limit_of(call.params)
        first_id = integer_of(call.params, "orderId")
        start_ms, end_ms = period_of(call.params, length_ms_max=WEEK_MS)
        rows = [
            order
            for order in call.portfolio.orders.values()
            if order.symbol == listing.symbol
            and (first_id is None or order.order_id >= first_id)
            and inside(order.created_ms, start_ms, end_ms)
            and not self._desk.hidden(order.order_id)
        ]
        chosen = rows[-limit:] if first_id is None and start_ms is None else rows[:limit]
        return [payloads.order_row(order, listing) for order in chosen]

    def cancel_all(self, call: Call) -> object:
        """DELETE allOpenOrders."""
        symbol = self._core.listing(call.params.get("symbol")).symbol
        self._core.cancel_all(call.portfolio, symbol, call.now_ms)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def cancel_algo(self, call: Call) -> object:
        """DELETE algoOpenOrders: there are never any."""
        self._core.listing(call.params.get("symbol"))
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def trades(self, call: Call) -> object:
        """GET userTrades."""
        symbol = self._core.listing(call.params.get("symbol")).symbol
        limit = limit_of(call.params)
        order_id, first_id = integer_of(call.params, "orderId"), integer_of(call.params, "fromId")
        start_ms, end_ms = period_of(call.params, length_ms_max=WEEK_MS)
        if first_id is not None and (start_ms is not None or end_ms is not None):
            raise refused(-1128)
        rows = [
            trade
            for trade in call.portfolio.trades
            if trade.symbol == symbol
            and (order_id is None or trade.order_id == order_id)
            and (first_id is None or trade.trade_id >= first_id)
            and inside(trade.time_ms, start_ms, end_ms)
        ]
        chosen = rows[-limit:] if first_id is None and start_ms is None else rows[:limit]
        return [payloads.trade_row(trade) for trade in chosen]

    def countdown(self, call: Call) -> object:
        """POST countdownCancelAll: cancels every open order of the symbol unless re-armed in time; 0 disarms."""
        symbol = self._core.listing(call.params.get("symbol")).symbol
        countdown_ms = integer_of(call.params, "countdownTime")
        if countdown_ms is None:
            raise refused(-1102, "countdownTime")
        account = call.portfolio.account
        if countdown_ms:
            account.countdowns[symbol] = call.now_ms + countdown_ms
        else:
            account.countdowns.pop(symbol, None)
        self._desk.books.touch(call.portfolio, call.now_ms)
        return {"symbol": symbol, "countdownTime": str(countdown_ms)}


def desk_limits(desk: Desk, call: Call) -> object:
    """GET rateLimit/order."""
    return desk.limits.order_rows(call.portfolio.account.key)
