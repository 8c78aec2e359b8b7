"""`!contractInfo`: the venue's word that a contract has changed. A hint and no more: whoever hears it reads the rules anew."""

import asyncio
import random
from collections.abc import Callable

import msgspec
import websockets
from websockets.asyncio.client import connect

from runner.exchange.binance.wire import SymbolOf

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
LIVED_SECONDS = 60.0
PING_SECONDS = 20.0


class ContractStream:
    """Runs until cancelled. `on_hint` is called for each change of a contract we know, and after every gap."""

    def __init__(self, stream_url: str, symbol_of: SymbolOf, on_hint: Callable[[], None]) -> None:
        self._url = f"{stream_url}/market/ws/!contractInfo"
        self._symbol_of = symbol_of
        self._on_hint = on_hint
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Connect, listen, connect again with growing pauses, for ever. The regular reading of the rules goes on without it."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                await self._session()
            except (OSError, websockets.WebSocketException, TimeoutError):
                pass
            finally:
                self.connected.clear()
            failures = 0 if loop.time() - began > LIVED_SECONDS else failures + 1
            pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            await asyncio.sleep(pause * (0.75 + random.random() / 2))  # noqa: S311  (Jitter, not a secret.)

    async def _session(self) -> None:
        async with connect(
            self._url, ping_interval=PING_SECONDS, ping_timeout=PING_SECONDS, close_timeout=2, compression=None
        ) as connection:
            self.connected.set()
            self._on_hint()  # What was said before nobody heard.
            async for message in connection:
                if self._concerns_us(message):
                    self._on_hint()

    def _concerns_us(self, message: str | bytes) -> bool:
        """Other venues' contracts come along in the same stream; what cannot be read may be about ours."""
        try:
            event = msgspec.json.decode(message)
            payload = event.get("data", event)
            return payload.get("e") == "contractInfo" and self._symbol_of(str(payload["s"])) is not None
        except (msgspec.DecodeError, AttributeError, KeyError):
            return True
