"""The ledger's views against a naive fold of the same entries in Python."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from storage_entries import PAIR, fill, fill_journal, order, order_step, signal, step, trade

from domain import entries as e
from domain.orders import LegName, OrderStatus, Purpose, Side, TimeInForce
from domain.pairs import ExitReason, PairSide, SignalOutcome, TradeStatus
from domain.symbols import Symbol, TradeId
from storage import ledger
from storage.holdings import journal_holdings
from storage.recorder import drain_once

ZERO = Decimal(0)
TRADES = ("t1", "t2", "t3")


def at(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)


def recorded(folder: Path, entries: Sequence[e.Entry]) -> Path:
    fill_journal(folder / "journal.sqlite", entries)
    assert drain_once(folder / "journal.sqlite", folder / "flows.sqlite", folder / "ledger.duckdb")
    return folder / "ledger.duckdb"


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    found = connection.execute(sql).fetchall()
    return [dict(zip([column[0] for column in connection.description or []], row, strict=True)) for row in found]


quantities = st.sampled_from(["0.001", "700", "12345678.5", "0.00000001", "1e9"])
prices = st.sampled_from(["0.0012345", "1.5", "1.51", "104000.1"])
moments = st.integers(0, 2_000_000_000_000)
maybe_z = st.none() | st.floats(-10, 10)


@st.composite
def histories(draw: st.DrawFn) -> list[e.Entry]:
    """Any entries in any order, except that what must be unique is."""
    some_trades = st.lists(st.sampled_from(TRADES), unique=True)
    entries: list[e.Entry] = [
        trade(trade_id, at_ms=draw(moments), side=draw(st.sampled_from(PairSide))) for trade_id in draw(some_trades)
    ]
    of_orders = st.tuples(
        st.sampled_from(TRADES), st.sampled_from(LegName), st.integers(0, 2), st.sampled_from(Purpose)
    )
    intended = [
        order(trade_id, leg, attempt, purpose=purpose, time_in_force=draw(st.sampled_from([None, TimeInForce.GTX])))
        for trade_id, leg, attempt, purpose in draw(st.lists(of_orders, unique=True, max_size=8))
    ]
    signals = draw(st.lists(st.sampled_from("xyz"), unique=True))
    entries += intended + [signal(signal_id, at_ms=draw(moments)) for signal_id in signals]
    for number in range(draw(st.integers(0, 25))):
        what = draw(st.sampled_from(["fill", "fill", "fill", "step", "funding", "order", "resolved"]))
        trade_id = draw(st.sampled_from(TRADES))
        if what == "fill":
            owner = draw(st.sampled_from([trade_id, trade_id, None]))
            leg, side, purpose = (draw(st.sampled_from(kind)) for kind in (LegName, Side, Purpose))
            asset = draw(st.sampled_from(["USDT", "BNB"]))
            more = {"number": number, "purpose": purpose, "fee_asset": asset, "at_ms": draw(moments)}
            entries.append(fill(owner, leg, side, draw(quantities), draw(prices), **more))
        elif what == "step":
            more = {"exit_z": draw(maybe_z), "naked_seconds": draw(st.none() | st.floats(0, 9)), "at_ms": draw(moments)}
            more["naked_notional_usd_seconds"] = draw(st.none() | st.floats(0, 9000))
            more["exit_reason"] = draw(st.none() | st.sampled_from(ExitReason))
            more |= {name: draw(st.sampled_from([None, Decimal("1.4")])) for name in ("price_a", "price_b")}
            entries.append(step(trade_id, draw(st.sampled_from(TradeStatus)), **more))
        elif what == "funding":
            amount = Decimal(draw(st.sampled_from(["-0.25", "1.000000000000000001"])))
            owner_id = draw(st.sampled_from([TradeId(trade_id), None]))
            more = {"symbol": Symbol("1000CAT/USDT:USDT"), "amount_usd": amount, "transaction_id": str(number)}
            entries.append(e.FundingPaid(at_ms=1, trade_id=owner_id, **more))
        elif what == "order" and intended:
            average, filled = draw(st.sampled_from([None, "1.5", "1.25"])), draw(st.sampled_from(["0", "3", "7"]))
            status, exchange_id = draw(st.sampled_from(OrderStatus)), draw(st.sampled_from([None, "77"]))
            more = {
                "filled": filled,
                "average_price": average,
                "exchange_order_id": exchange_id,
                "at_ms": draw(moments),
            }
            entries.append(order_step(draw(st.sampled_from(intended)), status, **more))
        elif what == "resolved" and signals:
            outcome = draw(st.sampled_from(SignalOutcome))
            more = {"outcome": outcome, "reason": outcome.upper(), "trade_id": None, "facts": {"n": number}}
            entries.append(
                e.SignalResolved(at_ms=draw(moments), signal_id=draw(st.sampled_from(signals)), pair_id=PAIR, **more)
            )
    return draw(st.permutations(entries))


def latest(entries: Sequence[Any], name: str) -> Any:
    return next((value for entry in reversed(entries) if (value := getattr(entry, name)) is not None), None)


def average(fills: Sequence[e.FillSeen]) -> Decimal | None:
    quantity = sum((seen.fill.quantity for seen in fills), ZERO)
    return sum((seen.fill.quantity * seen.fill.price for seen in fills), ZERO) / quantity if fills else None


def folded_trade(intent: e.TradeIntended, entries: Sequence[e.Entry]) -> dict[str, Any]:
    steps = [x for x in entries if isinstance(x, e.TradeAdvanced) and x.trade_id == intent.trade_id]
    fills = [x for x in entries if isinstance(x, e.FillSeen) and x.trade_id == intent.trade_id]
    status = steps[-1].status if steps else TradeStatus.OPENING
    entered = {leg: [x for x in fills if x.leg is leg and x.purpose is Purpose.ENTRY] for leg in LegName}
    left = {leg: [x for x in fills if x.leg is leg and x.purpose is not Purpose.ENTRY] for leg in LegName}
    planned = status is TradeStatus.OPENING and not any(entered.values())
    opened = [x.at_ms for x in steps if x.status is TradeStatus.OPEN]
    closed = [x.at_ms for x in steps if x.status.is_over]
    fees = sum((x.fill.fee for x in fills if x.fill.fee_asset == "USDT"), ZERO)
    funding = sum(
        (x.amount_usd for x in entries if isinstance(x, e.FundingPaid) and x.trade_id == intent.trade_id), ZERO
    )
    cash = sum((-x.fill.side.sign * x.fill.quantity * x.fill.price for x in fills), ZERO) if status.is_over else None
    filled = {leg: sum((x.fill.quantity for x in entered[leg]), ZERO) for leg in LegName}
    by_asset: defaultdict[str, Decimal] = defaultdict(Decimal)
    for x in fills:
        by_asset[x.fill.fee_asset] += x.fill.fee
    return {
        "trade_id": intent.trade_id,
        "pair_id": intent.pair_id,
        "side": intent.side.value,
        "status": status.value,
        "opened_at": at(min(opened)) if opened else at(intent.at_ms),
        "closed_at": at(max(closed)) if status.is_over else None,
        "quantity_a": intent.quantity_a if planned else filled[LegName.A],
        "quantity_b": intent.quantity_b if planned else filled[LegName.B],
        "entry_price_a": average(entered[LegName.A]),
        "entry_price_b": average(entered[LegName.B]),
        "exit_price_a": average(left[LegName.A]),
        "exit_price_b": average(left[LegName.B]),
        "exit_z": latest(steps, "exit_z"),
        "exit_reason": latest(steps, "exit_reason"),
        "naked_seconds": latest(steps, "naked_seconds") or 0,
        "naked_notional_usd_seconds": latest(steps, "naked_notional_usd_seconds") or 0,
        "fees_usd": fees,
        "funding_usd": funding,
        "gross_pnl_usd": cash,
        "net_pnl_usd": None if cash is None else cash - fees + funding,
        "fees_by_asset": {name: str(fee) for name, fee in sorted(by_asset.items())},
    } | folded_orders_of(intent.trade_id, entries)


def folded_orders_of(trade_id: TradeId, entries: Sequence[e.Entry]) -> dict[str, Any]:
    """How many orders a trade took, and how many of them met trouble."""
    intents = [x.intent for x in entries if isinstance(x, e.OrderIntended) and x.intent.trade_id == trade_id]
    steps = [x for x in entries if isinstance(x, e.OrderAdvanced)]
    ids = {intent.client_order_id for intent in intents}
    entry = [intent for intent in intents if intent.purpose is Purpose.ENTRY]
    passive = sum(intent.time_in_force is TimeInForce.GTX for intent in entry)
    return {
        "orders": len(intents),
        "entry_orders": len(entry),
        "exit_orders": len(intents) - len(entry),
        "extra_orders": len(intents) - len({(intent.leg, intent.purpose is Purpose.ENTRY) for intent in intents}),
        "refused_orders": len({x.client_order_id for x in steps if x.status is OrderStatus.REFUSED} & ids),
        "unknown_orders": len({x.client_order_id for x in steps if x.status is OrderStatus.UNKNOWN} & ids),
        "passive_orders": passive,
        "entered_by": "post_only" if passive else "taker",
    }


def folded_slippage(intent: e.TradeIntended, entries: Sequence[e.Entry]) -> dict[str, float | None]:
    """Each execution against the price of the decision behind it, in dollars; positive is worse."""
    closing = [x for x in entries if isinstance(x, e.TradeAdvanced) and x.trade_id == intent.trade_id]
    closing = [x for x in closing if x.status is TradeStatus.CLOSING]
    price_at_exit = {
        leg: next((p for x in closing if (p := getattr(x, f"price_{leg}")) is not None), None) for leg in LegName
    }
    price_at_entry = {LegName.A: intent.price_a, LegName.B: intent.price_b}
    sums: dict[str, list[Decimal]] = {"entry_slippage_usd": [], "exit_slippage_usd": []}
    for x in entries:
        if not isinstance(x, e.FillSeen) or x.trade_id != intent.trade_id or x.leg is None:
            continue
        entered = x.purpose is Purpose.ENTRY
        after = bool(closing) and entries.index(x) > entries.index(closing[0])
        decision = price_at_entry[x.leg] if entered else price_at_exit[x.leg] if after else None
        if decision is not None:
            worse = x.fill.side.sign * (x.fill.price - decision) * x.fill.quantity
            sums["entry_slippage_usd" if entered else "exit_slippage_usd"].append(worse)
    sums["slippage_usd"] = [*sums["entry_slippage_usd"], *sums["exit_slippage_usd"]]
    return {name: float(sum(values)) if values else None for name, values in sums.items()}


def folded_orders(entries: Sequence[e.Entry]) -> list[dict[str, Any]]:
    answer = []
    for intended in (x for x in entries if isinstance(x, e.OrderIntended)):
        name = intended.intent.client_order_id
        steps = [x for x in entries if isinstance(x, e.OrderAdvanced) and x.client_order_id == name]
        best = None
        for x in steps:
            if x.average_price is not None and (best is None or x.filled >= best.filled):
                best = x
        answer.append(
            {
                "client_order_id": name,
                "status": steps[-1].status.value if steps else "intended",
                "filled": max((x.filled for x in steps), default=ZERO),
                "average_price": best.average_price if best else None,
                "exchange_order_id": latest(steps, "exchange_order_id"),
                "at": at(max((x.at_ms for x in steps), default=intended.at_ms)),
            }
        )
    return sorted(answer, key=lambda row: row["client_order_id"])


def close_to(value: Any) -> Any:
    """Prices are averages, 12 places; everything else is exact."""
    return pytest.approx(value, rel=Decimal("1e-9"), abs=Decimal("1e-11"))


# An example takes 0.2 s, on a busy machine more: shrinking one would take minutes.
@given(entries=histories())
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_the_views_equal_a_naive_fold(entries: list[e.Entry]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = recorded(Path(folder), entries)
        net: defaultdict[str, Decimal] = defaultdict(Decimal)
        for x in entries:
            if isinstance(x, e.FillSeen) and x.trade_id is not None:
                net[x.fill.symbol] += x.fill.side.sign * x.fill.quantity
        expected_positions = {symbol: quantity for symbol, quantity in net.items() if quantity}
        assert ledger.positions(path) == expected_positions
        assert journal_holdings(Path(folder) / "journal.sqlite").positions == expected_positions
        with duckdb.connect(path, read_only=True) as connection:
            check_trades(connection, entries)
            check_orders(connection, entries)
            check_signals(connection, entries)
            for table, kind in (("fills", e.FillSeen), ("fundings", e.FundingPaid)):
                count = rows(connection, f"SELECT count(*) AS n FROM {table}")[0]["n"]
                assert count == sum(isinstance(x, kind) for x in entries)


def check_trades(connection: duckdb.DuckDBPyConnection, entries: Sequence[e.Entry]) -> None:
    trades = rows(connection, "SELECT * FROM pair_trades ORDER BY trade_id")
    intents = sorted((x for x in entries if isinstance(x, e.TradeIntended)), key=lambda x: x.trade_id)
    for got, intent in zip(trades, intents, strict=True):
        for name, expected in folded_trade(intent, entries).items():
            averaged = "price" in name and expected is not None
            value = got[name] if name != "fees_by_asset" else json.loads(got[name] or "{}")
            assert value == (close_to(expected) if averaged else expected), name
        for name, usd in folded_slippage(intent, entries).items():
            found = None if got[name] is None else float(got[name])
            assert found == (None if usd is None else pytest.approx(usd, rel=1e-9, abs=1e-6)), name


def check_orders(connection: duckdb.DuckDBPyConnection, entries: Sequence[e.Entry]) -> None:
    orders = rows(connection, "SELECT * FROM orders ORDER BY client_order_id")
    for got, expected in zip(orders, folded_orders(entries), strict=True):
        assert got | expected == got
    steps = [x for x in entries if isinstance(x, e.OrderIntended | e.OrderAdvanced)]
    assert len(rows(connection, "SELECT * FROM order_events")) == len(steps)


def check_signals(connection: duckdb.DuckDBPyConnection, entries: Sequence[e.Entry]) -> None:
    resolved = {x.signal_id: x for x in entries if isinstance(x, e.SignalResolved)}
    for got in rows(connection, "SELECT * FROM signals"):
        last = resolved.get(got["signal_id"])
        assert got["outcome"] == (last.outcome.value if last else None)
        assert got["reason"] == (last.reason if last else None)
    denied = sum(x.outcome is SignalOutcome.DENIED for x in resolved.values())
    assert sum(row["count"] for row in rows(connection, "SELECT * FROM denials")) == denied


def test_a_trade_from_entry_to_profit(tmp_path: Path) -> None:
    """Sells a, buys b, comes back: profit after fees and funding to the last digit."""
    path = recorded(
        tmp_path,
        [
            trade("t1", at_ms=1_000, side=PairSide.SELL),
            fill("t1", LegName.A, Side.SELL, "300", "1.50", number=1),
            fill("t1", LegName.A, Side.SELL, "400", "1.49", number=2),
            fill("t1", LegName.B, Side.BUY, "1000", "0.505", number=3),
            order("t1", LegName.A),
            order("t1", LegName.A, 1),
            order("t1", LegName.B),
            step("t1", TradeStatus.OPEN, at_ms=2_000, leg_skew_ms=3.5, naked_seconds=0.01),
            e.FundingPaid(
                at_ms=3_000, trade_id=TradeId("t1"), symbol=Symbol("X"), amount_usd=Decimal("-0.05"), transaction_id="1"
            ),
            step("t1", TradeStatus.CLOSING, at_ms=61_000, price_a=Decimal("1.39"), price_b=Decimal("0.51")),
            fill("t1", LegName.A, Side.BUY, "700", "1.40", number=4, purpose=Purpose.EXIT),
            fill(
                "t1",
                LegName.B,
                Side.SELL,
                "1000",
                "0.51",
                number=5,
                purpose=Purpose.EXIT,
                fee="0.00002",
                fee_asset="BNB",
            ),
            step("t1", TradeStatus.CLOSED, at_ms=62_000, exit_z=-0.1, exit_reason=ExitReason.REVERTED),
        ],
    )
    with duckdb.connect(path, read_only=True) as connection:
        (row,) = rows(connection, "SELECT * FROM pair_trades")
        (pair,) = rows(connection, "SELECT * FROM pair_performance")
        (quality,) = rows(connection, "SELECT * FROM execution_quality")
    expected = {
        "quantity_a": Decimal(700),
        "quantity_b": Decimal(1000),
        "entry_price_a": close_to(Decimal("1.494285714286")),
        "exit_price_b": Decimal("0.51"),
        "fees_usd": Decimal("0.4"),
        "fees_unpriced": 1,
        "funding_usd": Decimal("-0.05"),
        "gross_pnl_usd": Decimal(71),  # 1046 − 505 − 980 + 510
        "net_pnl_usd": Decimal("70.55"),
        "hold_seconds": 60.0,
        "held_a": ZERO,
        "held_b": ZERO,
        "leg_skew_ms": 3.5,
        "naked_seconds": 0.01,
        "entry_slippage_bps_a": pytest.approx(38.095, abs=0.01),  # Sold below the decision's 1.5.
        "entry_slippage_bps_b": pytest.approx(100),
        # 300 × 0 + 400 × 0.01, and 1000 × 0.005; bought back 700 × 0.01 above the decision, the other leg as decided.
        "entry_slippage_usd": Decimal(9),
        "entry_slippage_bps": pytest.approx(9 / (700 * 1.5 + 1000 * 0.5) * 1e4),
        "exit_slippage_usd": Decimal(7),
        "exit_slippage_bps_a": pytest.approx(0.01 / 1.39 * 1e4),
        "exit_slippage_bps_b": 0.0,
        "slippage_usd": Decimal(16),
        "fees_by_asset": '{"BNB":"0.00002","USDT":"0.4"}',
        "turnover_usd": Decimal(3041),
        "orders": 3,
        "extra_orders": 1,
        "entered_by": "taker",
        "costs": '{"fees_usd": "0.8"}',
        "exit_reason": "reverted",
    }
    for name, value in expected.items():
        assert row[name] == value, name
    assert (pair["trades"], pair["win_rate"], pair["net_pnl_usd"]) == (1, 1.0, Decimal("70.55"))
    assert (quality["trades"], quality["rollbacks"], quality["extra_orders"], quality["naked_seconds_max"]) == (
        1,
        0,
        1,
        0.01,
    )
    assert (quality["slippage_usd"], quality["fees_bps"]) == (Decimal(16), pytest.approx(0.4 / 3041 * 1e4))
    assert ledger.positions(path) == {}
