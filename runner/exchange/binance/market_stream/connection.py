"""One logical connection that outlives its sockets: reconnects, rolls over before the exchange's 24 h, watches for silence."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable

from websockets.exceptions import ConnectionClosed

from domain.symbols import Symbol
from runner import events
from runner.events import EventCallback
from runner.exchange.binance.market_stream.protocol import ControlReply, FeedProtocol, SymbolFeed
from runner.exchange.binance.market_stream.session import CONNECT_ERRORS, Session
from runner.exchange.binance.market_stream.settings import FeedSettings
from runner.exchange.binance.transport import distrust
from runner.exchange.connection import InterruptedCallback, QuoteCallback
from runner.ports import Clock

ROLLOVER_RETRY_SECONDS = 60.0
ROLLOVER_OVERLAP_SECONDS_MAX = 10.0


class FeedConnection:
    """Keeps the bookTicker streams of up to one connection's worth of symbols coming."""

    def __init__(
        self,
        clock: Clock,
        settings: FeedSettings,
        *,
        on_quote: QuoteCallback,
        on_interrupted: InterruptedCallback,
        on_event: EventCallback,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._on_quote = on_quote
        self._on_interrupted = on_interrupted
        self._on_event = on_event
        self.protocol = FeedProtocol(on_refusal=self._refused)
        self._symbols: dict[Symbol, None] = {}
        self._session: Session | None = None
        self._older = 0
        self._rollover_after_seconds = settings.rollover_seconds
        self.messages = 0
        self.reconnects = 0
        self.rollovers = 0

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(self._symbols)

    @property
    def room(self) -> int:
        """How many more streams fit."""
        return self._settings.streams_per_connection_max - len(self._symbols)

    @property
    def is_open(self) -> bool:
        return self._session is not None

    async def add(self, symbols: Iterable[Symbol]) -> None:
        """Watch these too; the others are not touched."""
        fresh = [symbol for symbol in symbols if symbol not in self._symbols]
        self._symbols.update(dict.fromkeys(fresh))
        self.protocol.expect(fresh)
        await self._report(lambda session: session.subscribe(fresh))

    async def remove(self, symbols: Iterable[Symbol]) -> None:
        """Watch these no longer."""
        gone = [symbol for symbol in symbols if symbol in self._symbols]
        for symbol in gone:
            del self._symbols[symbol]
        self.protocol.forget(gone)
        if gone:
            await self._report(lambda session: session.unsubscribe(gone))

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        try:
            while True:
                try:
                    self._session = await self._open()
                except CONNECT_ERRORS as error:
                    failures += 1
                    delay = self._backoff_seconds(failures)
                    why = distrust(error) or str(error) or type(error).__name__
                    self._on_event(events.STREAM_UNREACHABLE, {"why": why, "retry_seconds": round(delay, 2)})
                    await self._clock.sleep(delay)
                    continue
                await self._keep()
                ended, self._session = self._current, None  # Not necessarily the one we began with.
                # A socket that never brought a quote is as bad as one that would not open.
                failures = 0 if ended.quoted else failures + 1
                self.reconnects += 1
                self.protocol.reset()
                self._on_interrupted(frozenset(self._symbols))
                delay = self._backoff_seconds(failures)
                self._on_event(events.STREAM_LOST, {"why": ended.why, "retry_seconds": round(delay, 2)})
                await self._clock.sleep(delay)
        finally:
            if self._session is not None:
                await self._session.close("closed by us")
                self._session = None

    def _backoff_seconds(self, failures: int) -> float:
        ceiling = min(self._settings.backoff_seconds_max, self._settings.backoff_seconds_min * 2.0 ** min(failures, 16))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  (Jitter, not a secret.)

    async def _open(self) -> Session:
        """A socket with every symbol subscribed. Raises: one of CONNECT_ERRORS."""
        session = await Session.open(self._clock, self._settings, self._received)
        try:
            await self._catch_up(session)
        except BaseException:
            await session.close("gave up while subscribing")
            raise
        return session

    async def _catch_up(self, session: Session) -> None:
        """Subscribe to whatever is watched and was not requested yet; more may be added while we ask."""
        while missing := [symbol for symbol in self._symbols if symbol not in session.requested]:
            await session.subscribe(missing)

    async def _keep(self) -> None:
        """Until the session ends, whoever ended it. A roll-over replaces the session and goes on."""
        look_seconds = min(1.0, self._settings.silence_seconds_max / 4)
        while True:
            session = self._current
            await asyncio.wait({session.ended}, timeout=look_seconds)
            if session.ended.done():
                error = session.ended.exception()
                if error is not None:
                    raise error
                return
            if self._symbols and self._deaf_seconds(session) > self._settings.silence_seconds_max:
                kind = "silent" if session.quoted else "never quoted: wrong route or unknown symbols"
                await session.close(kind)
                return
            if session.age_seconds > self._rollover_after_seconds:
                await self._roll_over(session)

    def _deaf_seconds(self, session: Session) -> float:
        """How long no quote has come. Acknowledgements do not count: a stream on a wrong route is acknowledged, too."""
        newest_ns = max((feed.received_ns for feed in self.protocol.feeds), default=0)
        return (self._clock.monotonic_ns() - max(newest_ns, session.opened_ns)) / 1e9

    async def _roll_over(self, old: Session) -> None:
        """Open the next socket before closing this one; both feed the protocol, which drops what it has seen."""
        try:
            fresh = await self._open()
            try:
                await self._until_quoted(fresh)
                await self._catch_up(fresh)
            except BaseException:
                await fresh.close("never became the successor")
                raise
        except CONNECT_ERRORS as error:
            self._rollover_after_seconds = old.age_seconds + ROLLOVER_RETRY_SECONDS
            why = distrust(error) or str(error) or type(error).__name__
            self._on_event(events.STREAM_ROLLOVER_FAILED, {"why": why})
            return
        self._session = fresh
        self._rollover_after_seconds = self._settings.rollover_seconds
        self.rollovers += 1
        await old.close("rolled over")
        self._on_event(events.STREAM_ROLLED_OVER, {"streams": len(self._symbols)})

    async def _until_quoted(self, fresh: Session) -> None:
        """Raises: TimeoutError when the new socket stays silent; the old one is kept then."""
        async with asyncio.timeout(min(ROLLOVER_OVERLAP_SECONDS_MAX, self._settings.silence_seconds_max)):
            while not fresh.quoted:
                if fresh.ended.done():
                    raise ConnectionError(fresh.why)
                await self._clock.sleep(0.01)

    @property
    def _current(self) -> Session:
        assert self._session is not None
        return self._session

    async def _report(self, request: Callable[[Session], Awaitable[None]]) -> None:
        if self._session is not None:
            try:
                await request(self._session)
            except ConnectionClosed:
                return  # The next socket subscribes to everything.

    def _received(self, session: Session, message: bytes, received_ns: int) -> None:
        self.messages += 1
        got = self.protocol.receive(message, received_ns)
        if got is None:
            older = self.protocol.ignored["older"]
            if older != self._older:  # A quote all the same: during a roll-over the other socket brought it first.
                self._older = older
                session.quoted = True
            return
        if isinstance(got, SymbolFeed):
            session.quoted = True
            if got.quote is not None:
                self._on_quote(got.symbol, got.quote)
            return
        self._answered(session, got)

    def _answered(self, session: Session, reply: ControlReply) -> None:
        symbols = session.answered(reply.request_id)
        if reply.error is not None:
            self._on_event(events.STREAM_SUBSCRIPTION_REFUSED, {"why": reply.error, "symbols": list(symbols)})

    def _refused(self, kind: str, excerpt: str) -> None:
        self._on_event(events.STREAM_MESSAGE_INVALID, {"kind": kind, "excerpt": excerpt})
