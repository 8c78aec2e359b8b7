"""A scan's batches as Prefect tasks: on threads of this process, or on Dask's workers, here or on other machines.

Worth it for universes beyond a thousand symbols; below that a scan takes seconds and a Dask cluster takes seconds to start.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from domain.errors import ConfigError
from domain.statistics.batches import Batch, Piece, cut, solve
from domain.statistics.engle_granger import Spread

SYMBOLS_TOGETHER_MAX = 1000
_BATCHES_PER_WORKER = 2  # Who is done early takes another; more would cost more than it evens out.


class FanOut(BaseModel):
    """Who does the testing. Threads need nothing; Dask needs the extra `dask`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: str = Field(
        default="threads",
        pattern=r"^(threads|dask|(tcp|tls)://\S+)$",
        description="`threads`, `dask` (workers of its own on this machine), or the address of a Dask scheduler.",
    )
    workers: int = Field(
        default=os.cpu_count() or 1, ge=1, le=256, description="Threads, or Dask workers on this machine."
    )
    batches: int | None = Field(
        default=None, ge=1, le=4096, description="Tasks. Empty: one up to 1,000 symbols, beyond that two a worker."
    )

    def batches_for(self, symbols: int) -> int:
        """How many tasks a scan of so many symbols is cut into; 1: none, it runs where it is."""
        if self.batches is not None:
            return self.batches
        return 1 if symbols <= SYMBOLS_TOGETHER_MAX else _BATCHES_PER_WORKER * self.workers

    @contextmanager
    def over(self, symbols: int) -> Iterator[Spread | None]:
        """Who tests so many symbols, as long as the context lasts; None: nobody else, this process does. Raises: ConfigError."""
        batches = self.batches_for(symbols)
        if batches == 1:
            yield None
            return
        with self.open_runner() as runner:
            yield _spread_over(runner, batches)

    def open_runner(self) -> TaskRunner[Any]:
        """Not started yet. Raises: ConfigError."""
        if self.runner == "threads":
            return ThreadPoolTaskRunner(max_workers=self.workers)
        try:
            from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an extra, and seconds to import.
        except ImportError:
            raise ConfigError(f"runner {self.runner}: Dask is not installed; pip install 'tandem[dask]'") from None
        if self.runner != "dask":
            return DaskTaskRunner(address=self.runner)
        return DaskTaskRunner(
            cluster_kwargs={"n_workers": self.workers, "threads_per_worker": 1, "dashboard_address": None}
        )


class Sealed:
    """A batch, or what it brought. Opaque on purpose: Prefect and Dask look into everything that looks like a collection."""

    def __init__(self, batch: Batch | None = None, pieces: Iterable[Piece] = ()) -> None:
        self.batch, self.pieces = batch, tuple(pieces)


@task(name="scan-batch", cache_policy=NO_CACHE, persist_result=False)
def solve_batch(sealed: Sealed) -> Sealed:
    """One batch, on whoever was given it."""
    assert sealed.batch is not None
    with np.errstate(all="ignore"):
        return Sealed(pieces=solve(sealed.batch))


def _spread_over(runner: TaskRunner[Any], batches: int) -> Spread:
    """The scan's work as so many tasks of a started runner. Failures of a task are raised where the scan runs."""

    def spread(whole: Batch) -> Iterator[Piece]:
        futures = [runner.submit(solve_batch, {"sealed": Sealed(batch)}) for batch in cut(whole, batches)]
        for future in futures:
            yield from future.result().pieces

    return spread
