"""The runner's control address: health, status and metrics for anybody on this machine; commands for who holds the token.

The token lies beside the journal, readable by its user alone. A browser is kept out: a page from elsewhere could reach loopback,
but it cannot hide its Origin, nor ask for us under a name that is not ours. Whoever is refused is a row in the log, rarely enough
that a flood does not fill the disk.
"""

import asyncio
import errno
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from domain import proof
from domain.errors import ConfigError, TandemError
from domain.web_requests import LOOPBACK_NAMES, WILDCARDS, Foreign, RowLimit, foreign, is_loopback, reachable
from runner import events
from runner.config import Settings
from runner.control_connections import Connections
from runner.logs import Log, keep_secret, redacted
from runner.metrics import exposition
from runner.ports import Clock
from storage.files import write_whole

BODY_BYTES_MAX = 4096
BODY_SECONDS_MAX = 5.0
BACKLOG = 32
"""How many connections are accepted in one turn of the loop at most; more of them wait in the system's queue."""
REFUSALS_LOGGED_EVERY_SECONDS = 10.0


class StatusSource(Protocol):
    """What can be asked."""

    def status(self) -> Mapping[str, Any]: ...

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether all is well, and what is not."""
        ...


class Commands(Protocol):
    """What can be ordered."""

    async def pause(self, reason: str) -> None: ...

    async def resume(self) -> None: ...

    async def flatten(self, pair_id: str | None) -> Mapping[str, Any]: ...

    async def reload(self) -> Mapping[str, Any]: ...


class _Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a command."""

    pair_id: str | None = None
    reason: str = "asked by the operator"


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def address_file(settings: Settings) -> Path:
    """Where a running runner says what its control address is; needed when the port is 0."""
    return settings.control_token_file.with_name("control.address")


