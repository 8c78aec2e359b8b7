"""The account's own event stream: listenKey kept alive, expiry and silence handled, every gap announced.

The stream is a fast path, never the only one: whoever consumes it confirms by query what it did not hear.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

from domain.ladder import step_of
from domain.refusals import RefusalKind
from domain.symbols import Symbol
from runner import events
from runner.events import EventCallback
from runner.exchange.binance.client import Client
from runner.exchange.binance.requests import send
from runner.exchange.binance.shapes import UNREADABLE
from runner.exchange.binance.transport import distrust, open_socket
from runner.exchange.binance.wire import SymbolOf, fill_of_event, report_of_event
from runner.exchange.errors import ExchangeError, OutcomeUnknown
from runner.exchange.port import UserNews
from runner.exchange.priority import Priority
from runner.ports import Clock
from runner.tasks import cancel_all, ended

KEEP_ALIVE_SECONDS = 120.0
"""Far more often than the hour a key lives: it is also how a key is found dead that somebody else deleted, at weight 1."""
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
PING_SECONDS = 10.0
ROLL_OVER_SECONDS = 23.5 * 3600


class _Expired(Exception):
    """The key is dead; the socket would stay open and silent for hours."""


@dataclass(frozen=True, slots=True)
class _Session:
    """One open socket, the key it was opened with, and who reads it."""

    connection: ClientConnection
    key: str
    reader: asyncio.Task[None]


class UserStream:
    """Runs until cancelled. `on_news` is called for each order event, `on_gap` whenever events may have been missed."""

    def __init__(
        self,
        clock: Clock,
        client: Client,
        stream_url: str,
        symbol_of: SymbolOf,
        *,
        on_news: Callable[[UserNews], None],
        on_gap: Callable[[str], None],
        on_funding: Callable[[], None],
        on_event: EventCallback,
        on_settings: Callable[[Symbol | None, int | None], None] = lambda _symbol, _leverage: None,
        request_timeout_seconds: float,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        roll_over_seconds: float = ROLL_OVER_SECONDS,
    ) -> None:
        self._clock = clock
        self._client = client
        self._url = stream_url
        self._symbol_of = symbol_of
        self._on_news = on_news
        self._on_gap = on_gap
        self._on_funding = on_funding
        self._on_event = on_event
        self._on_settings = on_settings
        self._timeout = request_timeout_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._roll_over_seconds = roll_over_seconds
        self._connection: ClientConnection | None = None
        self.connected = asyncio.Event()
        self.unreadable = 0

    async def run(self) -> None:
        """Connect, listen, reconnect with backoff and jitter, for ever."""
        failures = 0
        while True:
            why = ""
            began_ns = self._clock.monotonic_ns()
            try:
                await self._life()
            except _Expired:
                why = "listenKey expired"
            except (OSError, websockets.WebSocketException, TimeoutError) as error:
                why = distrust(error) or f"connection lost ({type(error).__name__})"
            except ExchangeError as error:
                why = str(error)
            finally:
                self.connected.clear()
                self._connection = None
            lived = (self._clock.monotonic_ns() - began_ns) / 1e9
            failures = 0 if lived > BACKOFF_SECONDS[-1] else failures + 1
            self._on_event(events.USER_STREAM_DOWN, {"why": why})
            delay = step_of(BACKOFF_SECONDS, failures)
            await self._clock.sleep(delay * (0.75 + random.random() / 2))  # noqa: S311  (Jitter, not a secret.)

    def mistrust(self) -> None:
        """The socket is open and tells nothing: drop it without a closing handshake; `run` makes a new one."""
        if self._connection is not None:
            self._on_event(events.USER_STREAM_SILENT, {})
            self._connection.transport.abort()

    async def _life(self) -> None:
        """One socket after the other without a gap between them; raises when one breaks. Never returns."""
        session = await self._open()
        try:
            self.connected.set()
            self._on_event(events.USER_STREAM_UP, {})
            self._on_gap("user stream connected")
            while True:
                async with asyncio.TaskGroup() as beside:
                    keeper = beside.create_task(self._keep_alive(session), name="listen-key")
                    try:
                        await asyncio.wait_for(asyncio.shield(session.reader), self._roll_over_seconds)
                        raise ConnectionResetError  # The exchange closed it in order.
                    except TimeoutError:
                        if session.reader.done():
                            raise
                    finally:
                        keeper.cancel()
                session = await self._roll_over(session)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            await _end(session)

    async def _roll_over(self, old: _Session) -> _Session:
        """The next socket is open before the old one closes; what both tell is reported twice, which nobody minds.

        When the next one cannot be opened the old one is given up too: `run` knows how to come back from that.
        """
        fresh = await self._open()
        self._on_event(events.USER_STREAM_ROLLED_OVER, {})
        await old.connection.close()  # Its reader takes what had arrived already.
        await ended(old.reader)
        return fresh

    async def _open(self) -> _Session:
        key = await self._new_key()
        connection = await open_socket(
            f"{self._url}/private/ws?listenKey={quote(key, safe='')}",
            open_seconds_max=self._timeout,
            ping_seconds=PING_SECONDS,
            close_seconds_max=2,
        )
        self._connection = connection
        return _Session(connection, key, asyncio.create_task(self._listen(connection), name="user-events"))

    async def _new_key(self) -> str:
        reply = await send(
            "listenKey", self._client.fapiPrivatePostListenKey, timeout_seconds=self._timeout, priority=Priority.PROOF
        )
        key = reply.get("listenKey") if isinstance(reply, dict) else None
        if not isinstance(key, str) or not key:
            raise OutcomeUnknown("listenKey: unreadable reply")
        return key

    async def _keep_alive(self, session: _Session) -> None:
        """A PUT that fails is tried again at its next turn, long before the key dies; a key that is gone ends the session.

        Raises: _Expired.
        """
        while True:
            await self._clock.sleep(self._keep_alive_seconds)
            try:
                reply = await send(
                    "listenKey",
                    self._client.fapiPrivatePutListenKey,
                    timeout_seconds=self._timeout,
                    priority=Priority.PROOF,
                )
            except OutcomeUnknown as outcome:
                self._on_event(events.LISTEN_KEY_NOT_EXTENDED, {"why": outcome.why})
                if outcome.kind is RefusalKind.SESSION_EXPIRED:
                    raise _Expired from None
            except ExchangeError as error:
                self._on_event(events.LISTEN_KEY_NOT_EXTENDED, {"why": str(error)})
            else:
                # Somebody deleted our key and made another: it is theirs that lives on, and our socket hears nothing.
                if isinstance(reply, dict) and reply.get("listenKey", session.key) != session.key:
                    self._on_event(events.LISTEN_KEY_NOT_EXTENDED, {"why": "another key has taken the place of ours"})
                    raise _Expired

    async def _listen(self, connection: ClientConnection) -> None:
        async for message in connection:
            self._receive(message)

    def _receive(self, message: str | bytes) -> None:
        try:
            event = msgspec.json.decode(message)
            payload = event.get("data", event)
            kind = payload.get("e")
            if kind == "ORDER_TRADE_UPDATE":
                news = self._news(payload["o"])
            elif kind == "listenKeyExpired":
                raise _Expired
            else:
                self._receive_other(str(kind), payload)
                return
        except (msgspec.DecodeError, *UNREADABLE) as error:
            # An event we cannot read is a gap like any other: ask what it might have said.
            self.unreadable += 1
            self._on_event(events.USER_EVENT_UNREADABLE, {"why": type(error).__name__})
            self._on_gap("unreadable event")
            return
        self._on_news(news)

    def _news(self, order: Mapping[str, Any]) -> UserNews:
        return UserNews(
            report_of_event(order, self._symbol_of), fill_of_event(order, self._symbol_of), bool(order.get("R"))
        )

    def _receive_other(self, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "ACCOUNT_UPDATE" and payload.get("a", {}).get("m") == "FUNDING_FEE":
            self._on_funding()
        elif kind == "ACCOUNT_CONFIG_UPDATE":
            changed = payload.get("ac")
            symbol = None if changed is None else self._symbol_of(str(changed["s"]))
            if changed is None:
                self._on_settings(None, None)  # The whole account's: multi-assets mode.
            elif symbol is not None:
                self._on_settings(symbol, int(changed["l"]))
        elif kind == "MARGIN_CALL":
            self._on_event(events.MARGIN_CALL, {"symbols": [row.get("s") for row in payload.get("p", [])]})


async def _end(session: _Session) -> None:
    """Let go of socket and reader; what the reader died of was told where it was awaited."""
    session.connection.transport.abort()
    await cancel_all(session.reader)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The cause of the others: a session ends of one thing."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
