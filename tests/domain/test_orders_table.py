"""Facts about the life of an order, stated as stories; the table is never compared with itself."""

from collections.abc import Callable, Mapping
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import orders
from domain.errors import InvariantBroken
from domain.orders import (
    TERMINAL,
    TRANSITIONS,
    LegName,
    OrderChange,
    OrderStatus,
    Purpose,
    advance,
    client_order_id_of,
    is_ours,
    trade_id_of,
)
from domain.symbols import PairId, TradeId

S, C = OrderStatus, OrderChange
Row = tuple[OrderStatus, OrderChange]
NEWS = {
    C.ACCEPTED: S.OPEN,
    C.PARTIALLY_FILLED: S.PARTIALLY_FILLED,
    C.FILLED: S.FILLED,
    C.CANCELLED: S.CANCELLED,
    C.EXPIRED: S.EXPIRED,
}
BELIEVED_NOTHING = (S.INTENDED, S.UNKNOWN, S.DEAD, S.REFUSED)
ENDED_AT_THE_VENUE = (S.FILLED, S.CANCELLED, S.EXPIRED)
# What cannot happen to an order as we model it: each of these halts the pair.
GAPS: set[Row] = {
    # Only the request itself can fail to leave, and it is tried once.
    *((status, C.NEVER_SENT) for status in S if status not in {S.INTENDED, S.DEAD}),
    # Nobody looks for an order that the exchange has shown us, or that it refused.
    *((status, C.PROVEN_ABSENT) for status in S if status not in {S.INTENDED, S.UNKNOWN, S.DEAD}),
    # An order that lived was not refused.
    *((status, C.REFUSED) for status in S if status not in {S.INTENDED, S.UNKNOWN, S.REFUSED}),
    # What is filled whole leaves nothing to cancel or to expire.
    (S.FILLED, C.CANCELLED),
    (S.FILLED, C.EXPIRED),
}


def the_exchange_is_right_whatever_we_believed() -> None:
    for believed, (told, status) in product(BELIEVED_NOTHING, NEWS.items()):
        assert advance(believed, told) is status, (believed, told)


def an_order_lives_forward() -> None:
    forward = {
        (S.OPEN, C.PARTIALLY_FILLED): S.PARTIALLY_FILLED,
        (S.OPEN, C.FILLED): S.FILLED,
        (S.OPEN, C.CANCELLED): S.CANCELLED,
        (S.OPEN, C.EXPIRED): S.EXPIRED,
        (S.PARTIALLY_FILLED, C.FILLED): S.FILLED,
        (S.PARTIALLY_FILLED, C.CANCELLED): S.CANCELLED,
        (S.PARTIALLY_FILLED, C.EXPIRED): S.EXPIRED,
    }
    for (status, change), then in forward.items():
        assert advance(status, change) is then


def being_told_twice_changes_nothing() -> None:
    for told, status in NEWS.items():
        assert advance(status, told) is status
    assert advance(S.REFUSED, C.REFUSED) is S.REFUSED
    assert advance(S.DEAD, C.PROVEN_ABSENT) is S.DEAD
    assert advance(S.DEAD, C.NEVER_SENT) is S.DEAD


def a_reply_overtaken_by_the_stream_takes_nothing_back() -> None:
    assert advance(S.PARTIALLY_FILLED, C.ACCEPTED) is S.PARTIALLY_FILLED
    for ended, late in product(ENDED_AT_THE_VENUE, (C.ACCEPTED, C.PARTIALLY_FILLED)):
        assert advance(ended, late) is ended, (ended, late)


def a_fill_that_raced_its_end_is_real() -> None:
    assert advance(S.CANCELLED, C.FILLED) is S.FILLED
    assert advance(S.EXPIRED, C.FILLED) is S.FILLED


def an_order_ends_once_by_whichever_word_came_first() -> None:
    assert advance(S.CANCELLED, C.EXPIRED) is S.CANCELLED
    assert advance(S.EXPIRED, C.CANCELLED) is S.EXPIRED


def a_lost_reply_teaches_nothing() -> None:
    assert advance(S.INTENDED, C.OUTCOME_UNKNOWN) is S.UNKNOWN
    for status in set(S) - {S.INTENDED}:
        assert advance(status, C.OUTCOME_UNKNOWN) is status, status


def a_refusal_ends_what_was_never_accepted() -> None:
    assert advance(S.INTENDED, C.REFUSED) is S.REFUSED
    assert advance(S.UNKNOWN, C.REFUSED) is S.REFUSED


def only_proof_kills() -> None:
    assert advance(S.INTENDED, C.NEVER_SENT) is S.DEAD
    assert advance(S.INTENDED, C.PROVEN_ABSENT) is S.DEAD
    assert advance(S.UNKNOWN, C.PROVEN_ABSENT) is S.DEAD


