"""One real Prefect server and process worker, with a temporary home, shared by all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rig import ROOT, Stack


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone, deploying the live flow alone."""
    home = tmp_path_factory.mktemp("clone")
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    document["deployments"] = [row for row in document["deployments"] if row["name"] == "live"]
    (home / "prefect.yaml").write_text(yaml.safe_dump(document))
    (home / "config.json").write_text('{"trading_mode": "paper", "control": {"port": 0}}')
    (home / "pairs_config.json").write_text('{"pairs": []}')
    return home


@pytest.fixture(scope="session")
def stack(clone: Path) -> Iterator[Stack]:
    """A server with the live deployment, and a worker."""
    stack = Stack(clone)
    try:
        worker = stack.plan.worker()
        stack.start(worker)
        deploy = stack.start(stack.plan.deploy())
        stack.start_server()
        assert deploy.wait(120) == 0, stack.plan.deploy().log.read_text()
        yield stack
    finally:
        stack.close()
