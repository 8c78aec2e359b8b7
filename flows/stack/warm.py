"""Prefect's own commands, imported while the server still starts, so that nobody waits for the import afterwards.

`python -m flows.stack.warm deploy` creates the work pool, deploys prefect.yaml and sets the automations up;
`python -m flows.stack.warm worker` runs the process worker. Both wait for the server (and the pool) first.
"""

from __future__ import annotations

import asyncio
import os
import sys

import prefect.cli.deploy
import prefect.cli.work_pool
import prefect.cli.worker
import prefect.workers.process  # noqa: F401 - imported ahead of need; that is what this module is for.
from prefect.cli import app

from flows import automations
from flows.stack import ports

POOL = "tandem"
DEPLOY = ("--no-prompt", "deploy", "--all")
CREATE_POOL = ("--no-prompt", "work-pool", "create", POOL, "--type", "process", "--overwrite")
WORKER = (
    "--no-prompt",
    "worker",
    "start",
    "--pool",
    POOL,
    "--name",
    POOL,
    "--install-policy",
    "never",
    "--create-pool-if-not-found",
)


def _run(command: tuple[str, ...]) -> None:
    """Run one Prefect command in this process; end the process if it fails."""
    sys.argv = ["prefect", *command]
    try:
        app()
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def main() -> None:
    """Wait for the server, then do what the first argument says."""
    api = os.environ["PREFECT_API_URL"]
    asyncio.run(ports.until_answers(f"{api}/ready"))
    if sys.argv[1] == "deploy":
        _run(CREATE_POOL)
        _run(DEPLOY)
        automations.set_up()
    else:
        asyncio.run(ports.until_answers(f"{api}/work_pools/{POOL}"))
        _run(WORKER)


if __name__ == "__main__":
    main()
