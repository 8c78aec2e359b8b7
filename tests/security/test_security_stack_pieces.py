"""The stack's locks one by one: who proves itself, whose port it is, what the guard lets through, where keys lie, what is inherited."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from domain.errors import ConfigError
from domain.proof import PATH, proof
from flows.doctor import files as doctor_files
from flows.doctor import secrets as doctor_secrets
from flows.doctor.findings import Grade
from flows.stack import entrance, identity
from flows.stack.checks import make_plan
from flows.stack.environment import auth_string, child_environment, encryption_key, own_origins
from flows.stack.guard import Guard
from flows.stack.layout import Layout
from flows.stack.listener import Listener
from flows.stack.ports import LOOPBACK, Claims
from flows.stack.proof import proves
from flows.stack.up import is_private
from runner import keys
from runner.config import load_settings
from runner.keys import Purpose

AUTH = "tandem:of-nobody"
ENVIRONMENT = {
    "BINANCE_API_KEY": "k-of-nobody",
    "BINANCE_API_SECRET": "s-of-nobody",
    "TANDEM_READ_API_KEY": "rk-of-nobody",
    "TANDEM_READ_API_SECRET": "rs-of-nobody",
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(home=tmp_path)
    layout.create()
    return layout


# --- who answers ---

Answer = Callable[[web.Request], web.StreamResponse]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answer], Any]]:
    """Serve one answer at any path; returns the port."""
    runners: list[web.AppRunner] = []

    async def start(answer: Answer) -> int:
        async def handler(request: web.Request) -> web.StreamResponse:
            return answer(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], LOOPBACK, 0).start()
        return int(runners[-1].addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


IMPOSTORS: list[tuple[str, Answer]] = [
    ("says yes to everything", lambda _: web.Response(text="true")),
    ("says the question", lambda request: web.Response(text=request.path.removeprefix(PATH))),
    ("knows another secret", lambda request: web.Response(text=proof("x", request.path.removeprefix(PATH), 1))),
    ("sends us on", lambda _: web.HTTPFound("http://127.0.0.1:9/")),
]


@pytest.mark.parametrize(("what", "answer"), IMPOSTORS, ids=[row[0] for row in IMPOSTORS])
async def test_an_impostor_proves_nothing(serve: Callable[[Answer], Any], what: str, answer: Answer) -> None:
    assert not await proves(f"http://{LOOPBACK}:{await serve(answer)}", AUTH), what


async def test_our_server_proves_itself_and_its_proof_is_of_no_use_elsewhere(serve: Callable[[Answer], Any]) -> None:
    """An impostor that passes our question on to the real server gets a proof for the real server's port."""
    with socket.create_server((LOOPBACK, 0)) as other:
        real = other.getsockname()[1]
    ours: list[int] = []
    ours.append(await serve(lambda request: web.Response(text=proof(AUTH, request.path.removeprefix(PATH), ours[0]))))
    assert await proves(f"http://{LOOPBACK}:{ours[0]}", AUTH)
    relay = await serve(lambda request: web.Response(text=proof(AUTH, request.path.removeprefix(PATH), real)))
    assert not await proves(f"http://{LOOPBACK}:{relay}", AUTH)


def test_whoever_has_the_port_first_is_left_alone() -> None:
    with socket.create_server((LOOPBACK, 0)) as theirs:
        port = theirs.getsockname()[1]
        listener = Listener(port)
        assert listener.port != port
        listener.close()


async def test_while_the_server_is_dead_callers_are_turned_away_and_nobody_gets_the_port() -> None:
    listener = Listener(0)
    listener.turn_away()
    assert await asyncio.wait_for(_answer_of(listener.port), 5) == b"", "nobody answers, and nobody has to wait"
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use") as caught:
            thief.bind((LOOPBACK, listener.port))
        assert caught.value.errno == errno.EADDRINUSE
    listener.close()
    with socket.create_server((LOOPBACK, listener.port)):
        """Let go, it is anybody's."""


async def _answer_of(port: int) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_a_port_belongs_to_the_process_that_holds_its_socket() -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        me, other = identity.identify(), identity.identify(child.pid)
        assert me is not None
        assert other is not None
        assert port in identity.listening_ports(other)
        assert port not in identity.listening_ports(me)
        child.communicate(b"\n")
    assert identity.listening_ports(other) == frozenset()


# --- the guard ---


