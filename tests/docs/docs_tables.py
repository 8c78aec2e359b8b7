"""The tables of the pages that are the code's own, written from it: `python tests/docs/docs_tables.py` puts them there anew."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from domain import resting as resting_legs
from domain.escalation import REMEDIES, Remedy
from domain.events import MORE_FACTS, Event, Severity
from domain.legs import CLOSING, OPENING, OVERDUE, LegState, Remainder
from domain.orders import TERMINAL, TRANSITIONS, OrderChange, OrderStatus
from domain.pairs import TRADE_STEPS, TradeStatus
from domain.refusals import RefusalKind
from domain.resting import STEPS, Wish
from runner.events import CATALOGUE
from runner.exchange.binance.codes import TABLE, Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "execution.md"
ALARMS = ROOT / "docs" / "alarms.md"
OPERATIONS = ROOT / "docs" / "operations.md"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def orders() -> str:
    """What each piece of news does to an order: a row a status, a column a change, a gap is a halt."""
    changes = list(OrderChange)
    lines = [_row(["an order that is …", *(f"{change}" for change in changes)]), _row(["---"] * (len(changes) + 1))]
    for status in OrderStatus:
        name = f"**{status}**" if status in TERMINAL else f"{status}"
        cells = [TRANSITIONS.get((status, change)) for change in changes]
        lines.append(_row([name, *("halt" if after is None else "=" if after is status else after for after in cells)]))
    return "\n".join(lines)


def _legs(table: Mapping[tuple[StrEnum, StrEnum], str], kinds: type[StrEnum]) -> str:
    lines = [_row(["leg a ↓ leg b →", *kinds]), _row(["---"] * (len(kinds) + 1))]
    lines += [_row([f"{first}", *(table[first, second] for second in kinds)]) for first in kinds]
    return "\n".join(lines)


def opening() -> str:
    """What to do next with a pair that opens; in brackets what goes before it once the unhedged budget is spent."""
    told = {
        standing: f"{plan} ({OVERDUE[standing]})" if standing in OVERDUE else f"{plan}"
        for standing, plan in OPENING.items()
    }
    return _legs({(a, b): plan for (a, b), plan in told.items()}, LegState)


def closing() -> str:
    """What to do next with a pair that closes."""
    return _legs({(a, b): plan for (a, b), plan in CLOSING.items()}, Remainder)


def denials() -> str:
    """Every code for which an entry is refused, as the page of alarms explains it, in the order of the guards."""
    section = ALARMS.read_text(encoding="utf-8").split("## Why an entry was refused")[1]
    return "\n".join(line for line in section.splitlines() if line.startswith("|"))


def refusals() -> str:
    """All that is known of the exchange's codes; in bold the HTTP statuses that prove the order was not executed."""
    rows: dict[int | None, list[Row]] = {}
    for row in sorted(TABLE, key=lambda row: (row.code is None, -(row.code or 0), row.http_status)):
        rows.setdefault(row.code, []).append(row)
    head = ["code", "HTTP status", "says", "kind", "what to do", "source"]
    lines = [_row(head), _row(["---"] * len(head))]
    for code, listed in rows.items():
        name = "none" if code is None else f"−{-code}"
        statuses = ", ".join(f"**{row.http_status}**" if row.is_definite else f"{row.http_status}" for row in listed)
        first = listed[0]
        says = f"{first.meaning} †" if first.doubts_rules else first.meaning
        lines.append(_row([name, statuses, says, f"`{first.kind}`", first.advice, first.source]))
    return "\n".join(lines)


REMEDY_MEANS = {
    Remedy.RETRY: "the same again, after a pause",
    Remedy.WAIT: "the same again, after a pause; not counted as a failure, a person is called after many",
    Remedy.LADDER: "an IOC limit, 0.5 % further from the touch each time, inside PERCENT_PRICE; a market order now and then",
    Remedy.STEP_BACK: "one step nearer to the touch",
    Remedy.SMALLER: "half as much; twice the piece that was taken",
    Remedy.PLAIN: "without reduce-only, but only if the account's position agrees with our books",
    Remedy.REDUCE: "only what reduces the account's net position",
    Remedy.ROUND: "with rules read anew; refused again, rounded ten times coarser",
    Remedy.ENLARGE: "with rules read anew and twice the minimum notional: a small addition first",
    Remedy.HALTED: "a person is called; the other leg is closed, this leg tried with long pauses",
    Remedy.PERSON: "a person is called; tried with long pauses",
}


