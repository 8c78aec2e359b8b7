"""The command: what it prints, writes and tells the ledger; the report; bad usage. Files only, no exchange."""

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from backtest_worlds import DAY, HOUR, START_MS
from click.testing import CliRunner, Result

from domain.errors import ConfigError
from flows.backtest import job as work
from flows.backtest.cli import backtest
from flows.backtest.page import REPORT_BYTES_MAX, markdown_of, thinned
from flows.backtest.rules import BacktestRules
from flows.recalibrate.rules import CalibrationRules
from runner.config import load_settings
from storage import ledger

DAYS = 26


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose prices are a file: A, B and C hang together, D does not. Settlements every eight hours."""
    root = tmp_path_factory.mktemp("backtest")
    rng = np.random.default_rng(11)
    count = DAYS * 24
    walk = 100 + np.cumsum(rng.normal(0, 0.3, count))
    columns = {"AAA": walk, "DDD": 100 + np.cumsum(rng.normal(0, 0.3, count))}
    for name, ratio in (("BBB", 0.8), ("CCC", 1.3)):
        noise = np.zeros(count)
        for bar in range(1, count):
            noise[bar] = 0.8 * noise[bar - 1] + rng.normal(0, 0.5)
        columns[name] = 50 + ratio * walk + noise
    rows = [
        f"{name}USDT,{START_MS + bar * HOUR},{column[max(bar - 1, 0)]},{column[bar]}"
        for name, column in columns.items()
        for bar in range(count)
    ]
    (root / "prices.csv").write_text("\n".join(["symbol,ts,open,close", *rows]))
    rates = [f"{name}USDT,{START_MS + bar * HOUR + 1},0.0001" for name in columns for bar in range(0, count, 8)]
    (root / "funding.csv").write_text("\n".join(["symbol,ts,rate", *rates]))
    (root / "config.json").write_text(
        json.dumps({"signal": {"lookback_bars": 24, "entry_threshold": 1.5}, "risk": {"min_edge_ratio": 0.0}})
    )
    pairs = [{"pair_id": "AAA_BBB", "leg_a": "AAA/USDT", "leg_b": "BBB/USDT", "hedge_ratio": 0.8}]
    (root / "pairs_config.json").write_text(json.dumps({"pairs": pairs}))
    return root


def tandem(folder: Path, *arguments: str, prices: str | None = "prices.csv") -> Result:
    where = ["--config", str(folder / "config.json"), "--pairs", str(folder / "pairs_config.json")]
    given = [] if prices is None else ["--prices", str(folder / prices)]
    return CliRunner().invoke(backtest, [*where, *given, *arguments])


WALK = (
    *("--walk-forward", "--universe", "listed", "--formation-days", "20", "--recalibrate-every-days", "2"),
    *("--calibrate", "sub_windows=0", "--calibrate", "holdout_share=0", "--calibrate", "min_edge_ratio=0"),
    *("--calibrate", "leg_p_min=0", "--calibrate", "max_turnover=1"),
)


def test_static_over_a_file(folder: Path) -> None:
    """Trades, the same with other fees, and the ledger's tables; nothing of it among the account's own trades."""
    result = tandem(folder, "--funding", str(folder / "funding.csv"), "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    total = answer["total"]
    assert total["trades"] > 10
    assert total["net_usd"] == pytest.approx(total["gross_usd"] - total["fees_usd"] + total["funding_usd"])
    assert total["funding_usd"] != 0
    scaled = {row["fees"]: row for row in answer["cost_sensitivity"]}
    assert list(scaled) == [0, 1, 2]
    assert scaled[0]["fees_usd"] == 0
    assert scaled[1]["fees_usd"] == pytest.approx(total["fees_usd"], abs=1e-5)
    assert scaled[2]["net_usd"] < scaled[1]["net_usd"] < scaled[0]["net_usd"]
    path = load_settings(folder / "config.json").storage.ledger
    run_id = answer["run_id"]
    query = f"""SELECT b.trades, b.net_usd, b.mode, b.data_hash, count(*), sum(t.net_pnl_usd), sum(t.gross_pnl_usd - t.fees_usd
        + t.funding_usd), min(t.opened_at) >= any_value(b.from_at), max(t.closed_at) <= any_value(b.to_at)
        FROM backtests b JOIN backtest_trades t USING (run_id) WHERE run_id = '{run_id}' GROUP BY ALL"""
    ((trades, net, mode, data_hash, rows, summed, by_parts, not_before, not_after),) = ledger.read(path, query).rows
    assert (trades, mode, data_hash, rows) == (total["trades"], "static", answer["data_hash"], total["trades"])
    assert float(net) == pytest.approx(total["net_usd"], abs=1e-6)
    assert float(summed) == pytest.approx(total["net_usd"], abs=1e-6)
    assert float(by_parts) == pytest.approx(total["net_usd"], abs=1e-6)
    assert not_before
    assert not_after
    own = "SELECT (SELECT count(*) FROM pair_trades), (SELECT count(*) FROM fills), (SELECT count(*) FROM pair_performance)"
    assert ledger.read(path, own).rows == [(0, 0, 0)]


def test_columns_are_named_as_in_pair_trades(folder: Path) -> None:
    assert tandem(folder, "--cost-scales", "1").exit_code == 0
    path = load_settings(folder / "config.json").storage.ledger
    with duckdb.connect(str(path), read_only=True) as connection:
        ours = {row[0] for row in connection.execute("DESCRIBE backtest_trades").fetchall()}
        theirs = {row[0] for row in connection.execute("DESCRIBE pair_trades").fetchall()}
    assert ours - theirs == {"run_id", "journal", "seq"}


def rows_of_pairs(folder: Path, name: str, **changes: Any) -> Path:
    (row,) = json.loads((folder / "pairs_config.json").read_text())["pairs"]
    path = folder / name
    path.write_text(json.dumps({"pairs": [{**row, **changes}]}))
    return path


def test_a_pair_with_longer_bars_than_the_file_has_a_longer_window(folder: Path) -> None:
    rules, settings = BacktestRules(prices=str(folder / "prices.csv")), load_settings(folder / "config.json")
    found = [
        work.backtest(settings, path, rules, run_id=f"r{number}", say=lambda _: None)
        for number, path in enumerate(
            (folder / "pairs_config.json", rows_of_pairs(folder, "hour.json", bar_seconds=3600),
             rows_of_pairs(folder, "four.json", bar_seconds=14_400))
        )
    ]  # fmt: skip
    own, same, longer = ([(trade.opened_ms, trade.entry_z) for trade in one.trades] for one in found)
    assert own == same
    assert longer
    assert longer != own
    assert min(opened_ms for opened_ms, _ in longer) >= START_MS + 24 * 4 * HOUR


def test_bars_that_cannot_be_made_of_the_file_s_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"AAA_BBB: its bars of 1m cannot be made of bars of 1h; replay shorter bars"):
        work.backtest(
            load_settings(folder / "config.json"), rows_of_pairs(folder, "minute.json", bar_seconds=60),
            BacktestRules(prices=str(folder / "prices.csv")), run_id="r", say=lambda _: None,
        )  # fmt: skip


def test_walk_forward_with_a_report(folder: Path) -> None:
    """The true pairs are found on the way; the page needs no other file and has every part."""
    page = folder / "report.html"
    result = tandem(folder, *WALK, "--report", str(page), "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert {"AAA_BBB", "BBB_AAA"} & {row["name"] for row in answer["pairs"]}
    assert answer["total"]["trades"] > 3
    assert len(answer["stretches"]) == 3
    assert all(row["in_sample"]["trades"] > 0 for row in answer["stretches"])
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r'<img src="data:image/(?:png|svg\+xml);base64,', text)) == 3
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    for heading in ("Equity and drawdown", "With other fees", "In sample against out of sample", "How it was reckoned"):
        assert f"<h2>{heading}</h2>" in text
    assert "flatters" not in text


def test_the_flow_s_page_is_small_enough(folder: Path) -> None:
    rules = BacktestRules(prices=str(folder / "prices.csv"), cost_scales=[1.0])
    result = work.backtest(
        load_settings(folder / "config.json"), folder / "pairs_config.json", rules, run_id="r", say=lambda _: None
    )
    text = markdown_of(result)
    assert len(text.encode()) < REPORT_BYTES_MAX
    assert "![equity, drawdown and exposure over time](data:image/png;base64," in text
    assert "knew these prices: this flatters" in text
    assert "| total |" in text


def test_what_is_thinned_keeps_its_extremes() -> None:
    values = np.random.default_rng(1).normal(0, 1, 100_000)
    values[54_321], values[12_345] = -99.0, 99.0
    at_ms, kept = thinned(np.arange(100_000), values)
    assert kept.size < 5_000
    assert (kept.min(), kept.max()) == (-99.0, 99.0)
    assert (np.diff(at_ms) > 0).all()


BAD: dict[str, tuple[list[str], str]] = {
    "no trade to come": (
        ["--walk-forward", "--formation-days", "90"],
        "--formation-days 90: there are 26.0 days of bars",
    ),
    "candles that do not fit": (
        [*WALK, "--calibration-timeframe", "90m"],
        "--calibration-timeframe 90m: candles cannot be made",
    ),
    "only of what is listed": ([*WALK, "--only", "AAA_BBB"], "--only: a walk over what is listed begins without pairs"),
    "no walk, but its options": (["--universe", "listed"], "--universe: only a walk recalibrates; add --walk-forward"),
    "formation without a walk": (["--formation-days", "3"], "--formation-days: only a walk recalibrates"),
    "a rule that is none": ([*WALK, "--calibrate", "qmax=1"], "--calibrate qmax=1: need RULE=VALUE"),
    "a rule without a value": ([*WALK, "--calibrate", "q_max"], "--calibrate q_max: need RULE=VALUE"),
    "a value that is none": ([*WALK, "--calibrate", "q_max=low"], "--calibrate q_max=low"),
    "a value out of bounds": ([*WALK, "--calibrate", "q_max=7"], "--calibrate q_max: "),
    "no formation": ([*WALK, "--formation-days", "0"], "--formation-days: "),
    "no candle": ([*WALK, "--calibration-timeframe", "45s"], "--calibration-timeframe: '45s' is no candle; write 1m"),
    "no bar": (["--timeframe", "1x"], "--timeframe: '1x' is no candle; write 1m"),
    "more lookback than bars": (["--lookback-bars", "99999"], "--lookback-bars 99999: there are "),
    "a fee that is paid to us": (["--cost-scales", "-1"], "--cost-scales: "),
    "a fee beyond all sums": (["--cost-scales", "1e308"], "--cost-scales: "),
    "a report that cannot be": (["--report", "/proc/x.html"], "--report /proc/x.html: cannot be written"),
    "a report with a long name": (["--report", "x" * 300 + ".html"], "cannot be written (File name too long)"),
    "latency of nothing": (["--latency-bars", "0"], "--latency-bars"),
    "scales": (["--cost-scales", "1;2"], "--cost-scales 1;2: need numbers with commas between"),
    "negative slippage": (["--slippage-bps", "-1"], "--slippage-bps"),
    "a pair nobody knows": (["--only", "NOPE"], "no pair is called NOPE"),
    "another timeframe": (["--timeframe", "5m"], "--timeframe 5m: the bars of"),
    "a report that is no page": (["--report", "x.pdf"], "--report x.pdf: need a name that ends in .html"),
    "a report nowhere": (["--report", "/nowhere/x.html"], "there is no folder /nowhere"),
    "no days": (["--days", "0"], "--days"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_is_one_line_and_code_2(folder: Path, name: str) -> None:
    arguments, message = BAD[name]
    result = tandem(folder, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "prices", "message"),
    [
        (["--funding", "x.csv"], None, "--funding needs --prices"),
        ([], "nothing.csv", "nothing.csv: no such file"),
    ],
)
def test_bad_files(folder: Path, arguments: list[str], prices: str | None, message: str) -> None:
    result = tandem(folder, *arguments, prices=prices)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_full_disk_leaves_the_old_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = folder / "report.html"
    page.write_text("what was there")

    def full(self: Path, data: str, encoding: str) -> int:
        self.write_bytes(data[:9].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = tandem(folder, "--report", str(page))
    assert result.exit_code == 2
    assert f"--report {page}: cannot be written (No space left on device)" in result.stderr
    assert page.read_text() == "what was there"
    assert not list(folder.glob(".report*"))


def test_quotes_from_a_file(folder: Path, tmp_path: Path) -> None:
    """Every quote is judged, bars are made of them, and the file's own spread is paid."""
    rng = np.random.default_rng(2)
    rows, mids = ["symbol,ts,bid,ask"], {"AAAUSDT": 100.0, "BBBUSDT": 80.0}
    for second in range(0, 3 * 3600, 5):
        for name, mid in mids.items():
            mids[name] = mid + float(rng.normal(0, 0.02))
            rows.append(f"{name},{START_MS + second * 1000},{mid - 0.001},{mid + 0.001}")
    (tmp_path / "quotes.csv").write_text("\n".join(rows))
    where = ["--config", str(folder / "config.json"), "--pairs", str(folder / "pairs_config.json")]
    given = ["--prices", str(tmp_path / "quotes.csv"), "--latency-ms", "200", "--timeframe", "1m"]
    result = CliRunner().invoke(backtest, [*where, *given, "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["window"].endswith(" 1m")
    assert answer["total"]["trades"] > 0
    assert all(trade["opened_ms"] - trade["decided_ms"] >= 200 for trade in answer["trades"])
    cut = CliRunner().invoke(backtest, [*where, *given, "--days", "1"])
    assert (cut.exit_code, "are taken whole" in cut.stderr) == (2, True)


def test_a_pair_without_prices_is_named(folder: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "pairs.json"
    rows: list[dict[str, Any]] = [{"pair_id": "X", "leg_a": "AAA/USDT", "leg_b": "ZZZ/USDT", "hedge_ratio": 1.0}]
    lonely.write_text(json.dumps({"pairs": rows}))
    where = ["--config", str(folder / "config.json"), "--pairs", str(lonely), "--prices", str(folder / "prices.csv")]
    result = CliRunner().invoke(backtest, where)
    assert result.exit_code == 2
    assert "has no bars of ZZZ/USDT:USDT" in result.stderr


def test_every_rule_of_a_calibration_can_be_given() -> None:
    """As text, whatever its type."""
    from flows.backtest.cli import _calibration_rules  # noqa: PLC0415

    assert _calibration_rules(["q_max=0.1", "pairs_max=3", "allow_empty=true", "correction=bh"]) == {
        "q_max": 0.1,
        "pairs_max": 3,
        "allow_empty": True,
        "correction": "bh",
    }
    assert set(CalibrationRules.model_fields) > {"q_max", "window_days", "universe"}
    assert DAY == 24 * HOUR