async def _through(guard: Guard, *headers: tuple[str, str], path: str = "/", kind: str = "http") -> int:
    """The status that a request gets; 0 for a websocket that is closed, 1 for one that is let through."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": f"{kind}.request"}

    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": raw,
        "method": "GET",
    }
    await guard(scope, receive, send)
    return int(sent[0].get("status", 0 if sent[0]["type"] == "websocket.close" else 1))


async def _app(scope: Any, _: Any, send: Any) -> None:
    kind = "websocket.accept" if scope["type"] == "websocket" else "http.response.start"
    await send({"type": kind, "status": 200, "headers": []} if scope["type"] == "http" else {"type": kind})


# fmt: off
REQUESTS: list[tuple[str, list[tuple[str, str]], int]] = [
    ("a program",               [("host", "127.0.0.1:4200")],                                               200),
    ("our page",                [("host", "127.0.0.1:4200"), ("origin", "http://127.0.0.1:4200")],          200),
    ("a proxy's page",          [("host", "desk.example"), ("origin", "https://desk.example")],             200),
    ("case does not matter",    [("host", "Desk.Example")],                                                 200),
    ("no Host",                 [],                                                                         403),
    ("two Hosts",               [("host", "127.0.0.1:4200"), ("host", "127.0.0.1:4200")],                   403),
    ("another page",            [("host", "127.0.0.1:4200"), ("origin", "https://evil.example")],           403),
    ("two origins",             [("host", "127.0.0.1:4200"), ("origin", "http://127.0.0.1:4200"), ("origin", "null")], 403),
    ("a name below a proxy's",  [("host", "evil.desk.example")],                                            403),
    ("another page's picture",  [("host", "127.0.0.1:4200"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], 403),
    ("a link on another page",  [("host", "127.0.0.1:4200"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 200),
    ("localhost",               [("host", "localhost:4200")],                                               308),
]
# fmt: on


@pytest.mark.parametrize(("what", "headers", "status"), REQUESTS, ids=[row[0] for row in REQUESTS])
async def test_the_guard(what: str, headers: list[tuple[str, str]], status: int) -> None:
    origins = own_origins(4200, {"PREFECT_UI_API_URL": "https://desk.example/api"})
    guard = Guard(_app, port=4200, auth=AUTH, origins=origins)
    assert await _through(guard, *headers) == status, what
    websocket = await _through(guard, *headers, kind="websocket")
    assert websocket == (1 if status == 200 else 0), what


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "/runs/flow-run/1"])
def test_the_entrance_leads_to_this_server_alone(path: str) -> None:
    """The script makes the address from its own origin; here only that the link says what it should."""
    found = entrance.link("http://127.0.0.1:4200", "a:b c", path)
    assert found == f"http://127.0.0.1:4200/enter{path}#a:b%20c"
    assert b"location.origin +" in entrance.PAGE


@pytest.mark.parametrize(("mode", "private"), [(0o600, True), (0o640, False), (0o604, False)])
def test_the_link_is_printed_where_nobody_else_reads_it(tmp_path: Path, mode: int, *, private: bool) -> None:
    (tmp_path / "up.log").touch()
    (tmp_path / "up.log").chmod(mode)
    with (tmp_path / "up.log").open() as file:
        assert is_private(file.fileno()) is private
    with socket.socket() as journal:
        assert not is_private(journal.fileno()), "a service manager's journal"


# --- what is inherited ---


def test_a_users_own_hardening_is_kept_and_somebody_elses_server_is_not(layout: Layout) -> None:
    inherited = {
        "PREFECT_SERVER_API_AUTH_STRING": "mine:secret",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "https://desk.example,*",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql://elsewhere",
        "PREFECT_API_AUTH_STRING": "of:another-server",
        "PREFECT_SERVER_API_HOST": "0.0.0.0",  # noqa: S104
        **ENVIRONMENT,
    }
    found = child_environment(layout, port=4200, mark="m", inherited=inherited, extra={})
    assert found["PREFECT_SERVER_API_AUTH_STRING"] == found["PREFECT_API_AUTH_STRING"] == "mine:secret"
    assert found["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert found["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200,https://desk.example"
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in found
    assert found["PREFECT_SERVER_API_HOST"] == LOOPBACK
    assert not any("of-nobody" in value for value in found.values())
    assert not layout.prefect_auth.exists()


def test_the_servers_secret_is_made_once_and_cannot_be_guessed(layout: Layout) -> None:
    secret = auth_string(layout, {})
    assert auth_string(layout, {}) == secret
    assert len(secret) > 40
    assert stat.S_IMODE(layout.prefect_auth.stat().st_mode) == 0o600
    layout.prefect_auth.unlink()
    assert auth_string(layout, {}) != secret


def _link(path: Path) -> None:
    path.with_name("another").write_text("x" * 40)
    path.symlink_to(path.with_name("another"))


@pytest.mark.parametrize("make", [auth_string, lambda layout, _: encryption_key(layout)], ids=["auth", "encryption"])
@pytest.mark.parametrize(
    "spoil",
    [Path.touch, lambda path: path.write_text("\n"), lambda path: path.write_bytes(b"\x00" * 40), os.mkfifo, _link],
    ids=["empty", "blank", "zeroes", "a pipe", "a link"],
)
def test_a_secret_that_is_none_is_refused(
    layout: Layout, spoil: Callable[[Path], object], make: Callable[[Layout, dict[str, str]], str]
) -> None:
    """With an empty secret Prefect's server would let everybody in."""
    make(layout, {})
    path = layout.prefect_auth if make is auth_string else layout.encryption_key
    path.unlink()
    spoil(path)
    with pytest.raises(ConfigError, match=str(path)):
        make(layout, {})


