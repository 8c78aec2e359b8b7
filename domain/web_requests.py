"""Whether a request was sent by a web page that has no business here, told from headers that no page can change or leave out.

A page from elsewhere reaches every port of this machine through the browser of the person who reads it. It cannot hide its Origin,
and when its own name is made to point at us (DNS rebinding), that name is what stands in Host.
"""

import ipaddress
from collections.abc import Collection, Mapping
from enum import StrEnum
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  (Compared, not bound.)


_NO_HOST = frozenset("@/?#\\")
"""A name and a port have none of these; what is behind or before one is not the name that somebody asked for."""


class Foreign(StrEnum):
    """Why a request is refused; the text is for whoever sent it."""

    HOST = "this address does not go by that name; ask for the address that was printed at the start"
    PAGE = "requests from other web pages are not accepted"


def foreign(headers: Mapping[str, str], names: Collection[str]) -> Foreign | None:
    """What speaks against the request; None lets it pass. `names` are ours, in lower case, without a port.

    Programs send no Origin. A page of our own address has exactly our Host in its own; another port is another origin.
    """
    host = headers.get("Host", "").lower()
    if not _NO_HOST.isdisjoint(host) or hostname(f"//{host}") not in names:
        return Foreign.HOST
    origin = headers.get("Origin")
    if origin is not None and origin.lower() not in {f"http://{host}", f"https://{host}"}:
        return Foreign.PAGE
    # A picture or a script of a foreign page comes without Origin. A person who follows a link may look, as with an address typed in.
    is_from_elsewhere = headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
    if is_from_elsewhere and headers.get("Sec-Fetch-Mode") != "navigate":
        return Foreign.PAGE
    return None


def hostname(url: str) -> str | None:
    """The host of a URL in lower case, without port and brackets; None when there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def is_loopback(host: str | None) -> bool:
    """Whether what is sent to this host stays on this machine."""
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable(host: str) -> str:
    """The host by which this machine's own programs reach what listens on `host`."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (Compared, not bound.)


class RowLimit:
    """At most one row of a kind in `seconds`: whoever floods us with bad requests must not fill the disk as well."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def admit(self, kind: str, now_seconds: float) -> int | None:
        """How many of this kind were kept back since its last row; None when this one is kept back, too.

        `kind` is one of a few; `now_seconds` is monotonic.
        """
        last = self._last.get(kind)
        if last is not None and now_seconds - last < self._seconds:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return None
        self._last[kind] = now_seconds
        return self._kept_back.pop(kind, 0)
