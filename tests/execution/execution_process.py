"""The engine as a process to be killed: a parent that has imported everything forks one engine per order it reads.

Forking costs milliseconds where a fresh interpreter would cost seconds; the parent runs no thread and no event loop.
Orders on stdin, one a line: `rest SECONDS_MAX`, `settle`, `flatten`; then `wait`. On stdout: `forked PID`, `started`, `settled`, and
`ended STATUS` after `wait`.
"""

import asyncio
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from execution_rig import Rig, deep_market

from domain.pairs import SignalType, TradeStatus
from runner.config import RiskSettings


@dataclass(frozen=True, slots=True)
class Address:
    """An exchange in another process, as far as the rig needs one."""

    rest_url: str
    stream_url: str


def say(*words: object) -> None:
    """One write, so that a line is told whole or not at all."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def at_rest(rig: Rig) -> bool:
    trades = list(rig.book.live_trades())
    calm = all(trade.status is TradeStatus.OPEN and not trade.unsettled() for trade in trades)
    return calm and rig.engine.in_flight == 0


async def settle(rig: Rig) -> None:
    """Until recovery has nothing left to do."""
    while not at_rest(rig):  # noqa: ASYNC110  (Several tasks of the engine decide it.)
        await asyncio.sleep(0.01)


async def work(order: list[str], address: Address, journal: Path) -> None:
    limits = {"use_limit_orders": True, "limit_wait_seconds": order[1]} if order[0] == "rest" else {}
    rig = Rig(deep_market(), cast("Any", address), journal, rollbacks_before_freeze=10**6, **limits)
    rig.settings = rig.settings.model_copy(update={"risk": RiskSettings(min_edge_ratio=0, daily_loss_usd_max=10**9)})
    await rig.start()
    say("started")
    match order:
        case ["rest", _]:
            await rig.engine.execute_signal(rig.signal(SignalType.SELL))
        case ["flatten"]:
            await settle(rig)
            if rig.book.open_by_pair:
                await rig.engine.execute_signal(rig.signal(SignalType.EXIT))
            await settle(rig)
        case _:
            await settle(rig)
    await rig.stop()
    if rig.halted:
        say("halted", *rig.halted)
    say("settled")


def main() -> None:
    rest_url, stream_url, journal = sys.argv[1:]
    pid = 0
    say("ready")
    for line in sys.stdin:
        order = line.split()
        if order == ["wait"]:
            say("ended", os.waitpid(pid, 0)[1])
            continue
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                asyncio.run(work(order, Address(rest_url, stream_url), Path(journal)))
                status = 0
            except BaseException:  # noqa: BLE001  (The top of the forked process: tell, then end.)
                traceback.print_exc()
            finally:
                os._exit(status)  # Never back into the parent's loop.
        say("forked", pid)


if __name__ == "__main__":
    main()
