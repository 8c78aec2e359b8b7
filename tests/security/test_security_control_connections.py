"""Connections that only wait: neither many of them nor slow ones keep the operator out or fill the log."""

import asyncio
from pathlib import Path

import pytest
from control_rig import control_rig
from raw_sockets import request, send

from runner import control_connections
from runner.control_connections import CONNECTIONS_MAX

HALF_OPEN = 300
ASKED = request("GET", "/health", {"Host": "localhost"})


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection within a few seconds."""
    try:
        async with asyncio.timeout(10):
            await reader.read()
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def test_a_thousand_half_open_connections_keep_nobody_out(tmp_path: Path) -> None:
    async with control_rig(tmp_path) as rig:
        streams = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(HALF_OPEN)]
        for _, writer in streams:
            writer.write(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert (await send(rig.port, ASKED))[0] == 200
        cut = await asyncio.gather(*(is_cut(reader) for reader, _ in streams[: HALF_OPEN - CONNECTIONS_MAX]))
        assert all(cut), "the oldest made room"
        assert rig.refusals() == [f"more than {CONNECTIONS_MAX} connections at once"]
        for _, writer in streams:
            writer.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_connections, "REQUEST_SECONDS_MAX", 0.3)
    monkeypatch.setattr(control_connections, "SWEEP_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("said", [b"", b"GET /sta", b"GET /status HTTP/1.1\r\nHost: localhost\r\n"])
async def test_who_never_finishes_asking_is_cut(tmp_path: Path, said: bytes) -> None:
    async with control_rig(tmp_path) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(said)
        assert await is_cut(reader)
        assert rig.refusals() == ["no whole request within 0.3 s"]
        writer.close()


@pytest.mark.usefixtures("impatient")
async def test_a_byte_now_and_then_buys_no_time(tmp_path: Path) -> None:
    async with control_rig(tmp_path) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        cut = asyncio.create_task(is_cut(reader))
        writer.write(b"GET /status HTTP/1.1\r\nX: ")
        while not cut.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)  # The attack itself.
        assert cut.result()
        writer.close()


@pytest.mark.usefixtures("impatient")
async def test_an_idle_connection_is_closed_without_a_row(tmp_path: Path) -> None:
    """As every scraper's is: it asked properly and will ask again."""
    async with control_rig(tmp_path) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(ASKED)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await is_cut(reader)
        assert rig.refusals() == []
        writer.close()


@pytest.mark.usefixtures("impatient")
async def test_a_command_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flatten is answered when the legs are closed."""

    async def slowly(_self: object, pair_id: str | None) -> dict[str, str]:
        await asyncio.sleep(1.0)
        return {str(pair_id): "closed"}

    monkeypatch.setattr("control_rig.Trader.flatten", slowly)
    async with control_rig(tmp_path) as rig:
        headers = {"Host": "localhost", "Authorization": f"Bearer {rig.token}"}
        status, said = await send(rig.port, request("POST", "/flatten", headers, b'{"pair_id": "A_B"}'))
        assert (status, said) == (200, '{"done":"flatten","A_B":"closed"}')
