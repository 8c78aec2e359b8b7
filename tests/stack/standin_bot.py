"""A stand-in for the trading bot: takes the account's lock, writes a tick every tenth of a second, leaves in order."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from domain.errors import AccountBusy
from runner import keys
from storage.locks import LockHeld, OsLock


class StandinBot:
    """Has the seam of runner.bot.TradingBot; behaves badly when its configuration says so."""

    def __init__(
        self, config_path: Path, pairs_path: Path, on_status: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._folder = config_path.resolve().parent
        self._on_status = on_status

    async def run(self, stop: asyncio.Event) -> Mapping[str, Any]:
        try:
            lock = OsLock(self._folder / "account.lock")
        except LockHeld as held:
            raise AccountBusy(str(held)) from held
        try:
            return await self._tick(stop)
        finally:
            lock.release()

    async def _tick(self, stop: asyncio.Event) -> Mapping[str, Any]:
        ticks = 0
        self._write("started")
        held = keys.keys_from(keys.Purpose.TRADE, os.environ)
        seen = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in held.items()}
        (self._folder / "keys-seen.json").write_text(json.dumps(seen), encoding="utf-8")
        self._log("runner_started\n")
        while not stop.is_set():
            ticks += 1
            self._write("tick")
            if self._on_status is not None:
                self._on_status({"state": "trading", "ticks": ticks, "executed": 1})
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)  # A second of leaving in order, which a SIGKILL would cut short.
        self._write("left in order")
        return {"uptime_seconds": ticks / 10, "trades_executed": 0}

    def _write(self, what: str) -> None:
        with (self._folder / "ticks.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at_s": time.time_ns() / 1e9, "pid": os.getpid(), "what": what}) + "\n")

    def _log(self, lines: str) -> None:
        if path := os.environ.get("TANDEM_LOG_FILE"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(lines)
