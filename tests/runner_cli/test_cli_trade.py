"""`tandem trade`: a trade's story from a ledger that the real recorder made, word for word."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from storage_entries import PAIR, SYMBOLS, fill, fill_journal, order, order_step, signal, step, trade

from domain import entries as e
from domain.orders import LegName, OrderStatus, Purpose, Side, TimeInForce
from domain.pairs import ExitReason, SignalOutcome, TradeStatus
from domain.symbols import TradeId
from runner.__main__ import exit_code_of
from storage.recorder import drain_once

T0 = 1_789_000_000_000  # 2026-09-10 00:26:40 UTC


def at(ms: int) -> int:
    return T0 + ms


def resolved(signal_id: str, outcome: SignalOutcome, *, ms: int, reason: str = "", trade_id: str | None = None) -> Any:
    return e.SignalResolved(
        at_ms=at(ms),
        signal_id=signal_id,
        pair_id=PAIR,
        outcome=outcome,
        reason=reason,
        trade_id=None if trade_id is None else TradeId(trade_id),
        facts={},
    )


def logged(event: str, level: str, *, ms: int, trade_id: str | None = None, **facts: Any) -> e.EventLogged:
    return e.EventLogged(
        at_ms=at(ms), level=level, event=event, trade_id=None if trade_id is None else TradeId(trade_id), facts=facts
    )


def a_trade(name: str) -> list[e.Entry]:
    """Leg b's reply is lost and found by a query; leg a stood unhedged meanwhile; then it reverts and both legs leave."""
    a, b = (order(name, leg, time_in_force=TimeInForce.IOC, at_ms=at(1)) for leg in LegName)
    xa = order(name, LegName.A, purpose=Purpose.EXIT, at_ms=at(60_002))
    return [
        signal(f"signal-{name}", at_ms=at(0)),
        trade(name, at_ms=at(1)),
        a,
        b,
        order_step(a, OrderStatus.FILLED, filled="700", average_price="1.5", at_ms=at(21)),
        order_step(b, OrderStatus.UNKNOWN, at_ms=at(21)),
        fill(name, LegName.A, Side.BUY, "700", "1.5", number=1, at_ms=at(20)),
        step(
            name,
            TradeStatus.OPENING,
            at_ms=at(22),
            reason="complete",
            facts={
                "unwind": {"total_usd": 0.2834, "fees_usd": 0.2321, "edge_kept_usd": 0.0},
                "complete": {"total_usd": -14.39, "fees_usd": 0.15, "leg": "b", "quantity": "9", "limit_price": "0.5"},
                "trim": {"total_usd": 0.1, "fees_usd": 0.1, "obstacle": "below_minimum", "detail": "leaves 0"},
            },
        ),
        logged("order_status_unknown", "warning", ms=22, trade_id=name, why="no answer"),
        order_step(b, OrderStatus.FILLED, filled="1000", average_price="0.5", at_ms=at(321)),
        fill(name, LegName.B, Side.SELL, "1000", "0.499", number=2, at_ms=at(320), fee="0.00002", fee_asset="BNB"),
        step(
            name,
            TradeStatus.OPEN,
            at_ms=at(325),
            naked_seconds=0.3,
            leg_skew_ms=300.0,
            naked_notional_usd_seconds=15.0,
            facts={"hedge_error": 0.001},
        ),
        resolved(f"signal-{name}", SignalOutcome.EXECUTED, ms=326, trade_id=name),
        logged("quotes_stale", "warning", ms=900),
        logged("user_stream_down", "warning", ms=1_000),
        signal("late", at_ms=at(59_000)),
        resolved("late", SignalOutcome.DENIED, ms=59_001, reason="PAIR_BUSY"),
        e.FundingPaid(
            at_ms=at(59_500),
            trade_id=TradeId(name),
            symbol=SYMBOLS[LegName.A],
            amount_usd=Decimal("-0.05"),
            transaction_id=f"{name}-1",
        ),
        step(name, TradeStatus.CLOSING, at_ms=at(60_001), price_a=Decimal("1.6"), price_b=Decimal("0.5"), exit_z=0.1),
        xa,
        order_step(xa, OrderStatus.REFUSED, at_ms=at(60_010)),
        fill(name, LegName.A, Side.SELL, "700", "1.6", number=3, purpose=Purpose.EXIT, at_ms=at(60_020)),
        fill(name, LegName.B, Side.BUY, "1000", "0.5", number=4, purpose=Purpose.EXIT, at_ms=at(60_020)),
        step(name, TradeStatus.CLOSED, at_ms=at(60_030), naked_seconds=0.3, exit_reason=ExitReason.REVERTED),
        logged("trade_closed", "info", ms=60_031, trade_id=name),
    ]


