"""What a universe is chosen by: facts from the exchange and the store, rules that were given beforehand, and who is left out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from domain.klines import FundingRate
from domain.symbols import unified
from flows.common.bars import store_of
from flows.common.universe import funding_extreme_bps, gather
from flows.recalibrate.cli import recalibrate as recalibrate_command
from flows.scan.cli import scan as scan_command
from flows.scan.rules import ScanRules
from runner.config import load_settings
from storage import ledger, market

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NAMES = ["LTC/USDT", "BCH/USDT", "DOGE/USDT", "HYPE/USDT"]
LTC, BCH, DOGE, HYPE = (unified(name) for name in NAMES)


def test_the_facts_are_the_exchanges(project: tuple[Path, Path]) -> None:
    settings = load_settings(project[0])
    rules = ScanRules(
        symbols=NAMES,
        window_days=20,
        quote_volume_usd_per_day_min=1,
        funding_bps_per_day_max=500,
        sectors={"BCH/USDT": "mine"},
    )
    universe = gather(settings, rules, say=lambda _: None)
    facts = universe.facts
    assert [facts[symbol].sector for symbol in (LTC, BCH, DOGE, HYPE)] == ["PoW", "mine", "Meme", "DeFi"]
    assert universe.panel.open_ms is not None
    end_ms = int(universe.panel.open_ms[-1]) + HOUR_MS
    assert facts[LTC].age_days == pytest.approx(end_ms / DAY_MS - 18_270)
    assert (facts[HYPE].age_days or 0) < (facts[LTC].age_days or 0)
    held = market.read_funding(store_of(settings), LTC, end_ms - 20 * DAY_MS, end_ms)
    assert 59 <= len(held) <= 61
    assert facts[LTC].funding_bps_per_day == funding_extreme_bps(held)
    bars = market.read_klines(store_of(settings), LTC, "1h", end_ms - 20 * DAY_MS, end_ms)
    assert facts[LTC].quote_volume_usd_per_day == pytest.approx((bars["volume"] * bars["close"]).sum() / 20)


def test_the_extreme_is_that_of_a_day() -> None:
    midnight = 20_000 * DAY_MS
    rates = [
        FundingRate(midnight + 3, 0.0001),  # A few milliseconds late, and still the day before's.
        FundingRate(midnight + 8 * HOUR_MS, 0.0001),
        FundingRate(midnight + 16 * HOUR_MS, 0.0002),
        FundingRate(midnight + 24 * HOUR_MS, 0.0003),
        FundingRate(midnight + 32 * HOUR_MS, -0.0005),
        FundingRate(midnight + 40 * HOUR_MS, -0.0004),
    ]
    assert funding_extreme_bps(rates) == pytest.approx(-9)
    assert funding_extreme_bps(rates[:4]) == pytest.approx(6)
    assert funding_extreme_bps([]) is None


def test_of_too_many_the_most_traded_are_taken(project: tuple[Path, Path]) -> None:
    said: list[str] = []
    universe = gather(load_settings(project[0]), ScanRules(symbols_max=3, window_days=5), say=said.append)
    assert len(universe.panel.symbols) == 3
    assert {unified("BTC/USDT"), unified("ETH/USDT")} < set(universe.panel.symbols)
    assert "taking the 3 most traded of 26 symbols; raise symbols_max for more" in said


def _scan(project: tuple[Path, Path], *arguments: str) -> Result:
    named = [word for name in NAMES for word in ("--symbol", name)]
    given = ["--config", str(project[0]), "--window-days", "20", *named, *arguments]
    return CliRunner().invoke(scan_command, given)


def _recalibrate(project: tuple[Path, Path], *arguments: str) -> Result:
    named = [word for name in NAMES for word in ("--symbol", name)]
    given = ["--config", str(project[0]), "--pairs", str(project[1]), "--window-days", "20", *named, *arguments]
    return CliRunner().invoke(recalibrate_command, given)


STORIES: list[tuple[list[str], dict[str, str], str]] = [
    (["--age-days-min", "1500"], {"HYPE/USDT:USDT": "too young"}, "excluded: HYPE/USDT:USDT: too young"),
    (["--funding-bps-per-day-max", "0"], dict.fromkeys((LTC, BCH, DOGE, HYPE), "funding extreme"), "funding extreme"),
    (["--quote-volume-usd-per-day-min", "1e15"], dict.fromkeys((LTC, BCH, DOGE, HYPE), "illiquid"), "illiquid"),
    (["--same-sector"], {}, "excluded: not the same sector"),
]


@pytest.mark.parametrize(("rules", "excluded", "reason"), STORIES, ids=[row[0][0] for row in STORIES])
def test_who_is_left_out_is_told_with_the_reason(
    project: tuple[Path, Path], tmp_path: Path, rules: list[str], excluded: dict[str, str], reason: str
) -> None:
    out = tmp_path / "out.json"
    result = _scan(project, *rules, "--output", str(out))
    assert result.exit_code in {0, 1}, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    assert len(lines) == len(excluded)
    for symbol, why in excluded.items():
        assert any(line.startswith(f"left out: {symbol}: {why}") for line in lines), symbol
    rows = {(row["y"], row["x"]): row for row in json.loads(out.read_text())}
    assert rows[HYPE, DOGE]["status"] == "excluded"
    assert reason in rows[HYPE, DOGE]["reason"]
    assert not rows[HYPE, DOGE]["kept"]
    assert (rows[LTC, BCH]["status"] == "excluded") == (LTC in excluded), "LTC and BCH are both PoW, and old"


def test_sectors_of_ones_own_come_first(project: tuple[Path, Path], tmp_path: Path) -> None:
    sectors, out = tmp_path / "sectors.json", tmp_path / "out.json"
    sectors.write_text(json.dumps({"LTC/USDT": "a", "DOGE/USDT": "a"}))
    assert _scan(project, "--same-sector", "--sectors", str(sectors), "--output", str(out)).exit_code in {0, 1}
    looked_at = {(row["y"], row["x"]) for row in json.loads(out.read_text()) if row["status"] != "excluded"}
    assert looked_at == {(LTC, DOGE), (DOGE, LTC)}


def test_a_recalibration_goes_by_them_too(project: tuple[Path, Path], tmp_path: Path) -> None:
    """To the exchange only two of the four are of one kind."""
    sectors = tmp_path / "sectors.json"
    sectors.write_text(json.dumps({"DOGE/USDT": "PoW"}))
    tested = []
    for given in ([], ["--sectors", str(sectors)]):
        result = _recalibrate(project, "--universe", "listed", "--leg-p-min", "0", "--same-sector", *given)
        assert result.exit_code in {0, 1}, result.output
        folder = load_settings(project[0]).storage.ledger
        tested.append(ledger.read(folder, 'SELECT tests FROM calibration_runs ORDER BY "at" DESC LIMIT 1').rows[0][0])
    assert tested == [2, 6]


@pytest.mark.parametrize("command", [_scan, _recalibrate], ids=["scan", "recalibrate"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'["LTC/USDT"]', "need one object of symbol to sector"),
        (b'{"LTC/USDT": 1}', "need one object of symbol to sector"),
        (b'{"LTC": "PoW"}', "--sectors: 'LTC' is not a linear perpetual"),
    ],
)
def test_a_bad_file_of_sectors_is_one_line(
    project: tuple[Path, Path],
    tmp_path: Path,
    command: Callable[..., Result],
    content: bytes | None,
    message: str,
) -> None:
    before = project[1].read_bytes()
    path = tmp_path / "sectors.json"
    if content is not None:
        path.write_bytes(content)
    result = command(project, "--same-sector", "--sectors", str(path))
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert project[1].read_bytes() == before
