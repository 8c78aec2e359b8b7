"""The tables of ARCHITECTURE.md that are the code's own, written from it: `python tests/docs/docs_tables.py` puts them there anew."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from domain.legs import CLOSING, OPENING, Remainder, Standing
from domain.orders import TERMINAL, TRANSITIONS, OrderChange, OrderStatus

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "ARCHITECTURE.md"


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


def _legs(table: Mapping[tuple[StrEnum, StrEnum], StrEnum], kinds: type[StrEnum]) -> str:
    lines = [_row(["leg a ↓ leg b →", *kinds]), _row(["---"] * (len(kinds) + 1))]
    lines += [_row([f"{first}", *(table[first, second] for second in kinds)]) for first in kinds]
    return "\n".join(lines)


def opening() -> str:
    """What to do next with a pair that opens."""
    return _legs({(a, b): plan for (a, b), plan in OPENING.items()}, Standing)


def closing() -> str:
    """What to do next with a pair that closes."""
    return _legs({(a, b): plan for (a, b), plan in CLOSING.items()}, Remainder)


TABLES = {"orders": orders, "opening": opening, "closing": closing}


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- table: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def written(name: str) -> str:
    """The table as the page has it; empty when the page has none."""
    found = _between(name).search(PAGE.read_text(encoding="utf-8"))
    return found[2].rstrip("\n") if found else ""


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        text = _between(name).sub(rf"\g<1>{table()}\n\g<3>", text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
