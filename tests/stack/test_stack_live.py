"""The live flow on a real server and process worker: cancels, outages, kill -9, and never twice at once."""

from __future__ import annotations

import itertools
import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest
from rig import Stack, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def quiet(stack: Stack) -> Iterator[None]:
    yield
    stack.cancel_live()


def test_cancel_stops_it_gracefully(stack: Stack) -> None:
    run = stack.start_live()
    pid = stack.live_pid()
    stack.cancel(run)
    stack.until_left_in_order(pid)
    assert stack.until_over(run).state_name == "Cancelled"
    pages = stack.ask(lambda api: api._ask("POST", "/artifacts/filter", {}))
    assert {page["key"] for page in pages} >= {"live-status", "live-statistics"}


def test_second_run_is_cancelled_and_the_first_trades_on(stack: Stack) -> None:
    stack.start_live()
    pid = stack.live_pid()
    second = stack.ask(lambda api: api.start("live/live", once=uuid.uuid4().hex))
    over = stack.until_over(second)
    assert (over.state_type, over.state_name) == ("CANCELLED", "AccountBusy")
    assert "another runner trades this account" in over.message
    assert stack.live_pid() == pid


def test_kill_9_of_the_flow_starts_it_again(stack: Stack) -> None:
    run = stack.start_live()
    pid = stack.live_pid()
    os.kill(pid, signal.SIGKILL)
    assert stack.until_over(run).state_name == "Crashed"
    wait_for(lambda: stack.live_pid() != pid, within_s=150, why="a new process ticks")


def test_outage_leaves_it_running_and_a_cancel_after_it_arrives(stack: Stack) -> None:
    """After about a minute without server the worker stops looking for cancels; the flow looks itself."""
    run = stack.start_live()
    pid = stack.live_pid()
    stack.stop_server()
    time.sleep(70)
    stack.start_server()
    ticks = [tick["at_s"] for tick in stack.ticks() if tick["pid"] == pid]
    gap_s_max = max(b - a for a, b in itertools.pairwise(ticks))
    assert gap_s_max < 5.0, "the loop stood still"
    assert time.time_ns() / 1e9 - ticks[-1] < 5.0, "it does not tick any more"
    stack.cancel(run)
    stack.until_left_in_order(pid)
    assert stack.until_over(run).state_name == "Cancelled"
