"""What a trade's row says of its execution: from the real engine through the real recorder to the ledger."""

from pathlib import Path
from typing import Any

import pytest
from execution_rig import running

from domain.pairs import SignalType
from storage import ledger
from storage.recorder import drain_once
from storage.story import story_of


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "ledger.duckdb"
    assert drain_once(tmp_path / "journal.sqlite", tmp_path / "flows.sqlite", path)
    table = ledger.read(path, "SELECT * FROM pair_trades ORDER BY intended_at")
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


async def test_a_calm_trade_has_every_figure(tmp_path: Path) -> None:
    """Books deep at the touch: executed exactly as decided, both ways; leg b leaves in two, for MARKET_LOT_SIZE."""
    async with running(tmp_path) as rig:
        assert (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
        assert (await rig.engine.execute_signal(rig.signal(SignalType.EXIT))).executed
    (trade,) = rows(tmp_path)
    assert trade["exit_decision_price_a"] == trade["exit_price_a"]
    for name in ("entry_slippage_bps", "exit_slippage_bps_a", "exit_slippage_bps_b", "slippage_bps"):
        assert trade[name] == pytest.approx(0.0, abs=1e-6), name
    assert (trade["entry_orders"], trade["exit_orders"], trade["extra_orders"]) == (2, 3, 1)
    assert (trade["refused_orders"], trade["unknown_orders"], trade["entered_by"]) == (0, 0, "taker")
    assert trade["leg_skew_ms"] is not None


async def test_a_rolled_back_trade_tells_what_it_took(tmp_path: Path) -> None:
    """Leg b refused: leg a is unwound at the price seen when that was decided; one order more than planned, none of it extra."""
    async with running(tmp_path) as rig:
        rig.fault("rejected", element=1, parameters={"code": -2019})
        assert not (await rig.engine.execute_signal(rig.signal(SignalType.SELL))).executed
    (trade,) = rows(tmp_path)
    assert (trade["status"], trade["refused_orders"], trade["extra_orders"]) == ("rolled_back", 1, 0)
    assert trade["exit_decision_price_a"] is not None
    assert trade["exit_decision_price_b"] is None
    assert trade["exit_slippage_bps"] == pytest.approx(0.0, abs=1e-6)
    assert trade["naked_seconds"] > 0
    story = story_of(tmp_path / "ledger.duckdb", trade["trade_id"][:10], hedge_tolerance=0.02)
    kinds = [line.kind for line in story.lines]
    assert kinds[:4] == ["signal", "plan", "intent", "intent"]
    assert kinds[-1] == "outcome"
    (naked,) = [line for line in story.lines if line.kind == "naked"]
    assert naked.facts["seconds"] == pytest.approx(trade["naked_seconds"])
    assert any("refused, -2019" in line.text for line in story.lines)
