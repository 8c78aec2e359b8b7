"""Prefect's own commands, imported while the server still starts, so that nobody waits for the import afterwards.

`python -m flows.stack.warm deploy` creates the work pool, deploys prefect.yaml and sets the automations up;
`python -m flows.stack.warm worker` runs the process worker. Both wait for the server (and the pool) first.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import prefect.cli.deploy
import prefect.cli.work_pool
import prefect.cli.worker
import prefect.workers.process  # noqa: F401 - imported ahead of need; that is what this module is for.
from prefect.cli import app

from flows.live import automations
from flows.stack.deployments import LIVE, others
from flows.stack.prefect_api import PrefectApi
from flows.stack.proof import until_proves

POOL = "tandem"
DEPLOY = ("--no-prompt", "deploy")
WAIT_S = 0.2
NICE = 10
"""Of everything that trading does not wait for: two cores are busy enough while the runner starts."""
JOB_TEMPLATE = Path(__file__).with_name("job_template.json")
"""What a run may say of its process. Prefect's own template takes `command`, `env` and `working_dir` from whoever creates a run."""
CREATE_POOL = (
    *("--no-prompt", "work-pool", "create", POOL, "--type", "process", "--overwrite"),
    *("--base-job-template", str(JOB_TEMPLATE)),
)
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
)


def _run(command: tuple[str, ...]) -> None:
    """Run one Prefect command in this process; end the process if it fails."""
    sys.argv = ["prefect", *command]
    try:
        app()
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def _deploy_live_first() -> None:
    """Deploy what `prefect deploy --all` deploys, with the flow that trading waits for in front of the others."""
    _run((*DEPLOY, "--name", LIVE))
    os.nice(NICE)
    rest = [part for name in others(Path.cwd()) for part in ("--name", name)]
    if rest:
        _run((*DEPLOY, *rest))


async def _until_there(path: str, api: PrefectApi) -> None:
    async with api:
        while not await api.has(path):  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(WAIT_S)


def main() -> None:
    """Wait for the server, then do what the first argument says."""
    os.umask(0o077)
    api, auth = os.environ["PREFECT_API_URL"], os.environ["PREFECT_API_AUTH_STRING"]
    asyncio.run(until_proves(api.removesuffix("/api"), auth))
    if sys.argv[1] == "deploy":
        _run(CREATE_POOL)
        _deploy_live_first()
        automations.set_up()
    else:
        asyncio.run(_until_there(f"/work_pools/{POOL}", PrefectApi(api, auth=auth)))
        _run(WORKER)


if __name__ == "__main__":
    main()
