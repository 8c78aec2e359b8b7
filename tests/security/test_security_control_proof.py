"""Who listens at the control address instead of the runner hears no token, and shows nothing that a terminal would obey."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from control_rig import control_rig
from raw_sockets import listening, request, send

from domain.proof import PATH, proof
from runner.commands import control_client

TOKEN = "the-token-of-a-runner-that-was-killed"
Says = Callable[[bytes], bytes]


def _reply(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


def _echo_of_the_nonce(head: bytes) -> bytes:
    return _reply(head.split(b" ")[1].removeprefix(PATH.encode()))


IMPOSTORS: dict[str, Says] = {
    "says yes to everything": lambda _: _reply(b"{}"),
    "says the nonce again": _echo_of_the_nonce,
    "sends us elsewhere": lambda _: _reply(b"", "307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/"),
    "knows another token": lambda head: _reply(proof("another", head.split(b" ")[1][7:].decode(), 80).encode()),
    "has no such page": lambda _: _reply(b"", "404 Not Found"),
    "says no HTTP": lambda _: b"\x1b]0;owned\x07\r\n\r\n",
    "hangs up": lambda _: b"",
}


async def _command(name: str, folder: Path, port: int, *arguments: str) -> Result:
    config = folder / "config.json"
    config.write_text(json.dumps({"control": {"port": port}}))
    (folder / "var").mkdir(exist_ok=True)
    return await asyncio.to_thread(
        CliRunner().invoke,
        getattr(control_client, name),
        [*arguments, "--config", str(config)],
        standalone_mode=False,
    )


@pytest.mark.parametrize("says", IMPOSTORS.values(), ids=list(IMPOSTORS))
@pytest.mark.parametrize("name", ["pause", "resume", "flatten", "reload", "status"])
async def test_an_impostor_is_named_and_hears_no_token(tmp_path: Path, name: str, says: Says) -> None:
    heard: list[bytes] = []

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heard.append(head)
            writer.write(says(head))
            await writer.drain()
            if not says(head):
                return

    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "control.token").write_text(TOKEN)
    async with listening(impostor) as port:
        result = await _command(name, tmp_path, port)
    assert isinstance(result.exception, control_client.NoRunner)
    assert str(result.exception).isprintable()
    assert len(heard) == 1
    assert TOKEN.encode() not in heard[0]
    assert b"authorization" not in heard[0].lower()


async def test_the_runner_proves_itself_and_its_proof_is_of_no_use_at_another_port(tmp_path: Path) -> None:
    async with control_rig(tmp_path) as rig:
        ask = request("GET", f"{PATH}n0nce", {"Host": f"127.0.0.1:{rig.port}"})
        said = (await send(rig.port, ask))[1]
        assert said == proof(rig.token, "n0nce", rig.port)
        assert said != proof(rig.token, "n0nce", rig.port + 1)
        foreign = request("GET", f"{PATH}n0nce", {"Host": "evil.example"})
        assert (await send(rig.port, foreign))[0] == 403


async def test_what_a_stranger_reports_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    """Another user of this machine, who cannot read the token, may look; the answer may come from anybody."""
    report = {"pairs": {}, "open_trades": [], "state": "[red]up[/red] \x1b]0;owned\x07", "\x1b[2Jname": "x"}

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_reply(json.dumps(report).encode()))
        await writer.drain()

    async with listening(stranger) as port:
        result = await _command("status", tmp_path, port)
    assert result.exception is None, result.exception
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
    assert "[red]up[/red] \\x1b]0;owned\\x07" in result.output


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b"{"])
async def test_an_answer_that_is_no_report_is_one_line(tmp_path: Path, body: bytes) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_reply(body))
        await writer.drain()

    async with listening(stranger) as port:
        result = await _command("status", tmp_path, port)
    assert isinstance(result.exception, control_client.NoRunner)
