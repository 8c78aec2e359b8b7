"""Capital promised to entries in flight: reserved before the first await, released exactly once."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal

from domain.errors import InvariantBroken
from domain.symbols import PairId
from domain.trades import ZERO


class Capital:
    """One reservation a pair. Whoever takes one gives it back when its block ends, however it ends."""

    def __init__(self) -> None:
        self._reserved: dict[PairId, Decimal] = {}

    @contextlib.contextmanager
    def reserve(self, pair_id: PairId, notional_usd: Decimal) -> Iterator[None]:
        """Both legs' notional in USD, until the block ends. Raises: InvariantBroken when the pair has one already."""
        if pair_id in self._reserved:
            raise InvariantBroken(f"{pair_id} has capital reserved already")
        self._reserved[pair_id] = notional_usd
        try:
            yield
        finally:
            del self._reserved[pair_id]

    def is_reserved_for(self, pair_id: PairId) -> bool:
        return pair_id in self._reserved

    @property
    def reserved_usd(self) -> Decimal:
        """All reservations together, in USD of notional; 0 whenever no entry is in flight."""
        return sum(self._reserved.values(), ZERO)
