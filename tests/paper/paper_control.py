"""The control endpoint of a paper exchange, as tests use it: with its token, in process or from its printed first line."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

READY = re.compile(r"exchange ready: (?P<url>\S+) .* with the token in (?P<file>.+); stop: Ctrl-C")


def bearer(token: str) -> dict[str, str]:
    """The header that the control endpoint wants to see."""
    return {"Authorization": f"Bearer {token}"}


def address_and_token(printed: str) -> tuple[str, str]:
    """Of an exchange that runs as a process, from what it printed when it was ready."""
    ready = READY.search(printed)
    assert ready is not None, printed
    return ready["url"], Path(ready["file"]).read_text()


def order(url: str, token: str, path: str, body: Any = None, *, method: str | None = None) -> Any:
    """The answer to one request to `/paper/<path>`; a body makes it a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/paper/{path}", data=data, method=method, headers=bearer(token))  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - loopback.
        return json.load(reply)
