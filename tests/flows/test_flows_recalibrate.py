"""The whole recalibration against a served market: fetched once, decided, written whole or not at all."""

import json
from pathlib import Path

import pytest
from flows_project import PAIRS, write_project

from domain.errors import ConfigError
from domain.symbols import Symbol
from flows.common import facts
from flows.common.bars import refresh, store_of
from flows.common.reads import ExchangeReads
from flows.recalibrate.job import Recalibration, recalibrate
from flows.recalibrate.rules import CalibrationRules
from runner.config import load_settings
from runner.exchange.errors import ExchangeError
from runner.pairs.file import history_folder, load_pairs, read_document
from storage import ledger, market

RULES = CalibrationRules(window_days=20)
LTC = Symbol("LTC/USDT:USDT")


def _quiet(_: str) -> None: ...


def _run(config: Path, pairs: Path, rules: CalibrationRules = RULES, **options: object) -> Recalibration:
    return recalibrate(load_settings(config), pairs, rules, run_id="r1", say=_quiet, **options)  # type: ignore[arg-type]


def test_numbers_reach_file_journal_and_ledger(project: tuple[Path, Path]) -> None:
    config, pairs = project
    original = pairs.read_bytes()
    result = _run(config, pairs)
    settings = load_settings(config)
    assert {decision.pair_id: decision.action for decision in result.decisions} == {
        "LTC_BCH": "updated",
        "DECOY": "retired",
    }
    by_id = {pair.pair_id: pair for pair in load_pairs(pairs, settings.signal)}
    assert by_id["LTC_BCH"].hedge_ratio == pytest.approx(4.1, rel=0.03)
    assert by_id["LTC_BCH"].half_life_bar_seconds == 3600
    assert not by_id["DECOY"].enabled
    assert by_id["DECOY"].hedge_ratio == 3.0
    assert [path.read_bytes() for path in history_folder(pairs).iterdir()] == [original]
    facts.publish(settings)
    rows = ledger.read(
        settings.storage.ledger, "SELECT pair_id, decision, p_value, reason FROM calibrations ORDER BY pair_id"
    ).rows
    assert [row[:2] for row in rows] == [("DECOY", "retired"), ("LTC_BCH", "updated")]
    assert rows[1][2] < 0.05 < rows[0][2]


def test_a_listed_universe_brings_the_pairs_of_the_file_along(project: tuple[Path, Path]) -> None:
    """Three symbols are named; the file's own pair outside of them is tested all the same, and the decoy within goes."""
    config, pairs = project
    rules = RULES.model_copy(update={"universe": "listed", "symbols": ["NEAR/USDT", "AVAX/USDT", "TRX/USDT"]})
    result = _run(config, pairs, rules)
    assert {decision.pair_id: decision.action for decision in result.decisions[:2]} == {
        "LTC_BCH": "updated",
        "DECOY": "retired",
    }
    assert [row.pair_id for row in read_document(pairs).pairs][:1] == ["LTC_BCH"]
    assert "DECOY" not in {row.pair_id for row in read_document(pairs).pairs}
    assert set(result.evidence.panel.symbols) == {f"{base}/USDT:USDT" for base in ("NEAR", "AVAX", "TRX", "LTC", "BCH")}
    second = _run(config, pairs, rules)
    assert (second.window, second.written_version) == (result.window, None)
    delisted = json.dumps({"pairs": [{**PAIRS[0], "leg_a": "NOPE/USDT"}, PAIRS[0]]}).replace('"LTC_BCH"', '"GONE"', 1)
    pairs.write_text(delisted)
    third = _run(config, pairs, rules)
    assert third.decisions[0].reason.startswith("symbol_gone: NOPE/USDT:USDT: not listed by the exchange")
    assert "GONE" not in {row.pair_id for row in read_document(pairs).pairs}


def test_the_second_run_fetches_nothing_and_says_the_same(project: tuple[Path, Path]) -> None:
    config, pairs = project
    first = _run(config, pairs, dry_run=True)
    second = _run(config, pairs, dry_run=True)
    assert (first.bars_fetched, second.bars_fetched) == (4 * 480, 0)
    assert second.window == first.window
    assert [d.found for d in second.decisions] == [d.found for d in first.decisions]


def test_a_longer_window_fetches_only_what_is_older(project: tuple[Path, Path]) -> None:
    config, _ = project
    settings = load_settings(config)
    with ExchangeReads(settings) as reads:
        for bars, fetched in ((100, 100), (100, 0), (2000, 1900), (2000, 0)):
            result = refresh(reads, store_of(settings), [LTC], "15m", bars=bars, say=_quiet)
            assert result.bars == fetched
        assert result.end_ms is not None
        start_ms = result.end_ms - 2000 * 900_000
        assert market.gaps(store_of(settings), LTC, "15m", start_ms, result.end_ms) == []
        still_open = reads.klines(LTC, "15m", limit=1)[0]
    assert still_open.open_ms >= result.end_ms, "the open bar is not in the store"


