"""`!contractInfo`: the exchange's news that a contract has changed. A hint and no more: whoever hears it reads the rules anew."""

import asyncio
import random
from collections.abc import Callable

import msgspec
import websockets

from domain.ladder import step_of
from runner.exchange.binance.shapes import UNREADABLE
from runner.exchange.binance.transport import open_socket
from runner.exchange.binance.wire import SymbolOf
from runner.ports import Clock

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
LIVED_SECONDS = 60.0
PING_SECONDS = 20.0
OPEN_SECONDS_MAX = 10.0


class ContractStream:
    """Runs until cancelled. `on_hint` is called for each change of a contract we know, and after every gap."""

    def __init__(self, clock: Clock, stream_url: str, symbol_of: SymbolOf, on_hint: Callable[[], None]) -> None:
        self._clock = clock
        self._url = f"{stream_url}/market/ws/!contractInfo"
        self._symbol_of = symbol_of
        self._on_hint = on_hint
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Connect, listen, connect again with growing pauses, for ever. The regular reading of the rules goes on without it."""
        failures = 0
        while True:
            began_ns = self._clock.monotonic_ns()
            try:
                await self._session()
            except (OSError, websockets.WebSocketException, TimeoutError):
                pass
            finally:
                self.connected.clear()
            lived = (self._clock.monotonic_ns() - began_ns) / 1e9
            failures = 0 if lived > LIVED_SECONDS else failures + 1
            pause = step_of(BACKOFF_SECONDS, failures)
            await self._clock.sleep(pause * (0.75 + random.random() / 2))  # noqa: S311  (Jitter, not a secret.)

    async def _session(self) -> None:
        connection = await open_socket(
            self._url, open_seconds_max=OPEN_SECONDS_MAX, ping_seconds=PING_SECONDS, close_seconds_max=2
        )
        async with connection:
            self.connected.set()
            self._on_hint()  # What was said before nobody heard.
            async for message in connection:
                if self._concerns_us(message):
                    self._on_hint()

    def _concerns_us(self, message: str | bytes) -> bool:
        """Other markets' contracts come along in the same stream; what cannot be read may be about ours."""
        try:
            event = msgspec.json.decode(message)
            payload = event.get("data", event)
            return payload.get("e") == "contractInfo" and self._symbol_of(str(payload["s"])) is not None
        except (msgspec.DecodeError, *UNREADABLE):
            return True