FACTS: tuple[Callable[[], None], ...] = (
    the_exchange_is_right_whatever_we_believed,
    an_order_lives_forward,
    being_told_twice_changes_nothing,
    a_reply_overtaken_by_the_stream_takes_nothing_back,
    a_fill_that_raced_its_end_is_real,
    an_order_ends_once_by_whichever_word_came_first,
    a_lost_reply_teaches_nothing,
    a_refusal_ends_what_was_never_accepted,
    only_proof_kills,
)


def all_facts() -> None:
    for fact in FACTS:
        fact()


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_a_fact(fact: Callable[[], None]) -> None:
    fact()


def test_the_gaps_are_these_and_each_of_them_halts() -> None:
    for row in product(S, C):
        if row in GAPS:
            with pytest.raises(InvariantBroken):
                advance(*row)
        else:
            advance(*row)


@pytest.mark.parametrize("missing", list(TRANSITIONS), ids=lambda row: f"{row[0]}-{row[1]}")
def test_no_row_could_be_deleted_unnoticed(monkeypatch: pytest.MonkeyPatch, missing: Row) -> None:
    """The facts together speak of every row."""
    rest: Mapping[Row, OrderStatus] = {row: then for row, then in TRANSITIONS.items() if row != missing}
    monkeypatch.setattr(orders, "TRANSITIONS", rest)
    with pytest.raises(InvariantBroken):
        all_facts()


def test_no_row_could_be_redirected_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for row, then in TRANSITIONS.items():
        wrong = S.OPEN if then is not S.OPEN else S.FILLED
        monkeypatch.setattr(orders, "TRANSITIONS", {**TRANSITIONS, row: wrong})
        with pytest.raises(AssertionError):
            all_facts()


@given(st.lists(st.sampled_from(list(C))))
def test_what_the_exchange_has_ended_never_works_again(changes: list[OrderChange]) -> None:
    """In any order of any news: a filled, cancelled or expired order is never live again, a filled one stays filled."""
    status = S.INTENDED
    for change in changes:
        before = status
        try:
            status = advance(status, change)
        except InvariantBroken:
            continue
        if before in ENDED_AT_THE_VENUE:
            assert status in ENDED_AT_THE_VENUE
        if before is S.FILLED:
            assert status is S.FILLED
        assert status is not S.INTENDED or change is None, "an order is intended once"


@given(st.sampled_from(list(S)), st.sampled_from(list(C)))
def test_the_same_news_again_is_no_news(status: OrderStatus, change: OrderChange) -> None:
    try:
        once = advance(status, change)
    except InvariantBroken:
        return
    assert advance(once, change) is once


def test_terminal_is_what_needs_no_more_waiting() -> None:
    assert {S.FILLED, S.CANCELLED, S.EXPIRED, S.REFUSED, S.DEAD} == TERMINAL


PAIR_IDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=64).map(
    PairId
)


@given(
    pair_id=PAIR_IDS,
    decided_ms=st.integers(0, 9_999_999_999_999),
    leg=st.sampled_from(LegName),
    purpose=st.sampled_from(Purpose),
    attempt=st.integers(0, 9_999),
)
def test_a_client_id_is_derived_and_fits(
    pair_id: PairId, decided_ms: int, leg: LegName, purpose: Purpose, attempt: int
) -> None:
    """Same question, same id; within the exchange's 36 characters and its alphabet."""
    trade_id = trade_id_of(pair_id, decided_ms)
    identity = client_order_id_of(trade_id, leg, purpose, attempt)
    assert identity == client_order_id_of(trade_id_of(pair_id, decided_ms), leg, purpose, attempt)
    assert len(identity) <= 36
    assert set(identity) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert is_ours(identity)


def test_ids_differ_where_anything_differs() -> None:
    trades = [
        trade_id_of(PairId(pair), at_ms) for pair, at_ms in product(("A", "B", "AB"), (1, 2, 36, 1_790_000_000_000))
    ]
    ids = [client_order_id_of(*row) for row in product(trades, LegName, Purpose, range(12))]
    assert len(set(ids)) == len(ids)


def test_an_id_too_long_is_a_bug() -> None:
    with pytest.raises(InvariantBroken, match="36"):
        client_order_id_of(TradeId("t" * 40), LegName.A, Purpose.ENTRY, 0)


@pytest.mark.parametrize("theirs", ["", "web_abc", "autoclose-1", "x-tdm-1", "TDM-1"])
def test_what_others_sent_is_not_ours(theirs: str) -> None:
    assert not is_ours(theirs)
