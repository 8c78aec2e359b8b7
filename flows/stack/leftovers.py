"""What an earlier `tandem up` left running when it was killed: found by its mark, stopped in order, live first."""

from __future__ import annotations

import asyncio
import signal
import time

from flows.stack import identity
from flows.stack.identity import Identity
from flows.stack.layout import Layout
from flows.stack.live_run import LiveStop
from flows.stack.programs import Plan
from flows.stack.steps import Steps

ORDER = ("prefect deploy", "prefect worker", "prefect server", "recorder", "paper exchange")
PATIENCE_S = 30.0


def record_stack(plan: Plan, children: dict[str, Identity]) -> None:
    """Write down who belongs to this stack, for whoever has to clean up after a kill -9."""
    identity.write_record(
        plan.layout.runs / "stack.json",
        {
            "mark": plan.mark,
            "prefect": plan.prefect_url,
            "exchange": plan.exchange_url,
            "children": {name: {"pid": who.pid, "started_at_s": who.started_at_s} for name, who in children.items()},
        },
    )


def forget_stack(layout: Layout) -> None:
    """Nothing is left of the stack that was recorded."""
    (layout.runs / "stack.json").unlink(missing_ok=True)


async def stop_leftovers(layout: Layout, steps: Steps) -> int:
    """Stop what an earlier stack of this clone left behind; return how many processes that were."""
    record = identity.read_record(layout.runs / "stack.json")
    if record is None:
        return 0
    left = identity.marked(str(record.get("mark")))
    if left:
        steps.warn(f"an earlier stack was killed and left {len(left)} processes; stopping them, the live run first")
        await LiveStop(layout.runs, steps).stop(None)
        children = record.get("children")
        for name in ORDER:
            who = identity.identity_in(children.get(name)) if isinstance(children, dict) else None
            if who is not None:
                await _stop([who])
        await _stop(identity.marked(str(record.get("mark"))))
    forget_stack(layout)
    return len(left)


async def sweep(mark: str, steps: Steps) -> int:
    """Stop whatever still carries the mark; return how many processes that were, which should be none."""
    left = identity.marked(mark)
    if left:
        steps.warn(f"{len(left)} processes outlived their parents and are stopped: {[who.pid for who in left]}")
        await _stop(left)
    return len(left)


async def _stop(processes: list[Identity]) -> None:
    """SIGTERM, wait, SIGKILL."""
    for process in processes:
        process.send(signal.SIGTERM)
    deadline_s = time.monotonic() + PATIENCE_S
    while any(process.is_alive for process in processes) and time.monotonic() < deadline_s:  # noqa: ASYNC110 - no event tells.
        await asyncio.sleep(0.1)
    for process in processes:
        process.send(signal.SIGKILL)
