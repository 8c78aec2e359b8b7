"""Pairs that may not enter for a while: repeated half-fills are a symptom, and a bug is no reason to try again soon.

Everything is a row of the journal, so a restart freezes nothing anew and ends no freeze. A freeze ends by its time, or by
`tandem resume`.
"""

from domain.entries import PairFrozen
from domain.symbols import PairId
from domain.trade_book import EVERY_PAIR
from domain.trades import TradeState
from domain.units import DAY_MS
from runner import events
from runner.config import ExecutionSettings
from runner.execution.context import Context
from runner.execution.orders.store import TradeStore

HALTED_MS = DAY_MS
"""A pair that failed for no reason we foresaw waits for a person, or for a day."""
FRUITLESS_FACTOR = 3
"""An entry refused outright costs a request, not money: so many times more of them are borne."""


class Freezer:
    """Begins and ends freezes. Every method raises JournalBroken."""

    def __init__(self, context: Context, store: TradeStore, settings: ExecutionSettings) -> None:
        self._book, self._clock, self._log = context.book, context.clock, context.log
        self._store = store
        self._settings = settings

    async def freeze(self, pair_id: PairId, *, for_ms: int, reason: str) -> None:
        """No entries until then; exits go on."""
        now_ms = self._clock.now_ms()
        await self._store.establish(PairFrozen(at_ms=now_ms, pair_id=pair_id, until_ms=now_ms + for_ms, reason=reason))

    async def unfreeze(self) -> list[PairId]:
        """Every frozen pair may enter again, and its rollbacks are forgotten."""
        now_ms = self._clock.now_ms()
        frozen = [pair_id for pair_id, until_ms in self._book.frozen_until_ms.items() if until_ms > now_ms]
        for pair_id in frozen:
            await self.freeze(pair_id, for_ms=0, reason="resumed by the operator")
        return frozen

    async def after_rollback(self, trade: TradeState) -> None:
        """Stop poking after several rollbacks of the pair in a row, and everything when several pairs fail at once."""
        book, settings, now_ms, pair_id = self._book, self._settings, self._clock.now_ms(), trade.pair_id
        for_ms = settings.freeze_seconds * 1000
        limit = settings.rollbacks_before_freeze
        costly = _since(book.rollbacks.get(pair_id, []), now_ms - for_ms)
        fruitless = _since(book.fruitless.get(pair_id, []), now_ms - for_ms)
        if costly >= limit or fruitless >= limit * FRUITLESS_FACTOR:
            await self.freeze(pair_id, for_ms=for_ms, reason=f"{costly} rollbacks, {fruitless} refusals in a row")
            self._log.emit(
                events.PAIR_FROZEN,
                pair_id=pair_id,
                seconds=settings.freeze_seconds,
                rollbacks=costly,
                refusals=fruitless,
            )
        if settings.rollback_pairs_before_halt == 0 or book.frozen_until_ms.get(EVERY_PAIR, 0) > now_ms:
            return
        since_ms = now_ms - settings.halt_window_seconds * 1000
        pairs = sorted(pair for pair, at_ms in book.rollbacks.items() if _since(at_ms, since_ms))
        if len(pairs) >= settings.rollback_pairs_before_halt:
            await self.freeze(EVERY_PAIR, for_ms=for_ms, reason=f"rollbacks of {', '.join(pairs)}")
            self._log.emit(events.ENTRIES_HALTED, seconds=settings.freeze_seconds, pairs=pairs)


def _since(times_ms: list[int], since_ms: int) -> int:
    return sum(1 for at_ms in times_ms if at_ms > since_ms)
