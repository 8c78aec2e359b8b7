"""Every event of the log, in one catalogue: `from runner import events`, then `log.emit(events.LATE_FILL, trade_id=…)`.

A new event is one constant in the file it belongs to. The pages of alarms and of everyday lines are drawn from here
(`python tests/docs/docs_tables.py`), and `tests/runner/test_events.py` finds what is emitted and not listed, or the reverse.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from domain.events import MORE_FACTS as MORE_FACTS
from domain.events import Event as Event
from domain.events import Severity as Severity
from runner.events import account, exchange, process, trades
from runner.events.account import *
from runner.events.exchange import *
from runner.events.process import *
from runner.events.trades import *
from storage import events as recorder
from storage.events import *

EventCallback = Callable[[Event, Mapping[str, Any]], None]
"""How a part without a log of its own reports an event, with its facts."""

CATALOGUE: Mapping[str, Event] = MappingProxyType(
    {
        event.name: event
        for module in (trades, account, exchange, process, recorder)
        for event in vars(module).values()
        if isinstance(event, Event)
    }
)
"""By name, in the order of the pages."""
