"""Hot reload: `pairs_config.json` is re-read when it changes, strictly; a bad file is refused whole and the old one stays."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domain.errors import ConfigError
from domain.symbols import Symbol
from runner import events
from runner.components import Components
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from runner.logs import Log
from runner.off_loop import OffLoop
from runner.pairs.file import load_pairs
from runner.pairs.registry import PairsRegistry
from storage.files import FileHangs

LOOK_SECONDS = 1.0
FileSignature = tuple[int, int, int]


def signature_of(path: Path) -> FileSignature | None:
    """Changes whenever the file is replaced or rewritten."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


class PairsWatch:
    """Brings a changed file into the running bot."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        parts: Components,
        pairs: PairsRegistry,
        log: Log,
        *,
        seen: FileSignature | None,
    ) -> None:
        """`seen`: the signature of the file that `pairs` were read from, taken before it was read."""
        self._path = path
        self._settings = settings
        self._parts = parts
        self._pairs = pairs
        self._log = log
        self._seen = seen
        self._files = OffLoop()
        self._hangs = False
        self._gate = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._parts.clock.sleep(LOOK_SECONDS)
            try:
                signature = await self._files.call(self._path, lambda: signature_of(self._path))
                if signature is None or signature == self._seen:
                    self._hangs = False
                    continue
                await self.reload()
            except FileHangs as error:
                # Looked at again at every turn, said once.
                if not self._hangs:
                    self._hangs = True
                    self._log.emit(events.PAIRS_FILE_INVALID, why=str(error))
                continue
            except ConfigError as error:
                self._log.emit(events.PAIRS_FILE_INVALID, why=str(error))
            except ExchangeError as error:
                # Not the file's fault: look again at the next turn.
                self._log.emit(events.PAIRS_RELOAD_DEFERRED, why=str(error))
                continue
            self._seen = signature
            self._hangs = False

    async def reload(self) -> Mapping[str, Any]:
        """Raises: ConfigError, ExchangeError; then nothing has changed."""
        async with self._gate:
            loaded = await self._files.call(self._path, lambda: load_pairs(self._path, self._settings.signal))
            fresh = {pair.pair_id: pair for pair in loaded}
            new_symbols = {s for pair in fresh.values() for s in pair.symbols} - self._parts.generator.symbols
            if new_symbols:
                await self._parts.connection.rules.load(sorted(new_symbols))
                await self._prepare(sorted(new_symbols))
            before = self._pairs.replace(fresh.values())
            self._parts.generator.reconfigure(fresh.values())
            await self._parts.watch_quotes()
            changes: dict[str, Any] = {
                "added": sorted(fresh.keys() - before.keys()),
                "removed": sorted(before.keys() - fresh.keys()),
                "changed": sorted(
                    pair_id for pair_id in fresh.keys() & before.keys() if fresh[pair_id] != before[pair_id]
                ),
            }
            self._log.emit(events.PAIRS_RELOADED, **changes)
            return changes

    async def _prepare(self, symbols: Sequence[Symbol]) -> None:
        """A symbol that cannot be set up keeps its own pairs from entering, not the file from being taken."""
        try:
            await self._parts.account.set_up.prepare(symbols)
        except (ConfigError, ExchangeError) as error:
            self._log.emit(events.SYMBOL_SETUP_DEFERRED, symbols=list(symbols), why=str(error))
