"""Prefect's own server behind our guard, on the socket that the supervisor opened: `python -m flows.stack.server DESCRIPTOR`."""

from __future__ import annotations

import logging
import os
import socket
import sys

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings

from flows.stack.environment import own_origins
from flows.stack.guard import Guard
from runner.logs import LOGGER_NAME


def main() -> int:
    """Serve until told to stop. Return the exit code."""
    os.umask(0o077)
    listening = socket.socket(fileno=int(sys.argv[1]))
    server = get_current_settings().server
    assert server.api.auth_string is not None, "started by `tandem up`, which sets one"
    port = int(listening.getsockname()[1])
    _log_refusals()
    app = Guard(
        create_app(final=True),
        port=port,
        auth=server.api.auth_string.get_secret_value(),
        origins=own_origins(port, os.environ),
    )
    config = uvicorn.Config(
        app,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )
    running = uvicorn.Server(config)
    running.run(sockets=[listening])
    return 0 if running.started else 3


def _log_refusals() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger(LOGGER_NAME).addHandler(handler)
    logging.getLogger(LOGGER_NAME).propagate = False


if __name__ == "__main__":
    sys.exit(main())
