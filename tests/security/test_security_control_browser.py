"""A page of somebody else, in a real browser on this machine, tries everything a page can against both of our ports."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from browser import CHROMIUM, browsing, shown
from control_rig import control_rig
from scripted_market import ScriptedMarket

from paper.server import PaperExchange

PAGE = Path(__file__).with_name("foreign_page.html")
READS = (
    "read state",
    "read prices",
    "read key",
    "read status",
    "read metrics",
    "command",
    "user stream",
    "public stream",
)
BLIND = (
    "blind fault",
    "blind trade",
    "blind pause",
    "blind flatten",
    "form",
)  # A page never learns what became of these.

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def what_came(folder: Path, **ports: object) -> dict[str, str]:
    """What the page on evil.example says that it got."""
    came: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE.read_text(), content_type="text/html")

    async def result(request: web.Request) -> web.Response:
        came.set_result(json.loads(await request.text()))
        return web.Response()

    async with serving(web.get("/", page), web.post("/came", result)) as port:
        query = "&".join(f"{name}={value}" for name, value in ports.items())
        async with browsing(f"http://evil.example:{port}/?{query}", folder), asyncio.timeout(90):
            return await came


async def test_a_foreign_page_changes_nothing_and_learns_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with PaperExchange(ScriptedMarket()) as exchange, control_rig(tmp_path) as control:
        account = exchange.desk.books.portfolios["paper-key"].account
        account.listen_key, account.listen_key_expires_ms = "l" * 64, 2**53
        before = exchange.desk.books.totals()
        came = await what_came(tmp_path, paper=exchange.port, control=control.port, key=account.listen_key)
        assert set(came) == {*READS, *BLIND, "picture", "script"}
        assert {name: came[name] for name in (*READS, "picture", "script")} == dict.fromkeys(
            (*READS, "picture", "script"), "failed"
        )
        assert (exchange.board.rows(), exchange.desk.books.totals()) == ([], before)
        assert exchange.public_streams.connections == 0
        assert control.done == []
        assert control.refusals() == ["requests from other web pages are not accepted"]
    (row,) = [record.getMessage() for record in caplog.records if record.name == "paper.door"]
    assert "requests from other web pages are not accepted" in row


async def test_the_page_would_do_harm_where_nobody_looks(tmp_path: Path) -> None:
    """Else the test above proves nothing: against a server that lets everybody in, everything arrives."""
    heard: list[str] = []

    async def obey(request: web.Request) -> web.StreamResponse:
        heard.append(f"{request.method} {request.path}")
        if "Upgrade" in request.headers:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            return socket
        return web.Response(
            text="{}", headers={"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
        )

    async with serving(web.route("*", "/{path:.*}", obey)) as port:
        came = await what_came(tmp_path, paper=port, control=port, key="l")
    assert [name for name in READS if came[name] == "failed"] == []
    wanted = {"POST /paper/faults", "POST /paper/position", "POST /pause", "POST /flatten", "GET /paper/state"}
    assert wanted <= set(heard)
    assert heard.count("POST /paper/faults") == 2, "by script, and by a form"


async def test_a_rebound_name_shows_a_refusal(tmp_path: Path) -> None:
    """evil.example leads to this machine now: to the browser our answers are its own, so nothing but Host tells it apart."""
    async with PaperExchange(ScriptedMarket()) as exchange, control_rig(tmp_path) as control:
        urls: dict[str, Any] = {
            "prices": f"evil.example:{exchange.port}/fapi/v1/ticker/price",
            "status": f"evil.example:{control.port}/status",
        }
        for name, url in urls.items():
            assert "does not go by that name" in await shown(f"http://{url}", tmp_path), name
        assert '"pairs"' in await shown(f"http://127.0.0.1:{control.port}/status", tmp_path), "a person may look"