def test_another_market_behind_the_same_address_is_noticed(project: tuple[Path, Path], other_exchange_url: str) -> None:
    config, pairs = project
    first = _run(config, pairs, dry_run=True)
    write_project(config.parent, other_exchange_url)
    second = _run(config, pairs, dry_run=True)
    assert second.bars_fetched == 4 * 480
    fresh = config.parent / "fresh"
    fresh.mkdir()
    expected = _run(*write_project(fresh, other_exchange_url), dry_run=True)
    assert [d.found for d in second.decisions] == [d.found for d in expected.decisions]
    assert [d.found for d in second.decisions] != [d.found for d in first.decisions]


def test_a_dry_run_writes_nothing(project: tuple[Path, Path]) -> None:
    config, pairs = project
    before = pairs.read_bytes()
    result = _run(config, pairs, dry_run=True)
    assert result.written_version is None
    assert pairs.read_bytes() == before
    assert not load_settings(config).flows_journal.exists()


def test_one_pair_only(project: tuple[Path, Path]) -> None:
    config, pairs = project
    result = _run(config, pairs, only=["LTC_BCH"])
    assert [decision.pair_id for decision in result.decisions] == ["LTC_BCH"]
    rows = {row.pair_id: row for row in read_document(pairs).pairs}
    assert rows["DECOY"].enabled
    assert rows["DECOY"].p_value is None
    with pytest.raises(ConfigError, match="no pair is called NOPE"):
        _run(config, pairs, only=["NOPE"])


def test_an_unlisted_symbol_keeps_its_row_and_stops_nobody(tmp_path: Path, exchange_url: str) -> None:
    unlisted = {"pair_id": "U", "leg_a": "NOPE/USDT", "leg_b": "BCH/USDT", "hedge_ratio": 1.0}
    config, pairs = write_project(tmp_path, exchange_url, [PAIRS[0], unlisted])
    result = _run(config, pairs)
    assert [decision.action for decision in result.decisions] == ["updated", "kept"]
    assert "not listed" in result.decisions[1].reason
    assert read_document(pairs).pairs[1].hedge_ratio == 1.0


@pytest.mark.parametrize(
    ("story", "content", "message"),
    [
        ("not JSON", "{", "not valid JSON"),
        ("no pairs", '{"pairs": []}', "no pair to recalibrate"),
        ("unknown key", '{"pairs": [], "color": 1}', "unknown key color"),
        (
            "NaN",
            '{"pairs": [{"pair_id": "P", "leg_a": "A/USDT", "leg_b": "B/USDT", "hedge_ratio": NaN}]}',
            "not valid JSON",
        ),
        (
            "a leg twice",
            '{"pairs": [{"pair_id": "P", "leg_a": "A/USDT", "leg_b": "A/USDT", "hedge_ratio": 1}]}',
            "same symbol",
        ),
    ],
)
def test_a_bad_file_changes_nothing(project: tuple[Path, Path], story: str, content: str, message: str) -> None:
    config, pairs = project
    pairs.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        _run(config, pairs)
    assert "\n" not in str(caught.value)
    assert pairs.read_text() == content
    assert not history_folder(pairs).exists()


def test_an_edit_made_meanwhile_is_not_overwritten(project: tuple[Path, Path]) -> None:
    config, pairs = project
    edited = json.dumps({"pairs": PAIRS[:1]})

    def edit(line: str) -> None:
        if "statsmodels confirms" in line:
            pairs.write_text(edited)

    with pytest.raises(ConfigError, match="was edited meanwhile"):
        recalibrate(load_settings(config), pairs, RULES, run_id="r", say=edit)
    assert pairs.read_text() == edited


def test_no_exchange_nothing_changes(tmp_path: Path) -> None:
    config, pairs = write_project(tmp_path, "http://127.0.0.1:1")
    before = pairs.read_bytes()
    with pytest.raises(ExchangeError, match="cannot connect"):
        _run(config, pairs)
    assert pairs.read_bytes() == before


def test_real_and_paper_prices_never_share_a_store(project: tuple[Path, Path]) -> None:
    settings = load_settings(project[0])
    live = settings.model_copy(update={"trading_mode": "live"})
    demo = live.model_copy(update={"data": live.data.model_copy(update={"use_testnet": True})})
    assert len({store_of(settings), store_of(live), store_of(demo)}) == 3
