"""One real Prefect server and process worker, with a temporary home, shared by all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Stack, make_clone


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone and deploys the live flow alone."""
    return make_clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="session")
def stack(clone: Path) -> Iterator[Stack]:
    """A server with the live deployment, and a worker."""
    stack = Stack(clone)
    try:
        worker = stack.plan.worker()
        stack.start(worker)
        deploy = stack.start(stack.plan.deploy())
        stack.start_server()
        assert deploy.wait(280) == 0, stack.plan.deploy().log.read_text()
        yield stack
    finally:
        stack.close()
