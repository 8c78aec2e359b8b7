"""Who may speak to this exchange: programs of this machine, never a web page; and its control endpoint only with the token."""

import asyncio
import hmac
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from domain.web_requests import LOOPBACK_NAMES, WILDCARDS, RowLimit, foreign
from paper.idle_connections import Handler as Connection
from paper.idle_connections import Waiting
from paper.outcomes import json_reply

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_BYTES_MAX = 1_000_000
BODY_SECONDS_MAX = 10.0
REFUSALS_LOGGED_EVERY_SECONDS = 10.0


class Door:
    """Refuses with a JSON line and a row in the log. Unmodified exchange clients notice nothing: they send no Origin."""

    def __init__(self, host: str, host_names: Iterable[str] = (), *, token_file: Path | None = None) -> None:
        """`host` is what is listened on; `host_names` are further names by which it is reached."""
        self._names = LOOPBACK_NAMES | {host.lower()} | {name.lower() for name in host_names}
        self._listens_everywhere = host in WILDCARDS
        self.token = secrets.token_urlsafe(32)
        self._token_file = token_file
        self._rows = RowLimit(REFUSALS_LOGGED_EVERY_SECONDS)
        self._waiting = Waiting()

    def open(self) -> None:
        """Write the token where its user finds it. Raises: OSError."""
        if self._token_file is not None:
            write_private(self._token_file, self.token)

    def close(self) -> None:
        """Remove the token's file."""
        if self._token_file is not None:
            self._token_file.unlink(missing_ok=True)

    def middleware(self) -> Middleware:
        """The aiohttp middleware; it must stand before all others."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            with self._waiting.answering(request.transport):
                refusal = foreign(request.headers, self._names_for(request))
                if refusal is not None:
                    return self._refused(request, 403, refusal)
                if request.can_read_body:
                    try:
                        async with asyncio.timeout(BODY_SECONDS_MAX):
                            await request.read()  # Kept for who asks for it next.
                    except web.HTTPRequestEntityTooLarge:
                        return self._refused(request, 413, f"the body is longer than {BODY_BYTES_MAX} bytes")
                    except TimeoutError:
                        return self._refused(request, 408, f"the body is not whole within {BODY_SECONDS_MAX:g} s")
                return await handler(request)

        return guard

    def cut_who_waits(self, connections: Iterable[Connection]) -> None:
        """Now and then: too many connections that say nothing, and those that never finish asking."""
        cut = self._waiting.sweep(connections, asyncio.get_running_loop().time())
        kept_back = self._rows.admit("waiting", time.monotonic()) if cut else None
        if kept_back is not None:
            log.warning("cut %s connections that only waited (and %s times more before)", cut, kept_back)

    def with_token(self, handler: Handler) -> Handler:
        """The same handler, for who sends the token."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            sent = request.headers.get("Authorization", "")
            if hmac.compare_digest(sent.encode(errors="replace"), f"Bearer {self.token}".encode()):
                return await handler(request)
            where = self._token_file or "this process, which wrote it to no file"
            return self._refused(
                request, 401, f"wrong or missing token; send 'Authorization: Bearer' and the text in {where}"
            )

        return guarded

    def server_logger(self) -> logging.Logger:
        """For aiohttp, which has a traceback for every request that is no HTTP: one line of it now and then."""
        logger = logging.Logger("paper.http")  # noqa: LOG001 - not in logging's tree, where others would write it too.
        logger.addHandler(_FromServer(self._rows))
        return logger

    def _names_for(self, request: web.Request) -> frozenset[str]:
        if not self._listens_everywhere or request.transport is None:
            return self._names
        return self._names | {str(request.transport.get_extra_info("sockname")[0])}

    def _refused(self, request: web.Request, status: int, why: str) -> web.Response:
        kept_back = self._rows.admit(why, time.monotonic())
        if kept_back is not None:
            more = f" (and {kept_back} more like it)" if kept_back else ""
            log.warning("refused %s %r from %s: %s%s", request.method, request.path[:200], request.remote, why, more)
        return json_reply({"error": why}, status=status)


class _FromServer(logging.Handler):
    def __init__(self, rows: RowLimit) -> None:
        super().__init__(logging.WARNING)
        self._rows = rows

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        is_ours = not isinstance(error, HttpProcessingError)
        kept_back = self._rows.admit(f"http {is_ours}", time.monotonic())
        if kept_back is not None:
            # What failed in us is shown whole; what was sent to us is theirs to know.
            what = record.getMessage() if is_ours else "a request that is no HTTP"
            log.log(record.levelno, "%s (and %s more before)", what, kept_back, exc_info=error if is_ours else None)


def write_private(path: Path, text: str) -> None:
    """Replace the file; at no moment is it readable by others. Raises: OSError.

    No fsync: after a power cut the next start writes another token.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
