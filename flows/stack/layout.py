"""Where the stack keeps things: every path under the project's own `var/`, and nothing outside it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from domain.errors import ConfigError
from storage.files import private_folder

STATUS_FILE = "status.json"
"""In `Layout.runs`: how many entries the live run has executed, as a number. The supervisor reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The paths of one clone. All absolute, none written into a committed file."""

    home: Path

    @property
    def var(self) -> Path:
        return self.home / "var"

    @property
    def prefect_home(self) -> Path:
        return self.var / "prefect"

    @property
    def encryption_key(self) -> Path:
        """The Fernet key of Prefect's secret blocks, outside the database that it protects."""
        return self.var / "prefect-encryption.key"

    @property
    def prefect_auth(self) -> Path:
        """What opens Prefect's API and UI."""
        return self.var / "prefect-auth.key"

    @property
    def keys(self) -> Path:
        """The exchange's keys, while a stack runs that got them from its environment."""
        return self.runs / "keys"

    @property
    def temporary(self) -> Path:
        """Everything that the stack's processes call temporary; empty before they start and after they have ended."""
        return self.var / "tmp"

    @property
    def logs(self) -> Path:
        return self.var / "log"

    @property
    def runs(self) -> Path:
        """What is running now: pid files with start times."""
        return self.var / "run"

    @property
    def runner_log(self) -> Path:
        return self.logs / "runner.log"

    @property
    def exchange_state(self) -> Path:
        """The paper account, which outlives the process that serves it."""
        return self.var / "paper-exchange.json"

    @property
    def config(self) -> Path:
        return self.home / "config.json"

    @property
    def pairs(self) -> Path:
        return self.home / "pairs_config.json"

    def create(self) -> None:
        """Create the state folders, readable by this user alone; close those that an earlier version left open.

        Raises: ConfigError for a folder of somebody else's.
        """
        for folder in (self.var, self.prefect_home, self.logs, self.runs, self.temporary):
            private_folder(folder)

    def sweep_temporary(self) -> None:
        """Remove what killed processes left: Prefect writes environments there. Only while nothing of ours runs."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(mode=0o700, exist_ok=True)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def find_layout(start: Path) -> Layout:
    """Return the layout of the clone that holds `start`.

    Raises: ConfigError if no folder from `start` upward holds a prefect.yaml.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / "prefect.yaml").is_file():
            return Layout(home=folder)
    raise ConfigError(f"{here}: no prefect.yaml here or above; run `tandem up` inside a clone of Tandem")
