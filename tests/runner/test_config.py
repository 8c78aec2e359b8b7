"""Bad configuration -> one line that says file, key and remedy; good configuration -> what was meant. Secrets stay secret."""

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ConfigError
from runner.config import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TANDEM_", "BINANCE_")):
            monkeypatch.delenv(name)


def written(folder: Path, content: Any) -> Path:
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    text = str(caught.value)
    assert "\n" not in text, "one line"
    assert str(path) in text or text.startswith("environment"), "names the file"
    return text


# content -> words that must be in the line
BAD_FILES: list[tuple[Any, list[str]]] = [
    ("", ["not valid JSON"]),
    ("{", ["not valid JSON"]),
    ('{"dry_run": true,}', ["not valid JSON"]),
    ("[]", ["object"]),
    ("7", ["object"]),
    ({"tradingmode": "paper"}, ["tradingmode", "unknown key", "did you mean trading_mode?", "remove or correct"]),
    ({"risk": {"laverage": 3}}, ["risk.laverage", "unknown key", "leverage"]),
    ({"zzz": 1}, ["zzz", "unknown key"]),
    ({"trading_mode": "demo"}, ["trading_mode", "'paper' or 'live'"]),
    ({"dry_run": "yes"}, ["dry_run", "boolean"]),
    ({"dry_run": "true"}, ["dry_run", "boolean"]),  # A file says true, not "true".
    ({"dry_run": 1}, ["dry_run"]),
    ({"risk": 5}, ["risk"]),
    ({"risk": None}, ["risk"]),
    ({"risk": {"leverage": 0}}, ["risk.leverage", "greater than or equal to 1"]),
    ({"risk": {"leverage": 126}}, ["risk.leverage", "less than or equal to 125"]),
    ({"risk": {"leverage": 2.5}}, ["risk.leverage", "integer"]),
    ({"risk": {"leverage": "3"}}, ["risk.leverage", "integer"]),
    ({"risk": {"leverage": True}}, ["risk.leverage"]),
    ({"risk": {"pair_notional_usd": 0}}, ["risk.pair_notional_usd", "greater than 0"]),
    ({"risk": {"pair_notional_usd": -5}}, ["risk.pair_notional_usd", "greater than 0"]),
    ('{"risk": {"pair_notional_usd": NaN}}', ["risk.pair_notional_usd", "finite"]),
    ('{"risk": {"daily_loss_usd_max": Infinity}}', ["risk.daily_loss_usd_max", "finite"]),
    ({"risk": {"pair_notional_usd": "NaN"}}, ["risk.pair_notional_usd", "finite"]),
    ('{"signal": {"entry_threshold": NaN}}', ["signal.entry_threshold"]),
    ('{"signal": {"stop_loss_threshold": Infinity}}', ["signal.stop_loss_threshold"]),
    ({"signal": {"entry_threshold": "2"}}, ["signal.entry_threshold", "number"]),
    ({"signal": {"bar_seconds": 61}}, ["signal.bar_seconds", "60"]),
    ({"signal": {"entry_threshold": 5.0}}, ["signal", "exit_threshold < entry_threshold < stop_loss_threshold"]),
    ({"signal": {"exit_threshold": 2.0}}, ["signal", "exit_threshold < entry_threshold"]),
    ({"execution": {"recv_window_ms": 499}}, ["execution.recv_window_ms", "500"]),
    ({"execution": {"max_slippage_pct": 0.1}}, ["execution.max_slippage_pct", "0.05"]),
    ({"execution": {"on_shutdown": "panic"}}, ["execution.on_shutdown", "'keep' or 'flatten'"]),
    ({"execution": {"dead_man_seconds": 3}}, ["execution", "dead_man_seconds", "0 (off) or at least 5"]),
    ({"execution": {"limit_wait_seconds": 0}}, ["execution.limit_wait_seconds", "greater than 0"]),
    ({"execution": {"limit_chases_max": -1}}, ["execution.limit_chases_max", "greater than or equal to 0"]),
    ({"risk": {"maker_fee_bps": -11}}, ["risk.maker_fee_bps", "-10"]),
    ({"execution": {"use_limit_orders": "yes"}}, ["execution.use_limit_orders"]),
    ({"data": {"rest_url": "fapi.binance.com"}}, ["data.rest_url", "pattern"]),
    ({"data": {"rest_url": "http://x/path"}}, ["data.rest_url"]),
    ({"data": {"use_testnet": True}}, ["data.use_testnet", "live"]),
    ({"control": {"port": 65536}}, ["control.port"]),
    ({"trading_mode": "live"}, ["trading_mode", "BINANCE_API_KEY", "BINANCE_API_SECRET"]),
    ({"binance_api_key": "k3y-of-mine"}, ["without its secret"]),
    ({"binance_api_secret": "s3cret-of-mine"}, ["BINANCE_API_KEY and BINANCE_API_SECRET"]),
    ({"binance_api_key": 5}, ["binance_api_key", "string"]),
    ({"risk": {"leverage": 0}, "dry_run": "x"}, ["and 1 more"]),
]


@pytest.mark.parametrize(("content", "words"), BAD_FILES, ids=lambda value: str(value)[:50])
def test_a_bad_file_is_one_clear_line(tmp_path: Path, content: Any, words: list[str]) -> None:
    text = complaint(written(tmp_path, content))
    for word in words:
        assert word in text