STORY = """\
mwfabcq0pq8iwi  1000CAT_1MBABYDOGE  BUY  closed (reverted)
  opened    2026-09-10 00:26:40.325 UTC at z +2.400; hedge ratio 0.7387
  exits     at z 0.00, stop at 4.00, latest never
  expected  +1.2500 USD net (fees 0.8)
  leg a     700 1000CAT/USDT:USDT, decided/entered/left at 1.5 / 1.5 / 1.6
  leg b     1000 1MBABYDOGE/USDT:USDT, decided/entered/left at 0.5 / 0.499 / 0.5
  result    +68.6500 USD net (gross +69.0000, fees -0.3000, funding -0.0500); closed 2026-09-10
            00:27:40.030, held 59.7 s
            1 fees are not in dollars and in no sum: {"BNB":"0.00002","USDT":"0.3"}
  quality   naked 0.300 s (15 USD·s), skew 300 ms; slippage entry +6.45 bps (+1.0000 USD), exit
            +0.00 bps (+0.0000 USD)
  orders    3 (taker entry), 0 beyond the first of a leg, 1 refused, 1 of unknown fate for a while

       ms  2026-09-10
        0  00:26:40.000  signal   BUY z 2.5, spread 0.1, mids a 1.5, b 0.5
        1  00:26:40.001  plan     buy a 700 at 1.5, sell b 1000 at 0.5, hedge error 0.100%
        1  00:26:40.001  intent   ae0 buy 700 1000CAT/USDT market IOC
        1  00:26:40.001  intent   be0 sell 700 1MBABYDOGE/USDT market IOC
       21  00:26:40.021  stream   ae0 filled 700 at 1.5
       21  00:26:40.021  stream   be0 unknown
       22  00:26:40.022  choice   complete b 9 limit 0.5: expected cost -14.3900 USD (fees 0.15)
                                  or unwind: expected cost +0.2834 USD (fees 0.2321, edge kept 0)
                                  or trim: expected cost +0.1000 USD (fees 0.1); not possible:
                                    below_minimum, leaves 0
       22  00:26:40.022  log      order_status_unknown why no answer
       23  00:26:40.023  fill     ae0 bought 700 at 1.5, slip +0.00 bps (+0.0000 USD), fee 0.1 USDT,
                                  3 ms ago
       23  00:26:40.023  naked    00:26:40.020 to 00:26:40.320, 0.300 s, up to 1050.00 USD unhedged
      321  00:26:40.321  stream   be0 filled 1000 at 0.5
      323  00:26:40.323  fill     be0 sold 1000 at 0.499, slip +20.00 bps (+1.0000 USD), fee 0.00002
                                  BNB, 3 ms ago
      325  00:26:40.325  trade    open: why, naked 0.300 s, hedge_error 0.001
      326  00:26:40.326  outcome  executed
    1,000  00:26:41.000  log      user_stream_down
   59,000  00:27:39.000  signal   BUY z 2.5, spread 0.1, mids a 1.5, b 0.5
   59,001  00:27:39.001  denial   PAIR_BUSY
   59,500  00:27:39.500  funding  paid 0.05 USD on 1000CAT/USDT
   60,001  00:27:40.001  trade    closing: why, z +0.100, a at 1.6, b at 0.5
   60,002  00:27:40.002  intent   ax0 buy 700 1000CAT/USDT market
   60,010  00:27:40.010  stream   ax0 refused
   60,023  00:27:40.023  fill     ae0 sold 700 at 1.6, slip +0.00 bps (+0.0000 USD), fee 0.1 USDT, 3
                                  ms ago
   60,023  00:27:40.023  fill     be0 bought 1000 at 0.5, slip +0.00 bps (+0.0000 USD), fee 0.1
                                  USDT, 3 ms ago
   60,030  00:27:40.030  trade    closed: why, naked 0.300 s
"""
NAME = "mwfabcq0pq8iwi"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's folder with one trade recorded, and the command called in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "config.json").write_text('{"execution": {"hedge_error_max": 0.06}}')  # 700 against 0.7387 · 1000.
    (tmp_path / "var").mkdir()
    return tmp_path


