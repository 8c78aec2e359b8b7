"""TradingBot: composes the live runner, starts it in order, and stops it in order.

There is one way to start: replay the journal, ask the exchange, go on.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from domain.entries import RunStarted, RunStopped
from domain.errors import ConfigError, JournalBroken, TandemError
from domain.pairs import PairConfig, SignalType
from domain.symbols import PairId
from domain.trade_book import KINDS_FOLDED
from domain.trades import TradeState
from domain.units import DAY_MS
from runner import events
from runner.account_lock import lock_account
from runner.clock import SystemClock
from runner.components import Components, build, empty_book
from runner.config import Settings, load_settings
from runner.control import ControlServer
from runner.execution.engine import FORGET_AFTER_MS
from runner.execution.signal_port import held_of, pair_to_close
from runner.first_answers import FirstAnswers
from runner.logs import Log, keep_secret
from runner.pairs.file import load_pairs, read_document, sha256_of
from runner.pairs.registry import PairsRegistry
from runner.pairs.watch import PairsWatch, signature_of
from runner.run_totals import RunTotals
from runner.signals.warmup import keep_sampling
from runner.status import health_of, status_of
from runner.tasks import cancel_all
from storage.files import READ_SECONDS, within
from storage.journal import Journal
from storage.locks import OsLock

DISCONNECT_SECONDS = 15.0
STATUS_SECONDS = 5.0
FLATTEN_SECONDS = 20.0


class TradingBot:
    """One account's live runner. `run` returns the final statistics; it is used once."""

    def __init__(
        self,
        config_path: Path,
        pairs_path: Path,
        on_status: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._config_path = config_path
        self._pairs_path = pairs_path
        self._on_status = on_status
        self._clock = SystemClock()
        self._stop = asyncio.Event()
        self._fatal: str | None = None
        self._beside: list[asyncio.Task[Any]] = []
        self._run_id = uuid.uuid4().hex[:12]
        self._started_ns = self._clock.monotonic_ns()
        self.settings: Settings
        self.pairs = PairsRegistry()
        self._journal: Journal
        self._account_lock: OsLock | None = None
        self._parts: Components
        self._log: Log
        self._watch: PairsWatch

    # The five steps, in order

    def load_configuration(self) -> None:
        """Read both files. Raises: ConfigError; nothing has started."""
        self.settings = load_settings(self._config_path)
        for secret in (self.settings.binance_api_key, self.settings.binance_api_secret):
            keep_secret(secret.get_secret_value() if secret is not None else None)
        self._pairs_seen = within(READ_SECONDS, self._pairs_path, lambda: signature_of(self._pairs_path))
        self.pairs.replace(load_pairs(self._pairs_path, self.settings.signal))

    async def initialize_components(self) -> None:
        """Open the journal, replay it, join the parts. Raises: AccountBusy, ConfigError."""
        settings = self.settings
        self._journal = Journal.open(settings.storage.journal, on_broken=lambda error: self._halt(f"journal: {error}"))
        if not settings.dry_run:  # Which sends nothing, and may run beside the one that does.
            self._account_lock = lock_account(settings)
        alone_since_ns = self._clock.monotonic_ns()
        self._log = Log(self._journal.note, self._clock)
        book = empty_book(settings)
        # What `forget_ended_before` would drop is not read in the first place: a start takes no longer after a year.
        forgotten_ms = self._clock.now_ms() - FORGET_AFTER_MS
        for _, entry in self._journal.replay(kinds=KINDS_FOLDED, closed_before_ms=forgotten_ms - DAY_MS):
            book.apply(entry)
        book.forget_ended_before(forgotten_ms)
        if settings.dry_run and book.open_by_pair:
            raise ConfigError(
                f"{settings.storage.journal} holds {len(book.open_by_pair)} open trades, which a dry run would not close;"
                " close them first, or give the dry run a journal of its own (storage.journal)"
            )
        await self._journal.append(
            RunStarted(
                at_ms=self._clock.now_ms(),
                run_id=self._run_id,
                trading_mode=settings.trading_mode,
                dry_run=settings.dry_run,
                version=version("tandem"),
                config_sha256=settings.sha256,
                pairs_sha256=sha256_of(read_document(self._pairs_path).pairs),
            )
        )
        self._parts = build(
            settings,
            clock=self._clock,
            journal=self._journal,
            book=book,
            log=self._log,
            pairs=self.pairs,
            halt=self._halt,
            alone_since_ns=alone_since_ns,
        )
        seen = self._pairs_seen
        self._watch = PairsWatch(self._pairs_path, settings, self._parts, self.pairs, self._log, seen=seen)
        if settings.trading_mode == "live":
            for url in settings.unencrypted_urls:  # On loopback, or the configuration would have been refused.
                self._log.emit(
                    events.EXCHANGE_UNENCRYPTED, url=url, why="keys and orders travel in plain text on this machine"
                )
        self._log.emit(
            events.STARTING,
            mode=settings.trading_mode,
            dry_run=settings.dry_run,
            pairs=len(self.pairs),
            open_trades=len(book.open_by_pair),
        )

    async def start_monitoring(self, tasks: asyncio.TaskGroup) -> None:
        """Rules, quotes, history, the account's events; take up what the journal left; then accept signals.

        Raises: ConfigError (keys, symbols, position mode), ExchangeError (it never answered).
        """
        parts = self._parts
        await FirstAnswers(parts, self.pairs, self._log, self._stop).gather()
        for trade in parts.book.live_trades():
            if all(
                parts.connection.rules.knows(symbol) for symbol in trade.symbols
            ):  # Else there is no price to judge its exit by.
                parts.generator.adopt(self._pair_of(trade), held_of(trade))
        for plan in parts.book.last_plans.values():
            if plan.signal_ms is not None:
                parts.generator.remember(plan.pair_id, SignalType(plan.side.value), plan.signal_ms)
        self._background(tasks, parts.clock_monitor.run(), "clock")
        self._background(tasks, parts.user_stream.run(), "user-stream")
        await parts.watch_quotes()
        await parts.windows.warm_up()
        await parts.user_stream.connected.wait()
        # Before the engine asks anything: a clock found wrong from here on would never be set right, and it would wait for ever.
        self._background(tasks, parts.account.run(), "account")
        await parts.execution.engine.connect()
        parts.contracts.judge()
        parts.generator.register_signal_callback(parts.execution.engine.submit)
        self._background(tasks, parts.contracts.run(), "contracts")
        self._background(tasks, parts.contract_stream.run(), "contract-stream")
        self._background(tasks, self._watch.run(), "pairs-file")
        self._background(tasks, parts.windows.run(), "window-repair")
        self._background(
            tasks,
            keep_sampling(parts.generator, self._clock, every_seconds=self.settings.signal.spread_sample_seconds),
            "samples",
        )
        self._background(tasks, self._report_status(), "status")
        self._log.emit(events.TRADING, pairs=len(self.pairs), symbols=len(parts.generator.symbols))

    def _pair_of(self, trade: TradeState) -> PairConfig:
        """The pair as configured if its legs are still the same, else as the trade was opened, to close only."""
        configured = self.pairs.get(trade.pair_id)
        if configured is not None and configured.symbols == trade.symbols:
            return configured
        return pair_to_close(trade, self.settings.signal.bar_seconds)

    async def shutdown_gracefully(self, reason: str) -> RunTotals:
        """No new entries, trades in flight to hedged or flat, the journal drained."""
        parts = self._parts
        parts.execution.gate.paused_because = "shutting down"
        self._log.emit(events.STOPPING, why=reason, in_flight=parts.execution.engine.in_flight)
        await parts.execution.engine.disconnect(
            DISCONNECT_SECONDS, flatten=self.settings.execution.on_shutdown == "flatten" and not self._fatal
        )
        statistics = self._statistics(reason)
        self._log.emit(events.STOPPED, **asdict(statistics))
        return statistics

    async def run(self, stop: asyncio.Event) -> RunTotals:
        """Trade until `stop` is set. Raises: ConfigError, AccountBusy, ExchangeError (never answered), JournalBroken."""
        self._stop = stop
        self.load_configuration()
        try:
            await self.initialize_components()
        except BaseException:
            await self._close()
            raise
        statistics: RunTotals | None = None
        failure: TandemError | None = None
        try:
            async with ControlServer(self.settings, self, self, self._log, self._clock), asyncio.TaskGroup() as tasks:
                starting = self._background(tasks, self.start_monitoring(tasks), "start")
                await self._until_stopped(starting)
                statistics = await self.shutdown_gracefully(self._fatal or "asked to stop")
                for task in self._beside:
                    task.cancel()
        except* TandemError as group:
            failure = _first_of(group)
        finally:
            await self._close(statistics)
        if failure is not None:
            raise failure
        if self._fatal is not None:
            raise JournalBroken(self._fatal)
        assert statistics is not None
        return statistics

    async def _until_stopped(self, starting: asyncio.Task[Any]) -> None:
        await self._stop.wait()
        if not starting.done():
            await cancel_all(starting)

    def _background(self, tasks: asyncio.TaskGroup, work: Any, name: str) -> asyncio.Task[Any]:
        task = tasks.create_task(work, name=name)
        self._beside.append(task)
        return task

    async def _close(self, statistics: RunTotals | None = None) -> None:
        parts = getattr(self, "_parts", None)
        if parts is not None:
            await parts.execution.engine.disconnect(DISCONNECT_SECONDS if statistics is None else 0.0)
            await parts.close()
        journal = getattr(self, "_journal", None)
        if journal is None:
            return
        if statistics is not None and not journal.broken:
            with contextlib.suppress(JournalBroken):
                await journal.append(
                    RunStopped(
                        at_ms=self._clock.now_ms(),
                        run_id=self._run_id,
                        reason=statistics.reason,
                        uptime_seconds=statistics.uptime_seconds,
                        signals_processed=statistics.signals_processed,
                        trades_executed=statistics.trades_executed,
                        success_rate=statistics.success_rate,
                    )
                )
        if self._account_lock is not None:
            self._account_lock.release()  # Nothing of ours sends any more; whoever waits for the journal waits a moment longer.
        await journal.close()

    def _halt(self, reason: str) -> None:
        """Going on would be unsafe for every pair: stop, loudly; the next start replays the journal."""
        if self._fatal is None:
            self._fatal = reason
            self._log.emit(events.HALTING, why=reason)
        self._stop.set()

    def _statistics(self, reason: str) -> RunTotals:
        counters = self._parts.execution.engine.counters
        sent = counters.executed + counters.rolled_back
        return RunTotals(
            uptime_seconds=(self._clock.monotonic_ns() - self._started_ns) / 1e9,
            signals_processed=counters.signals,
            trades_executed=counters.executed,
            trades_closed=counters.closed,
            trades_rolled_back=counters.rolled_back,
            signals_denied=sum(counters.denied.values()),
            open_trades=len(self._parts.book.open_by_pair),
            success_rate=counters.executed / sent if sent else 1.0,
            reason=reason,
        )

    # Beside the trading

    async def _report_status(self) -> None:
        while True:
            if self._on_status is not None:
                self._on_status(self.status())
            await self._clock.sleep(STATUS_SECONDS)

    def status(self) -> Mapping[str, Any]:
        """Everything a person asks first, as JSON-able values."""
        return status_of(self._parts, self.settings, uptime_ns=self._clock.monotonic_ns() - self._started_ns)

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """True with no reasons, or False and why."""
        return health_of(self._parts, fatal=self._fatal)

    # The operator

    async def pause(self, reason: str) -> None:
        self._parts.execution.gate.paused_because = reason
        self._log.emit(events.PAUSED, why=reason)

    async def resume(self) -> None:
        """Let entries go on. Raises: ConfigError while orders under our prefix are at the exchange that we do not know."""
        unexplained = await self._parts.execution.engine.explain_orders()
        if unexplained:
            raise ConfigError(
                f"orders of ours rest at the exchange that this journal does not know: {', '.join(sorted(unexplained))};"
                " find out who sent them, cancel them, then resume again"
            )
        self._parts.execution.gate.paused_because = None
        unfrozen = await self._parts.execution.freezer.unfreeze()
        self._log.emit(events.RESUMED_BY_OPERATOR, unfrozen=unfrozen)

    async def flatten(self, pair_id: str | None) -> Mapping[str, str]:
        """Close one pair's trade, or all of them. Entries go on; pause first to stay flat. Raises: ConfigError."""
        book = self._parts.book
        if pair_id is not None and PairId(pair_id) not in self.pairs and PairId(pair_id) not in book.open_by_pair:
            raise ConfigError(f"no pair {pair_id} here; `tandem status` lists them")
        wanted = [PairId(pair_id)] if pair_id is not None else list(book.open_by_pair)
        self._log.emit(events.FLATTEN_BY_OPERATOR, pairs=len(wanted))
        return await self._parts.execution.engine.flatten(wanted, wait_seconds=FLATTEN_SECONDS)

    async def reload(self) -> Mapping[str, Any]:
        """Read the pairs file again now. Raises: ConfigError; then nothing has changed."""
        return await self._watch.reload()


def _first_of(group: BaseExceptionGroup[TandemError]) -> TandemError:
    """The cause of the others: the first leaf of the tree."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, TandemError)
    return first
