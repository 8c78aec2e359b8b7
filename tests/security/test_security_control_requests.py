"""Requests that must not be obeyed by the control server, byte for byte, and those that must."""

import asyncio
import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest
from control_rig import control_rig
from raw_sockets import request, send

from domain.web_requests import Foreign
from runner import control

HERE = "127.0.0.1:{port}"
RIGHT = "Bearer {token}"
PAGE, HOST, TOKEN = str(Foreign.PAGE), str(Foreign.HOST), "wrong or missing token"
POSTED = {"Host": HERE, "Authorization": RIGHT}

ATTACKS: list[tuple[str, str, str, Mapping[str, str], bytes, int, str]] = [
    ("a page of localhost at another port", "GET", "/status", {"Host": HERE, "Origin": "http://localhost:3000"}, b"", 403, PAGE),
    ("a page of 127.0.0.1 at another port", "POST", "/pause", {**POSTED, "Origin": "http://127.0.0.1:4200"}, b"", 403, PAGE),
    ("a page of localhost without a port", "POST", "/pause", {**POSTED, "Origin": "http://localhost"}, b"", 403, PAGE),
    ("a page under our other name", "POST", "/pause", {**POSTED, "Origin": "http://localhost:{port}"}, b"", 403, PAGE),
    ("a file opened in a browser", "POST", "/flatten", {**POSTED, "Origin": "null"}, b"", 403, PAGE),
    ("a browser's question before a request", "OPTIONS", "/pause", {"Host": HERE, "Origin": "https://evil.example"}, b"", 403, PAGE),
    ("a picture in a foreign page", "GET", "/status",
     {"Host": HERE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, b"", 403, PAGE),
    ("a script in a page of another port", "GET", "/metrics",
     {"Host": HERE, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, b"", 403, PAGE),
    ("a name made to point here", "POST", "/flatten",
     {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}", "Authorization": RIGHT}, b"", 403, HOST),
    ("our name as the beginning of another", "GET", "/status", {"Host": "localhost.evil.example"}, b"", 403, HOST),
    ("our name with a dot after it", "GET", "/status", {"Host": "localhost."}, b"", 403, HOST),
    ("no name at all", "GET", "/status", {"Host": ""}, b"", 403, HOST),
    ("a plain form without a token", "POST", "/pause", {"Host": HERE, "Content-Type": "text/plain"}, b"{}", 401, TOKEN),
    ("the token as a parameter", "POST", "/pause?token={token}", {"Host": HERE}, b"", 401, TOKEN),
    ("the token in another scheme", "POST", "/pause", {"Host": HERE, "Authorization": "Basic {token}"}, b"", 401, TOKEN),
    ("a part of the token", "POST", "/pause", {"Host": HERE, "Authorization": "Bearer {token:.20}"}, b"", 401, TOKEN),
    ("a small body that unfolds", "POST", "/pause", {**POSTED, "Content-Encoding": "gzip"}, gzip.compress(bytes(10**8)), 413, "bytes"),
    ("a long body", "POST", "/pause", POSTED, bytes(100_000), 413, "bytes"),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=[row[0] for row in ATTACKS])
async def test_an_attack_is_refused_with_a_line_and_a_row(
    tmp_path: Path, attack: tuple[str, str, str, Mapping[str, str], bytes, int, str]
) -> None:
    _, method, path, headers, body, status, why = attack
    async with control_rig(tmp_path) as rig:

        def filled(text: str) -> str:
            return text.format(port=rig.port, token=rig.token)

        sent = {name: filled(value) for name, value in headers.items()}
        answer, said = await send(rig.port, request(method, filled(path), sent, body))
        assert (answer, rig.done) == (status, [])
        assert status == 413 or why in said
        assert [why in row for row in rig.refusals()] == [True]
        assert not any(rig.token in str(row.facts) for row in rig.rows)


NO_HTTP: list[tuple[str, bytes]] = [
    ("noise", b"\x00\xff\x13 nothing that is HTTP\r\n\r\n"),
    ("a handshake of TLS", bytes.fromhex("16030100c8010000c40303") + bytes(60) + b"\r\n\r\n"),
    ("a header without an end", b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000),
    ("thousands of headers", b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"A: b\r\n" * 5_000 + b"\r\n"),
    ("two lengths", b"POST /pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    ("a length and chunks", b"POST /pause HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two names", b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("data", [row[1] for row in NO_HTTP], ids=[row[0] for row in NO_HTTP])
async def test_what_is_no_http_costs_one_row_and_no_traceback(
    tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async with control_rig(tmp_path) as rig:
        for _ in range(20):
            status, _ = await send(rig.port, data)
            assert status in {0, 400}
        assert rig.refusals() == ["not a valid HTTP request"]
        assert (await send(rig.port, request("GET", "/health", {"Host": "localhost"})))[0] == 200
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_a_body_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "BODY_SECONDS_MAX", 0.2)
    async with control_rig(tmp_path) as rig:
        head = {"Host": "localhost", "Authorization": f"Bearer {rig.token}", "Content-Length": "100"}
        status, said = await send(rig.port, request("POST", "/pause", head) + b'{"reas')
        assert (status, rig.done) == (408, [])
        assert "not whole within 0.2 s" in said


WELCOME: list[tuple[str, str, str, Mapping[str, str]]] = [
    ("a program", "GET", "/status", {"Host": HERE}),
    ("a program under our other name", "GET", "/health", {"Host": "localhost:{port}"}),
    ("a page of ours", "GET", "/status", {"Host": HERE, "Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}),
    ("an address typed into a browser", "GET", "/status", {"Host": HERE, "Sec-Fetch-Site": "none"}),
    ("a link that a person follows", "GET", "/status", {"Host": HERE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),
    ("who holds the token", "POST", "/pause", POSTED),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers"), [row[1:] for row in WELCOME], ids=[row[0] for row in WELCOME])
async def test_who_may_is_let_in(tmp_path: Path, method: str, path: str, headers: Mapping[str, str]) -> None:
    async with control_rig(tmp_path) as rig:
        sent = {name: value.format(port=rig.port, token=rig.token) for name, value in headers.items()}
        assert (await send(rig.port, request(method, path, sent)))[0] == 200
        assert rig.refusals() == []
        assert len(rig.done) == (method == "POST")


async def test_a_flood_of_refusals_is_a_few_rows(tmp_path: Path) -> None:
    """And the last of them says how many there were."""
    async with control_rig(tmp_path) as rig:
        bad = request("POST", "/flatten", {"Host": "localhost"})
        answers = await asyncio.gather(*(send(rig.port, bad) for _ in range(200)))
        assert {status for status, _ in answers} <= {401, 0}
        assert len([why for why in rig.refusals() if TOKEN in why]) == 1
        (said,) = {said for status, said in answers if status == 401}
        assert (
            said
            == f'{{"error":"wrong or missing token; send \'Authorization: Bearer\' and the text in {rig.token_file}"}}'
        )
