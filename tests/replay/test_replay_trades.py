"""Two days of real prices through a real exchange process into a real `tandem run` process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from paper_control import READY, address_and_token, order

ROOT = Path(__file__).parents[2]
KLINES = ROOT.parent / "shared" / "data" / "binance_um_2025_1m_typhonun" / "klines_1m.parquet"
TANDEM = (sys.executable, "-m", "runner")
START, END_MS = "2025-05-19T00:00Z", 1_747_785_600_000  # The end is two days later.
NO_FUNDING_SECONDS = 10 * 86_400  # None falls due in these two days: it is booked seconds after it was paid.
SPEED = 8_000  # At this speed the 20 ms of an order are minutes: the bookkeeping is tested here, not the profit.

# Chosen by `tandem scan` on the two weeks before, hedge ratios by `tandem recalibrate`; see docs/replay.md.
PAIRS: list[dict[str, Any]] = [
    {"pair_id": "ADA_BNB", "leg_a": "ADA/USDT", "leg_b": "BNB/USDT", "hedge_ratio": 254.497},
    {"pair_id": "ETC_ADA", "leg_a": "ETC/USDT", "leg_b": "ADA/USDT", "hedge_ratio": 0.0343282},
    {"pair_id": "SOL_LTC", "leg_a": "SOL/USDT", "leg_b": "LTC/USDT", "hedge_ratio": 0.50178},
    {"pair_id": "ENA_SOL", "leg_a": "ENA/USDT", "leg_b": "SOL/USDT", "hedge_ratio": 218.272},
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not KLINES.is_file(), reason=f"real klines are not on this machine ({KLINES.parent.name})"),
]


@contextmanager
def exchange(log: Path) -> Iterator[tuple[str, str]]:
    """A paper exchange that plays the recording; its address and token. It must end well."""
    command = [*TANDEM, "exchange", "--port", "0", "--market", "replay", "--speed", str(SPEED)]
    command += ["--funding-interval-seconds", str(NO_FUNDING_SECONDS)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--data", f"{KLINES}?start={START}"], cwd=ROOT, stdout=output, stderr=output
        )
    try:
        until(lambda: READY.search(log.read_text()), process, log)
        yield address_and_token(log.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
    assert code == 0, log.read_text()


def until(what: Any, process: subprocess.Popen[bytes], log: Path, *, within_seconds: float = 45) -> Any:
    """The first truthy answer; fails when the process ends or the time is over."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"not within {within_seconds} s:\n{log.read_text()[-3000:]}")


def write_project(folder: Path, url: str) -> Path:
    """A project that points at the exchange. Slippage and freezing are loosened for what `SPEED` makes of time."""
    config = folder / "config.json"
    config.write_text(
        json.dumps(
            {
                "data": {"rest_url": url, "stream_url": url.replace("http", "ws", 1)},
                "signal": {"lookback_bars": 240},
                "execution": {"max_slippage_pct": 0.02, "rollbacks_before_freeze": 1_000, "on_shutdown": "flatten"},
                "control": {"port": 0},
            }
        )
    )
    (folder / "pairs_config.json").write_text(json.dumps({"pairs": PAIRS}))
    return config


def test_two_real_days_are_traded_and_accounted_for(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TANDEM_", "BINANCE_"))}
    with exchange(tmp_path / "exchange.log") as (url, token):
        config = write_project(tmp_path, url)
        with log.open("wb") as output:
            runner = subprocess.Popen(
                [*TANDEM, "run", "--config", str(config), "--pairs", str(tmp_path / "pairs_config.json")],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=output,
            )
        try:
            until(lambda: order(url, token, "state")["market_ms"] >= END_MS, runner, log, within_seconds=90)
            runner.send_signal(signal.SIGINT)
            assert runner.wait(30) == 0, log.read_text()[-3000:]
        finally:
            runner.kill()
            runner.wait()
        (account,) = order(url, token, "state")["accounts"]
    with duckdb.connect(str(tmp_path / "var" / "ledger.duckdb"), read_only=True) as ledger:
        assert ledger.execute("select event, facts from events where level = 'error'").fetchall() == []
        signals = ledger.execute("select signal_type, outcome, reason, count(*) from signals group by all").fetchall()
        # Two volatile days give signals; every one came to an end, and those that were not executed say why.
        assert any(signal_type in {"BUY", "SELL"} for signal_type, *_ in signals)
        assert [row for row in signals if row[1] is None or (row[1] != "executed" and not row[2])] == []
        statuses = dict(ledger.execute("select status, count(*) from pair_trades group by all").fetchall())
        # Trades, or the reasons why there are none.
        assert statuses.get("closed", 0) > 0 or any(outcome == "denied" for _, outcome, *_ in signals), signals
        # Flattened at the end, on both sides, and to the last digit for the same money.
        assert statuses.keys() <= {"closed", "rolled_back"}, statuses
        assert ledger.execute("select * from positions").fetchall() == []
        assert (account["positions"], account["open_orders"]) == ([], [])
        # One clock for the whole ledger, although the market is in another year.
        years = ledger.execute('select year("at") from spreads union select year("at") from signals').fetchall()
        assert len(years) <= 2 and min(year for (year,) in years) > 2025, years  # noqa: PT018 - a night may end a year.
        net = ledger.execute("select coalesce(sum(net_pnl_usd), 0) from pair_trades").fetchone()
        assert net == (Decimal(account["wallet"]) - Decimal(account["deposited"]),)
