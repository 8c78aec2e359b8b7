"""Free ports and answering addresses on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import aiohttp

from domain.errors import ConfigError

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(usual: int) -> int:
    """Return the usual port if it is free, else any free one; 0 always means any."""
    if usual and is_free(usual):
        return usual
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require(port: int, *, key: str) -> None:
    """Refuse a configured port that somebody else holds.

    Raises: ConfigError naming the key to change.
    """
    if not is_free(port):
        raise ConfigError(
            f"port {port} is taken by another process; stop it, or set {key} in config.json to a free port"
        )


async def answers(url: str, *, timeout_s: float = 2.0) -> bool:
    """Return whether a GET of the address is answered with 200."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
            session.get(url) as reply,
        ):
            return reply.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def until_answers(url: str, *, every_s: float = 0.2, give_up: Callable[[], bool] = lambda: False) -> bool:
    """Wait until the address answers 200; return False as soon as `give_up` says so."""
    while not give_up():
        if await answers(url):
            return True
        await asyncio.sleep(every_s)
    return False
