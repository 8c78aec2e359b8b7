"""Who is asking, and when: HMAC-SHA256 over the exact text that was sent, and the receive window.

Ed25519 and RSA signatures are not accepted here; a key pair of the paper exchange is always an HMAC pair.
"""

import hashlib
import hmac
from collections.abc import Mapping

from paper.errors import AHEAD, ApiError, refused

RECV_WINDOW_MS_DEFAULT = 5000
RECV_WINDOW_MS_MAX = 60_000
AHEAD_MS_MAX = 1000


def signed_text(query: str, body: str) -> tuple[str, str | None]:
    """Split what was sent into the signed text (query, then body, nothing between) and its signature."""
    signature: str | None = None
    texts: list[str] = []
    for part in (query, body):
        if "signature=" not in part:
            texts.append(part)
            continue
        kept: list[str] = []
        for pair in part.split("&"):
            if pair.startswith("signature="):
                signature = signature or pair[len("signature=") :]
            else:
                kept.append(pair)
        texts.append("&".join(kept))
    return "".join(texts), signature


def sign(secret: str, text: str) -> str:
    """The signature a client must send for this text."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def check_signature(secret: str, query: str, body: str) -> None:
    """Raises: VenueError -1102 without a signature, -1022 with a wrong one."""
    text, signature = signed_text(query, body)
    if not signature:
        raise refused(-1102, "signature")
    if not hmac.compare_digest(sign(secret, text).encode(), signature.lower().encode()):
        raise refused(-1022)


def check_window(params: Mapping[str, str], now_ms: int) -> int:
    """Refuse a request from outside its window; return the last server time at which it may still execute.

    Raises: VenueError -1102, -1130, -1131 or -1021.
    """
    timestamp_ms = _integer(params.get("timestamp"), refused(-1102, "timestamp"))
    window_ms = RECV_WINDOW_MS_DEFAULT
    if "recvWindow" in params:
        window_ms = _integer(params["recvWindow"], refused(-1130, "recvWindow"))
    if window_ms > RECV_WINDOW_MS_MAX:
        raise refused(-1131)
    if timestamp_ms >= now_ms + AHEAD_MS_MAX:
        raise ApiError(-1021, AHEAD)
    if now_ms - timestamp_ms > window_ms:
        raise refused(-1021)
    return timestamp_ms + window_ms


def _integer(text: str | None, error: ApiError) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise error
    return int(text)
