"""The runner's control address: health, status and metrics for anybody on this machine; commands for who holds the token.

The token lies beside the journal, readable by its user alone. A browser is kept out: a page from elsewhere could reach loopback,
but it cannot hide its Origin, nor ask for us under a name that is not ours.
"""

import errno
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from domain.errors import ConfigError, TandemError
from runner.config import Settings
from runner.logs import keep_secret, redacted
from runner.metrics import exposition
from storage.files import write_whole

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
BODY_BYTES_MAX = 4096


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


class ControlServer:
    """An async context: listening inside. Raises: ConfigError when the port is taken or the token cannot be written."""

    def __init__(self, settings: Settings, source: StatusSource, commands: Commands) -> None:
        self._settings = settings
        self._source = source
        self._commands = commands
        self._token = secrets.token_urlsafe(32)
        keep_secret(self._token)
        for secret in (settings.binance_api_key, settings.binance_api_secret):
            keep_secret(None if secret is None else secret.get_secret_value())
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        control = self._settings.control
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES_MAX)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
                *(web.post(f"/{name}", self._command) for name in ("pause", "resume", "flatten", "reload")),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, control.host, control.port).start()
            host, port = self._runner.addresses[0][:2]
            self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            _write_private(self._settings.control_token_file, self._token)
            _write_private(address_file(self._settings), self.address)
        except OSError as error:
            await self._close()
            raise self._explained(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
        self._settings.control_token_file.unlink(missing_ok=True)
        address_file(self._settings).unlink(missing_ok=True)

    async def _close(self) -> None:
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
        return ConfigError(f"control: cannot listen on {control.host}:{control.port} ({error.strerror}); mend control")

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _json({"error": f"{request.method} {request.path}: {error.reason}"}, error.status)
        except TandemError as error:
            return _json({"error": str(error)}, 409)

    def _refusal(self, request: web.Request) -> web.Response | None:
        names = LOOPBACK_NAMES | {self._settings.control.host}
        listens_everywhere = self._settings.control.host in {"0.0.0.0", "::", ""}  # noqa: S104  (Compared, not bound.)
        if _hostname(f"//{request.headers.get('Host', '')}") not in names and not listens_everywhere:
            return _json({"error": "this address is not for that Host; use http://127.0.0.1"}, 403)
        origin = request.headers.get("Origin")
        if origin is not None and _hostname(origin) not in LOOPBACK_NAMES:
            return _json({"error": "requests from web pages are not accepted"}, 403)
        if request.method == "POST" and not self._is_authorised(request):
            where = self._settings.control_token_file
            return _json(
                {"error": f"wrong or missing token; send 'Authorization: Bearer' with the text in {where}"}, 401
            )
        return None

    def _is_authorised(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(errors="replace"), f"Bearer {self._token}".encode())

    async def _health(self, _: web.Request) -> web.Response:
        is_well, report = self._source.health()
        return _json(report, 200 if is_well else 503)

    async def _status(self, _: web.Request) -> web.Response:
        return _json(self._source.status(), 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = exposition(self._source.status)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _command(self, request: web.Request) -> web.Response:
        raw = await request.read()
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


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _json(body: Mapping[str, Any], status: int) -> web.Response:
    text = redacted(msgspec.json.encode(body, enc_hook=str).decode())
    return web.Response(text=text, status=status, content_type="application/json")


def _write_private(path: Path, text: str) -> None:
    """Replace the file; at no moment is it readable by others."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, text.encode())
