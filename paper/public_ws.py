"""Binance's public websocket routes: subscriptions, pushes, pings and the rules a connection must keep."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal

from aiohttp import WSMessage, WSMsgType, web

from paper import stream_payloads as payloads
from paper.faults import StreamFaults
from paper.market import Book, Listing, Market
from paper.stream_connection import Connection, frame
from paper.stream_names import Route, StreamName, parse_stream
from paper.stream_pushes import Push
from paper.tasks import cancel_all

_BEAT_SECONDS = 0.05
_CLOSE_GRACE_SECONDS = 5.0
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class BadRequest(Exception):
    """A control message that is answered with an error frame of this code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _request_id(request: object) -> object:
    """The id to echo: an unsigned integer or a string, else nothing."""
    request_id = request.get("id") if isinstance(request, dict) else None
    return request_id if isinstance(request_id, int | str) and not isinstance(request_id, bool) else None


def _parse(text: str) -> dict[str, object]:
    """Raises: BadRequest when the text is no request."""
    try:
        request = json.loads(text)
    except ValueError:
        raise BadRequest(3, "Invalid JSON: expected value at line 1 column 1") from None
    if not isinstance(request, dict):
        raise BadRequest(2, "Invalid request: request must be an object")
    if _request_id(request) != request.get("id"):
        raise BadRequest(2, "Invalid request: request ID must be an unsigned integer or a string")
    return request


