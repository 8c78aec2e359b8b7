"""A start reads less of a long journal than all of it, and believes the same."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_entries import PAIR, fill, fill_journal, order, order_step, step, trade

from domain import entries as e
from domain.errors import JournalBroken
from domain.orders import LegName, OrderStatus, Purpose, Side
from domain.pairs import TradeStatus
from domain.symbols import PairId
from domain.trade_book import KINDS_FOLDED, TradeBook
from domain.units import DAY_MS
from storage import entries_file

NOW_MS = 10 * DAY_MS
FORGOTTEN_MS = NOW_MS - DAY_MS // 4
DUST = {"dust_a": "739"}
ENDS = {
    "open": [TradeStatus.OPEN],
    "closing": [TradeStatus.OPEN, TradeStatus.CLOSING],
    "closed": [TradeStatus.OPEN, TradeStatus.CLOSING, TradeStatus.CLOSED],
    "rolled back": [TradeStatus.CLOSING, TradeStatus.ROLLED_BACK],
    "re-opened": [TradeStatus.OPEN, TradeStatus.CLOSING, TradeStatus.CLOSED, TradeStatus.CLOSING],
    "closed twice": [TradeStatus.OPEN, TradeStatus.CLOSED, TradeStatus.CLOSING, TradeStatus.CLOSED],
}


def life(name: str, end: str, at_ms: int, *, number: int, leaves: str) -> list[e.Entry]:
    """One trade of a pair of its own, its last step at `at_ms`. `leaves`: nothing, dust of leg a, or what comes in late."""
    pair_id = PairId(f"{PAIR}-{name}")
    a, b = order(name, LegName.A, at_ms=at_ms), order(name, LegName.B, at_ms=at_ms)
    entries: list[e.Entry] = [trade(name, at_ms=at_ms, pair_id=pair_id), a, b]
    entries += [order_step(a, OrderStatus.FILLED, filled="739", at_ms=at_ms)]
    entries += [fill(name, LegName.A, Side.BUY, "739", "1.5", number=number, at_ms=at_ms)]
    if end != "rolled back":
        entries += [fill(name, LegName.B, Side.SELL, "1000", "0.5", number=number + 1, at_ms=at_ms)]
    leaving = {"number": number + 2, "purpose": Purpose.EXIT, "at_ms": at_ms}
    exits: list[e.Entry] = [fill(name, LegName.A, Side.SELL, "739", "1.6", **leaving)] if leaves != "dust" else []
    if end != "rolled back":
        exits.append(fill(name, LegName.B, Side.BUY, "1000", "0.4", **(leaving | {"number": number + 3})))
    for status in ENDS[end]:
        if status is TradeStatus.CLOSING and exits:
            entries += exits
            exits = []
        facts = DUST if status is TradeStatus.CLOSED and leaves == "dust" else {}
        step = e.TradeAdvanced(
            at_ms=at_ms, trade_id=a.intent.trade_id, pair_id=pair_id, status=status, reason="", facts=facts
        )
        entries.append(step)
    if leaves == "late":
        entries.append(fill(name, LegName.B, Side.SELL, "7", "0.5", number=number + 4, at_ms=at_ms))
    return entries


def believed(path: Path, **how: Any) -> tuple[TradeBook, int]:
    book, read = TradeBook(0.02), 0
    for _, entry in entries_file.replay(path, kinds=KINDS_FOLDED, **how):
        book.apply(entry)
        read += 1
    book.forget_ended_before(FORGOTTEN_MS)
    return book, read


lives = st.tuples(st.sampled_from(sorted(ENDS)), st.integers(0, NOW_MS), st.sampled_from(["nothing", "dust", "late"]))


@given(drawn=st.lists(lives, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_start_believes_the_same_without_what_is_long_closed(drawn: list[tuple[str, int, str]]) -> None:
    told = [
        entry
        for n, (end, at_ms, leaves) in enumerate(drawn)
        for entry in life(f"t{n}", end, at_ms, number=10 * n, leaves=leaves)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        fill_journal(path, told)
        whole, _ = believed(path)
        less, _ = believed(path, closed_before_ms=FORGOTTEN_MS - DAY_MS)
    assert less.trades == whole.trades
    assert less.orders == whole.orders
    assert less.positions() == whole.positions()
    assert less.dust == whole.dust
    assert list(less.late_trades()) == list(whole.late_trades())
    assert (less.rollbacks, less.fruitless) == (whole.rollbacks, whole.fruitless)
    assert {pair: trade.trade_id for pair, trade in less.open_by_pair.items()} == {
        pair: trade.trade_id for pair, trade in whole.open_by_pair.items()
    }
    for since_ms in (0, FORGOTTEN_MS - DAY_MS, NOW_MS - DAY_MS):
        assert less.realized_since(since_ms) == whole.realized_since(since_ms)


def test_it_is_most_of_a_long_journal_that_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    fill_journal(
        path, [entry for n in range(50) for entry in life(f"t{n}", "closed", n, number=9 * n, leaves="nothing")]
    )
    _, all_of_it = believed(path)
    _, read = believed(path, closed_before_ms=FORGOTTEN_MS - DAY_MS)
    assert (all_of_it, read) == (50 * 11, 50 * 4)


def test_a_row_that_cannot_be_read_is_told_where_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    fill_journal(path, [*life("t1", "closed", 1_000, number=0, leaves="nothing"), step("t2", TradeStatus.OPEN)])
    with entries_file.open_for_writing(path) as connection:
        connection.execute("UPDATE entries SET body = '{' WHERE kind = 'trade_advanced' AND trade_id = 't2'")
    connection.close()
    with pytest.raises(JournalBroken, match=r"journal\.sqlite"):
        believed(path, closed_before_ms=FORGOTTEN_MS)
