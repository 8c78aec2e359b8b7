"""What a web page, or a program without the token, must not get from the paper exchange; byte for byte."""

import gzip
import logging
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import ccxt.async_support as ccxt
import pytest
import websockets
from ccxt_client import rest_client
from paper_control import READY, address_and_token, bearer, order
from raw_sockets import request, send
from scripted_market import ScriptedMarket

from domain.web_requests import Foreign
from paper import control
from paper.server import PaperExchange

ROOT = Path(__file__).parents[2]
HERE = "127.0.0.1:{port}"
RIGHT = {"Host": HERE, "Authorization": "Bearer {token}"}
KEYED = {"Host": HERE, "X-MBX-APIKEY": "paper-key"}
EVIL = {"Origin": "https://evil.example"}
UPGRADE = {
    "Host": HERE, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
REBOUND = {"Host": "evil.example:{port}"}
FAULT = b'{"kind": "ban"}'
PAGE, HOST, TOKEN = str(Foreign.PAGE), str(Foreign.HOST), "wrong or missing token"

Attack = tuple[str, str, str, Mapping[str, str], bytes, int, str]
ATTACKS: list[Attack] = [
    ("a page sets a fault", "POST", "/paper/faults", {"Host": HERE, "Content-Type": "text/plain", **EVIL}, FAULT, 403, PAGE),
    ("a page with the token", "POST", "/paper/faults", {**RIGHT, **EVIL}, FAULT, 403, PAGE),
    ("a page of localhost at another port", "POST", "/paper/faults", {**RIGHT, "Origin": "http://localhost:8765"}, FAULT, 403, PAGE),
    ("a page trades by hand", "POST", "/paper/position", {"Host": HERE, **EVIL}, b'{"symbol": "BTCUSDT", "quantity": "1"}', 403, PAGE),
    ("a page reads accounts", "GET", "/paper/state", {"Host": HERE, **EVIL}, b"", 403, PAGE),
    ("a page asks for a listen key", "POST", "/fapi/v1/listenKey", {**KEYED, **EVIL}, b"", 403, PAGE),
    ("a page orders", "POST", "/fapi/v1/order?symbol=BTCUSDT&side=BUY", {**KEYED, **EVIL}, b"", 403, PAGE),
    ("a browser's question before it", "OPTIONS", "/fapi/v1/order", {"Host": HERE, **EVIL}, b"", 403, PAGE),
    ("a page reads prices", "GET", "/fapi/v1/ticker/price", {"Host": HERE, **EVIL}, b"", 403, PAGE),
    ("a script in a page", "GET", "/fapi/v1/time",
     {"Host": HERE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, b"", 403, PAGE),
    ("a page opens the user stream", "GET", "/private/ws?listenKey=x", {**UPGRADE, **EVIL}, b"", 403, PAGE),
    ("a page opens a public stream", "GET", "/public/ws", {**UPGRADE, **EVIL}, b"", 403, PAGE),
    ("a page opens an old stream", "GET", "/ws/btcusdt@bookTicker", {**UPGRADE, **EVIL}, b"", 403, PAGE),
    ("rebinding: listen key", "POST", "/fapi/v1/listenKey", {**KEYED, **REBOUND}, b"", 403, HOST),
    ("rebinding: accounts", "GET", "/paper/state", {**RIGHT, **REBOUND}, b"", 403, HOST),
    ("rebinding: prices", "GET", "/fapi/v1/exchangeInfo", REBOUND, b"", 403, HOST),
    ("rebinding: user stream", "GET", "/private/ws?listenKey=x", {**UPGRADE, **REBOUND}, b"", 403, HOST),
    ("no token", "POST", "/paper/faults", {"Host": HERE}, FAULT, 401, TOKEN),
    ("a wrong token", "POST", "/paper/faults", {"Host": HERE, "Authorization": "Bearer x"}, FAULT, 401, TOKEN),
    ("the token as a parameter", "POST", "/paper/faults?token={token}", {"Host": HERE}, FAULT, 401, TOKEN),
    ("a path in disguise", "GET", "/%70aper/state", {"Host": HERE}, b"", 401, TOKEN),
    ("a long body", "POST", "/paper/faults", RIGHT, bytes(1_100_000), 413, "longer"),
    ("a small body that unfolds", "POST", "/paper/faults", {**RIGHT, "Content-Encoding": "gzip"}, gzip.compress(bytes(10**8)), 413, "longer"),
    ("a long order", "POST", "/fapi/v1/order", KEYED, bytes(1_100_000), 413, "longer"),
]  # fmt: skip


@pytest.fixture
async def exchange() -> AsyncIterator[PaperExchange]:
    async with PaperExchange(ScriptedMarket()) as running:
        yield running


@pytest.mark.parametrize("attack", ATTACKS, ids=[row[0] for row in ATTACKS])
async def test_an_attack_is_refused_with_a_line_and_a_row(
    exchange: PaperExchange, attack: Attack, caplog: pytest.LogCaptureFixture
) -> None:
    _, method, path, headers, body, status, why = attack

    def filled(text: str) -> str:
        return text.format(port=exchange.port, token=exchange.control_token)

    before = exchange.desk.books.totals()
    sent = {name: filled(value) for name, value in headers.items()}
    with caplog.at_level(logging.WARNING, "paper.door"):
        for _ in range(3):
            answer, said = await send(exchange.port, request(method, filled(path), sent, body))
            assert answer == status
            assert why in said
    (row,) = [record.getMessage() for record in caplog.records if record.name == "paper.door"]
    assert row.startswith(f"refused {method} ")
    assert why in row
    assert exchange.control_token not in row.partition("' from ")[2]
    assert (exchange.board.rows(), exchange.desk.books.totals(), len(exchange.desk.orders_log)) == ([], before, 0)
    assert exchange.desk.books.portfolios["paper-key"].account.listen_key is None


async def test_every_control_route_wants_the_token(exchange: PaperExchange) -> None:
    routes = control.Control(exchange.desk, exchange.user_streams, exchange._door).routes()
    assert len(routes) == 13
    for route in routes:
        path = route.path.replace("{id}", "1")
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            head = {"Host": "localhost", **headers}
            assert (await send(exchange.port, request(route.method, path, head)))[0] == 401, route
    for path in ("//paper/state", "/paper/../paper/state", "/PAPER/state", "/paper/state/", "/paper/state;x"):
        assert (await send(exchange.port, request("GET", path, {"Host": "localhost"})))[0] in {401, 404}, path


async def test_who_holds_the_token_may(exchange: PaperExchange) -> None:
    headers = {"Host": f"127.0.0.1:{exchange.port}", **bearer(exchange.control_token)}
    assert (await send(exchange.port, request("POST", "/paper/faults", headers, FAULT)))[0] == 200
    headers["Origin"] = f"http://127.0.0.1:{exchange.port}"  # A page of its own, if it had one.
    assert (await send(exchange.port, request("DELETE", "/paper/faults", headers)))[0] == 200


async def test_unmodified_clients_notice_nothing(exchange: PaperExchange) -> None:
    client = rest_client(exchange.rest_url, exchange.stream_url)
    try:
        await client.load_markets()
        assert (await client.create_order("BTC/USDT:USDT", "market", "buy", 0.01))["status"] == "closed"
        key = (await client.fapiPrivatePostListenKey())["listenKey"]
    finally:
        await client.close()
    assert isinstance(client, ccxt.binanceusdm)
    async with websockets.connect(f"{exchange.stream_url}/private/ws?listenKey={key}") as socket:
        await socket.ping()


async def test_a_name_that_was_given_is_ours() -> None:
    async with PaperExchange(ScriptedMarket(), host="0.0.0.0", host_names=["Paper.Lan"]) as exchange:  # noqa: S104
        for name, status in {"paper.lan": 200, "127.0.0.1": 200, "evil.example": 403, "10.9.8.7": 403}.items():
            assert (await send(exchange.port, request("GET", "/fapi/v1/time", {"Host": name})))[0] == status, name


async def test_the_token_is_for_its_user_alone_and_gone_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "var" / "exchange.token"
    file.parent.mkdir()
    file.symlink_to(tmp_path / "somebody's")
    (tmp_path / "somebody's").write_text("untouched")
    async with PaperExchange(ScriptedMarket(), token_file=file) as exchange:
        assert not file.is_symlink()
        assert file.read_text() == exchange.control_token
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        first = exchange.control_token
    assert not file.exists()
    assert (tmp_path / "somebody's").read_text() == "untouched"
    async with PaperExchange(ScriptedMarket(), token_file=file) as exchange:
        assert exchange.control_token != first


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--state", "paper.sqlite"), ("--token-file", "chosen.token")])
def test_the_first_line_says_where_the_token_is(tmp_path: Path, options: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "paper", "--port", "0", *options],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    url, token = address_and_token(line)
    file = Path(READY.search(line)["file"])  # type: ignore[index]
    assert file.is_absolute()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if not options:
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert order(url, token, "state")["accounts"]
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()
    assert not file.exists()
    assert options or not file.parent.exists()
