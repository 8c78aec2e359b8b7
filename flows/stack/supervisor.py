"""The order of starting and stopping: everything at once on the way up, the live run first on the way down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Self

import click

from flows.stack import leftovers, live_run, ports
from flows.stack.deployments import others
from flows.stack.follow import Follower
from flows.stack.identity import listening_ports, read_record
from flows.stack.layout import STATUS_FILE
from flows.stack.live_run import LIVE, LiveStop
from flows.stack.prefect_api import FlowRun, PrefectApi, ServerSilent
from flows.stack.processes import Child, ChildDied, Program, tail_of
from flows.stack.programs import Plan
from flows.stack.proof import proves, until_proves
from flows.stack.steps import Steps

FIRST_RUN_WITHIN_S = 300.0
START_WITHIN_S = 300.0
PATIENCE_S = 30.0
WATCH_S = 10.0
FOLLOW = "follow the runner's log"
TRADE_WITHIN_S = 45.0


class Supervisor:
    """Starts one stack, keeps it up, and stops all of it."""

    def __init__(self, plan: Plan, steps: Steps, stop_now: asyncio.Event) -> None:
        self.plan = plan
        self.steps = steps
        self.children: dict[str, Child] = {}
        self.stop_now = stop_now
        self.deployed = asyncio.Event()
        self._began_at = _utc_now()
        self.api = PrefectApi(f"{plan.prefect_url}/api", auth=plan.prefect_auth)
        self.follower = Follower(plan.layout.runner_log, show=click.echo)
        self._tasks: list[asyncio.Task[None]] = []
        self._status_file = plan.layout.runs / STATUS_FILE

    async def __aenter__(self) -> Self:
        await self.api.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.api.__aexit__()

    # --- up ---

    async def start(self) -> FlowRun:
        """Start everything that can start at once, then what needs it; return the live run.

        Raises: ChildDied, ServerSilent. Call `stop` either way.
        """
        plan = self.plan
        self._status_file.unlink(missing_ok=True)  # An earlier run's.
        async with asyncio.TaskGroup() as group:
            # The deploy and worker processes import Prefect while the server still migrates its database.
            if plan.exchange_port is not None:
                group.create_task(self._exchange())
            group.create_task(self._recorder())
            server_up = group.create_task(self._server())
            deploy = await self._spawn(plan.deploy())
            worker = await self._spawn(plan.worker(), on_restart=self._after_worker_death)
            await server_up
            await self._mark_crashed()
            await self._live_deployed(deploy)
        self._begin(self._all_deployed(deploy))
        worker.check()
        worker.keep()
        with self.steps.step("live run") as facts:
            run = await live_run.start_once(self.api, once=f"up-{plan.mark}")
            facts.append(f"{run.deployment} {run.run_id}")
        return run

    async def _spawn(self, program: Program, *, on_restart: Callable[[], Awaitable[None]] | None = None) -> Child:
        child = Child(program, self.steps, on_start=self._record, on_restart=on_restart)
        self.children[program.name] = child
        await child.start()
        return child

    def _record(self) -> None:
        known = {name: child.identity for name, child in self.children.items()}
        leftovers.record_stack(self.plan, {name: who for name, who in known.items() if who is not None})

    async def _exchange(self) -> None:
        with self.steps.step("paper exchange") as facts:
            url, port = f"{self.plan.exchange_url}/fapi/v1/ping", self.plan.exchange_port
            child = await self._serve(self.plan.exchange(), lambda give_up: ports.until_answers(url, give_up=give_up))
            if child.identity is None or port not in listening_ports(child.identity):
                raise ChildDied(f"port {port} is answered by another process than our paper exchange; stop that one")
            facts.append(str(self.plan.exchange_url))

    async def _server(self) -> None:
        with self.steps.step("prefect server") as facts:
            url, auth = self.plan.prefect_url, self.plan.prefect_auth
            await self._serve(self.plan.server(), lambda give_up: until_proves(url, auth, give_up=give_up))
            facts.append(self.plan.prefect_url)

    async def _serve(self, program: Program, until_up: Callable[[Callable[[], bool]], Awaitable[bool]]) -> Child:
        """Start a server, wait until it answers as it should, and keep it. Raises: ChildDied."""
        child = await self._spawn(program)
        deadline_s = time.monotonic() + START_WITHIN_S

        def give_up() -> bool:
            return not child.is_running or time.monotonic() > deadline_s

        if not await until_up(give_up):
            child.check()
            raise ChildDied(f"{program.name} does not answer; the end of {program.log}:\n{tail_of(program.log)}")
        child.keep()
        return child

    async def _recorder(self) -> None:
        with self.steps.step("recorder") as facts:
            output = Follower(self.plan.layout.log("recorder"), show=lambda _: None)
            child = await self._spawn(self.plan.recorder())
            while not output.lines:  # Its first line says ready, or why not.
                child.check()
                await asyncio.sleep(0.1)
                output.catch_up()
            child.keep()
            facts.append(str(self.plan.ledger))

    async def _mark_crashed(self) -> None:
        """Nothing of an earlier stack is alive: what the server still calls running is dead, what was due is past."""
        dead = await live_run.mark_crashed_runs(
            self.api, self.plan.layout.runs, state_name="Abandoned", everything=True
        )
        overdue = await self.api.forget_overdue((_utc_now() - timedelta(seconds=1)).isoformat())
        if dead or overdue:
            self.steps.say(
                f"marked {len(dead)} runs of an earlier stack as ended, dropped {overdue} that were due meanwhile"
            )

    async def _live_deployed(self, deploy: Child) -> None:
        with self.steps.step("deployment live"):
            while not await self.api.deployed_since(f"{LIVE}/{LIVE}", self._began_at):
                deploy.check()
                await asyncio.sleep(0.2)

    async def _all_deployed(self, deploy: Child) -> None:
        """Trading does not wait for the other five; they come while it starts, and at a lower priority."""
        with self.steps.step("all deployments") as facts:
            code = await deploy.wait()
            self.children.pop(deploy.name, None)
            facts.append("prefect.yaml")
        if code != 0:
            self.steps.warn(
                f"not everything is deployed: {deploy.name} failed; live trades on:\n{tail_of(deploy.program.log)}"
            )
        self.deployed.set()

    async def _after_worker_death(self) -> None:
        """A worker that dies takes flows with it, and nobody reports them: do it, and the trigger restarts live."""
        try:
            dead = await live_run.mark_crashed_runs(
                self.api, self.plan.layout.runs, state_name="Crashed", everything=False
            )
        except ServerSilent as error:
            self.steps.warn(f"could not look for dead live runs: {error}")
            return
        for run in dead:
            self.steps.warn(f"live run {run.name} died with the worker; it is started again")

    # --- in between ---

    async def until_trading(self, run: FlowRun) -> None:
        """Follow the runner's log on the terminal; return at its first line.

        Raises: ChildDied if the live run ends first.
        """
        self._begin(self.follower.run(), name=FOLLOW)
        with self.steps.step("live trading"):
            looked_at_s = warned_at_s = time.monotonic()
            while not self.follower.lines:
                await asyncio.sleep(0.1)
                now_s = time.monotonic()
                if now_s - looked_at_s > 2.0:
                    looked_at_s = now_s
                    await self._require_going(run)
                if now_s - warned_at_s > PATIENCE_S:
                    warned_at_s = now_s
                    self.steps.warn(f"the runner has not said a word yet; see {self.plan.layout.log('prefect-worker')}")

    async def _require_going(self, run: FlowRun) -> None:
        with contextlib.suppress(ServerSilent):
            now = await self.api.read(run.run_id)
            if now.is_over:
                raise ChildDied(
                    f"the live run is {now.state_name}: {now.message}\n{tail_of(self.plan.layout.log('prefect-worker'))}"
                )

    def begin_first_runs(self, run: FlowRun) -> None:
        """Run every other flow once, one after the other, so that the UI shows what each does; watch the live run."""
        self._begin(self._first_runs())
        self._begin(self._watch_live(run))

    async def _watch_live(self, run: FlowRun) -> None:
        """Say what becomes of the live run: a terminal that merely falls silent tells nobody."""
        last = run
        while True:
            await asyncio.sleep(WATCH_S)
            with contextlib.suppress(ServerSilent):
                going = await self.api.runs(deployment=LIVE)
                if going and going[0].run_id != last.run_id:
                    self.steps.warn(
                        f"live goes on as a new run: {self.plan.prefect_url}/runs/flow-run/{going[0].run_id}"
                    )
                    last = going[0]
                if not going and not last.is_over:
                    last = await self.api.read(last.run_id)
                    self.steps.warn(f"the live run is {last.state_name}: {last.message}")
                    if last.state_type != "CRASHED":
                        self.steps.warn(
                            f"nothing trades now; start it again in the UI: {self.plan.prefect_url}/deployments"
                        )

    async def _first_runs(self) -> None:
        await self.deployed.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first_trade(), TRADE_WITHIN_S)
        for name in others(self.plan.layout.home):
            try:
                run = await self.api.start(f"{name}/{name}", once=f"first-{name}-{self.plan.mark}")
                ended = await self._until_over(run)
            except ServerSilent as error:
                self.steps.warn(f"first runs: {name}: {error}")
                continue
            text = f"first runs: {name} {ended.state_name} ({self.plan.prefect_url}/runs/flow-run/{ended.run_id})"
            if ended.state_type == "COMPLETED":
                self.steps.say(text)
            else:
                self.steps.warn(f"{text} {ended.message}")

    async def _first_trade(self) -> None:
        """Until the live run has executed an entry: then the flows have something to show."""
        while not (read_record(self._status_file) or {}).get("executed"):  # noqa: ASYNC110  (Another process's file.)
            await asyncio.sleep(0.5)

    async def _until_over(self, run: FlowRun) -> FlowRun:
        deadline_s = time.monotonic() + FIRST_RUN_WITHIN_S
        while not run.is_over and time.monotonic() < deadline_s:
            await asyncio.sleep(1.0)
            with contextlib.suppress(ServerSilent):
                run = await self.api.read(run.run_id)
        return run

    def _begin(self, work: Awaitable[None], *, name: str | None = None) -> None:
        async def run() -> None:
            await work

        self._tasks.append(asyncio.create_task(run(), name=name))

    # --- down ---

    async def stop(self) -> None:
        """Stop the live run first, then worker, server, recorder and exchange; leave nothing behind."""
        self.steps.say("stopping: the live run first, then everything else")
        for task in self._tasks:
            if task.get_name() != FOLLOW:
                task.cancel()
        if "prefect worker" in self.children:
            await self._stop_live()
        for name in leftovers.ORDER:
            child = self.children.get(name)
            if child is not None:
                with self.steps.step(f"stop {name}") as facts:
                    facts.append(
                        await child.stop(stop_within_s=5.0 if self.stop_now.is_set() and name != "recorder" else None)
                    )
        await leftovers.sweep(self.plan.mark, self.steps)
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.follower.catch_up()
        leftovers.forget_stack(self.plan.layout)
        self.plan.listener.close()
        self.plan.layout.sweep_temporary()

    async def _stop_live(self) -> None:
        server = self.children.get("prefect server")
        is_up = server is not None and server.is_running
        answers = is_up and await proves(self.plan.prefect_url, self.plan.prefect_auth)
        with self.steps.step("stop live") as facts:
            facts.append(await LiveStop(self.plan.layout.runs, self.steps).stop(self.api if answers else None))
        if answers and not self.stop_now.is_set():
            await self._stop_other_runs()

    async def _stop_other_runs(self) -> None:
        """A short flow may be half way; stopping the worker would kill it without a word."""
        with contextlib.suppress(ServerSilent):
            runs = await self.api.runs(states=("PENDING", "RUNNING"))
            for run in runs:
                if run.deployment != LIVE:
                    await self.api.cancel(run)
            deadline_s = time.monotonic() + 15.0
            while runs and time.monotonic() < deadline_s and not self.stop_now.is_set():
                await asyncio.sleep(0.25)
                runs = await self.api.runs(states=("PENDING", "RUNNING", "CANCELLING"))


def _utc_now() -> datetime:
    """Return this machine's clock, which is the Prefect server's too."""
    return datetime.now(UTC)  # noqa: TID251 - no market time: it is compared with the server's own stamps.
