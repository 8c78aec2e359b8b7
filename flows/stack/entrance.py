"""The page behind the link that `tandem up` prints: it puts the server's secret where Prefect's UI looks for it, and goes on there.

The secret stands behind the link's `#`, which a browser never sends; the page asks the server whether it is right and keeps it, as
the UI's own login form does, in the browser's storage for this origin.
"""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

PATH = "/enter"
_SCRIPT = """
const basic = btoa(decodeURIComponent(location.hash.slice(1)));
const next = location.origin + "/" + location.pathname.replace(/^\\/enter\\/*/, "");
history.replaceState(null, "", location.pathname);
fetch("/api/admin/version", {headers: {Authorization: "Basic " + basic}}).then((reply) => {
  if (!reply.ok) throw new Error(reply.status);
  localStorage.setItem("prefect-password", basic);
  location.replace(next);
}).catch(() => {
  document.body.textContent = "This link does not open this server. Take the one that tandem up printed last.";
});
"""
PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Prefect</title></head>'
    f"<body>Opening Prefect …<script>{_SCRIPT}</script></body></html>"
).encode()
_SHA256 = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        f"default-src 'none'; script-src 'sha256-{_SHA256}'; connect-src 'self'; base-uri 'none'".encode(),
    ),
)


def is_at(path: str) -> bool:
    """Return whether the page is what this path asks for."""
    return path == PATH or path.startswith(f"{PATH}/")


def link(url: str, auth: str, path: str = "") -> str:
    """Return the address that opens the UI at `path` without asking. Whoever has it can do everything that the UI can."""
    return f"{url}{PATH}{path}#{quote(auth, safe=':')}"
