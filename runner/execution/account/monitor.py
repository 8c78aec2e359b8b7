"""The account beside the trades: equity, fees, funding, set-up, legs that others closed. Nothing here sends an order."""

import asyncio
from collections.abc import Callable

from runner.execution.account.funding import FundingBooker
from runner.execution.account.sampler import EquitySampler, FeeReader
from runner.execution.account.set_up import AccountSetUp
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate

LOST_LEGS_SECONDS = 120.0
LOST_LEGS_STREAM_DOWN_SECONDS = 10.0


class AccountMonitor:
    """Keeps the slow facts fresh, within the request budget."""

    def __init__(
        self,
        context: Context,
        *,
        sampler: EquitySampler,
        fees: FeeReader,
        funding: FundingBooker,
        set_up: AccountSetUp,
        gate: EntryGate,
        look_for_lost_legs: Callable[[], None],
    ) -> None:
        self._clock = context.clock
        self.sampler = sampler
        self.fees = fees
        self.funding = funding
        self.set_up = set_up
        self._gate = gate
        self._look_for_lost_legs = look_for_lost_legs

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sampler.run(), name="equity")
            group.create_task(self.set_up.run(), name="set-up")
            group.create_task(self._lost_legs(), name="lost-legs")
            group.create_task(self.fees.run(), name="fees")
            group.create_task(self.funding.run(), name="funding")

    async def _lost_legs(self) -> None:
        """Legs that others closed are reported by the user stream; this is for what it does not report."""
        looked_ns = self._clock.monotonic_ns()
        while True:
            await self._clock.sleep(1.0)
            pause = LOST_LEGS_STREAM_DOWN_SECONDS if self._gate.user_stream_down else LOST_LEGS_SECONDS
            now_ns = self._clock.monotonic_ns()
            if now_ns - looked_ns >= pause * 1e9:
                looked_ns = now_ns
                self._look_for_lost_legs()
