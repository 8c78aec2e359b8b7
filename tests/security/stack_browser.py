"""Headless Chromium over its debugging pipe, for the stories in which a page, or a person, comes to the stack's doors."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ANSWER_WITHIN_S = 60.0
BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1400,900"),
)


class Browser:
    """One tab. Speaks the DevTools protocol over two pipes, so that it listens on nothing."""

    def __init__(self, profile: Path, *flags: str) -> None:
        assert BINARY is not None, "no Chromium"
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        wrapper = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        command = (BINARY, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", *flags, "about:blank")
        self._process = subprocess.Popen(
            ("/bin/bash", "-c", wrapper, "bash", str(to_browser), str(from_browser), *command),
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._number = 0
        target = next(t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)
        self._process.terminate()
        self._process.wait(20)
        os.close(self._read)

    def _ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                assert select.select([self._read], [], [], ANSWER_WITHIN_S)[0], f"Chromium does not answer {method}"
                chunk = os.read(self._read, 65536)
                assert chunk, "Chromium is gone"
                self._buffer += chunk
            line, _, self._buffer = self._buffer.partition(b"\0")
            reply = json.loads(line)
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]

    def open(self, url: str) -> None:
        """Go to an address."""
        self._ask("Page.navigate", self._session, url=url)

    def run(self, script: str) -> Any:
        """Return the value of an expression on the page; a promise is waited for."""
        asked = self._ask("Runtime.evaluate", self._session, expression=script, awaitPromise=True, returnByValue=True)
        return asked["result"].get("value")

    def until_shows(self, words: str, *, within_s: float = 60.0) -> str:
        """Return the page's text once it holds the words."""
        deadline_s, text = time.monotonic() + within_s, ""
        while time.monotonic() < deadline_s:
            text = str(self.run("document.body ? document.body.innerText : ''"))
            if words in text:
                return text
            time.sleep(0.2)
        raise AssertionError(f"the page never showed {words!r}: {text[:500]!r}")

    def screenshot(self, path: Path) -> None:
        """Write what is seen to a PNG file."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", self._session)["data"]))
