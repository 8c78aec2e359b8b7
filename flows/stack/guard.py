"""What stands before Prefect's own server: it has no Host check, answers every origin, and can be put into a frame.

Plain ASGI, without Prefect: requests of foreign pages and foreign names end here, before anything of Prefect's sees them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from domain.proof import NONCE_CHARACTERS_MAX, proof
from domain.proof import PATH as PROOF_PATH
from domain.web_requests import RowLimit
from flows.stack import entrance
from flows.stack.ports import LOOPBACK
from runner import events
from runner.logs import emit_line

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG_EVERY_S = 10.0
SHOWN_MAX = 200
UNFRAMED = ((b"x-frame-options", b"DENY"), (b"content-security-policy", b"frame-ancestors 'none'"))
OWN_SCRIPTS = (
    b"content-security-policy",
    b"script-src 'self' 'unsafe-eval'; worker-src 'self' blob:; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'",
)
"""The secret is in the storage of this origin's pages. So what a text in an artifact, or Prefect's own /docs, would fetch from
elsewhere or run does not run. (Its graphs are drawn by code that they make.)"""
_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
_POLICY_VIOLATION = 1008


class Guard:
    """Lets through what was sent to one of our names, by a program or by a page of one of our origins."""

    def __init__(self, app: App, *, port: int, auth: str, origins: Sequence[str]) -> None:
        self._app = app
        self._port = port
        self._auth = auth
        self._home = f"http://{LOOPBACK}:{port}"
        self._origins = frozenset(origin.lower() for origin in origins)
        self._hosts = frozenset(urlsplit(origin).netloc for origin in self._origins)
        self._rows = RowLimit(LOG_EVERY_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, answer what is ours to answer, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _headers_of(scope)
        host, path = headers.get("host", "").lower(), str(scope.get("path", ""))
        is_http = scope["type"] == "http"
        if refusal := self._refusal(host, headers, is_http=is_http):
            kept_back = self._rows.admit(refusal, time.monotonic())
            if kept_back is not None:
                _log(refusal, scope, headers, kept_back)
            await _refuse(scope, receive, send, refusal)
        elif host not in self._hosts:
            # A page of the name `localhost` would be another origin than ours, and ::1 may be somebody else's.
            query = bytes(scope.get("query_string", b"")).decode("latin-1")
            where = f"{self._home}{scope.get('raw_path', b'').decode('latin-1') or path}{'?' + query if query else ''}"
            await _answer(send, 308, b"", (b"location", where.encode("latin-1")))
        elif is_http and path.startswith(PROOF_PATH):
            nonce = path.removeprefix(PROOF_PATH)[:NONCE_CHARACTERS_MAX]
            await _answer(send, 200, proof(self._auth, nonce, self._port).encode(), _PLAIN)
        elif is_http and entrance.is_at(path):
            await _answer(send, 200, entrance.PAGE, *entrance.HEADERS)
        else:
            await self._app(scope, receive, _unframed(send))

    def _refusal(self, host: str, headers: Mapping[str, str], *, is_http: bool) -> str | None:
        if host not in self._hosts and not (is_http and host == f"localhost:{self._port}"):
            return f"this server is not for that Host; use {self._home}"
        if _comes_from(headers) not in {None, *self._origins}:
            return f"pages of another origin may not use this server; open {self._home}"
        return None


def _comes_from(headers: Mapping[str, str]) -> str | None:
    """The origin of the page that sent it; None for a program, our own page, and a person who follows a link."""
    if "origin" in headers:
        return headers["origin"].lower()
    # A picture or a script of a foreign page comes without Origin.
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
    return None if site in {"none", "same-origin"} or mode == "navigate" else site


def _log(refusal: str, scope: Scope, headers: Mapping[str, str], kept_back: int) -> None:
    emit_line(
        events.PREFECT_REQUEST_REFUSED,
        why=refusal,
        request=f"{scope.get('method', 'websocket')} {str(scope.get('path', ''))[:SHOWN_MAX]}",
        host=headers.get("host", "")[:SHOWN_MAX],
        origin=headers.get("origin", "")[:SHOWN_MAX],
        remote=str((scope.get("client") or ["unknown"])[0]),
        more_like_it=kept_back,
    )


def _headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers; one that is there twice is as good as a wrong one."""
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key = name.decode("latin-1").lower()
        found[key] = f"{found[key]}, {value.decode('latin-1')}" if key in found else value.decode("latin-1")
    return found


def _unframed(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *UNFRAMED, OWN_SCRIPTS]}
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "refused"})
        return
    await _answer(send, 403, f"{refusal}\n".encode(), _PLAIN)


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *UNFRAMED]})
    await send({"type": "http.response.body", "body": body})
