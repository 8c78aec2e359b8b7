"""What the journal holds: every kind comes back as it was written, and external parties are refused."""

import math
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.entries import (
    AnyEntry,
    Entry,
    FillSeen,
    FundingPaid,
    OrderIntended,
    SignalReceived,
    SpreadSampled,
    TradeIntended,
    decode,
    encode,
    kind_of,
)

KINDS: tuple[type[Entry], ...] = get_args(AnyEntry)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)
FACTS = st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers(-9, 9) | st.booleans(), max_size=3)
LOOSE = {"facts": FACTS, "parameters": FACTS, "stretches": st.lists(FACTS, max_size=3)}
for plain, drawn in ((Decimal, DECIMALS), (float, st.floats(allow_nan=False, allow_infinity=False))):
    st.register_type_strategy(plain, drawn)


def of_kind(kind: type[Entry]) -> st.SearchStrategy[Entry]:
    """Any instance, drawn from the fields' own types."""
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(kind):
        drawn[field.name] = LOOSE[field.name] if field.name in LOOSE else st.from_type(field.type)
    return st.builds(kind, **drawn)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_kind_comes_back_as_it_was(kind: type[Entry], data: st.DataObject) -> None:
    entry = data.draw(of_kind(kind))
    again = decode(encode(entry))
    assert type(again) is kind
    assert again == entry
    assert again.unique_key == entry.unique_key
    assert encode(again) == encode(entry)


def test_money_travels_as_text_to_the_last_digit() -> None:
    paid = FundingPaid(
        at_ms=1, trade_id=None, symbol="X", amount_usd=Decimal("-0.10000000000000000000000001"), transaction_id="9"
    )
    assert b'"amount_usd":"-0.10000000000000000000000001"' in encode(paid)
    assert decode(encode(paid)) == paid


def test_tags_are_distinct_and_kept() -> None:
    """A tag, once written by a release, is never changed: this list only grows."""
    assert {str(kind.__struct_config__.tag) for kind in KINDS} == {
        "run_started", "run_stopped", "signal_received", "signal_resolved", "trade_intended", "trade_advanced", "order_intended",
        "order_advanced", "fill_seen", "funding_paid", "equity_sampled", "spread_sampled", "pair_frozen", "event_logged",
        "calibration_decided", "calibration_run", "reconciliation_done", "reconciliation_item_found", "health_checked",
        "backtest_done", "backtest_traded",
    }  # fmt: skip


UNREADABLE = [
    b"",
    b"{}",
    b"null",
    b'{"kind":"of_the_future","at_ms":1}',
    b'{"at_ms":1,"amount_usd":"1"}',
    b'{"kind":"equity_sampled","at_ms":1}',
    b'{"kind":"equity_sampled","at_ms":"1","wallet_usd":"1","unrealized_usd":"1"}',
    b'{"kind":"equity_sampled","at_ms":1,"wallet_usd":"much","unrealized_usd":"1"}',
    b'{"kind":"equity_sampled","at_ms":1,"wallet_usd":"1","unrealized_u',
    b"\x00\xff",
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_what_we_did_not_write_is_refused(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode(body)


def test_a_spread_that_is_no_number_is_not_a_row() -> None:
    """JSON has no NaN: what was written as one does not come back as a number."""
    sampled = SpreadSampled(at_ms=1, pair_id="P", price_a=1.0, price_b=1.0, spread=math.nan, z_score=None)
    with pytest.raises(msgspec.ValidationError):
        decode(encode(sampled))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from((SignalReceived, TradeIntended, OrderIntended, FillSeen, FundingPaid)).flatmap(of_kind),
        max_size=6,
    )
)
def test_unique_keys_tell_kinds_apart(entries: list[Entry]) -> None:
    """Two rows share a key only when they are of one kind and name the same thing."""
    keys: dict[str, Entry] = {}
    for entry in entries:
        key = entry.unique_key
        assert key is not None
        other = keys.setdefault(key, entry)
        assert kind_of(other) == kind_of(entry)


@given(of_kind(FillSeen))
@settings(max_examples=20, deadline=None)
def test_an_execution_is_the_same_whoever_tells_it(entry: Any) -> None:
    reported_again = msgspec.structs.replace(
        entry, at_ms=entry.at_ms + 1, trade_id=None, leg=None, purpose=None, pair_id=None
    )
    assert reported_again.unique_key == entry.unique_key


def test_repeats_are_fine_for_the_rest() -> None:
    keyed = {kind for kind in KINDS if kind.unique_key is not Entry.unique_key}
    assert keyed == {SignalReceived, TradeIntended, OrderIntended, FillSeen, FundingPaid}
