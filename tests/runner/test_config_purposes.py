"""Which keys a process gets: those of its purpose, from one place, and in paper mode nothing is asked of anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ConfigError
from runner import keys
from runner.config import load_settings
from runner.keys import Purpose

LIVE = {"trading_mode": "live"}
TRADE = {"BINANCE_API_KEY": "t-of-mine", "BINANCE_API_SECRET": "ts-of-mine"}
READ = {"TANDEM_READ_API_KEY": "r-of-mine", "TANDEM_READ_API_SECRET": "rs-of-mine"}
TRADE_IN_FILE = {"binance_api_key": "ft-of-mine", "binance_api_secret": "fts-of-mine"}
ELSEWHERE = {"data": {"rest_url": "http://127.0.0.1:18081"}}
READ_IN_FILE = {"read_api_key": "fr-of-mine", "read_api_secret": "frs-of-mine"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*keys.NAMES, keys.FOLDER):
        monkeypatch.delenv(name, raising=False)


def key_of(folder: Path, content: object, purpose: Purpose) -> str | None:
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    settings = load_settings(path, purpose)
    assert settings.read_api_key is None
    assert settings.read_api_secret is None
    return settings.binance_api_key.get_secret_value() if settings.binance_api_key is not None else None


# What is in the file, in the environment; what each purpose gets.
# fmt: off
STORIES = [
    ("paper: nothing is asked",        {},                  {},           "paper-key", "paper-key", None),
    ("paper: a reading key is unused", {},                  READ,         "paper-key", "paper-key", None),
    ("paper: a trading key is unused", {},                  TRADE,        "paper-key", "paper-key", None),
    ("paper: nor one in the file",     TRADE_IN_FILE,       READ,         "paper-key", "paper-key", None),
    ("paper, at an address of mine",   ELSEWHERE,           TRADE,        "t-of-mine", "t-of-mine", None),
    ("live, one key for all",          LIVE,                TRADE,        "t-of-mine", "t-of-mine", None),
    ("live, a key each",               LIVE,                TRADE | READ, "t-of-mine", "r-of-mine", None),
    ("live, the reading one in file",  LIVE | READ_IN_FILE, TRADE,        "t-of-mine", "fr-of-mine", None),
]
# fmt: on


@pytest.mark.parametrize(
    ("content", "environment", "trade", "read", "none"), [row[1:] for row in STORIES], ids=[row[0] for row in STORIES]
)
@pytest.mark.parametrize("by", ["environment", "files"])
def test_each_purpose_gets_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    by: str,
    content: dict[str, Any],
    environment: dict[str, str],
    trade: str,
    read: str,
    none: None,
) -> None:
    if by == "files":
        keys.hand_over(tmp_path / "keys", environment)
        environment = {keys.FOLDER: str(tmp_path / "keys")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert key_of(tmp_path, content, Purpose.TRADE) == trade
    assert key_of(tmp_path, content, Purpose.READ) == read
    assert key_of(tmp_path, content, Purpose.NONE) is none


@pytest.mark.parametrize("content", [ELSEWHERE, ELSEWHERE | TRADE_IN_FILE], ids=["environment", "file"])
def test_the_stacks_own_paper_exchange_gets_no_key_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]
) -> None:
    """`tandem up` names its address, so it looks like one of the user's own."""
    monkeypatch.setenv(keys.FOLDER, keys.PAPER_ACCOUNT)
    if content == ELSEWHERE:
        for name, value in TRADE.items():
            monkeypatch.setenv(name, value)
    assert key_of(tmp_path, content, Purpose.TRADE) == "paper-key"
    assert key_of(tmp_path, content, Purpose.READ) == "paper-key"


def test_with_real_money_the_paper_account_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.FOLDER, keys.PAPER_ACCOUNT)
    for name, value in TRADE.items():
        monkeypatch.setenv(name, value)
    assert key_of(tmp_path, LIVE, Purpose.TRADE) == "t-of-mine"


def test_who_only_reads_needs_no_trading_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in READ.items():
        monkeypatch.setenv(name, value)
    assert key_of(tmp_path, LIVE, Purpose.READ) == "r-of-mine"
    with pytest.raises(ConfigError, match="needs BINANCE_API_KEY"):
        key_of(tmp_path, LIVE, Purpose.TRADE)


def test_who_asks_the_exchange_nothing_needs_no_key(tmp_path: Path) -> None:
    """`tandem status`, `query`, `pairs`: the shell they are typed in need not hold any."""
    assert key_of(tmp_path, LIVE, Purpose.NONE) is None


@pytest.mark.parametrize(
    ("content", "environment", "expected"),
    [
        (LIVE | READ_IN_FILE, READ | TRADE, "keep one of the two"),
        (LIVE, TRADE | {"TANDEM_READ_API_KEY": "r-of-mine"}, "TANDEM_READ_API_KEY and TANDEM_READ_API_SECRET"),
        (LIVE | {"read_api_key": "r-of-mine"}, TRADE, "without its secret"),
    ],
    ids=["both places", "half", "half in the file"],
)
def test_half_a_key_and_two_places_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: dict[str, str],
    environment: dict[str, str],
    expected: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=expected) as caught:
        key_of(tmp_path, content, Purpose.READ)
    assert "of-mine" not in str(caught.value)
