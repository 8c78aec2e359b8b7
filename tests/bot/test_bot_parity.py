"""`tandem run` on the paper exchange and `tandem backtest`, each a process of its own, fed the same recording: the same decisions.

The exchange stands still (`--speed 0`) and is played from signal to signal, as the backtest has them: at each one the market waits
for the runner's orders, for minutes if the machine is busy. So no figure here depends on how fast anything is; a signal that the
runner alone gives, or does not give, is a difference all the same. Wall-clock limits are out of reach (`CONFIG`), nothing is left out.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bot_books import published
from bot_processes import ROOT, Exchange, Runner, end_what_is_left, exchange_process, wait_for
from bot_recording import LOOKBACK_BARS, ROUND, START_MS, pair, record

from domain.units import HOUR_MS
from flows.backtest.engine.walk import Walk
from flows.backtest.job import BacktestRules, terms_of
from flows.backtest.load import load
from runner.config import load_settings
from runner.pairs.file import load_pairs

pytestmark = pytest.mark.slow

SEED, MINUTES = 3, 40
WAIT_SECONDS = 90.0
PAIRS = [
    pair("S0_S1", 0, 1),
    pair("S1_S2", 1, 2, half_life_candles=0.12),
    pair("S3_S4", 3, 4, stop_loss_z=2.6),
]
CONFIG: dict[str, Any] = {
    "signal": {"lookback_bars": LOOKBACK_BARS, "debounce_ms": 0},
    "risk": {"pair_notional_usd": 500, "gross_notional_usd_max": 1500, "min_edge_ratio": 2.0},
    # Limits by the wall, which the market does not wait for: age of quotes, requests in ten seconds (a batch counts as five orders),
    # a request's window, the clocks. Out of reach, so that a busy machine decides nothing.
    "data": {"quote_age_ms_max": 3_600_000, "silence_seconds_max": 3600, "clock_skew_ms_max": 60_000},
    "execution": {"batch_orders": False, "recv_window_ms": 30_000},
}


class Decision(NamedTuple):
    """One signal and what was decided on it."""

    at_ms: int
    pair_id: str
    signal_type: str
    denial: str
    z_score: float


class Trade(NamedTuple):
    pair_id: str
    side: str
    exit_reason: str
    hedge_ratio: float
    entry_z: float
    exit_z: float


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    end_what_is_left()


def backtested(folder: Path) -> tuple[list[Decision], list[Trade]]:
    """What `tandem backtest` decides, every signal of it, by the command's own steps."""
    settings = load_settings(folder / "config.json")
    pairs = load_pairs(folder / "pairs_config.json", settings.signal)
    rules = BacktestRules(prices=str(folder / "quotes.parquet"), funding=str(folder / "funding.csv"))
    loaded = load(settings, rules, pairs, say=lambda _: None)
    walk = Walk(loaded.market, terms_of(settings, rules, loaded), keep_signals=True)
    walk.configure(pairs, at_ms=0)
    walk.run(loaded.market.bars.end_ms)
    decisions = [Decision(s.at_ms, s.pair_id, str(s.signal_type), s.denial, s.z_score) for s in walk.signals]
    return decisions, [
        Trade(t.pair_id, str(t.side), t.exit_reason, t.hedge_ratio, t.entry_z, t.exit_z) for t in walk.trades
    ]


