"""The composition: one market, one exchange, one port. Start it in a test or from the command; stop it and it is gone."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from paper.books import Books, Changes, Counters
from paper.clock import ServerClock
from paper.control import Control
from paper.core import ExchangeCore
from paper.desk import Desk
from paper.door import BODY_BYTES_MAX, Door
from paper.faults import FaultBoard
from paper.gateway import Gateway
from paper.limits import Limits
from paper.market import Book, FundingSettlement, Market
from paper.options import ExchangeOptions
from paper.orders import Order
from paper.private_orders import OrderEndpoints
from paper.private_rest import AccountEndpoints
from paper.private_ws import UserStreams
from paper.public_rest import routes as public_routes
from paper.public_ws import PublicStreams
from paper.state import StateError, StateFile
from paper.tasks import cancel_all

SNAPSHOT_SECONDS = 1.0
SHUTDOWN_SECONDS_MAX = 1.0
BACKLOG = 128
"""How many connections are accepted in one turn of the loop at most."""


class PaperExchange:
    """A running exchange. `async with PaperExchange(market) as exchange:` serves it on a free port."""

    def __init__(
        self,
        market: Market,
        options: ExchangeOptions | None = None,
        *,
        state: StateFile | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        host_names: Sequence[str] = (),
        token_file: Path | None = None,
    ) -> None:
        """`host_names` are further names by which it is reached; `token_file` says the control endpoint's token."""
        self.options = options or ExchangeOptions()
        self.market = market
        self.clock = ServerClock()
        limits = Limits(self.options.limits, self.clock)
        chaos_seed, chaos_rate = self.options.chaos_seed, self.options.chaos_rate
        self.board = FaultBoard(self.clock, limits, chaos_seed=chaos_seed, chaos_rate=chaos_rate)
        self._state = state
        core_options = self.options.core
        books = Books(market, core_options, None if state is None else state.counters())
        if state is not None:
            state.restore(books)
        self.core = ExchangeCore(books)
        self.desk = Desk(
            self.core,
            self.clock,
            self.board,
            limits,
            self.options,
            store=self._save,
            on_store_failure=self._fail,
        )
        known = books.portfolios.get(core_options.api_key)
        if known is None:
            books.open_account(
                core_options.api_key, core_options.api_secret, core_options.balance_usdt, self.clock.now_ms()
            )
        elif known.account.secret != core_options.api_secret:
            known.account.secret = core_options.api_secret
            books.touch(known, self.clock.now_ms())
        self.desk.commit()
        self.user_streams = UserStreams(self.desk)
        streams = self.options.streams
        self.public_streams = PublicStreams(
            market,
            self.board.public,
            ping_seconds=streams.ping_every_seconds,
            pong_seconds=streams.pong_wait_seconds_max,
            lifetime_seconds=streams.connection_life_seconds,
        )
        self.desk.listeners.hear_liquidations(self._on_liquidation)
        self._host, self._port = host, port
        self._door = Door(host, host_names, token_file=token_file)
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] | None = None

    @property
    def rest_url(self) -> str:
        """Base of the REST side, without a path."""
        return f"http://{self._address}"

    @property
    def stream_url(self) -> str:
        """Base of the websocket side, without a path."""
        return f"ws://{self._address}"

    @property
    def _address(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @property
    def control_token(self) -> str:
        """What the control endpoint wants to see: `Authorization: Bearer …`."""
        return self._door.token

    @property
    def port(self) -> int:
        """The port it listens on; real after start."""
        return self._port

    def _app(self) -> web.Application:
        gateway = Gateway(self.desk)
        app = web.Application(
            middlewares=[self._door.middleware(), gateway.middleware()], client_max_size=BODY_BYTES_MAX
        )
        app.add_routes(public_routes(self.market, self.clock))
        app.add_routes(OrderEndpoints(self.desk).routes(gateway))
        app.add_routes(AccountEndpoints(self.desk).routes(gateway))
        app.add_routes(self.public_streams.routes())
        app.add_routes(self.user_streams.routes())
        app.add_routes(Control(self.desk, self.user_streams, self._door).routes())
        return app

    async def start(self) -> None:
        """Listen, then move the market. Raises: OSError when the port is taken or the token's file cannot be written."""
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            logger=self._door.server_logger(),
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS_MAX,
        )
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, reuse_address=True, backlog=BACKLOG)
        try:
            await site.start()
            self._door.open()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        loop = asyncio.get_running_loop()
        self.failed = loop.create_future()
        self._tasks = [
            loop.create_task(self.market.run(self._on_book, self._on_funding)),
            loop.create_task(self._keep_time()),
        ]
        for task in self._tasks:
            task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """A market that ends or breaks is the end of the exchange: say so to whoever waits on `failed`."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self.failed is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def stop(self) -> None:
        """Close every socket, store the market's snapshot, end every task. Safe to call twice."""
        await cancel_all(*self._tasks)
        self._tasks = []
        if self.failed is not None and self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # Seen by now, or of no more interest.
        await self.desk.close()
        await self.user_streams.close()
        await self.public_streams.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self._door.close()
        if self._state is not None:
            with contextlib.suppress(StateError):  # Reported already, when it first failed.
                self.desk.commit()
                self._state.save_market(self.market.snapshot())
            self._state.close()
            self._state = None

    def _save(self, changes: Changes, counters: Counters) -> None:
        if self._state is not None:
            self._state.save(changes, counters)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _on_book(self, book: Book) -> None:
        self.core.on_book(book, self.clock.now_ms())
        self.desk.commit()
        self.public_streams.publish(book)

    def _on_liquidation(self, order: Order) -> None:
        self.public_streams.publish_liquidation(
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            price=order.price,
            average_price=order.average_price,
        )

    def _on_funding(self, settlement: FundingSettlement) -> None:
        self.core.on_funding(settlement, self.clock.now_ms())
        self.desk.commit()

    async def _keep_time(self) -> None:
        """What happens by the clock, and the market's snapshot every second."""
        since_snapshot = 0.0
        while True:
            await asyncio.sleep(self.options.timer_seconds)
            now_ms = self.clock.now_ms()
            self.core.on_timer(now_ms)
            self.user_streams.expire_keys(now_ms)
            self.desk.commit()
            if self._runner is not None and self._runner.server is not None:
                self._door.cut_who_waits(self._runner.server.connections)
            since_snapshot += self.options.timer_seconds
            if self._state is not None and since_snapshot >= SNAPSHOT_SECONDS:
                since_snapshot = 0.0
                self._state.save_market(self.market.snapshot())


def open_state(path: Path | None) -> StateFile | None:
    """The state file, if one is asked for. Raises: StateError."""
    return None if path is None else StateFile(path)