def url_of(host: str, port: int) -> str:
    """The address by which this machine's own commands reach what listens on `host`."""
    host = reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class ControlServer:
    """An async context: listening inside. Raises: ConfigError when the port is taken or the token cannot be written."""

    def __init__(self, settings: Settings, source: StatusSource, commands: Commands, log: Log, clock: Clock) -> None:
        self._settings = settings
        self._source = source
        self._commands = commands
        self._log = log
        self._clock = clock
        self._rows = RowLimit(REFUSALS_LOGGED_EVERY_SECONDS)
        control = settings.control
        self._names = LOOPBACK_NAMES | {name.lower() for name in (control.host, *control.host_names)}
        self._token = secrets.token_urlsafe(32)
        keep_secret(self._token)
        for secret in (settings.binance_api_key, settings.binance_api_secret):
            keep_secret(None if secret is None else secret.get_secret_value())
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._connections: Connections | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        control = self._settings.control
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES_MAX)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
                web.get(proof.PATH + "{nonce}", self._prove),
                *(web.post(f"/{name}", self._command) for name in ("pause", "resume", "flatten", "reload")),
            ]
        )
        # Not in logging's tree: aiohttp writes a traceback for every bad request, which would be anybody's way to fill the disk.
        logger = logging.Logger("control")  # noqa: LOG001
        logger.addHandler(_FromServer(self._server_says))
        self._runner = web.AppRunner(app, access_log=None, logger=logger, lingering_time=1.0, shutdown_timeout=2.0)
        await self._runner.setup()
        make_protocol = self._runner.server
        assert make_protocol is not None
        self._connections = Connections(make_protocol, self._refused, self._clock)
        try:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._connections, control.host, control.port, backlog=BACKLOG)
            self.address = url_of(*self._server.sockets[0].getsockname()[:2])
            _write_private(self._settings.control_token_file, self._token)
            _write_private(address_file(self._settings), self.address)
        except OSError as error:
            await self._close()
            raise self._explained(error) from None
        if not is_loopback(control.host):
            self._log.emit(
                events.CONTROL_OPEN_TO_OTHERS,
                host=control.host,
                why="every machine that reaches this address may read status and metrics, and what is sent can be read"
                " on the way; set control.host to 127.0.0.1 unless that is wanted",
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
        self._settings.control_token_file.unlink(missing_ok=True)
        address_file(self._settings).unlink(missing_ok=True)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._connections is not None:
            self._connections.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _explained(self, error: OSError) -> ConfigError:
        control = self._settings.control
        if error.errno == errno.EADDRINUSE:
            return ConfigError(
                f"control.port {control.port} on {control.host} is taken, perhaps by another runner;"
                " stop that one, or set control.port (TANDEM_CONTROL__PORT) to another, 0 for any free one"
            )
        return ConfigError(
            f"control: cannot listen on {control.host}:{control.port} ({error.strerror}); correct control.host"
        )

    def _refused(self, why: str, **facts: Any) -> None:
        kept_back = self._rows.admit(why, self._clock.monotonic_ns() / 1e9)
        if kept_back is not None:
            self._log.emit(events.CONTROL_REFUSED, why=why, **facts, more_like_it=kept_back)

    def _server_says(self, why: str, *, is_ours: bool) -> None:
        """What aiohttp reports: requests that are no HTTP, and what a handler of ours did not expect."""
        if is_ours:
            if self._rows.admit("failed", self._clock.monotonic_ns() / 1e9) is not None:
                self._log.emit(events.CONTROL_FAILED, error=why)
        else:
            self._refused("not a valid HTTP request")

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        assert self._connections is not None
        with self._connections.serving(request.transport):
            refusal = self._refusal(request)
            if refusal is not None:
                status, why = refusal
                self._refused(why, request=f"{request.method} {request.path[:100]}", remote=request.remote)
                return _json({"error": why}, status)
            return await self._answer(request, handler)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge as error:
            self._refused(f"a body of more than {BODY_BYTES_MAX} bytes", remote=request.remote)
            return _json({"error": f"{request.method} {request.path}: {error.reason}"}, error.status)
        except web.HTTPException as error:
            return _json({"error": f"{request.method} {request.path}: {error.reason}"}, error.status)
        except TandemError as error:
            return _json({"error": str(error)}, 409)

    def _refusal(self, request: web.Request) -> tuple[int, str] | None:
        names = self._names
        if self._settings.control.host in WILDCARDS and request.transport is not None:
            # The address the connection came to. A name that somebody made to point there is not among them.
            names = names | {str(request.transport.get_extra_info("sockname")[0])}
        match foreign(request.headers, names):
            case Foreign.HOST:
                return 403, f"{Foreign.HOST}, or list the name in control.host_names"
            case Foreign.PAGE:
                return 403, Foreign.PAGE
            case None:
                pass
        if request.method == "POST" and not self._is_authorised(request):
            where = self._settings.control_token_file
            return 401, f"wrong or missing token; send 'Authorization: Bearer' and the text in {where}"
        return None

    def _is_authorised(self, request: web.Request) -> bool:
        sent = request.headers.get("Authorization", "")
        return hmac.compare_digest(sent.encode(errors="replace"), f"Bearer {self._token}".encode())

    async def _health(self, _: web.Request) -> web.Response:
        is_well, report = self._source.health()
        return _json(report, 200 if is_well else 503)

    async def _status(self, _: web.Request) -> web.Response:
        return _json(self._source.status(), 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = exposition(self._source.status)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _prove(self, request: web.Request) -> web.Response:
        """For our own commands, which send the token to nobody who does not know it already."""
        nonce = request.match_info["nonce"][: proof.NONCE_CHARACTERS_MAX]
        port = int(self.address.rpartition(":")[2])
        return web.Response(text=proof.proof(self._token, nonce, port))

    async def _command(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                raw = await request.read()
        except TimeoutError:
            self._refused("a body that does not come whole", remote=request.remote)
            return _json({"error": f"body: not whole within {BODY_SECONDS_MAX:g} s"}, 408)
        try:
            order = msgspec.json.decode(raw, type=_Order) if raw else _Order()
        except msgspec.MsgspecError as error:
            return _json({"error": f'body: {error}; send a JSON object such as {{"pair_id": "A_B"}}'}, 400)
        name = request.path.strip("/")
        answer: Mapping[str, Any] = {}
        if name == "pause":
            await self._commands.pause(order.reason)
        elif name == "resume":
            await self._commands.resume()
        elif name == "flatten":
            answer = await self._commands.flatten(order.pair_id)
        else:
            answer = await self._commands.reload()
        return _json({"done": name, **answer}, 200)


class _FromServer(logging.Handler):
    """Hands on what aiohttp logs of its server."""

    def __init__(self, report: Callable[..., None]) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            self._report(repr(error), is_ours=False)  # On level debug when not even the method can be read.
        elif record.levelno >= logging.WARNING:
            self._report(record.getMessage() if error is None else repr(error), is_ours=True)


def _json(body: Mapping[str, Any], status: int) -> web.Response:
    text = redacted(msgspec.json.encode(body, enc_hook=str).decode())
    return web.Response(text=text, status=status, content_type="application/json")


def _write_private(path: Path, text: str) -> None:
    """Replace the file; at no moment is it readable by others."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, text.encode())
