"""Where a live runner may send its keys: over TLS, or nowhere off this machine."""

import json
from pathlib import Path

import pytest

from domain.errors import ConfigError
from runner.config import load_settings

REFUSED: list[tuple[str, str, str]] = [
    ("http://fapi.binance.com", "wss://fstream.binance.com", "fapi.binance.com"),
    ("https://fapi.binance.com", "ws://fstream.binance.com", "fstream.binance.com"),
    ("http://192.168.1.7:18080", "ws://192.168.1.7:18080", "192.168.1.7"),
    ("http://127.0.0.1@evil.example", "ws://127.0.0.1:18080", "evil.example"),
    ("http://127.0.0.1.evil.example", "ws://127.0.0.1:18080", "127.0.0.1.evil.example"),
    ("http://127.0.0.evil:18080", "ws://127.0.0.1:18080", "127.0.0.evil"),
    ("http://localhost.evil.example", "ws://127.0.0.1:18080", "localhost.evil.example"),
    ("http://0.0.0.0:18080", "ws://127.0.0.1:18080", "0.0.0.0"),  # noqa: S104
    ("http://[::2]:18080", "ws://127.0.0.1:18080", "::2"),
]
TAKEN: list[tuple[str | None, str | None, int]] = [
    ("https://fapi.binance.com", "wss://fstream.binance.com", 0),
    ("http://127.0.0.1:18080", "ws://127.0.0.1:18080", 2),
    ("http://localhost:18080", "ws://[::1]:18080", 2),
    ("http://127.8.8.8:18080", "wss://fstream.binance.com", 1),
    (None, None, 0),
]


def config_at(folder: Path, mode: str, rest_url: str | None, stream_url: str | None) -> Path:
    path = folder / "config.json"
    keys = {"binance_api_key": "k" * 64, "binance_api_secret": "s" * 64}
    data = {"rest_url": rest_url, "stream_url": stream_url}
    path.write_text(json.dumps({"trading_mode": mode, "data": data, **keys}))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(("rest_url", "stream_url", "host"), REFUSED)
def test_a_live_runner_sends_nothing_in_plain_text_to_another_machine(
    tmp_path: Path, rest_url: str, stream_url: str, host: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(config_at(tmp_path, "live", rest_url, stream_url))
    said = str(refused.value)
    assert f"sends keys to {host}, " in said
    assert "use https:// in data.rest_url and wss:// in data.stream_url" in said
    assert "\n" not in said
    assert load_settings(config_at(tmp_path, "paper", rest_url, stream_url)), "play money may"


@pytest.mark.parametrize(("rest_url", "stream_url", "unencrypted"), TAKEN)
def test_what_is_encrypted_or_stays_here_is_taken(
    tmp_path: Path, rest_url: str | None, stream_url: str | None, unencrypted: int
) -> None:
    settings = load_settings(config_at(tmp_path, "live", rest_url, stream_url))
    assert len(settings.unencrypted_urls) == unencrypted, "the runner says these at its start"
