"""What every child inherits: Prefect kept inside `var/`, its telemetry off, and the addresses of this stack."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

from flows.stack.identity import MARK
from flows.stack.layout import Layout
from flows.stack.ports import LOOPBACK


def encryption_key(layout: Layout) -> str:
    """Return the key of Prefect's secret blocks, made once and readable by this user alone."""
    path = layout.encryption_key
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    key = base64.urlsafe_b64encode(os.urandom(32))
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")
    return key.decode("ascii")


def prefect_environment(layout: Layout, *, port: int) -> dict[str, str]:
    """Return Prefect's settings for this clone's own server on a loopback port."""
    return {
        "PREFECT_HOME": str(layout.prefect_home),
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ENCRYPTION_KEY": encryption_key(layout),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_EVENTS_WORKER_MAX_QUEUE_SIZE": "10000",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }


def child_environment(
    layout: Layout, *, port: int, mark: str, inherited: Mapping[str, str], extra: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of a child.

    Inherited PREFECT_* settings are dropped: they speak of somebody else's server.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        **prefect_environment(layout, port=port),
        "PWD": str(layout.home),  # prefect.yaml resolves it at deploy time; the inherited one may be elsewhere.
        "PYTHONUNBUFFERED": "1",
        "TANDEM_LOG_FILE": str(layout.runner_log),
        MARK: mark,
        **extra,
    }