def by_command(folder: Path) -> tuple[list[Trade], dict[str, int]]:
    """Trades that were not cut off, and how often each pair was passed over, as `tandem backtest --json` prints them.

    Why is reported by the screen where it is sure that an entry does not pay; that its symbols were busy as well it does not know.
    """
    done = subprocess.run(
        [sys.executable, "-m", "runner", "backtest", "--config", "config.json", "--pairs", "pairs_config.json",
         "--prices", "quotes.parquet", "--funding", "funding.csv", "--cost-scales", "1", "--json"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    trades = [
        Trade(t["pair_id"], t["side"], t["exit_reason"], t["hedge_ratio"], t["entry_z"], t["exit_z"])
        for t in told["trades"]
        if t["exit_reason"] != "end_of_data"
    ]
    return trades, {row["name"]: sum(row["denials"].values()) for row in told["pairs"]}


def lived(runner: Runner) -> tuple[list[Decision], list[Trade]]:
    """What the ledger has: signals in the order in which they were given, and trades that are over."""
    rows = published(
        runner.ledger,
        """SELECT split_part(signal_id, ':', 2)::BIGINT, pair_id, signal_type, reason, signals.z_score
           FROM signals JOIN journal.signals_received AS received USING (signal_id, pair_id, signal_type) ORDER BY received.seq""",
    )
    over = published(
        runner.ledger,
        "SELECT pair_id, side, exit_reason, hedge_ratio, entry_z, exit_z FROM pair_trades WHERE status = 'closed' ORDER BY closed_at",
    )
    return [Decision(*row) for row in rows], [Trade(*row) for row in over]


def write_funding(exchange: Exchange, path: Path) -> None:
    """The rates that the exchange predicts, as the last that were settled: an archive keeps no predictions."""
    with urllib.request.urlopen(f"{exchange.rest_url}/fapi/v1/premiumIndex", timeout=60) as reply:  # noqa: S310
        rows = json.load(reply)
    lines = ["symbol,ts,rate"]
    lines += [
        f"{row['symbol']},{START_MS - hours * HOUR_MS},{row['lastFundingRate']}" for row in rows for hours in (9, 1)
    ]
    path.write_text("\n".join(lines))


def follow(exchange: Exchange, runner: Runner, decisions: list[Decision]) -> None:
    """Play to each signal, and wait there until the runner has acted on it."""
    address = (runner.folder / "var" / "control.address").read_text()

    def status() -> dict[str, Any]:
        with urllib.request.urlopen(f"{address}/status", timeout=60) as reply:  # noqa: S310
            found: dict[str, Any] = json.load(reply)
            return found

    def is_settled(signals: int) -> bool:
        now = status()
        on_the_way = [name for name, row in now["pairs"].items() if row["standing"].startswith(("opening", "closing"))]
        return now["signals"] >= signals and not on_the_way

    for at_ms in sorted({decision.at_ms for decision in decisions}):
        exchange.ask("play", {"until_ms": at_ms})
        signals = sum(decision.at_ms <= at_ms for decision in decisions)
        wait_for(
            lambda signals=signals: is_settled(signals),
            WAIT_SECONDS,
            lambda at_ms=at_ms: f"{[d for d in decisions if d.at_ms == at_ms]}, but live:\n{runner.said()[-3000:]}",
        )


def test_the_runner_decides_as_the_backtest(tmp_path: Path) -> None:
    quotes = record(tmp_path / "quotes.parquet", seed=SEED, minutes=MINUTES)
    recording = f"{tmp_path / 'quotes.parquet'}?start=2025-05-05T00:10Z"
    with exchange_process(
        "--market", "replay", "--data", recording, "--speed", "0", "--balance", "1000000"
    ) as exchange:
        assert exchange.ask("state")["market_ms"] == START_MS
        runner = Runner(tmp_path, exchange.rest_url, **CONFIG)
        runner.trade_from(PAIRS)
        write_funding(exchange, tmp_path / "funding.csv")
        decisions, trades = backtested(tmp_path)
        # The runner knows no quote from before its start: nothing is compared before both legs had one.
        assert decisions[0].at_ms > quotes[len(ROUND)][0]

        runner.start_trading()
        follow(exchange, runner, decisions)
        exchange.ask("play", {"until_ms": quotes[-1][0]})
        assert runner.stop() == 0
        found, over = lived(runner)

    assert [row[:4] for row in found] == [row[:4] for row in decisions]
    assert [row.z_score for row in found] == pytest.approx([row.z_score for row in decisions], abs=1e-9)
    assert [row[:3] for row in over] == [row[:3] for row in trades]
    for figures, expected in zip(over, trades, strict=True):
        assert figures[3:] == pytest.approx(expected[3:], abs=1e-9)

    told, denials = by_command(tmp_path)
    assert told == trades
    assert denials == Counter(row.pair_id for row in found if row.denial)

    said = Counter(row.signal_type for row in found) + Counter(row.denial for row in found)
    assert {"SELL", "BUY", "EXIT", "STOP", "TIME_STOP"} <= set(said)
    assert {"Z_NOT_EXECUTABLE", "EDGE_TOO_SMALL", "GROSS_NOTIONAL", "SYMBOL_BUSY"} <= set(said)
    assert len(found) >= 100
    assert len(trades) >= 30
