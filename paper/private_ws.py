"""The user stream: every event of an account to each of its connections, with the faults that streams have."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from paper.desk import Desk
from paper.events import Event, listen_key_expired
from paper.faults import Kind
from paper.tasks import cancel_all

MESSAGES_PER_SECOND_MAX = 10


class Connection:
    """One socket of a user stream: a bounded queue and the one task that writes it."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        key: str,
        listen_key: str,
        *,
        combined: bool,
    ) -> None:
        self.socket = socket
        self.transport = transport
        self.key = key
        self.listen_key = listen_key
        self.combined = combined
        self.events: frozenset[str] = frozenset()
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.pong_ms = 0

    def wants(self, name: str) -> bool:
        """Whether the connection asked for this event; asking for nothing is asking for all."""
        return not self.events or name in self.events

    def push(self, event: Event) -> None:
        """Queue an event in the connection's own form."""
        payload: object = {"stream": self.listen_key, "data": event} if self.combined else event
        self.queue.put_nowait(msgspec.json.encode(payload).decode())


class UserStreams:
    """All user streams of the exchange."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._options = desk.options.streams
        self._connections: set[Connection] = set()
        self._held_back: list[tuple[str, Event]] = []
        desk.listeners.hear_accounts(self.publish)
        desk.board.user.on("drop", lambda _text: self.drop())
        desk.board.user.on("garbage", self.send_raw)

    def routes(self) -> list[web.RouteDef]:
        """The private routes."""
        return [
            web.get("/private/ws", self._handle),
            web.get("/private/ws/{listen_key}", self._handle),
            web.get("/private/stream", self._handle),
        ]

    def publish(self, key: str, event: Event) -> None:
        """Send an event to every connection of the account, as far as faults let it pass."""
        board = self._desk.board
        spec = None if board.idle else board.take_user_event()
        if spec is not None and spec.kind is Kind.USER_DELAYED:
            self._desk.spawn(self._publish_later(key, event, spec.parameters.delay_ms))
            return
        if spec is not None and spec.kind is Kind.USER_REORDERED:
            self._held_back.append((key, event))
            return
        self._send(key, event)
        if spec is not None:
            self._send(key, event)
        held_back, self._held_back = self._held_back, []
        for held_key, held_event in held_back:
            self._send(held_key, held_event)

    async def _publish_later(self, key: str, event: Event, delay_ms: int) -> None:
        await asyncio.sleep(delay_ms / 1000)
        self._send(key, event)

    def _send(self, key: str, event: Event) -> None:
        portfolio = self._desk.books.portfolios.get(key)
        if portfolio is None or self._desk.board.user.frozen:
            return
        for connection in tuple(self._connections):
            live = connection.key == key and connection.listen_key == portfolio.account.listen_key
            if live and connection.wants(str(event["e"])):
                connection.push(event)
                if connection.queue.qsize() > self._options.queue_events_max:
                    self._abort(connection)

    def expire_keys(self, now_ms: int) -> None:
        """Announce listen keys that ran out; their sockets stay open and say nothing more."""
        for portfolio in self._desk.books.portfolios.values():
            account = portfolio.account
            if account.listen_key is not None and now_ms >= account.listen_key_expires_ms:
                self.expire_key(account.key, now_ms)

    def expire_key(self, key: str, now_ms: int) -> None:
        """Let one account's listen key run out now."""
        portfolio = self._desk.books.portfolios[key]
        listen_key = portfolio.account.listen_key
        if listen_key is None:
            return
        portfolio.account.listen_key = None
        self._desk.books.touch(portfolio, now_ms)
        for connection in tuple(self._connections):
            if connection.listen_key == listen_key:
                connection.push(listen_key_expired(listen_key, now_ms))

    def send_raw(self, text: str) -> None:
        """Inject a frame that is not an event."""
        for connection in tuple(self._connections):
            connection.queue.put_nowait(text)

    def drop(self) -> None:
        """Abort every connection, without a close frame."""
        for connection in tuple(self._connections):
            self._abort(connection)

    def _abort(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection.transport is not None:
            connection.transport.abort()  # No close frame: the client sees 1006.

    async def close(self) -> None:
        """Say goodbye to everybody."""
        for connection in tuple(self._connections):
            await connection.socket.close(code=1001, message=b"shutting down")

    async def _handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False, max_msg_size=65_536)
        await socket.prepare(request)
        combined = request.path.endswith("/stream")
        listen_key = (
            request.match_info.get("listen_key")
            or request.query.get("listenKey")
            or request.query.get("streams", "").partition("/")[0]
        )
        owner = next(
            (
                portfolio.account.key
                for portfolio in self._desk.books.portfolios.values()
                if listen_key and portfolio.account.listen_key == listen_key
            ),
            "",
        )
        connection = Connection(socket, request.transport, owner, listen_key, combined=combined)
        if events := request.query.get("events"):
            connection.events = frozenset(events.split("/"))
        if not owner:
            connection.push(listen_key_expired(listen_key, self._desk.clock.now_ms()))
        self._connections.add(connection)
        writer = asyncio.get_running_loop().create_task(self._write(connection))
        keeper = asyncio.get_running_loop().create_task(self._keep(connection))
        try:
            await self._read(connection)
        finally:
            self._connections.discard(connection)
            await cancel_all(writer, keeper)
        return socket

    async def _write(self, connection: Connection) -> None:
        while True:
            text = await connection.queue.get()
            try:
                await connection.socket.send_str(text)
            except ConnectionError:
                return  # The reader notices too and ends the connection.

    async def _keep(self, connection: Connection) -> None:
        """Ping, and close what does not answer or has lived its day."""
        options = self._options
        clock = self._desk.clock
        born_ms = connection.pong_ms = clock.monotonic_ms()
        ends_ms = born_ms + options.connection_life_seconds * 1000
        while True:
            left_seconds = (ends_ms - clock.monotonic_ms()) / 1000
            await asyncio.sleep(max(0.0, min(options.ping_every_seconds, left_seconds)))
            now_ms = clock.monotonic_ms()
            silent = now_ms - connection.pong_ms > options.pong_wait_seconds_max * 1000
            if silent or now_ms >= ends_ms:
                await connection.socket.close()
                return
            try:
                await connection.socket.ping(str(now_ms).encode())
            except ConnectionError:
                return

    async def _read(self, connection: Connection) -> None:
        """Answer pings and control requests until the client leaves or talks too much."""
        second, received = 0, 0
        async for message in connection.socket:
            now_second = self._desk.clock.monotonic_ms() // 1000
            second, received = (second, received + 1) if now_second == second else (now_second, 1)
            if received > MESSAGES_PER_SECOND_MAX:
                await connection.socket.close(code=1008, message=b"Too many requests")
                return
            if message.type is WSMsgType.PING:
                await connection.socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                connection.pong_ms = self._desk.clock.monotonic_ms()
            elif message.type is WSMsgType.TEXT:
                connection.queue.put_nowait(msgspec.json.encode(_control_reply(message.data, connection)).decode())


def _control_reply(text: str, connection: Connection) -> Mapping[str, Any]:
    try:
        request = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}}
    match request.get("method"):
        case "SUBSCRIBE" | "UNSUBSCRIBE" | "SET_PROPERTY":
            return {"result": None, "id": request.get("id")}
        case "LIST_SUBSCRIPTIONS":
            return {"result": [connection.listen_key], "id": request.get("id")}
        case _:
            return {"error": {"code": 2, "msg": "Invalid request: unknown method"}, "id": request.get("id")}