# variables -> words that must be in the line
BAD_VARIABLES: list[tuple[dict[str, str], list[str]]] = [
    ({"TANDEM_RISK__LAVERAGE": "2"}, ["TANDEM_RISK__LAVERAGE", "did you mean leverage?"]),
    ({"TANDEM_LEVERAGE": "2"}, ["TANDEM_LEVERAGE", "unset it"]),
    ({"TANDEM_RISK__LEVERAGE__X": "2"}, ["TANDEM_RISK__LEVERAGE__X"]),
    ({"TANDEM_RISK__LEVERAGE": "much"}, ["TANDEM_RISK__LEVERAGE", "integer"]),
    ({"TANDEM_RISK__LEVERAGE": "0"}, ["TANDEM_RISK__LEVERAGE", "greater than or equal to 1"]),
    ({"TANDEM_RISK__PAIR_NOTIONAL_USD": "nan"}, ["TANDEM_RISK__PAIR_NOTIONAL_USD"]),
    ({"TANDEM_TRADING_MODE": "LIVE"}, ["TANDEM_TRADING_MODE"]),
    ({"TANDEM_RISK": "much"}, ["environment", "TANDEM_RISK__LEVERAGE=2"]),
    ({"TANDEM_BINANCE_API_KEY": "k3y-of-mine"}, ["TANDEM_BINANCE_API_KEY", "unset it"]),
    ({"BINANCE_API_KEY": "k3y-of-mine"}, ["without its secret"]),
    ({"BINANCE_API_SECRET": "s3cret-of-mine"}, ["both"]),
]


@pytest.mark.parametrize(("variables", "words"), BAD_VARIABLES, ids=lambda value: str(value)[:50])
def test_a_bad_variable_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = complaint(written(tmp_path, {}))
    for word in words:
        assert word in text
    assert "of-mine" not in text, "never a secret's value"


def test_an_empty_file_of_settings_is_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, {}))
    assert settings.trading_mode == "paper"
    assert settings.risk.leverage == 3
    assert settings.binance_api_key is not None
    assert settings.binance_api_key.get_secret_value() == "paper-key"


def test_defaults_then_file_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_RISK__LEVERAGE", "7")
    monkeypatch.setenv("TANDEM_RISK__PAIR_NOTIONAL_USD", "123.45")
    monkeypatch.setenv("TANDEM_DRY_RUN", "true")
    monkeypatch.setenv("TANDEM_STORAGE__JOURNAL", "elsewhere/j.sqlite")
    monkeypatch.setenv("TANDEM_LOG_FILE", "about processes, not about trading")
    path = written(tmp_path, {"risk": {"leverage": 5, "daily_loss_usd_max": 99}, "signal": {"entry_threshold": 2.5}})
    settings = load_settings(path)
    assert settings.risk.leverage == 7
    assert settings.risk.pair_notional_usd == Decimal("123.45")
    assert settings.risk.daily_loss_usd_max == 99
    assert settings.signal.entry_threshold == 2.5
    assert settings.signal.exit_threshold == 0.0
    assert settings.dry_run is True
    assert settings.storage.journal == tmp_path / "elsewhere/j.sqlite"


def test_relative_storage_starts_at_the_file_wherever_we_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    written(folder, {"storage": {"ledger": "/elsewhere/ledger.duckdb"}})
    monkeypatch.chdir(tmp_path)
    settings = load_settings(Path("project/config.json"))
    assert settings.storage.journal == folder / "var/journal.sqlite"
    assert settings.storage.ledger == Path("/elsewhere/ledger.duckdb")


def test_no_file(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "config.json")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert "is a folder; need a regular file" in complaint(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = written(tmp_path, {})
    path.chmod(0)
    assert "cannot be read" in complaint(path)


SECRETS = {"binance_api_key": "k3y-of-mine", "binance_api_secret": "s3cret-of-mine"}


def test_keys_from_both_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", "an0ther-of-mine")
    monkeypatch.setenv("BINANCE_API_SECRET", "an0ther-of-mine")
    text = complaint(written(tmp_path, SECRETS))
    assert "keep one of the two" in text
    assert "of-mine" not in text


@pytest.mark.parametrize("where", ["file", "environment"])
def test_keys_are_taken_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    content: dict[str, Any] = {"trading_mode": "live"}
    if where == "file":
        content |= SECRETS
    else:
        for name, value in SECRETS.items():
            monkeypatch.setenv(name.upper(), value)
    path = written(tmp_path, content)
    path.chmod(0o600)
    settings = load_settings(path)
    assert settings.binance_api_key is not None
    assert settings.binance_api_key.get_secret_value() == "k3y-of-mine"
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert "of-mine" not in shown


@pytest.mark.parametrize(
    "broken", [{"risk": {"leverage": 0}}, {"zzz": 1}, {"trading_mode": "nowhere"}, {"dry_run": "x"}]
)
def test_a_complaint_about_a_file_with_keys_shows_none(tmp_path: Path, broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, SECRETS | broken))
    error: BaseException | None = caught.value
    while error is not None:
        assert "of-mine" not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_the_hash_is_of_everything_but_the_secrets(tmp_path: Path) -> None:
    one = load_settings(written(tmp_path, SECRETS))
    other = load_settings(written(tmp_path, {name: f"0ther-{value}" for name, value in SECRETS.items()}))
    changed = load_settings(written(tmp_path, SECRETS | {"risk": {"leverage": 4}}))
    assert one.sha256 == other.sha256 != changed.sha256


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.dry_run = True
    with pytest.raises(ValueError, match="frozen"):
        settings.risk.leverage = 99
