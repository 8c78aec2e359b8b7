"""Capital in flight: promised once, given back once, however the entry ends."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvariantBroken, JournalBroken
from domain.symbols import PairId
from runner.execution.entry.capital import Capital

P, Q = PairId("P"), PairId("Q")


def test_a_reservation_ends_with_its_block() -> None:
    capital = Capital()
    with capital.reserve(P, Decimal(700)), capital.reserve(Q, Decimal(300)):
        assert capital.reserved_usd == 1000
        assert capital.is_reserved_for(P)
    assert capital.reserved_usd == 0
    assert not capital.is_reserved_for(P)


def test_a_second_reservation_of_a_pair_is_a_bug_and_takes_nothing_from_the_first() -> None:
    capital = Capital()
    with capital.reserve(P, Decimal(700)):
        with pytest.raises(InvariantBroken), capital.reserve(P, Decimal(1)):
            pass
        assert capital.reserved_usd == 700


@given(st.lists(st.tuples(st.sampled_from((P, Q)), st.booleans()), max_size=8))
def test_nothing_is_left_however_the_blocks_end(entries: list[tuple[PairId, bool]]) -> None:
    capital = Capital()
    for pair_id, fails in entries:
        with contextlib.suppress(JournalBroken), capital.reserve(pair_id, Decimal(500)):
            assert capital.reserved_usd == 500
            if fails:
                raise JournalBroken("the entry came to nothing")
    assert capital.reserved_usd == 0
