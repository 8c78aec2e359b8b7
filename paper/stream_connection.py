"""One websocket of the public streams: what it listens to, and how bytes leave without ever waiting for it."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Literal

from paper.stream_names import Route

_CONTINUE_BELOW = 126
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A whole unmasked websocket frame (RFC 6455, 5.2): the same bytes serve every listener."""
    size = len(payload)
    if size < _CONTINUE_BELOW:
        return bytes((opcode, size)) + payload
    if size < 1 << 16:
        return bytes((opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((opcode, 127)) + size.to_bytes(8, "big") + payload


class Connection:
    """A listener. Frames of one loop turn leave in one write; a listener that does not read is dropped."""

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        route: Route,
        combined: bool,
        now_seconds: float,
        buffer_bytes_max: int,
        messages_per_second_max: int,
    ) -> None:
        self.route = route
        self.combined = combined
        self.streams: dict[str, None] = {}  # Every name it subscribed to, silent ones included, in order.
        self.opened_seconds = self.pinged_seconds = self.ponged_seconds = now_seconds
        self.closing_seconds: float | None = None
        self._transport = transport
        self._pending: list[bytes] = []
        self._buffer_bytes_max = buffer_bytes_max
        self._arrivals: deque[float] = deque(maxlen=messages_per_second_max)

    def send(self, framed: bytes) -> None:
        """Send a whole frame at the end of this loop turn."""
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.append(framed)

    def send_text(self, payload: bytes) -> None:
        """Send a text message."""
        self.send(frame(payload))

    def ping(self, now_seconds: float) -> None:
        """Ask whether the listener lives."""
        self.pinged_seconds = now_seconds
        self.send(frame(b"", _PING))

    def pong(self, payload: bytes) -> None:
        """Answer the listener's ping."""
        self.send(frame(payload, _PONG))

    def close(
        self, code: int, reason: Literal["", "too many requests", "too many streams"], now_seconds: float
    ) -> None:
        """Begin the closing handshake."""
        if self.closing_seconds is None:
            self.closing_seconds = now_seconds
            self.send(frame(code.to_bytes(2, "big") + reason.encode(), _CLOSE))

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._pending.clear()
        self._transport.abort()

    def admits(self, now_seconds: float) -> bool:
        """Count an incoming message. False when there were more in this second than allowed."""
        arrivals = self._arrivals
        over = len(arrivals) == arrivals.maxlen and now_seconds - arrivals[0] < 1.0
        arrivals.append(now_seconds)
        return not over

    def subscribe(self, names: Iterable[str]) -> None:
        """Remember these names."""
        self.streams.update(dict.fromkeys(names))

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if not pending or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > self._buffer_bytes_max:
            self._transport.abort()
            return
        self._transport.write(b"".join(pending))