class PublicStreams:
    """Every public connection. `publish` never waits: a listener that does not read is dropped.

    Times are wall seconds: a ping every `ping_seconds`, a close after `pong_seconds` without a pong, and a close of
    every connection after `lifetime_seconds`.
    """

    def __init__(
        self,
        market: Market,
        faults: StreamFaults,
        *,
        ping_seconds: float = 180.0,
        pong_seconds: float = 600.0,
        lifetime_seconds: float = 86_400.0,
        messages_per_second_max: int = 10,
        streams_max: int = 1_024,
        buffer_bytes_max: int = 4 << 20,
    ) -> None:
        self._market = market
        self._faults = faults
        self._ping_seconds = ping_seconds
        self._pong_seconds = pong_seconds
        self._lifetime_seconds = lifetime_seconds
        self._messages_per_second_max = messages_per_second_max
        self._streams_max = streams_max
        self._buffer_bytes_max = buffer_bytes_max
        self._connections: set[Connection] = set()
        self._audiences: dict[str, set[Connection]] = {}
        self._tickers: dict[str, set[Connection]] = {}  # bookTicker's audiences by symbol: the hot path.
        self._pushes: dict[str, Push] = {}
        self._statuses = {symbol: _standing(listing) for symbol, listing in market.listings.items()}
        self._beat: asyncio.Task[None] | None = None
        faults.on("drop", self._drop)
        faults.on("garbage", self._garble)

    @property
    def connections(self) -> int:
        """How many listeners are connected."""
        return len(self._connections)

    def routes(self) -> list[web.RouteDef]:
        """Routed, unrouted, raw and combined: everything but the private stream."""
        table: list[web.RouteDef] = []
        prefixes: tuple[tuple[str, Route], ...] = (("/public", "public"), ("/market", "market"), ("", "public"))
        for prefix, route in prefixes:
            raw = self._handler(route, combined=False)
            table += [
                web.get(f"{prefix}/ws", raw),
                web.get(f"{prefix}/ws/{{tail:.*}}", raw),
                web.get(f"{prefix}/stream", self._handler(route, combined=True)),
            ]
        return table

    def publish(self, book: Book) -> None:
        """Tell bookTicker's listeners about a new book."""
        audience = self._tickers.get(book.symbol)
        if audience and not self._faults.frozen:
            self._send_to(f"{book.symbol.lower()}@bookTicker", payloads.book_ticker(book), audience)

    def publish_liquidation(
        self, *, symbol: str, side: str, quantity: Decimal, price: Decimal, average_price: Decimal
    ) -> None:
        """Tell forceOrder's listeners about a liquidation."""
        payload = payloads.force_order(
            self._market, symbol=symbol, side=side, quantity=quantity, price=price, average_price=average_price
        )
        self._announce((f"{symbol.lower()}@forceOrder", "!forceOrder@arr"), payload)

    async def close(self) -> None:
        """Stop pushing and close every connection with 1001 (going away)."""
        if self._beat is not None:
            await cancel_all(self._beat)
            self._beat = None
        for connection in tuple(self._connections):
            connection.close(1001, "", time.monotonic())
        await asyncio.sleep(0)  # Let the close frames leave before the transports are taken down.

    # Sending.

    def _send_to(self, name: str, payload: bytes, audience: Iterable[Connection]) -> None:
        """Encode once for raw and once for combined listeners."""
        raw = combined = b""
        for connection in audience:
            if connection.combined:
                combined = combined or frame(b'{"stream":"%b","data":%b}' % (name.encode(), payload))
                connection.send(combined)
            else:
                raw = raw or frame(payload)
                connection.send(raw)

    def _announce(self, names: Iterable[str], payload: bytes) -> None:
        if self._faults.frozen:
            return
        for name in names:
            self._send_to(name, payload, self._audiences.get(name, ()))

    async def _beating(self) -> None:
        """Push what is due, and keep the rules that depend on time."""
        while True:
            now_seconds = time.monotonic()
            if not self._faults.frozen:
                for push in tuple(self._pushes.values()):
                    if push.due_seconds <= now_seconds:
                        self._push(push, now_seconds)
                self._announce_statuses()
            for connection in tuple(self._connections):
                self._keep_rules(connection, now_seconds)
            await asyncio.sleep(_BEAT_SECONDS)

    def _push(self, push: Push, now_seconds: float) -> None:
        period_seconds = (push.stream.period_ms or 0) / 1_000
        push.due_seconds = max(push.due_seconds + period_seconds, now_seconds)
        audience = self._audiences[push.stream.name]
        for payload in push.payloads():
            self._send_to(push.stream.name, payload, audience)

    def _announce_statuses(self) -> None:
        for symbol, listing in self._market.listings.items():
            if self._statuses.get(symbol) != _standing(listing):
                self._statuses[symbol] = _standing(listing)
                self._announce(("!contractInfo",), payloads.contract_info(listing, self._market.now_ms()))

    def _keep_rules(self, connection: Connection, now_seconds: float) -> None:
        if connection.closing_seconds is not None:
            if now_seconds - connection.closing_seconds > _CLOSE_GRACE_SECONDS:
                connection.abort()
        elif now_seconds - connection.opened_seconds >= self._lifetime_seconds:
            connection.close(1001, "", now_seconds)
        elif now_seconds - max(connection.ponged_seconds, connection.opened_seconds) >= self._pong_seconds:
            connection.abort()
        elif now_seconds - connection.pinged_seconds >= self._ping_seconds:
            connection.ping(now_seconds)

    # Faults.

    def _drop(self, _text: str) -> None:
        for connection in tuple(self._connections):
            connection.abort()

    def _garble(self, text: str) -> None:
        for connection in tuple(self._connections):
            connection.send_text(text.encode())

    # Receiving.

    def _handler(self, route: Route, *, combined: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=1 << 20)
            await socket.prepare(request)
            transport = request.transport
            if transport is None:
                return socket
            connection = Connection(
                transport,
                route=route,
                combined=combined,
                now_seconds=time.monotonic(),
                buffer_bytes_max=self._buffer_bytes_max,
                messages_per_second_max=self._messages_per_second_max,
            )
            if combined:
                names = request.query.get("streams", "").split("/")
            else:
                # ccxt appends a bare connection number; only names of streams are meant.
                names = [name for name in request.match_info.get("tail", "").split("/") if "@" in name or "!" in name]
            await self._serve(connection, socket, [name for name in names if name])
            return socket

        return handle

    async def _serve(self, connection: Connection, socket: web.WebSocketResponse, names: list[str]) -> None:
        self._connections.add(connection)
        if self._beat is None or self._beat.done():
            self._beat = asyncio.create_task(self._beating(), name="public-streams")
        try:
            try:
                self._subscribe(connection, names)
            except BadRequest:
                connection.close(1008, "too many streams", time.monotonic())
            async for message in socket:
                now_seconds = time.monotonic()
                if not connection.admits(now_seconds):
                    connection.close(1008, "too many requests", now_seconds)
                    continue
                self._receive(connection, message, now_seconds)
        finally:
            self._connections.discard(connection)
            self._unsubscribe(connection, tuple(connection.streams))

    def _receive(self, connection: Connection, message: WSMessage, now_seconds: float) -> None:
        match message.type:
            case WSMsgType.PING:
                connection.pong(bytes(message.data))
            case WSMsgType.PONG:
                connection.ponged_seconds = now_seconds
            case WSMsgType.TEXT if not self._faults.frozen:
                connection.send_text(payloads.encode(self._answer(connection, message.data)))
            case _:
                pass  # Binance ignores binary messages; a frozen server ignores everything but pings.

    def _answer(self, connection: Connection, text: str) -> dict[str, object]:
        """The reply to a control message; never wrapped, whatever the mode."""
        request: object = None
        try:
            request = _parse(text)
            return {"result": self._control(connection, request), "id": request.get("id")}
        except BadRequest as error:
            return {"error": {"code": error.code, "msg": str(error)}, "id": _request_id(request)}

    def _control(self, connection: Connection, request: dict[str, object]) -> object:
        method, parameters = request.get("method"), request.get("params", [])
        if method not in _METHODS:
            expected = ", ".join(f"`{known}`" for known in _METHODS)
            raise BadRequest(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}")
        if not isinstance(parameters, list):
            raise BadRequest(2, "Invalid request: params must be an array")
        match method, parameters:
            case "LIST_SUBSCRIPTIONS", _:
                return list(connection.streams)
            case "SET_PROPERTY", ["combined", bool(combined)]:
                connection.combined = combined
                return None
            case "GET_PROPERTY", ["combined"]:
                return connection.combined
            case (("SUBSCRIBE" | "UNSUBSCRIBE"), [_, *_]):
                names = [name for name in parameters if isinstance(name, str)]
                if len(names) != len(parameters):
                    raise BadRequest(2, "Invalid request: params must be an array of strings")
                if method == "SUBSCRIBE":
                    self._subscribe(connection, names)
                else:
                    self._unsubscribe(connection, names)
                return None
            case _:
                raise BadRequest(2, f"Invalid request: wrong params for {method}")

    def _subscribe(self, connection: Connection, names: Iterable[str]) -> None:
        """Raises: BadRequest above the limit of streams."""
        wanted = dict.fromkeys(names)
        if len(connection.streams.keys() | wanted.keys()) > self._streams_max:
            raise BadRequest(2, f"Invalid request: more than {self._streams_max} streams on one connection")
        connection.subscribe(wanted)
        for name in wanted:
            stream = self._audible(connection, name)
            if stream is None:
                continue
            self._audiences.setdefault(name, set()).add(connection)
            if stream.kind == "bookTicker" and stream.symbol:
                self._tickers[stream.symbol] = self._audiences[name]
            elif stream.period_ms is not None and name not in self._pushes:
                self._pushes[name] = Push(stream, self._market, time.monotonic())

    def _audible(self, connection: Connection, name: str) -> StreamName | None:
        """The stream, if it exists and speaks on this route; else it is acknowledged and stays silent."""
        stream = parse_stream(name)
        if stream is None or stream.route != connection.route:
            return None
        return stream if not stream.symbol or stream.symbol in self._market.listings else None

    def _unsubscribe(self, connection: Connection, names: Iterable[str]) -> None:
        for name in names:
            connection.streams.pop(name, None)
            audience = self._audiences.get(name)
            if audience is None:
                continue
            audience.discard(connection)
            if not audience:
                del self._audiences[name]
                self._pushes.pop(name, None)
                stream = parse_stream(name)
                if stream is not None and stream.kind == "bookTicker":
                    self._tickers.pop(stream.symbol, None)


def _standing(listing: Listing) -> tuple[str, int]:
    """What `!contractInfo` announces a change of."""
    return listing.status, listing.delivery_ms
