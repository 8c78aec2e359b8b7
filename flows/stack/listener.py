"""A loopback port that is ours from before its server starts until everything has stopped.

A port that a dead server has let go of could be taken by another user's process, and the worker does what its server says. So the
supervisor opens the socket, hands it down, and keeps it: while the server is dead callers are turned away as if nobody listened.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from flows.stack.ports import LOOPBACK

BACKLOG = 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing says at once that nobody is there.


class Listener:
    """One listening socket. `port` is the usual one if nobody has it, else any."""

    def __init__(self, usual: int) -> None:
        self._socket = _listen(usual)
        self.port = int(self._socket.getsockname()[1])
        self._turning_away = False

    def fileno(self) -> int:
        """Return the descriptor that a server inherits."""
        return self._socket.fileno()

    def turn_away(self) -> None:
        """The server is dead: whoever comes is told so."""
        if not self._turning_away:
            asyncio.get_running_loop().add_reader(self._socket, self._refuse)
            self._turning_away = True

    def hand_over(self) -> None:
        """A server is about to start: whoever comes from now on waits for it."""
        if self._turning_away:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._turning_away = False

    def _refuse(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            caller, _ = self._socket.accept()
            with caller:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        """Let the port go; harmless when done twice."""
        if self._turning_away:
            self.hand_over()
        self._socket.close()


def _listen(usual: int) -> socket.socket:
    for port in (usual, 0):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            if port == 0:
                raise
        else:
            listening.settimeout(0.0)
            return listening
    raise AssertionError("unreachable")
