"""One runner per account: who is the same account, and what the lock's file gives away."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from domain.errors import AccountBusy, ConfigError
from runner.account_lock import account_address, lock_account, lock_file
from runner.config import Settings

KEY, SECRET = "k" * 20 + "0123456789", "s" * 30


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def settings(**given: Any) -> Settings:
    return Settings.model_validate({"binance_api_key": KEY, "binance_api_secret": SECRET} | given)


def test_another_journal_of_the_same_account_is_refused_in_one_line(tmp_path: Path) -> None:
    first = lock_account(settings(storage={"journal": tmp_path / "a" / "journal.sqlite"}))
    with pytest.raises(AccountBusy) as busy:
        lock_account(settings(storage={"journal": tmp_path / "b" / "journal.sqlite"}))
    line = str(busy.value)
    assert f"process {os.getpid()}" in line
    assert "http://127.0.0.1:18080" in line
    assert "\n" not in line
    assert KEY not in line
    first.release()
    lock_account(settings()).release()


# Same key: is it the same account?
ADDRESSES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {"data": {"rest_url": "http://127.0.0.1:18080"}}, True),
    ({}, {"data": {"rest_url": "http://localhost:18080"}}, True),
    ({}, {"data": {"rest_url": "http://LOCALHOST:18080"}}, True),
    ({}, {"data": {"rest_url": "http://127.0.0.1:18081"}}, False),
    ({}, {"trading_mode": "live"}, False),
    ({"trading_mode": "live"}, {"trading_mode": "live", "data": {"use_testnet": True}}, False),
    ({"trading_mode": "live"}, {"trading_mode": "live", "risk": {"leverage": 7}}, True),
    ({"trading_mode": "live"}, {"trading_mode": "live", "binance_api_key": "another" * 5}, False),
    ({"data": {"rest_url": "https://x.example"}}, {"data": {"rest_url": "https://x.example:443"}}, True),
]


@pytest.mark.parametrize(("one", "other", "same"), ADDRESSES, ids=lambda value: json.dumps(value)[:40])
def test_the_same_key_at_the_same_address_is_one_account(
    one: dict[str, Any], other: dict[str, Any], *, same: bool
) -> None:
    assert (lock_file(settings(**one)) == lock_file(settings(**other))) is same


def test_nothing_of_the_key_is_on_the_disk(tmp_path: Path) -> None:
    lock = lock_account(settings())
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files == [lock.path]
    assert KEY[:6] not in str(lock.path)
    assert KEY[:6] not in lock.path.read_text()
    assert (lock.path.parent.stat().st_mode & 0o077) == 0, "nobody else's to read"
    lock.release()


def test_without_a_state_folder_the_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tmp_path / "home" in lock_file(settings()).parents
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert tmp_path / "tmp" in lock_file(settings()).parents
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="XDG_STATE_HOME"):
        lock_file(settings())


def test_the_address_is_told_as_people_know_it() -> None:
    assert account_address(settings(trading_mode="live")) == "binance"
    assert account_address(settings(trading_mode="live", data={"use_testnet": True})) == "binance-demo"
    assert account_address(settings()) == "http://127.0.0.1:18080"
