"""What must be right before anything starts: the two files, the ports, and nobody else here."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from domain.errors import ConfigError
from flows.stack import ports
from flows.stack.environment import auth_string, encryption_key
from flows.stack.layout import Layout
from flows.stack.listener import Listener
from flows.stack.programs import Plan
from runner.config import Settings, load_settings
from runner.pairs.file import load_pairs

PREFECT_PORT = 4200
EXCHANGE_PORT = 18080


def make_plan(layout: Layout, environment: Mapping[str, str], claims: ports.Claims) -> tuple[Plan, Settings, int]:
    """Read and check everything, choose ports. Return the plan, the settings and the number of pairs.

    Raises: ConfigError, one line; nothing has been started by then.
    """
    settings = load_settings(layout.config)
    pairs = load_pairs(layout.pairs, settings.signal)
    if settings.control.port:
        ports.require(settings.control.port, key="control.port")
    needs_exchange = settings.trading_mode == "paper" and settings.data.rest_url is None
    for path in (settings.storage.journal, settings.storage.ledger):
        _require_writable(path.parent)
    auth_string(layout, environment)
    encryption_key(layout)
    plan = Plan(
        layout=layout,
        mark=uuid.uuid4().hex,
        listener=Listener(PREFECT_PORT),
        exchange_port=claims.choose(EXCHANGE_PORT) if needs_exchange else None,
        control_port=settings.control.port,
        journal=settings.storage.journal,
        flows_journal=settings.flows_journal,
        ledger=settings.storage.ledger,
        inherited=environment,
    )
    return plan, settings, len(pairs)


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be created ({error.strerror}); set storage in config.json") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: cannot be written; correct its permissions or set storage in config.json")
