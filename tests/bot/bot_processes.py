"""`tandem run` and `tandem exchange` as processes of their own: commands, sockets, files and signals, nothing else."""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from paper_control import address_and_token, order

from domain.symbols import unified
from runner.exchange.binance.symbols import exchange_id

ROOT = Path(__file__).resolve().parents[2]
PAIRS: list[dict[str, Any]] = json.loads((ROOT / "pairs_config.json").read_text())["pairs"]
KEY, SECRET = "paper-key", "paper-secret"
LOOK_SECONDS = 0.05
BUSY = {"z_score_threshold": 0.5, "stop_loss_z": 50}
"""A pair that enters whenever its spread is anywhere but near its mean, and leaves when it is back there."""
IDLE = {"z_score_threshold": 40, "stop_loss_z": 50}
"""A pair that never enters; what is open is still closed at the mean."""
FAST = ("--speed", "10")
"""Market time for the synthetic market: a spread comes back in half a second, and a signal may be repeated after three."""
RISK = {"min_edge_ratio": 0, "gross_notional_usd_max": 100_000, "daily_loss_usd_max": 1_000_000}
EXECUTION = {
    "recv_window_ms": 1500,  # A proof of death takes so long, and as long again.
    "max_slippage_pct": 0.02,  # Fast prices move between decision and arrival.
    "rollbacks_before_freeze": 1_000_000,
    "rollback_pairs_before_halt": 0,
}
"""Settings of a process that shall trade as often as it can and be stopped by nothing that faults bring about."""
STARTED: list["subprocess.Popen[str]"] = []


def end_what_is_left() -> None:
    """A test that fails half-way must not leave a trader on the account of the next one."""
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_for(condition: Callable[[], Any], seconds: float, why: Callable[[], str]) -> Any:
    """The first true answer; fails with `why` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {why()}"
        time.sleep(LOOK_SECONDS)
    return answer


def symbols_of(row: dict[str, Any]) -> tuple[str, str]:
    """Of one row of the pairs file, as the exchange writes them."""
    leg_a, leg_b = (exchange_id(unified(row[leg])) for leg in ("leg_a", "leg_b"))
    return leg_a, leg_b


class Exchange:
    """`tandem exchange` on a free port, and what its control endpoint tells and does."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "paper", "--port", "0", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.rest_url, self._token = address_and_token(line)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ask(self, path: str, body: Any = None, *, method: str | None = None) -> Any:
        """One request to `/paper/<path>`; a body makes it a POST."""
        return order(self.rest_url, self._token, path, body, method=method)

    def received(self) -> list[str]:
        """The client ids of all orders that ever arrived, in their order."""
        return [name for arrival in self.ask("orders-log") for name in arrival["client_order_ids"]]

    def account(self) -> Any:
        return next(account for account in self.ask("state")["accounts"] if account["key"] == KEY)

    def positions(self) -> dict[str, Decimal]:
        """What the account really holds."""
        rows = self.account()["positions"]
        return {row["symbol"]: Decimal(row["amount"]) for row in rows if Decimal(row["amount"]) != 0}

    def resting(self) -> list[str]:
        return [row["client_order_id"] for row in self.account()["open_orders"]]

    def executions(self, symbol: str) -> set[str]:
        """The ids of all executions of the account in one symbol, asked for as any client would."""
        found: set[str] = set()
        first = 0
        while True:
            query = urllib.parse.urlencode(
                {"symbol": symbol, "limit": 1000, "fromId": first, "timestamp": time.time_ns() // 1_000_000}
            )
            signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
            request = urllib.request.Request(  # noqa: S310
                f"{self.rest_url}/fapi/v1/userTrades?{query}&signature={signature}", headers={"X-MBX-APIKEY": KEY}
            )
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                rows = json.load(reply)
            found |= {str(row["id"]) for row in rows}
            if len(rows) < 1000:
                return found
            first = int(rows[-1]["id"]) + 1

    # Faults

    def arm(self, fault: dict[str, Any]) -> int:
        """Put a fault on the board; its number."""
        return int(self.ask("faults", fault)["id"])

    def hits(self) -> dict[int, int]:
        """How often each fault has struck."""
        return {row["id"]: row["hits"] for row in self.ask("faults")["faults"]}

    def struck(self) -> dict[str, int]:
        """The same by kind, over the exchange's whole life."""
        found: dict[str, int] = {}
        for row in self.ask("faults")["faults"]:
            kind = row["fault"]["kind"]
            found[kind] = found.get(kind, 0) + row["hits"]
        return found

    def disarm(self) -> None:
        self.ask("faults", method="DELETE")


@contextmanager
def exchange_process(*options: str) -> Iterator[Exchange]:
    exchange = Exchange(*options)
    try:
        yield exchange
    finally:
        exchange.close()


class Runner:
    """One `tandem run` in its own folder; it may be started again and again."""

    def __init__(self, folder: Path, rest_url: str, **settings: Any) -> None:
        self.folder = folder
        self._addresses = {
            "data": {"rest_url": rest_url, "stream_url": "ws" + rest_url.removeprefix("http")},
            "control": {"port": 0},
        }
        self.configure(**settings)
        self.trade_from(PAIRS)
        self.log = folder / "runner.log"
        self.process: subprocess.Popen[str] | None = None
        self.starts = 0

    def configure(self, **settings: Any) -> None:
        """What the next start reads."""
        data = {**self._addresses["data"], **settings.get("data", {})}
        (self.folder / "config.json").write_text(json.dumps({**self._addresses, **settings, "data": data}))

    def trade_from(self, rows: list[dict[str, Any]]) -> None:
        """Replace the file of pairs, whole; a running process takes it within about a second, or when told to."""
        fresh = self.folder / "pairs_config.new"
        fresh.write_text(json.dumps({"pairs": rows}))
        fresh.replace(self.folder / "pairs_config.json")

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runner", "run", "--config", str(self.folder / "config.json"),
                 "--pairs", str(self.folder / "pairs_config.json")],
                stdout=log, stderr=log, text=True, cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )  # fmt: skip
        STARTED.append(self.process)
        self.starts += 1
        return self.process

    def start_trading(self, seconds: float = 120.0) -> None:
        """Start, and return once it takes signals."""
        times = self.said().count(" trading ") + 1
        self.start()
        self.wait_for(" trading ", seconds, times)

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, words: str, seconds: float = 60.0, times: int = 1) -> None:
        def told() -> bool:
            said = self.said()
            assert self.is_alive, said[-3000:]
            return said.count(words) >= times

        wait_for(told, seconds, lambda: f"never said {words!r}:\n{self.said()[-3000:]}")

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def hold(self) -> None:
        """Not one more instruction, as after kill -9, but what it left behind can be looked at first."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def let_go(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9; also of a process that is held."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def tell(self, command: str, **body: Any) -> Any:
        """pause, resume, flatten, reload: through the control address."""
        token = (self.folder / "var" / "control.token").read_text()
        address = (self.folder / "var" / "control.address").read_text()
        request = urllib.request.Request(  # noqa: S310
            f"{address}/{command}", data=json.dumps(body).encode(), headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            return json.load(reply)

    @property
    def journal(self) -> Path:
        return self.folder / "var" / "journal.sqlite"

    @property
    def ledger(self) -> Path:
        return self.folder / "var" / "ledger.duckdb"
