"""The five programs of the stack: their commands, their environments, and how long each may take to stop."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.stack import entrance
from flows.stack.environment import auth_string, child_environment
from flows.stack.layout import Layout
from flows.stack.listener import Listener
from flows.stack.ports import LOOPBACK
from flows.stack.processes import Program
from runner import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one start has decided: ports, files, and the mark that all its processes carry."""

    layout: Layout
    mark: str
    listener: Listener
    exchange_port: int | None
    control_port: int
    journal: Path
    flows_journal: Path
    ledger: Path
    inherited: Mapping[str, str]

    @property
    def exchange_url(self) -> str | None:
        return None if self.exchange_port is None else f"http://{LOOPBACK}:{self.exchange_port}"

    @property
    def prefect_url(self) -> str:
        return f"http://{LOOPBACK}:{self.listener.port}"

    @property
    def prefect_auth(self) -> str:
        """What opens Prefect's API and UI."""
        return auth_string(self.layout, self.inherited)

    def prefect_link(self, path: str = "") -> str:
        """Return the address that opens the UI without asking."""
        return entrance.link(self.prefect_url, self.prefect_auth, path)

    @property
    def control_url(self) -> str:
        return f"http://{LOOPBACK}:{self.control_port}"

    def environment(self) -> dict[str, str]:
        """Return the environment of every child."""
        extra: dict[str, str] = {}
        if self.exchange_port is not None:
            extra["TANDEM_DATA__REST_URL"] = f"http://{LOOPBACK}:{self.exchange_port}"
            extra["TANDEM_DATA__STREAM_URL"] = f"ws://{LOOPBACK}:{self.exchange_port}"
            extra[keys.FOLDER] = keys.PAPER_ACCOUNT
        return child_environment(
            self.layout, port=self.listener.port, mark=self.mark, inherited=self.inherited, extra=extra
        )

    def _program(
        self,
        name: str,
        *arguments: str,
        stop_within_s: float,
        listener: Listener | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Program:
        return Program(
            name=name,
            command=(sys.executable, *arguments),
            environment={**self.environment(), **(extra or {})},
            home=self.layout.home,
            log=self.layout.log(name.replace(" ", "-")),
            stop_within_s=stop_within_s,
            listener=listener,
        )

    def exchange(self) -> Program:
        state = str(self.layout.exchange_state)
        port = str(self.exchange_port)
        return self._program(
            "paper exchange",
            *("-m", "paper", "--port", port, "--state", state),
            stop_within_s=10.0,
        )

    def recorder(self) -> Program:
        return self._program(
            "recorder",
            *("-m", "storage.recorder", "--journal", str(self.journal)),
            *("--flows-journal", str(self.flows_journal), "--ledger", str(self.ledger)),
            stop_within_s=30.0,  # It drains the journal and publishes before it leaves.
        )

    def server(self) -> Program:
        return self._program(
            "prefect server",
            *("-m", "flows.stack.server", str(self.listener.fileno())),
            stop_within_s=15.0,
            listener=self.listener,
        )

    def deploy(self) -> Program:
        return self._program("prefect deploy", "-m", "flows.stack.warm", "deploy", stop_within_s=5.0)

    def worker(self) -> Program:
        """Return the worker, whose environment every flow run has: the folder of the keys is named in it, no key is."""
        settings = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PREFECT_LOGGING_EXTRA_LOGGERS": "runner"}
        has_keys = self.exchange_port is None and self.layout.keys.is_dir()
        folder = {keys.FOLDER: str(self.layout.keys)} if has_keys else {}
        return self._program(
            "prefect worker", *("-m", "flows.stack.warm", "worker"), stop_within_s=15.0, extra={**settings, **folder}
        )
