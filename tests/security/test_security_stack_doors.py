"""Attacks on `tandem up`, all of it running, with keys planted in its environment: over its sockets, from pages, through a job.

One stack for the whole module; the last story ends it. The bot is a stand-in that says which keys reached it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import websockets
from rig import ROOT, make_clone, ticks_in, wait_for, with_standin_bot
from stack_browser import BINARY, Browser
from websockets.typing import Origin, Subprotocol

from flows.stack import identity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UP = (sys.executable, "-c", "from flows.stack.cli import up; up()")
PREFECT = Subprotocol("prefect")
NOBODY = 65534
PLANTED = {
    name: f"planted-{secrets.token_hex(12)}"
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET", "TANDEM_READ_API_KEY", "TANDEM_READ_API_SECRET")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A stack that trades, and what an attacker may and may not know of it."""

    home: Path
    process: subprocess.Popen[str]
    output: Path

    @property
    def auth(self) -> str:
        return (self.home / "var" / "prefect-auth.key").read_text().strip()

    @property
    def port(self) -> int:
        return int(str(self.record["prefect"]).rpartition(":")[2])

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(self.auth.encode()).decode()

    @property
    def record(self) -> dict[str, Any]:
        found = identity.read_record(self.home / "var" / "run" / "stack.json")
        assert found is not None
        return found

    def child(self, name: str) -> int:
        return int(self.record["children"][name]["pid"])

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request, headers exactly as given; a Host of ours unless another is."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, body=content, headers=headers)
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where every user can go: what is closed in it is closed by us."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    (folder / "clone").mkdir(mode=0o755)
    home = make_clone(folder / "clone")
    # With real money: in paper mode nobody is given a key. Nothing is sent to this address; the stand-in bot asks nobody.
    nowhere = {"rest_url": "http://127.0.0.1:9", "stream_url": "ws://127.0.0.1:9"}
    (home / "config.json").write_text(json.dumps({"trading_mode": "live", "data": nowhere, "control": {"port": 0}}))
    (home / "config.json").chmod(0o644)
    output = folder / "up.log"
    output.touch(mode=0o644)
    output.chmod(0o644)
    with output.open("w") as out:
        process = subprocess.Popen(
            UP, cwd=home, env={**with_standin_bot(), **PLANTED}, stdout=out, stderr=subprocess.STDOUT, text=True
        )

    def trading() -> bool:
        assert process.poll() is None, output.read_text()
        return "all deployments" in output.read_text() and "Ctrl-C stops everything" in output.read_text()

    try:
        wait_for(trading, within_s=280, why="live trading")
        yield Running(home=home, process=process, output=output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(120)
        record = identity.read_record(home / "var" / "run" / "stack.json")
        for left in identity.marked(str(record["mark"])) if record else []:
            left.send(signal.SIGKILL)


# --- keys ---


def _holding(folder: Path, text: str) -> list[str]:
    """Every file below that holds the text, wherever in it."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # Put in place of another meanwhile, under its name.
            if stat.S_ISREG(path.lstat().st_mode) and text.encode() in path.read_bytes():
                found.append(str(path.relative_to(folder)))
    return found


def _processes_showing(text: str) -> list[str]:
    """Every process of this machine whose environment or command line holds the text."""
    found = []
    for process in psutil.process_iter():
        for name in ("environ", "cmdline"):
            try:
                content = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:
                continue
            if text.encode() in content:
                found.append(f"{process.pid} {name}")
    return found


def test_keys_reach_the_trader_and_nobody_else(running: Running) -> None:
    seen = json.loads((running.home / "keys-seen.json").read_text())
    trading = {name: value for name, value in PLANTED.items() if name.startswith("BINANCE")}
    assert seen == {name: hashlib.sha256(value.encode()).hexdigest() for name, value in trading.items()}
    for name, value in PLANTED.items():
        assert _processes_showing(value) == [], name
        file = "read.json" if "READ" in name else "trade.json"
        assert _holding(running.home, value) == [f"var/run/keys/{file}"], name
    for path in (running.home / "var" / "run" / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((running.home / "var" / "run" / "keys").stat().st_mode) == 0o700


def test_what_runs_leaves_files_to_its_user_alone_and_no_core(running: Running) -> None:
    assert [path for path in (running.home / "var").rglob("*") if path.lstat().st_mode & 0o077] == []
    for process in identity.marked(str(running.record["mark"])):
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"Umask:\s+0077", status), status
        assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_this_machine_reads_nothing(running: Running) -> None:
    def read(path: Path) -> subprocess.CompletedProcess[bytes]:
        script = 'if [ -d "$0" ]; then ls "$0"; else cat "$0"; fi'
        command = ("/bin/sh", "-c", script, str(path))
        return subprocess.run(
            command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, check=False
        )

    assert read(running.home / "config.json").returncode == 0, (
        "this one can be read: the others are refused, not missed"
    )
    live, var = ticks_in(running.home)[-1]["pid"], running.home / "var"
    paths = [var, var / "prefect-auth.key", var / "run" / "keys" / "trade.json", var / "log" / "prefect-server.log"]
    for path in (*paths, Path(f"/proc/{live}/environ"), Path(f"/proc/{running.process.pid}/environ")):
        found = read(path)
        assert found.returncode != 0, path
        assert found.stdout == b"", path


def test_the_secret_of_the_server_is_in_no_log_and_in_no_database(running: Running) -> None:
    """Nor in what `tandem up` prints, when that goes into a file that others can read."""
    assert stat.S_IMODE(running.output.stat().st_mode) & 0o044
    assert running.auth not in running.output.read_text()
    assert "prefect --link" in running.output.read_text()
    for secret in (running.auth, base64.b64encode(running.auth.encode()).decode()):
        assert _holding(running.home / "var" / "log", secret) == []
        assert _holding(running.home / "var" / "prefect", secret) == []


# --- sockets ---

# fmt: off
ATTACKS: list[tuple[str, str, str, dict[str, str], int]] = [
    # what                                  method     path                       headers                                         status
    ("without the secret",                  "POST",    "/api/flow_runs/filter",   {},                                                401),
    ("with a wrong one",                    "POST",    "/api/flow_runs/filter",   {"Authorization": "Basic dGFuZGVtOng="},           401),
    ("with another scheme",                 "POST",    "/api/flow_runs/filter",   {"Authorization": "Bearer x"},                     401),
    ("another prefix of the path",          "POST",    "/api//flow_runs/filter",  {},                                                401),
    ("a page elsewhere",                    "POST",    "/api/flow_runs/filter",   {"Origin": "https://evil.example"},                403),
    ("a page elsewhere that has the secret", "POST",   "/api/flow_runs/filter",   {"Origin": "https://evil.example", "Authorization": "BASIC"}, 403),
    ("a page without an origin",            "POST",    "/api/flow_runs/filter",   {"Origin": "null", "Authorization": "BASIC"},      403),
    ("a page on another port",              "POST",    "/api/flow_runs/filter",   {"Origin": "http://127.0.0.1:8000", "Authorization": "BASIC"}, 403),
    ("localhost is another origin",         "POST",    "/api/flow_runs/filter",   {"Origin": "http://localhost:PORT", "Authorization": "BASIC"}, 403),
    ("https is another origin",             "POST",    "/api/flow_runs/filter",   {"Origin": "https://127.0.0.1:PORT", "Authorization": "BASIC"}, 403),
    ("a preflight of a page elsewhere",     "OPTIONS", "/api/flow_runs/filter",   {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, 403),
    ("a rebound name",                      "GET",     "/",                       {"Host": "evil.example"},                          403),
    ("a rebound name with our port",        "GET",     "/api/admin/version",      {"Host": "evil.example:PORT", "Authorization": "BASIC"}, 403),
    ("our address without its port",        "GET",     "/",                       {"Host": "127.0.0.1"},                             403),
    ("a name that begins like ours",        "GET",     "/",                       {"Host": "127.0.0.1:PORT.evil.example"},           403),
    ("no name",                             "GET",     "/",                       {"Host": ""},                                      403),
    ("health of a rebound name",            "GET",     "/api/health",             {"Host": "evil.example:PORT"},                     403),
    ("the name localhost is sent to ours",  "GET",     "/runs?a=b",               {"Host": "localhost:PORT"},                        308),
]
# fmt: on


@pytest.mark.parametrize("attack", ATTACKS, ids=[row[0] for row in ATTACKS])
def test_refused(running: Running, attack: tuple[str, str, str, dict[str, str], int]) -> None:
    """The status; and no page elsewhere is allowed to read the answer."""
    what, method, path, headers, status = attack
    known = {"BASIC": running.basic}
    sent = {name: known.get(value, value.replace("PORT", str(running.port))) for name, value in headers.items()}
    body: dict[str, Any] | None = {} if method == "POST" else None
    got, answered, text = running.ask(method, path, sent, body)
    assert got == status, (what, text)
    assert answered.get("access-control-allow-origin") in {None, f"http://127.0.0.1:{running.port}"}
    if got == 308:
        assert answered["location"] == f"http://127.0.0.1:{running.port}{path}"


def test_two_hosts_are_none(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        head = f"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 200 " not in connection.recv(4096).split(b"\r\n")[0]


def test_refusals_are_in_the_log_and_cannot_forge_a_line(running: Running) -> None:
    running.ask("GET", "/", {"Host": "evil.example"})
    log = (running.home / "var" / "log" / "prefect-server.log").read_text()
    assert "prefect_request_refused why='this server is not for that Host" in log
    assert "prefect_request_refused why='pages of another origin may not use this server" in log


def test_the_ui_is_never_in_a_frame(running: Running) -> None:
    for path in ("/", "/enter", "/api/health"):
        status, headers, _ = running.ask("GET", path, {})
        assert status in {200, 307}
        assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(("origin", "auth"), [("https://evil.example", True), (None, False)], ids=["page", "no secret"])
async def test_a_websocket_is_refused(running: Running, origin: str | None, *, auth: bool) -> None:
    """Closed by the guard before it is open, or by Prefect at the first message."""
    url = f"ws://127.0.0.1:{running.port}/api/events/out"
    heard: list[str] = []
    with contextlib.suppress(websockets.WebSocketException):
        async with (
            asyncio.timeout(30),
            websockets.connect(url, origin=Origin(origin) if origin else None, subprotocols=[PREFECT]) as connection,
        ):
            await connection.send(json.dumps({"type": "auth", "token": running.auth if auth else None}))
            heard += [str(message) async for message in connection]
    assert heard == []


@pytest.mark.parametrize(
    "variables",
    [{"command": "touch MARKER"}, {"env": {"BASH_ENV": "MARKER"}}, {"env.PATH": "MARKER"}, {"working_dir": "MARKER"}],
    ids=lambda variables: next(iter(variables)),
)
def test_a_run_brings_no_command_and_no_environment(
    running: Running, tmp_path: Path, variables: dict[str, Any]
) -> None:
    """Even with the secret: of its process, a run may say only whether its output is copied."""
    marker = tmp_path / "marker"
    text = json.dumps(variables).replace("MARKER", str(marker))
    _, _, found = running.ask("GET", "/api/deployments/name/live/live", {"Authorization": running.basic})
    body = {"state": {"type": "SCHEDULED"}, "job_variables": json.loads(text)}
    path = f"/api/deployments/{json.loads(found)['id']}/create_flow_run"
    status, _, answer = running.ask(
        "POST", path, {"Authorization": running.basic, "Content-Type": "application/json"}, body
    )
    assert status in {409, 422}, answer
    assert not marker.exists()


def test_the_pool_of_a_worker_takes_no_command(running: Running) -> None:
    _, _, found = running.ask("GET", "/api/work_pools/tandem", {"Authorization": running.basic})
    assert set(json.loads(found)["base_job_template"]["job_configuration"]) == {"stream_output"}


# --- pages ---

needs_browser = pytest.mark.skipif(BINARY is None, reason="Chromium is not installed")


@needs_browser
def test_the_printed_link_opens_the_ui_and_a_wrong_one_does_not(running: Running, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"http://127.0.0.1:{running.port}/enter#tandem:wrong")
        browser.until_shows("This link does not open this server")
        assert browser.run("localStorage.getItem('prefect-password')") is None
        browser.open("about:blank")
        browser.open(_tandem(running, "prefect", "--link").stdout.strip())
        browser.until_shows("Deployments")
        assert running.auth not in str(browser.run("location.href"))
        assert str(browser.run("location.href")).startswith(f"http://127.0.0.1:{running.port}/")


HOSTILE_PAGE = """SHOWN

<script>document.title = "owned"</script> <img src="x" onerror="document.title = 'owned'">
<a id="link" href="javascript:document.title='owned'">link</a> <svg onload="document.title = 'owned'"></svg>

![beacon](ELSEWHERE/beacon.png)
"""


@needs_browser
def test_text_in_an_artifact_runs_nothing_and_fetches_nothing(running: Running, tmp_path: Path, elsewhere: int) -> None:
    """The secret is in the storage of the UI's pages; what an exchange or a file says ends up on them."""
    body = {
        "key": "hostile",
        "type": "markdown",
        "data": HOSTILE_PAGE.replace("ELSEWHERE", f"http://127.0.0.1:{elsewhere}"),
    }
    headers = {"Authorization": running.basic, "Content-Type": "application/json"}
    status, _, answer = running.ask("POST", "/api/artifacts/", headers, body)
    assert status == 201, answer
    with Browser(tmp_path / "profile") as browser:
        path = f"/artifacts/artifact/{json.loads(answer)['id']}"
        browser.open(_tandem(running, "prefect", "--link").stdout.strip().replace("/enter", f"/enter{path}"))
        browser.until_shows("SHOWN")
        browser.run("document.querySelector('#link')?.click()")
        assert browser.run("document.title") != "owned"
        # Whatever the UI makes of the text: a script that is not the server's own does not run in its pages.
        browser.run(
            "document.body.insertAdjacentHTML('beforeend', `<img src='/x' onerror='document.title = \"owned\"'>`)"
        )
        browser.run(
            "Object.assign(document.head.appendChild(document.createElement('script')),"
            f" {{src: 'http://127.0.0.1:{elsewhere}/owned.js'}})"
        )
        browser.run(f"new Image().src = 'http://127.0.0.1:{elsewhere}/beacon.png'")
        browser.run("new Promise((done) => setTimeout(done, 1500))")
        assert browser.run("document.title") != "owned"
    assert _Page.asked_for == []


class _Page(http.server.BaseHTTPRequestHandler):
    asked_for: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked_for.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>evil</title>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature.
        """Silent."""


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The port of a page that is not ours."""
    _Page.asked_for.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@needs_browser
def test_a_foreign_page_reads_nothing_and_changes_nothing(running: Running, tmp_path: Path, elsewhere: int) -> None:
    """By fetch with the secret, by a form's kind of request, in a frame, and by a name that is rebound to loopback."""
    ours = f"http://127.0.0.1:{running.port}"
    fetch = (
        """fetch("%s/api/flow_runs/filter", {method: "POST", %s}).then((r) => r.type + r.status, (e) => "blocked")"""
    )
    with Browser(tmp_path / "profile", "--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        browser.open(f"http://evil.example:{elsewhere}/")
        wait_for(lambda: browser.run("document.title") == "evil", within_s=30, why="the page")
        header = f'headers: {{Authorization: "{running.basic}", "Content-Type": "application/json"}}, body: "{{}}"'
        assert browser.run(fetch % (ours, header)) == "blocked"
        assert browser.run(fetch % (ours, 'mode: "no-cors", body: "{}"')) == "opaque0"
        browser.open(f"http://evil.example:{running.port}/")
        text = browser.until_shows("not for that Host")
        assert "Dashboard" not in text
        assert "blocked" in str(browser.run(fetch % ("", header))) or "403" in str(browser.run(fetch % ("", header)))


# --- the doctor, and Prefect's own command ---


def _tandem(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-m", "runner", *arguments)
    return subprocess.run(
        command, cwd=running.home, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_doctor_lists_every_socket_and_finds_nothing_wrong(running: Running) -> None:
    done = _tandem(running, "doctor", "--json")
    rows = json.loads(done.stdout)
    assert [row for row in rows if row["grade"] == "fail"] == []
    listed = {row["what"] for row in rows if row["section"] == "listening"}
    listening = set()
    for process in identity.marked(str(running.record["mark"])):
        for port in identity.listening_ports(process):
            listening.add(f"127.0.0.1:{port}")
    assert listed >= {f"127.0.0.1:{running.port}"}
    assert listening <= listed


def test_the_doctor_names_what_is_open(running: Running) -> None:
    secret, var = running.home / "var" / "prefect-auth.key", running.home / "var"
    secret.chmod(0o644)
    var.chmod(0o755)
    try:
        done = _tandem(running, "doctor")
    finally:
        secret.chmod(0o600)
        var.chmod(0o700)
    assert done.returncode == 1
    assert "chmod 600" in done.stdout
    assert "chmod 700" in done.stdout


def test_prefects_own_command_is_let_in(running: Running) -> None:
    done = _tandem(running, "prefect", "deployment", "ls")
    assert done.returncode == 0, done.stderr
    assert "live/live" in done.stdout


# --- the end ---


def _can_listen(port: int) -> bool:
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            thief.bind(("127.0.0.1", port))
            thief.listen()
        except OSError:
            return False
        return True


def test_a_dead_servers_port_is_never_free_and_a_kill_leaves_no_secret(running: Running) -> None:
    """The worker does what its server says: whoever got that port would run commands as this user."""
    pid, tries = running.child("prefect server"), list[bool]()
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        tries.append(_can_listen(running.port))
        return "prefect server is back" in running.output.read_text()

    wait_for(back, within_s=60, why="the server is back")
    assert len(tries) > 5
    assert not any(tries)

    # Prefect wrote the worker's environment into a temporary folder; a kill -9 leaves it there.
    os.kill(running.child("prefect worker"), signal.SIGKILL)
    wait_for(lambda: "prefect worker is back" in running.output.read_text(), within_s=60, why="the worker is back")
    left = [path for path in (running.home / "var" / "tmp").rglob("*") if path.is_file()]
    assert left, "the story is about these"
    for value in PLANTED.values():
        assert not [path for path in left if value.encode() in path.read_bytes()]

    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(180) == 0, running.output.read_text()
    assert list((running.home / "var" / "tmp").iterdir()) == []
    assert not (running.home / "var" / "run" / "keys").exists()
    for value in PLANTED.values():
        assert _holding(running.home, value) == []
        assert value not in running.output.read_text()
    assert ticks_in(running.home)[-1]["what"] == "left in order"
