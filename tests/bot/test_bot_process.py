"""`tandem run` as its user meets it: a process with a terminal, a start that cannot succeed, an exchange that may be gone."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bot_processes import PAIRS, Exchange, Runner, end_what_is_left, exchange_process

from runner.exchange.binance.symbols import exchange_id
from storage.holdings import journal_positions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    with exchange_process() as process:
        yield process


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    end_what_is_left()


def believed(runner: Runner) -> dict[str, Any]:
    return {exchange_id(symbol): quantity for symbol, quantity in journal_positions(runner.journal).items()}


def test_trades_then_leaves_in_order(tmp_path: Path, exchange: Exchange) -> None:
    """Quotes, signals, two-leg trades; SIGTERM: statistics, exit code 0, books equal to the exchange's."""
    runner = Runner(tmp_path, exchange.rest_url, execution={"on_shutdown": "flatten"})
    runner.start()
    runner.wait_for("trade_closed", seconds=90)
    second = Runner(tmp_path, exchange.rest_url, execution={"on_shutdown": "flatten"})
    second.log = tmp_path / "second.log"
    assert second.start().wait(40) == 2, "a second runner on the account is refused"
    assert "journal.sqlite" in second.said()
    (tmp_path / "elsewhere").mkdir()
    third = Runner(tmp_path / "elsewhere", exchange.rest_url)
    assert third.start().wait(40) == 2, "with a journal of its own, too"
    assert "another journal" in third.said().strip().splitlines()[-1]
    assert "paper-key" not in third.said()
    assert runner.stop() == 0, runner.said()[-2000:]
    said = runner.said()
    assert "success" in said
    assert exchange.positions() == believed(runner) == {}, "on_shutdown: flatten"
    assert "Traceback" not in said
    assert "paper-secret" not in said


def test_a_dry_run_sends_nothing_and_refuses_trades_it_could_not_close(tmp_path: Path, exchange: Exchange) -> None:
    (tmp_path / "dry").mkdir()
    eager = [{**row, "z_score_threshold": 0.7} for row in PAIRS]
    sent_before = len(exchange.received())
    dry = Runner(tmp_path / "dry", exchange.rest_url, dry_run=True, risk={"min_edge_ratio": 0})
    dry.trade_from(eager)
    dry.start()
    dry.wait_for("code=DRY_RUN")
    assert dry.stop() == 0
    assert len(exchange.received()) == sent_before, "not one order"

    (tmp_path / "real").mkdir()
    real = Runner(tmp_path / "real", exchange.rest_url, risk={"min_edge_ratio": 0})
    real.trade_from(eager)
    real.start()
    real.wait_for("trade_opened")
    real.kill()
    rehearsal = Runner(tmp_path / "real", exchange.rest_url, dry_run=True)
    assert rehearsal.start().wait(60) == 2, rehearsal.said()[-1000:]
    assert "open trades" in rehearsal.said().strip().splitlines()[-1]
    cleaner = Runner(tmp_path / "real", exchange.rest_url, execution={"on_shutdown": "flatten"})
    cleaner.trade_from([{**row, "z_score_threshold": 3.9} for row in PAIRS])
    cleaner.start()
    cleaner.wait_for(" trading ", times=2)
    assert cleaner.stop() == 0
    assert exchange.positions() == {}


BAD_STARTS: list[tuple[str, dict[str, Any], dict[str, str], int, str]] = [
    (
        "wrong keys",
        {"trading_mode": "live"},
        {"BINANCE_API_KEY": "x" * 64, "BINANCE_API_SECRET": "y" * 64},
        2,
        "API key",
    ),
    ("leverage", {"risk": {"leverage": 120}}, {}, 2, "leverage"),
]


@pytest.mark.parametrize(
    ("story", "settings", "environment", "code", "says"), BAD_STARTS, ids=lambda value: str(value)[:12]
)
def test_a_start_that_cannot_succeed_says_why_in_one_line(  # noqa: PLR0917  (A row of the table.)
    tmp_path: Path,
    exchange: Exchange,
    story: str,
    settings: dict[str, Any],
    environment: dict[str, str],
    code: int,
    says: str,
) -> None:
    runner = Runner(tmp_path, exchange.rest_url, **settings)
    assert runner.start(**environment).wait(60) == code, runner.said()
    last = runner.said().strip().splitlines()[-1]
    assert says in last, story
    assert "Traceback" not in runner.said()
    assert "x" * 64 not in runner.said()


def test_a_symbol_nobody_lists_is_named(tmp_path: Path, exchange: Exchange) -> None:
    runner = Runner(tmp_path, exchange.rest_url)
    row = {"pair_id": "NO_SUCH", "leg_a": "NOSUCH/USDT", "leg_b": "BTC/USDT", "hedge_ratio": 1}
    (tmp_path / "pairs_config.json").write_text(json.dumps({"pairs": [row]}))
    assert runner.start().wait(60) == 2
    assert "NOSUCH/USDT" in runner.said().strip().splitlines()[-1]


def test_no_exchange_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runner = Runner(tmp_path, f"http://127.0.0.1:{port}")
    assert runner.start().wait(90) == 1
    assert "cannot connect" in runner.said().strip().splitlines()[-1]
    assert "Traceback" not in runner.said()
