"""Who answers at a port of ours: a server that knows our secret proves it, before anything of value is sent to it."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp

from domain.proof import PATH, proof

EVERY_S = 0.2
TIMEOUT_S = 2.0


async def proves(url: str, auth: str) -> bool:
    """Return whether a server answers at `http://host:port`, and is ours."""
    nonce = secrets.token_hex(16)
    expected = proof(auth, nonce, urlsplit(url).port or 80)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(f"{url}{PATH}{nonce}", allow_redirects=False) as reply,
        ):
            answer = await reply.content.read(len(expected))
            return reply.status == 200 and hmac.compare_digest(answer, expected.encode())
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def until_proves(url: str, auth: str, *, give_up: Callable[[], bool] = lambda: False) -> bool:
    """Wait until our server answers; return False as soon as `give_up` says so."""
    while not give_up():
        if await proves(url, auth):
            return True
        await asyncio.sleep(EVERY_S)
    return False