def test_blanks_are_no_secret_of_the_users(layout: Layout) -> None:
    assert auth_string(layout, {"PREFECT_SERVER_API_AUTH_STRING": "  "}).startswith("tandem:")


def test_an_open_state_folder_is_closed_and_a_foreign_one_refused(tmp_path: Path) -> None:
    layout = Layout(home=tmp_path)
    (tmp_path / "var" / "log").mkdir(parents=True)
    (tmp_path / "var").chmod(0o755)
    layout.create()
    assert stat.S_IMODE(layout.var.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        os.chown(layout.logs, 12345, 12345)
        with pytest.raises(ConfigError, match="belongs to user"):
            layout.create()


def test_a_plan_holds_the_port_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"control": {"port": 0}}))
    pair = {"pair_id": "A_B", "leg_a": "A/USDT", "leg_b": "B/USDT", "hedge_ratio": 1.0}
    (tmp_path / "pairs_config.json").write_text(json.dumps({"pairs": [pair]}))
    claims = Claims()
    plan, _, _ = make_plan(Layout(home=tmp_path), {}, claims)
    me = identity.identify()
    assert me is not None
    assert plan.listener.port in identity.listening_ports(me)
    keys.hand_over(plan.layout.keys, ENVIRONMENT)
    for program in (plan.worker(), plan.exchange(), plan.recorder(), plan.server()):
        assert program.environment[keys.FOLDER] == keys.PAPER_ACCOUNT, "in paper mode no key is for anybody"
    plan.listener.close()
    claims.release()


# --- keys ---


def test_each_purpose_reads_its_own_keys(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys.hand_over(folder, ENVIRONMENT)
    held = {keys.FOLDER: str(folder)}
    assert keys.keys_from(Purpose.TRADE, held) == {name: ENVIRONMENT[name] for name in ENVIRONMENT if "BINANCE" in name}
    assert keys.keys_from(Purpose.READ, held) == {name: ENVIRONMENT[name] for name in ENVIRONMENT if "READ" in name}
    assert keys.keys_from(Purpose.NONE, held) == {}
    assert keys.keys_from(Purpose.NONE, ENVIRONMENT) == {}
    assert not keys.are_in(keys.without_keys(ENVIRONMENT))
    for path in (folder, *folder.iterdir()):
        assert path.stat().st_mode & 0o077 == 0
    keys.hand_over(folder, {"TANDEM_READ_API_KEY": "new"})
    assert [path.name for path in folder.iterdir()] == ["read.json"], "nothing of an earlier start is left"


@pytest.mark.parametrize("how", ["readable by others", "a link", "a pipe", "not JSON", "a list"])
def test_a_file_of_keys_that_is_none_of_ours_is_refused(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "keys"
    keys.hand_over(folder, ENVIRONMENT)
    path = folder / "trade.json"
    if how == "readable by others":
        path.chmod(0o640)
    elif how == "a link":
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
    elif how == "a pipe":
        path.unlink()
        os.mkfifo(path, 0o600)
    else:
        path.write_text("{" if how == "not JSON" else "[]")
    with pytest.raises(ConfigError, match=r"trade\.json") as caught:
        keys.keys_from(Purpose.TRADE, {keys.FOLDER: str(folder)})
    assert "of-nobody" not in str(caught.value)


# --- the doctor ---


def test_the_doctor_finds_keys_where_others_can_read_them(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    layout.config.write_text(json.dumps({"binance_api_key": "k", "binance_api_secret": "s"}))
    layout.config.chmod(0o644)
    settings = load_settings(layout.config, Purpose.NONE)
    graded = {each.what: each.grade for each in doctor_secrets.examine(layout.config, settings, [])}
    assert graded["config.json"] is Grade.FAIL
    layout.config.chmod(0o600)
    graded = {each.what: each.grade for each in doctor_secrets.examine(layout.config, settings, [])}
    assert graded["config.json"] is Grade.WARN


def test_the_doctor_finds_code_that_others_can_change(layout: Layout) -> None:
    (layout.home / "flows").mkdir()
    graded = {each.what: each.grade for each in doctor_files.examine(layout, None)}
    assert graded["project folder"] is Grade.OK
    (layout.home / "flows").chmod(0o777)
    graded = {each.what: each.grade for each in doctor_files.examine(layout, None)}
    assert graded["project folder"] is Grade.FAIL
