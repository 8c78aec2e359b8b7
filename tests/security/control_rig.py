"""A control server on real sockets, what it was told to do, and the rows it wrote."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domain.entries import EventLogged
from runner.clock import SystemClock
from runner.config import load_settings
from runner.control import ControlServer
from runner.logs import Log


@dataclass
class ControlRig:
    """The running server seen from outside, and what came of it."""

    config: Path
    port: int
    token: str
    token_file: Path
    rows: list[EventLogged]
    done: list[str] = field(default_factory=list)

    def refusals(self) -> list[str]:
        return [str(row.facts["why"]) for row in self.rows if row.event == "control_refused"]


class Trader:
    """Does nothing, and remembers that it was asked to."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def status(self) -> Mapping[str, Any]:
        return {"pairs": {}, "open_trades": []}

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        return True, {"ok": True}

    async def pause(self, reason: str) -> None:
        self.done.append(f"pause {reason}")

    async def resume(self) -> None:
        self.done.append("resume")

    async def flatten(self, pair_id: str | None) -> Mapping[str, Any]:
        self.done.append(f"flatten {pair_id}")
        return {}

    async def reload(self) -> Mapping[str, Any]:
        self.done.append("reload")
        return {}


@asynccontextmanager
async def control_rig(folder: Path, **control: object) -> AsyncIterator[ControlRig]:
    """Listening inside, at a free port."""
    config = folder / "config.json"
    config.write_text(json.dumps({"control": {"port": 0, **control}}))
    settings = load_settings(config)
    settings.storage.journal.parent.mkdir(parents=True, exist_ok=True)
    rows: list[EventLogged] = []
    trader = Trader()
    async with ControlServer(settings, trader, trader, Log(rows.append, SystemClock()), SystemClock()) as server:
        yield ControlRig(
            config=config,
            port=int(server.address.rpartition(":")[2]),
            token=settings.control_token_file.read_text(),
            token_file=settings.control_token_file,
            rows=rows,
            done=trader.done,
        )