def remedies() -> str:
    """What the next closing order is, by what refused the last one."""
    lines = [_row(["remedy", "the next order", "after a refusal of this kind"]), _row(["---"] * 3)]
    for remedy in Remedy:
        kinds = sorted(
            kind for kind, listed in REMEDIES.items() if listed is remedy and kind is not RefusalKind.UNLISTED
        )
        others = {
            Remedy.RETRY: "every code not listed, an order cancelled",
            Remedy.LADDER: "an order that expired unfilled",
        }
        others |= {Remedy.WAIT: "a request that never arrived"}
        told = ", ".join([*(f"`{kind}`" for kind in kinds), *([others[remedy]] if remedy in others else [])])
        lines.append(_row([f"{remedy}", REMEDY_MEANS[remedy], told]))
    return "\n".join(lines)


def resting() -> str:
    """What to do next with a leg that rests: its order's standing, and what we want of it."""
    lines = [_row(["its order is … ↓ we want it to … →", *Wish]), _row(["---"] * (len(Wish) + 1))]
    lines += [_row([f"{first}", *(STEPS[first, second] for second in Wish)]) for first in resting_legs.RestingState]
    return "\n".join(lines)


def _events(severity: Severity) -> list[Event]:
    return [event for event in CATALOGUE.values() if event.severity is severity]


def _alarms(severity: Severity) -> str:
    lines = [_row(["event", "what it means", "what to do"]), _row(["---"] * 3)]
    lines += [_row([f"`{event.name}`", event.meaning, event.what_to_do]) for event in _events(severity)]
    return "\n".join(lines)


def errors() -> str:
    """Events to look at once."""
    return _alarms(Severity.ERROR)


def warnings() -> str:
    """Events to keep an eye on."""
    return _alarms(Severity.WARNING)


def everyday() -> str:
    """Everyday events, with their facts."""

    def facts(event: Event) -> str:
        return ", ".join(name if name == MORE_FACTS else f"`{name}`" for name in event.facts)

    lines = [_row(["event", "means", "facts"]), _row(["---"] * 3)]
    lines += [_row([f"`{event.name}`", event.meaning, facts(event)]) for event in _events(Severity.INFO)]
    return "\n".join(lines)


def _picture(arrows: Mapping[tuple[str, str], str], ends: list[str], first: str) -> str:
    """A state diagram that browsers and code hosts draw by themselves (Mermaid)."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    lines += [f"    {before} --> {after}{f': {label}' if label else ''}" for (before, after), label in arrows.items()]
    return "\n".join([*lines, *(f"    {end} --> [*]" for end in ends), "```"])


def order_picture() -> str:
    """The life of an order: every change that moves it, changes of one arrow together."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, change), after in TRANSITIONS.items():
        if before is not after:
            arrows.setdefault((f"{before}", f"{after}"), []).append(f"{change}")
    return _picture({key: ", ".join(changes) for key, changes in arrows.items()}, sorted(TERMINAL), "intended")


