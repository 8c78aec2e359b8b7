"""Pairs that may not enter for a while: repeated half-fills are a symptom, and a bug is no reason to try again soon."""

from domain.entries import PairFrozen
from domain.symbols import PairId
from runner.config import ExecutionSettings
from runner.execution.records import Records

HALTED_MS = 86_400_000
"""A pair that failed for no reason we foresaw waits for a person, or for a day."""


async def freeze(records: Records, pair_id: PairId, *, for_ms: int, reason: str) -> None:
    """No entries until then; exits go on. Raises: JournalBroken."""
    now_ms = records.clock.now_ms()
    await records.establish(PairFrozen(at_ms=now_ms, pair_id=pair_id, until_ms=now_ms + for_ms, reason=reason))


async def freeze_if_repeated(records: Records, settings: ExecutionSettings, pair_id: PairId) -> None:
    """Stop poking after several rollbacks in a row. Raises: JournalBroken."""
    window_ms = settings.freeze_seconds * 1000
    since_ms = records.clock.now_ms() - window_ms
    recent = sum(1 for at_ms in records.book.rollbacks.get(pair_id, []) if at_ms > since_ms)
    if recent < settings.rollbacks_before_freeze:
        return
    await freeze(records, pair_id, for_ms=window_ms, reason=f"{recent} rollbacks in a row")
    records.log.error("pair_frozen", pair_id=pair_id, seconds=settings.freeze_seconds, rollbacks=recent)
