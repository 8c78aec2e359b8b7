# ruff: noqa: INP001 - a script beside its page, not a package.
"""The steps of replay.sh that a shell is no place for: its configuration, the choice of pairs, market time, the queries."""

import csv
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

LOOKBACK_BARS = 240
PAIRS_MAX, USES_MAX = 10, 3

SQL = {
    "results": """select status, count(*) as trades, round(sum(gross_pnl_usd), 2) as gross, round(sum(fees_usd), 2) as fees,
        round(sum(funding_usd), 2) as funding, round(sum(net_pnl_usd), 2) as net, round(sum(naked_seconds), 2) as naked_s,
        round(avg(hold_seconds), 1) as hold_s from pair_trades group by 1 order by 2 desc""",
    "exits": """select exit_reason, count(*) as trades, count(*) filter (net_pnl_usd > 0) as won,
        round(sum(net_pnl_usd), 2) as net from pair_trades where status = 'closed' group by 1 order by 2 desc""",
    "denials": "select reason, count from denials order by 2 desc",
    "pairs": """select pair_id, closed_trades, rollbacks, round(gross_pnl_usd, 2) as gross, round(fees_usd, 2) as fees,
        round(net_pnl_usd, 2) as net, round(expected_edge_usd, 2) as expected from pair_performance order by pair_id""",
}


def config(speed: float, days: float) -> str:
    """What the limits per day and per quarter of an hour are at this speed, since the runner's clock is the wall's."""
    return json.dumps(
        {
            "signal": {"lookback_bars": LOOKBACK_BARS, "bar_seconds": 60},
            "execution": {"freeze_seconds": max(1, round(900 / speed))},
            "risk": {"pair_notional_usd": 500, "daily_loss_usd_max": 250 * max(1, round(days))},
        },
        indent=1,
    )


def choose(path: str) -> str:
    """Down the scan's list, best first: positive hedge ratios, a symbol in three pairs at most, ten pairs."""
    used: Counter[str] = Counter()
    seen: set[frozenset[str]] = set()
    pairs = []
    with Path(path).open() as rows:
        for row in csv.DictReader(rows):
            legs = [row["x"].partition(":")[0], row["y"].partition(":")[0]]
            is_new = row["status"] == "ok" and frozenset(legs) not in seen
            seen.add(frozenset(legs))
            is_free = len(pairs) < PAIRS_MAX and all(used[leg] < USES_MAX for leg in legs)
            if not (is_new and is_free and float(row["hedge_ratio"]) > 0):
                continue
            used.update(legs)
            name = "_".join(leg.partition("/")[0] for leg in legs)
            pairs.append(
                {"pair_id": name, "leg_a": legs[0], "leg_b": legs[1], "hedge_ratio": float(row["hedge_ratio"])}
            )
    return json.dumps({"pairs": pairs}, indent=1)


def end_of(start: str, days: float) -> datetime:
    return datetime.fromisoformat(start) + timedelta(days=days)


def wait(url: str, token_file: Path, until_ms: float, runner: int, log: Path) -> None:
    """Until the market's time is up, and not before the runner trades. Raises: OSError when one of the two is gone."""
    headers = {"Authorization": f"Bearer {token_file.read_text()}"}
    asked = urllib.request.Request(f"{url}/paper/state", headers=headers)  # noqa: S310 - a loopback http address.
    while True:
        with urllib.request.urlopen(asked, timeout=30) as reply:  # noqa: S310
            is_over = json.load(reply)["market_ms"] >= until_ms
        if is_over and " trading " in log.read_text():
            return
        os.kill(runner, 0)
        time.sleep(0.5)


def main(step: str, *arguments: str) -> str:
    """One step; what it prints."""
    if step == "config":
        return config(float(arguments[0]), float(arguments[1]))
    if step == "choose":
        return choose(arguments[0])
    if step == "sql":
        return SQL[arguments[0]]
    if step == "end":
        return end_of(arguments[0], float(arguments[1])).isoformat(timespec="minutes").replace("+00:00", "Z")
    if step == "backtest-days":
        return f"{float(arguments[0]) + LOOKBACK_BARS / 1440:.6f}"
    if step == "wait":
        until_ms = end_of(arguments[2], float(arguments[3])).timestamp() * 1000
        wait(arguments[0], Path(arguments[1]), until_ms, int(arguments[4]), Path(arguments[5]))
        return ""
    raise SystemExit(f"replay_step: unknown step {step}")


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]) + "\n")
