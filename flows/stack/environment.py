"""What every child inherits: Prefect kept inside `var/`, locked and silent, the addresses of this stack, and no exchange key."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from domain.errors import ConfigError
from flows.stack.identity import MARK
from flows.stack.layout import Layout
from flows.stack.ports import LOOPBACK
from runner import keys

KEPT = frozenset(
    {
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS",
        "PREFECT_SERVER_API_CORS_ALLOWED_METHODS",
        "PREFECT_SERVER_API_CORS_ALLOWED_HEADERS",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED",
        "PREFECT_SERVER_API_CSRF_TOKEN_EXPIRATION",
        "PREFECT_SERVER_API_KEEPALIVE_TIMEOUT",
        "PREFECT_SERVER_API_MAX_PARAMETER_SIZE",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS",
        "PREFECT_SERVER_CORS_ALLOWED_METHODS",
        "PREFECT_SERVER_CORS_ALLOWED_HEADERS",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED",
        "PREFECT_SERVER_CSRF_TOKEN_EXPIRATION",
        "PREFECT_SERVER_ENCRYPTION_KEY",
        "PREFECT_SERVER_LOGGING_LEVEL",
        "PREFECT_SERVER_UI_API_URL",
        "PREFECT_SERVER_UI_ENABLED",
        "PREFECT_UI_API_URL",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED",
    }
)
"""Settings of the user's own that lock the server further, or say under which name a proxy shows it. Every other inherited
PREFECT_… speaks of somebody else's server."""
ORIGINS = ("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS")
PUBLIC_API = ("PREFECT_SERVER_UI_API_URL", "PREFECT_UI_API_URL")
AUTH = "PREFECT_SERVER_API_AUTH_STRING"
SECRET_CHARACTERS_MIN, SECRET_BYTES_MAX = 16, 4096


def encryption_key(layout: Layout) -> str:
    """Return the key of Prefect's secret blocks, made once and readable by this user alone."""
    return _made_once(layout.encryption_key, lambda: base64.urlsafe_b64encode(os.urandom(32)).decode("ascii"))


def auth_string(layout: Layout, inherited: Mapping[str, str]) -> str:
    """Return what opens Prefect's API and UI: the user's own string, else ours, made once and readable by this user alone."""
    return _users_own(inherited) or _made_once(layout.prefect_auth, lambda: f"tandem:{secrets.token_urlsafe(32)}")


def known_auth_string(layout: Layout, inherited: Mapping[str, str]) -> str:
    """Return the same without making one: empty when no stack has ever run here."""
    if _users_own(inherited) or not layout.prefect_auth.exists():
        return _users_own(inherited)
    return auth_string(layout, inherited)


def _users_own(inherited: Mapping[str, str]) -> str:
    return inherited.get(AUTH, "").strip()


def _made_once(path: Path, make: Callable[[], str]) -> str:
    """Linked into place whole, so that whoever comes second reads what the first one made.

    Raises: ConfigError for a file that is no secret: with an empty one Prefect would ask nobody for any.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(make() + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    try:
        # Its mode stays as it is: `tandem doctor` says who could read it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); delete it while nothing runs") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        secret = file.read(SECRET_BYTES_MAX).decode("ascii", "replace").strip() if is_ours else ""
    if len(secret) < SECRET_CHARACTERS_MIN or not secret.isprintable():
        raise ConfigError(f"{path}: holds no secret; delete it while nothing runs, and `tandem up` makes a new one")
    return secret


def own_origins(port: int, inherited: Mapping[str, str]) -> tuple[str, ...]:
    """Return the origins whose pages may use the server: its own, a proxy's, and those that the user named. Never `*`."""
    public = [_origin(inherited[name]) for name in PUBLIC_API if inherited.get(name)]
    named = [part.strip().rstrip("/") for name in ORIGINS for part in inherited.get(name, "").split(",")]
    origins = [f"http://{LOOPBACK}:{port}", *public, *named]
    return tuple(dict.fromkeys(origin for origin in origins if origin not in {"", "*", "null"}))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def prefect_environment(layout: Layout, *, port: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return Prefect's settings for this clone's own server on a loopback port."""
    kept = {name: value for name, value in inherited.items() if name in KEPT and value and name not in ORIGINS}
    auth = auth_string(layout, inherited)
    return {
        "PREFECT_SERVER_ENCRYPTION_KEY": kept.get("PREFECT_SERVER_ENCRYPTION_KEY") or encryption_key(layout),
        **kept,
        "PREFECT_HOME": str(layout.prefect_home),
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_API_AUTH_STRING": auth,
        AUTH: auth,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(own_origins(port, inherited)),
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_EVENTS_WORKER_MAX_QUEUE_SIZE": "10000",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }


def own_environment(layout: Layout, *, port: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return an inherited environment turned to this clone's server: nobody else's Prefect, no keys of the exchange."""
    kept = {name: value for name, value in keys.without_keys(inherited).items() if not name.startswith("PREFECT_")}
    return {**kept, **prefect_environment(layout, port=port, inherited=inherited)}


def child_environment(
    layout: Layout, *, port: int, mark: str, inherited: Mapping[str, str], extra: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of a child. Keys reach it by file, if it is meant to have any (`runner.keys`)."""
    return {
        **own_environment(layout, port=port, inherited=inherited),
        "PWD": str(layout.home),  # prefect.yaml resolves it at deploy time; the inherited one may be elsewhere.
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(layout.temporary),  # Prefect writes a worker's environment there; a kill -9 leaves it.
        "TANDEM_LOG_FILE": str(layout.runner_log),
        MARK: mark,
        **extra,
    }