def record(folder: Path, entries: list[e.Entry]) -> None:
    fill_journal(folder / "var" / "journal.sqlite", entries)
    assert drain_once(*(folder / "var" / name for name in ("journal.sqlite", "flows.sqlite", "ledger.duckdb")))


@pytest.mark.parametrize("name", [NAME, "mwf", "MWFABC", f"tdm-{NAME}-ae0"])
def test_a_story_in_order_of_time(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """By its id, the beginning of it, or the id of one of its orders."""
    record(folder, a_trade(NAME))
    assert exit_code_of(["trade", name]) == 0
    told = capsys.readouterr()
    assert told.out == STORY
    assert max(map(len, told.out.splitlines())) <= 100
    assert told.err == ""


def test_machines_read_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, a_trade(NAME))
    assert exit_code_of(["trade", NAME, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trade"]["net_pnl_usd"] == "68.650000000000000000"
    kinds = [line["kind"] for line in told["story"]]
    assert [line.split()[2] for line in STORY.splitlines() if line[11:13] == "00"] == kinds
    (naked,) = [line["facts"] for line in told["story"] if line["kind"] == "naked"]
    assert (naked["seconds"], Decimal(naked["usd"])) == (0.3, Decimal(1050))
    assert [line["ms"] for line in told["story"]] == sorted(line["ms"] for line in told["story"])


def test_without_an_id_the_last_trades(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, [])
    assert exit_code_of(["trade"]) == 0
    assert capsys.readouterr().out == "no trades yet\n"
    record(folder, [*a_trade(NAME), trade("mwg0", at_ms=at(70_000))])
    assert exit_code_of(["trade"]) == 0
    head, newest, older = capsys.readouterr().out.splitlines()
    assert head.startswith("trade ")
    assert newest.split()[:4] == ["mwg0", PAIR, "BUY", "opening"]
    assert older.split()[3:5] == ["closed:", "reverted"]
    assert "+68.6500" in older
    assert exit_code_of(["trade", "--last", "1", "--json"]) == 0
    assert [row["trade_id"] for row in json.loads(capsys.readouterr().out)] == ["mwg0"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mwfzzz", "no trade mwfzzz; the nearest: mwfabcq0pq8iwi, mwf00000pq8iwi"),
        ("mwf", "2 trades begin with mwf: "),
        ("'; DROP TABLE fills", "no trade '; drop table fills; the nearest: "),
    ],
)
def test_an_unknown_id_is_one_line_with_the_nearest(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    record(folder, [trade("mwf00000pq8iwi", at_ms=at(0)), trade("aaaa", at_ms=at(1)), *a_trade(NAME)])
    assert exit_code_of(["trade", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tandem: {said}")


def test_no_ledger_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["trade"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing recorded yet" in line


def test_a_ledger_that_nobody_keeps_up_to_date_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, a_trade(NAME))
    fill_journal(folder / "var" / "journal.sqlite", [signal("later"), signal("and later")])
    assert exit_code_of(["trade", NAME]) == 0
    told = capsys.readouterr()
    assert told.out == STORY
    assert "2 rows behind" in told.err
