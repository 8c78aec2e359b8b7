"""How bytes reach the exchange and come back, when whoever answers may be broken, or somebody else.

A request carries a key and a signature: it goes to the host it was made for and nowhere else, so a redirect is no answer. What comes
back is bounded in size, unpacked, too; the time for all of it is bounded by `requests.send`, or by `open_socket` for a handshake.
"""

import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from domain.web_requests import is_loopback

REPLY_BYTES_MAX = 16 * 2**20
"""Unpacked. The longest honest one, exchangeInfo, has less than two million."""
MESSAGE_BYTES_MAX = 2**20
_REDIRECTS = range(300, 400)


class NoAnswer(Exception):
    """Something came back, and it cannot be the exchange's answer. The request may have been executed all the same."""


class _BoundedResponse(aiohttp.ClientResponse):
    """Its text has a bound. Also when it unfolds: aiohttp unpacks no more at a time than is read here."""

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:  # noqa: ARG002
        """Always UTF-8, whatever the reply says. Raises: NoAnswer for more than `REPLY_BYTES_MAX`."""
        body = bytearray()
        while chunk := await self.content.readany():
            body += chunk
            if len(body) > REPLY_BYTES_MAX:
                self.close()
                raise NoAnswer(f"HTTP {self.status}, a reply of more than {REPLY_BYTES_MAX // 2**20} MiB; not read")
        return body.decode("utf-8", errors)


async def _no_redirects(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await handler(request)
    if response.status in _REDIRECTS:
        response.close()
        raise NoAnswer(f"HTTP {response.status}, a redirect{_to(response.headers)}; not followed")
    return response


def open_session(ssl_context: Any) -> aiohttp.ClientSession:
    """A session that follows no redirect, bounds every reply and keeps no cookie. `ssl_context` is what ccxt made."""
    # The families and the absence of a delay are as in ccxt's own.
    connector = aiohttp.TCPConnector(ssl=ssl_context, family=socket.AF_UNSPEC, happy_eyeballs_delay=0)
    return aiohttp.ClientSession(
        connector=connector,
        response_class=_BoundedResponse,
        middlewares=(_no_redirects,),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """The address holds a listen key, and what comes out of the socket is believed: nobody is followed elsewhere."""
        return exc


async def open_socket(
    url: str, *, open_seconds_max: float, ping_seconds: float, close_seconds_max: float
) -> ClientConnection:
    """A websocket whose messages are bounded and never compressed. Raises: OSError, TimeoutError, WebSocketException, EOFError."""
    return await _Connect(
        url,
        compression=None,  # Costs more time than these small messages cost on the wire; and nothing unfolds.
        max_size=MESSAGE_BYTES_MAX,
        open_timeout=open_seconds_max,
        close_timeout=close_seconds_max,
        ping_interval=ping_seconds,
        ping_timeout=ping_seconds,
        proxy=None if is_loopback(urlsplit(url).hostname) else True,
    )


def distrust(error: BaseException | None) -> str | None:
    """In words, when the other side could not be trusted: its certificate, its TLS, or a redirect; else None."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the exchange's certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with the exchange: {error.reason}"
    if isinstance(error, InvalidStatus) and error.response.status_code in _REDIRECTS:
        return f"HTTP {error.response.status_code}, a redirect{_to(error.response.headers)}; not followed"
    return None


def _to(headers: Any) -> str:
    try:
        host = urlsplit(headers.get("Location", "")).hostname
    except ValueError:
        host = None
    return f" to {host[:100]!r}" if host else ""