def trade_picture() -> str:
    """The life of a trade."""
    arrows = {
        (f"{before}", f"{after}"): ""
        for before, steps in TRADE_STEPS.items()
        for after in TradeStatus
        if after in steps
    }
    return _picture(arrows, [status for status in TradeStatus if status.is_over], "opening")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process: what it is called in the table, what it owns, what its death means, whom it starts, what it asks or feeds."""

    label: str
    title: str
    owns: str
    when_it_dies: str
    starts: tuple[str, ...] = ()
    talks_to: Mapping[str, str] = field(default_factory=dict)


PROCESSES = {
    "up": Process(
        label="tandem up",
        title="`tandem up`",
        owns="all of the below as children",
        when_it_dies="they go on; the next `tandem up` finds them by their mark and stops them, live first",
        starts=("exchange", "recorder", "prefect", "worker"),
    ),
    "live": Process(
        label="live runner",
        title="live runner (`tandem run`, or flow run of `live`)",
        owns="the account's orders, `journal.sqlite` and its OS lock, its sockets, the control address",
        when_it_dies="the next start replays the journal, asks the exchange about every open question, and goes on;"
        " there is no other way to start",
        talks_to={"exchange": "orders, quotes, account events", "recorder": "journal.sqlite"},
    ),
    "recorder": Process(
        label="recorder",
        title="recorder (`python -m storage.recorder`)",
        owns="`ledger.hot.duckdb`, publishing `ledger.duckdb`",
        when_it_dies="nothing is lost: the next one goes on at the offset it finds in the file",
        talks_to={"readers": "ledger.duckdb"},
    ),
    "prefect": Process(
        label="Prefect server and UI",
        title="Prefect server and UI, behind our guard",
        owns="`var/prefect`; the socket is `tandem up`'s",
        when_it_dies="trading goes on (`prefect_unreachable`); `tandem up` starts it again",
    ),
    "worker": Process(
        label="Prefect worker",
        title="Prefect worker",
        owns="the processes of flow runs",
        when_it_dies="a flow run of `live` dies with it only if both are killed; then it is marked Crashed and started again",
        starts=("live", "jobs"),
        talks_to={"prefect": "runs that are due"},
    ),
    "jobs": Process(
        label="flow runs",
        title="flow runs (`recalibrate`, `health`, `reconcile`, `scan`, `backtest`)",
        owns="`flows.sqlite`, the market data, the pairs file while one writes it",
        when_it_dies="the run is marked Crashed; what it writes is whole or not there, and the next run begins anew",
        talks_to={"exchange": "reads", "recorder": "flows.sqlite", "live": "pairs file, control address"},
    ),
    "exchange": Process(
        label="paper exchange, or Binance",
        title="paper exchange (paper mode)",
        owns="the paper account, `var/paper-exchange.json` (an SQLite file)",
        when_it_dies="the runner sees an exchange that does not answer; `tandem up` starts it again, the account as it was",
    ),
}


def processes() -> str:
    """Every process: what it owns, and what its death means."""
    lines = [_row(["process", "owns", "when it dies"]), _row(["---"] * 3)]
    return "\n".join([*lines, *(_row([one.title, one.owns, one.when_it_dies]) for one in PROCESSES.values())])


def process_picture() -> str:
    """Who starts whom, and what runs between them."""
    lines = ["```mermaid", "flowchart LR", *(f'    {name}["{one.label}"]' for name, one in PROCESSES.items())]
    lines.append('    readers["whoever asks the ledger"]')
    for name, one in PROCESSES.items():
        lines += [f"    {name} --> {child}" for child in one.starts]
        lines += [f'    {name} -. "{what}" .-> {other}' for other, what in one.talks_to.items()]
    return "\n".join([*lines, "```"])


TABLES = {
    "processes": processes,
    "process_picture": process_picture,
    "trade_picture": trade_picture,
    "order_picture": order_picture,
    "resting": resting,
    "orders": orders,
    "opening": opening,
    "closing": closing,
    "remedies": remedies,
    "denials": denials,
    "refusals": refusals,
    "errors": errors,
    "warnings": warnings,
    "everyday": everyday,
}
ELSEWHERE = {
    "processes": ARCHITECTURE,
    "process_picture": ARCHITECTURE,
    "errors": ALARMS,
    "warnings": ALARMS,
    "everyday": OPERATIONS,
}
"""Tables of other pages than the one about execution."""


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- table: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def written(name: str) -> str:
    """The table as the page has it; empty when the page has none."""
    found = _between(name).search(ELSEWHERE.get(name, PAGE).read_text(encoding="utf-8"))
    return found[2].rstrip("\n") if found else ""


def main() -> None:
    for name, table in TABLES.items():
        page = ELSEWHERE.get(name, PAGE)
        text = page.read_text(encoding="utf-8")
        text = _between(name).sub(lambda found, table=table: f"{found[1]}{table()}\n{found[3]}", text)  # type: ignore[misc]
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
