"""The control address over real sockets: who may ask, who may order, and what is said to everybody else."""

import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from domain.errors import ConfigError
from runner.clock import SystemClock
from runner.config import ControlSettings, Settings, StorageSettings
from runner.control import ControlServer, address_file
from runner.logs import Log


class Bot:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.well = True

    def status(self) -> Mapping[str, Any]:
        return {
            "uptime_seconds": 1.5, "signals": 3, "executed": 1, "denied": {"QUOTE_STALE": 2}, "open_trades": [],
            "feed": {"messages": 9, "refused": {"price": 1}}, "pairs": {"A_B": {"standing": "watching", "z_score": 1.25}},
            "leak": "the secret is s3cr3t-value",
        }  # fmt: skip

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        return self.well, {"ok": self.well, "reasons": {} if self.well else {"feed": "no connection open"}}

    async def pause(self, reason: str) -> None:
        self.told.append(("pause", reason))

    async def resume(self) -> None:
        self.told.append(("resume", None))

    async def flatten(self, pair_id: str | None) -> Mapping[str, Any]:
        self.told.append(("flatten", pair_id))
        return {"A_B": "closed"}

    async def reload(self) -> Mapping[str, Any]:
        self.told.append(("reload", None))
        raise ConfigError("pairs_config.json: hedge_ratio must be above 0")


def quiet() -> Log:
    return Log(lambda _entry: None, SystemClock())


def settings_in(folder: Path, port: int = 0) -> Settings:
    return Settings(
        binance_api_key=SecretStr("k3y-value"),
        binance_api_secret=SecretStr("s3cr3t-value"),
        storage=StorageSettings(journal=folder / "journal.sqlite"),
        control=ControlSettings(port=port),
    )


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[tuple[Bot, str, str, aiohttp.ClientSession]]:
    bot, settings = Bot(), settings_in(folder)
    async with ControlServer(settings, bot, bot, quiet(), SystemClock()) as server, aiohttp.ClientSession() as session:
        yield bot, server.address, settings.control_token_file.read_text(), session


async def test_everybody_here_may_ask(tmp_path: Path) -> None:
    async with rig(tmp_path) as (bot, url, _, session):
        async with session.get(f"{url}/health") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True, "reasons": {}})
        bot.well = False
        async with session.get(f"{url}/health") as answer:
            assert answer.status == 503
            assert (await answer.json())["reasons"] == {"feed": "no connection open"}
        async with session.get(f"{url}/status") as answer:
            body = await answer.text()
            assert (await answer.json())["pairs"]["A_B"]["z_score"] == 1.25
            assert "s3cr3t-value" not in body
        async with session.get(f"{url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert 'tandem_signals_denied_total{reason="QUOTE_STALE"} 2.0' in lines
    assert 'tandem_stream_refused_total{kind="price"} 1.0' in lines
    assert 'tandem_z_score{pair_id="A_B"} 1.25' in lines
    assert any(line.startswith("tandem_order_seconds_count ") for line in lines)


async def test_who_holds_the_token_may_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as (bot, url, token, session):
        session.headers["Authorization"] = f"Bearer {token}"
        async with session.post(f"{url}/pause", json={"reason": "lunch"}) as answer:
            assert (answer.status, await answer.json()) == (200, {"done": "pause"})
        async with session.post(f"{url}/flatten", json={"pair_id": "A_B"}) as answer:
            assert await answer.json() == {"done": "flatten", "A_B": "closed"}
        async with session.post(f"{url}/flatten") as answer:
            assert answer.status == 200
        async with session.post(f"{url}/resume") as answer:
            assert answer.status == 200
        async with session.post(f"{url}/reload") as answer:
            assert answer.status == 409
            assert await answer.json() == {"error": "pairs_config.json: hedge_ratio must be above 0"}
    assert bot.told == [("pause", "lunch"), ("flatten", "A_B"), ("flatten", None), ("resume", None), ("reload", None)]


REFUSALS: list[tuple[str, str, str, dict[str, str], bytes, int]] = [
    ("no token", "POST", "/pause", {}, b"", 401),
    ("wrong token", "POST", "/flatten", {"Authorization": "Bearer x"}, b"", 401),
    ("a token with letters no token has", "POST", "/pause", {"Authorization": "Bearer ü"}, b"", 401),
    ("a web page", "GET", "/status", {"Origin": "https://evil.example"}, b"", 403),
    ("a page without an origin of its own", "GET", "/status", {"Origin": "null"}, b"", 403),
    ("a name that points here", "GET", "/status", {"Host": "evil.example"}, b"", 403),
    ("a host that is no host", "GET", "/status", {"Host": "[::"}, b"", 403),
    ("no such page", "GET", "/nowhere", {}, b"", 404),
    ("a command as a question", "GET", "/pause", {}, b"", 405),
    ("not JSON", "POST", "/pause", {"Authorization": "right"}, b"{", 400),
    ("an unknown key", "POST", "/flatten", {"Authorization": "right"}, b'{"pair": "A_B"}', 400),
    ("a wrong type", "POST", "/flatten", {"Authorization": "right"}, b'{"pair_id": 3}', 400),
    ("too much", "POST", "/flatten", {"Authorization": "right"}, b" " * 10_000, 413),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
async def test_everybody_else_gets_one_clear_line(  # noqa: PLR0917  (A row of the table.)
    tmp_path: Path, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    async with rig(tmp_path) as (bot, url, token, session):
        sent = {name: f"Bearer {token}" if value == "right" else value for name, value in headers.items()}
        async with session.request(method, url + path, headers=sent, data=body) as answer:
            assert answer.status == status
            error = (await answer.json())["error"]
    assert "\n" not in error
    assert token not in error
    assert bot.told == []


async def test_the_token_is_for_its_user_alone_and_gone_afterwards(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    bot = Bot()
    async with ControlServer(settings, bot, bot, quiet(), SystemClock()) as server:
        assert stat.S_IMODE(settings.control_token_file.stat().st_mode) == 0o600
        assert address_file(settings).read_text() == server.address
        first = settings.control_token_file.read_text()
    assert not settings.control_token_file.exists()
    async with ControlServer(settings, bot, bot, quiet(), SystemClock()):
        assert settings.control_token_file.read_text() != first


async def test_a_port_that_is_taken_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"control\.port {port} .* is taken.*TANDEM_CONTROL__PORT"):
            async with ControlServer(settings_in(tmp_path, port), Bot(), Bot(), quiet(), SystemClock()):
                pass
    assert not settings_in(tmp_path).control_token_file.exists()
