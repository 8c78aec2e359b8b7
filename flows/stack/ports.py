"""Free ports and answering addresses on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import aiohttp

from domain.errors import ConfigError
from storage.files import state_folder
from storage.locks import LockHeld, OsLock

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


class Claims:
    """Ports this stack has chosen, marked so that another stack of this user does not choose them too.

    A server binds its port seconds after the choice. Without a mark two stacks that start together choose the same port, and
    the one whose server came too late takes the other's answers for its own.
    """

    def __init__(self) -> None:
        """Raises: ConfigError when this user has no folder of its own to mark them in."""
        self._folder = state_folder("ports", outlives_session=False)
        self._locks: list[OsLock] = []

    def choose(self, usual: int) -> int:
        """Return the usual port if it is free and unclaimed, else any such port; 0 always means any. It is ours until released."""
        port = usual or _any_free()
        while not (is_free(port) and self._claim(port)):
            port = _any_free()
        return port

    def _claim(self, port: int) -> bool:
        try:
            self._locks.append(OsLock(self._folder / f"{port}.lock"))
        except LockHeld:
            return False
        return True

    def release(self) -> None:
        """Let go of every port; the kernel does it too when this process dies."""
        for lock in self._locks:
            lock.release()
        self._locks.clear()


def _any_free() -> int:
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
