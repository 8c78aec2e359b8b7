"""What is taken out of the program, one at a time: rows of tables, guards, the order of things. Some test must notice each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domain.escalation import REMEDIES, Remedy
from domain.guards import GUARDS
from domain.legs import CLOSING, OPENING, OVERDUE, ClosePlan, Plan
from domain.orders import TRANSITIONS
from domain.refusals import RefusalKind
from runner.exchange.binance.codes import KINDS, REFUSALS

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change to one file: `old`, which stands there exactly once, becomes `new`; without `old`, `new` is appended.

    `tests` are asked in this order until one of them fails.
    """

    name: str
    group: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file's text with the change. Raises: ValueError when the place is gone or no longer unique."""
        if not self.old:
            return f"{text}\n\n{self.new}\n"
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} holds its text {text.count(self.old)} times; correct the table")
        return text.replace(self.old, self.new)


def _table_rows() -> Iterator[Mutant]:
    """Every row of every table: guards and life of an order lose it, the others get another word in it."""

    def row(group: str, name: str, file: str, new: str, *tests: str) -> Mutant:
        return Mutant(name=f"{group}: {name}", group=group, file=file, old="", new=new, tests=tests)

    for code, _ in GUARDS:
        yield row(
            "guard", code.name, "domain/guards.py",
            f"GUARDS = tuple(row for row in GUARDS if row[0] is not DenialCode.{code.name})", "tests/domain/test_guards.py",
        )  # fmt: skip
    for status, change in TRANSITIONS:
        yield row(
            "life of an order", f"{status}, {change}", "domain/orders.py",
            f"TRANSITIONS = MappingProxyType({{key: to for key, to in TRANSITIONS.items()"
            f" if key != (OrderStatus.{status.name}, OrderChange.{change.name})}})",
            "tests/domain/test_orders_table.py",
        )  # fmt: skip
    for (leg_a, leg_b), plan in OPENING.items():
        other = Plan.NOTHING if plan is Plan.WAIT else Plan.WAIT
        yield row(
            "opening legs", f"{leg_a}, {leg_b}", "domain/legs.py",
            f"OPENING = MappingProxyType({{**OPENING, (LegState.{leg_a.name}, LegState.{leg_b.name}): Plan.{other.name}}})",
            "tests/domain/test_legs.py",
        )  # fmt: skip
    for leg_a, leg_b in OVERDUE:
        yield row(
            "overdue legs", f"{leg_a}, {leg_b}", "domain/legs.py",
            f"OVERDUE = MappingProxyType({{key: plan for key, plan in OVERDUE.items()"
            f" if key != (LegState.{leg_a.name}, LegState.{leg_b.name})}})",
            "tests/domain/test_legs.py",
        )  # fmt: skip
    for (rest_a, rest_b), closing in CLOSING.items():
        instead = ClosePlan.DONE if closing is ClosePlan.WAIT else ClosePlan.WAIT
        yield row(
            "closing legs", f"{rest_a}, {rest_b}", "domain/legs.py",
            f"CLOSING = MappingProxyType({{**CLOSING,"
            f" (Remainder.{rest_a.name}, Remainder.{rest_b.name}): ClosePlan.{instead.name}}})",
            "tests/domain/test_legs.py",
        )  # fmt: skip
    for http_status, refusal in sorted(REFUSALS, key=str):
        yield row(
            "refusal", f"HTTP {http_status}, {refusal}", "runner/exchange/binance/codes.py",
            f"REFUSALS = frozenset(REFUSALS) - {{({http_status}, {refusal})}}", "tests/exchange/test_exchange_codes.py",
        )  # fmt: skip
    for http_status, no_proof in (
        (503, -1000),
        (408, -1007),
        (400, -1006),
        (503, None),
        (500, None),
        (400, -2013),
        (200, None),
    ):
        yield row(
            "no refusal", f"HTTP {http_status}, {no_proof}", "runner/exchange/binance/codes.py",
            f"REFUSALS = frozenset(REFUSALS) | {{({http_status}, {no_proof})}}", "tests/exchange/test_exchange_codes.py",
        )  # fmt: skip
    for (http_status, code), kind in KINDS.items():
        another = RefusalKind.REJECTED if kind is not RefusalKind.REJECTED else RefusalKind.MALFORMED
        yield row(
            "kind", f"HTTP {http_status}, {code}", "runner/exchange/binance/codes.py",
            f"KINDS = MappingProxyType({{**KINDS, ({http_status}, {code}): RefusalKind.{another.name}}})",
            "tests/exchange/test_exchange_codes.py",
        )  # fmt: skip
    for refused, remedy in REMEDIES.items():
        cure = Remedy.WAIT if remedy is Remedy.RETRY else Remedy.RETRY
        yield row(
            "remedy", str(refused), "domain/escalation.py",
            f"REMEDIES = MappingProxyType({{**REMEDIES, RefusalKind.{refused.name}: Remedy.{cure.name}}})",
            "tests/domain/test_escalation.py",
        )  # fmt: skip


def all_mutants() -> list[Mutant]:
    """The table rows, then the changes written by hand."""
    from safeties import SAFETIES  # noqa: PLC0415  (It needs Mutant from here.)

    return [*_table_rows(), *SAFETIES]
