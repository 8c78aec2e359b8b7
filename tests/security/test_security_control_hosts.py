"""Every address the control server can be told to listen on: our own commands reach it, and strange names do not."""

import asyncio
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from control_rig import control_rig
from raw_sockets import listening, request, send

from runner.commands import control_client
from runner.config import load_settings


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HOSTS = ["127.0.0.1", "localhost", "0.0.0.0", *(["::1", "::"] if has_ipv6() else [])]  # noqa: S104


def tandem(command: str, config: Path, port: int) -> str:
    """What a command of ours prints, told the port as config.json would."""
    result = CliRunner(env={"TANDEM_CONTROL__PORT": str(port)}).invoke(
        getattr(control_client, command), ["--config", str(config)], standalone_mode=False
    )
    assert result.exception is None, result.exception
    return result.output


@pytest.mark.parametrize("host", HOSTS)
async def test_our_own_commands_reach_it(tmp_path: Path, host: str) -> None:
    async with control_rig(tmp_path, host=host) as rig:
        for port in (rig.port, 0):  # As written down, and as found in control.address.
            assert "Pairs" in await asyncio.to_thread(tandem, "status", rig.config, port)
            assert await asyncio.to_thread(tandem, "pause", rig.config, port)
        assert len(rig.done) == 2
        warned = [row for row in rig.rows if row.event == "control_open_to_others"]
        assert len(warned) == (host in {"0.0.0.0", "::"})  # noqa: S104
        assert rig.refusals() == []


@pytest.mark.parametrize("host", [host for host in HOSTS if host in {"0.0.0.0", "::"}])  # noqa: S104
async def test_who_listens_everywhere_still_asks_for_the_name(tmp_path: Path, host: str) -> None:
    here = "::1" if host == "::" else "127.0.0.1"
    async with control_rig(tmp_path, host=host, host_names=["trader.lan"]) as rig:
        names = {
            "trader.lan": 200,
            f"Trader.LAN:{rig.port}": 200,
            "localhost": 200,
            "evil.example": 403,
            "10.9.8.7": 403,
        }
        for name, status in names.items():
            assert (await send(rig.port, request("GET", "/status", {"Host": name}), host=here))[0] == status, name


@pytest.mark.parametrize(
    "host",
    ["evil@127.0.0.1", "localhost/x", "localhost#.evil.example", "localhost?.evil.example", "evil.example#@localhost",
     "evil.example/@localhost", "127.0.0.1@evil.example", "127.0.0.1\\.evil.example", "localhost.evil.example", "localhost.",
     "127.0.0.1.evil.example", "127.0.0.1, evil.example", "127.1", "2130706433", "[::ffff:127.0.0.1]", "[::1", "", "null"],
)  # fmt: skip
async def test_what_only_looks_like_one_of_our_names_is_none(tmp_path: Path, host: str) -> None:
    async with control_rig(tmp_path) as rig:
        status, _ = await send(rig.port, request("GET", "/status", {"Host": host}))
        assert status in {400, 403}


async def test_the_address_that_was_connected_to_is_a_name(tmp_path: Path) -> None:
    """Another machine knows ours by its address; nobody can make a foreign page's name into one."""
    async with control_rig(tmp_path, host="0.0.0.0") as rig:  # noqa: S104
        for name, status in {"127.0.0.2": 200, "127.0.0.3": 403}.items():
            assert (await send(rig.port, request("GET", "/status", {"Host": name}), host="127.0.0.2"))[0] == status


async def test_an_external_party_at_our_port_gets_no_second_request(tmp_path: Path) -> None:
    """Whoever listens there instead of the runner cannot send our token on to somebody else."""
    heard: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))

    async with control_rig(tmp_path) as rig, listening(elsewhere) as other:

        async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % other)
            await writer.drain()

        async with listening(stranger) as port:
            settings = load_settings(rig.config)
            assert settings.control.port == 0
            result = await asyncio.to_thread(
                CliRunner(env={"TANDEM_CONTROL__PORT": str(port)}).invoke,
                control_client.pause,
                ["--config", str(rig.config)],
                standalone_mode=False,
            )
    assert isinstance(result.exception, control_client.NoRunner)
    assert "is not the runner whose token we have" in str(result.exception)
    assert heard == []
