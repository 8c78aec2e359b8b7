"""What a recalibration comes to."""

from dataclasses import dataclass

from domain.statistics.decisions import Decision
from domain.statistics.recalibration import Recalibration as Outcome
from flows.recalibrate.evidence import Evidence
from flows.recalibrate.rules import CalibrationRules
from runner.pairs.file import PairRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """What was decided and why, and the version that was written; None when nothing changed or nothing was to be written."""

    run_id: str
    verdict: Outcome
    evidence: Evidence
    rules: CalibrationRules
    rows_after: tuple[PairRow, ...]
    written_version: int | None
    dry_run: bool
    seconds: float

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self.verdict.decisions

    @property
    def bars_fetched(self) -> int:
        return self.evidence.bars_fetched

    @property
    def window(self) -> str:
        return self.evidence.window

    @property
    def counts(self) -> dict[str, int]:
        return {str(action): count for action, count in self.verdict.counts.items()}

    @property
    def is_refused(self) -> bool:
        """A gate over the whole refused: nothing was written, and somebody should look."""
        return bool(self.verdict.refusals)
