"""One trade's story in order of time, put together from the published ledger.

Lines stand in the order in which the runner learned of them; the exchange's own time of an execution is in its text.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from domain.entries import TradeIntended
from domain.errors import TandemError
from domain.orders import Fill, LegName, Purpose, Side
from domain.pairs import PairSide
from domain.trades import TradeState
from storage.ledger import Table, reading
from storage.sql import literal, literals, qualified

Ask = Callable[[str], Table]
Row = dict[str, Any]

_ID = re.compile(r"[0-9a-z]+")
_CLIENT_ORDER_ID = re.compile(r"tdm-([0-9a-z]+)(-[ab][exu]\d+)?")
REPORTED_BY_OTHER_ROWS = ("signal", "denied", "trade_opened", "trade_closed", "trade_rolled_back", "legs_unequal")
_NOT_ABOUT_TRADES = "^(quotes|stream|windows|klines|pairs|prefect|backtest)_"
"""Events of the market-data half and of the flows: not what an execution is explained by."""
_FILL_FACTS = (
    *("at", "leg", "purpose", "symbol", "side", "quantity", "price", "fee", "fee_asset"),
    *("exchange_trade_id", "exchange_order_id", "client_order_id"),
)
NEAREST_MAX = 3


class NoSuchTrade(TandemError):
    """No trade, or more than one, has an id that begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that happened. `level` is a log level for what was logged, else empty."""

    at: datetime
    kind: str
    text: str
    level: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The row of `pair_trades`, and what happened."""

    trade: Row
    lines: list[Line]


def last_trades(ledger: Path, count: int) -> list[Row]:
    """The newest trades, newest first. Raises: LedgerUnavailable, QueryRefused."""
    with reading(ledger) as ask:
        return _rows(ask(f"SELECT * FROM pair_trades ORDER BY intended_at DESC, trade_id LIMIT {int(count)}"))  # noqa: S608


def story_of(ledger: Path, name: str, *, hedge_tolerance: float) -> Story:
    """The story of the one trade whose id begins with `name`; a client order id names its trade.

    Raises: NoSuchTrade (with the nearest ids), LedgerUnavailable, QueryRefused.
    """
    with reading(ledger) as ask:
        trade_id = _found(ask, name.strip().lower())
        (trade,) = _rows(ask(f"SELECT * FROM pair_trades WHERE trade_id = {literal(trade_id)}"))  # noqa: S608
        gathered = _Gathered(ask, trade, hedge_tolerance)
        return Story(trade=trade, lines=gathered.in_order())


def _found(ask: Ask, name: str) -> str:
    match = _CLIENT_ORDER_ID.fullmatch(name)
    name = match[1] if match else name
    ids = [row[0] for row in ask("SELECT trade_id FROM pair_trades ORDER BY intended_at DESC").rows]
    found = [trade_id for trade_id in ids if trade_id.startswith(name)] if _ID.fullmatch(name) else []
    if name in found:
        return name
    if len(found) == 1:
        return str(found[0])
    if found:
        raise NoSuchTrade(f"{len(found)} trades begin with {name}: {_some(found)}; say more of the id")
    if not ids:
        raise NoSuchTrade("no trades yet")
    raise NoSuchTrade(f"no trade {name}; the nearest: {_some(sorted(ids, key=lambda known: _distance(known, name)))}")


def _distance(known: str, wanted: str) -> int:
    """Ids begin with the time of decision: the longest common beginning is the nearest in time."""
    common = 0
    for ours, theirs in zip(known, wanted, strict=False):
        if ours != theirs:
            break
        common += 1
    return -common


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NEAREST_MAX]) + (", …" if len(ids) > NEAREST_MAX else "")


def _rows(table: Table) -> list[Row]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


class _Gathered:
    """Every line with the journal row it came from."""

    def __init__(self, ask: Ask, trade: Row, hedge_tolerance: float) -> None:
        self._ask = ask
        self._trade = trade
        self._id = trade["trade_id"]
        self._hedge_tolerance = hedge_tolerance

    def in_order(self) -> list[Line]:
        numbered = [*self._signals(), *self._plan(), *self._orders(), *self._fills(), *self._steps(), *self._funding()]
        numbered += self._events()
        numbered.sort(key=lambda pair: (pair[1].at, pair[0]))
        return [line for _, line in numbered]

    def _of(self, table: str, where: str | None = None) -> list[Row]:
        condition = f"trade_id = {literal(self._id)}" if where is None else where
        return _rows(self._ask(f"SELECT * FROM {qualified(table)} WHERE {condition} ORDER BY seq"))  # noqa: S608

    @property
    def _during(self) -> str:
        """While the trade lived, in SQL; a second longer, for what is said right after its end."""
        end = self._trade["closed_at"]
        until = f'AND "at" <= {literal((end + timedelta(seconds=1)).isoformat())}' if end is not None else ""
        return f'"at" >= {literal(self._trade["intended_at"].isoformat())} {until}'

    def _pair(self) -> str:
        return literal(str(self._trade["pair_id"]))

    def _signals(self) -> Iterator[tuple[float, Line]]:
        signal_id = str(self._trade["signal_id"])
        nobodys = f"trade_id IS NULL AND pair_id = {self._pair()} AND {self._during}"
        mine = f"trade_id = {literal(self._id)} OR signal_id = {literal(signal_id)} OR ({nobodys})"
        outcomes = self._of("journal.signals_resolved", mine)
        ids = sorted({str(row["signal_id"]) for row in outcomes} | {signal_id})
        for row in self._of("journal.signals_received", f"signal_id IN ({literals(ids)})"):
            z, spread, a, b = (f"{row[name]:.7g}" for name in ("z_score", "spread", "price_a", "price_b"))
            text = f"{row['signal_type']} z {z}, spread {spread}, mids a {a}, b {b}"
            yield row["seq"], Line(at=row["at"], kind="signal", text=text, facts={"signal_id": row["signal_id"]})
        for row in outcomes:
            facts = _json(row["facts"])
            kind = "denial" if row["outcome"] == "denied" else "outcome"
            words = [row["outcome"] if kind == "outcome" else "", row["reason"], shown_facts(facts)]
            level = "" if row["outcome"] == "executed" else "info" if kind == "denial" else "warning"
            yield row["seq"], Line(at=row["at"], kind=kind, text=_joined(words), level=level, facts=facts)

    def _plan(self) -> Iterator[tuple[float, Line]]:
        for row in self._of("journal.trade_intents"):
            side = PairSide(row["side"])
            legs = [
                f"{side.side_of(leg)} {leg} {number(row[f'quantity_{leg}'])} at {number(row[f'price_{leg}'])}"
                for leg in LegName
            ]
            text = _joined([*legs, f"hedge error {row['hedge_error']:.3%}"])
            yield row["seq"], Line(at=row["at"], kind="plan", text=text, facts=_json(row["costs"]))

    def _orders(self) -> Iterator[tuple[float, Line]]:
        for row in self._of("journal.order_intents"):
            limit = "" if row["limit_price"] is None else number(row["limit_price"])
            order = (
                *(short(row["client_order_id"]), row["side"], number(row["quantity"]), _contract(row["symbol"])),
                *(row["type"], limit, row["time_in_force"], "reduce-only" if row["reduce_only"] else ""),
            )
            text = " ".join(word for word in order if word)
            facts = {"client_order_id": row["client_order_id"], "purpose": row["purpose"], "leg": row["leg"]}
            yield row["seq"], Line(at=row["at"], kind="intent", text=text, facts=facts)
        for row in self._of("journal.order_steps"):
            state = f"{short(row['client_order_id'])} {row['status']}"
            filled = number(row["filled"]) if row["filled"] else ""
            at = f" at {number(row['average_price'])}" if filled and row["average_price"] is not None else ""
            whole = row["status"] == "filled"
            level = "warning" if row["status"] in {"unknown", "refused", "dead"} else ""
            facts = {"client_order_id": row["client_order_id"], "change": row["change"], "reason": row["reason"]}
            words = [f"{state} {filled}{at}"] if whole else [state, f"{filled} filled{at}" if filled else ""]
            text = _joined([*words, row["reason"]])
            yield row["seq"], Line(at=row["at"], kind=row["source"] or "order", text=text, level=level, facts=facts)

    def _fills(self) -> Iterator[tuple[float, Line]]:
        fills = self._of("fills")
        for row in fills:
            verb = "bought" if row["side"] == "buy" else "sold"
            seen_at = row["seen_at"] or row["at"]
            late_ms = (_ms(seen_at) - _ms(row["at"])) if seen_at > row["at"] else 0
            text = _joined(
                [
                    f"{short(row['client_order_id'] or '?')} {verb} {number(row['quantity'])} at {number(row['price'])}",
                    _slippage(row, self._decision(row)),
                    f"fee {number(round(row['fee'], 8))} {row['fee_asset']}",
                    f"{late_ms:,} ms ago" if late_ms else "",
                ]
            )
            facts = {name: row[name] for name in _FILL_FACTS}
            yield row["seq"], Line(at=seen_at, kind="fill", text=text, facts=facts)
        yield from self._naked(fills)

    def _decision(self, row: Row) -> Decimal | None:
        if row["purpose"] == "entry":
            return self._decimal(f"decision_price_{row['leg']}")
        closing = [step for step in self._of("journal.trade_steps") if step["status"] == "closing"]
        return (
            self._decimal(f"exit_decision_price_{row['leg']}") if closing and row["seq"] > closing[0]["seq"] else None
        )

    def _decimal(self, column: str) -> Decimal | None:
        value = self._trade[column]
        return value if isinstance(value, Decimal) else None

    def _naked(self, fills: Iterable[Row]) -> Iterator[tuple[float, Line]]:
        """Stretches in which the legs did not hedge each other, by the same fold that the runner trades on."""
        intents = self._of("journal.trade_intents")
        state = TradeState(plan=_plan_of(intents[0]), hedge_tolerance=self._hedge_tolerance)
        began: Row | None = None
        usd_max = Decimal(0)
        known = [row for row in fills if row["leg"] is not None and row["purpose"] is not None]
        for row in sorted(known, key=lambda row: (row["at"], row["seq"])):
            state.absorb(_fill_of(row), LegName(row["leg"]), Purpose(row["purpose"]))
            if state.naked_since_ms is not None:
                began = began or row
                usd_max = max(usd_max, state.naked_notional_usd)
            elif began is not None:
                if row["at"] > began["at"]:
                    yield self._stretch(began, row["at"], usd_max)
                began, usd_max = None, Decimal(0)
        if began is not None:
            yield self._stretch(began, None, usd_max)

    @staticmethod
    def _stretch(began: Row, until: datetime | None, usd: Decimal) -> tuple[float, Line]:
        seconds = None if until is None else (until - began["at"]).total_seconds()
        how_long = "now" if seconds is None else f"{_clock(until)}, {seconds:.3f} s"
        text = f"{_clock(began['at'])} to {how_long}, up to {usd:.2f} USD unhedged"
        facts = {"from": began["at"], "until": until, "seconds": seconds, "usd": usd}
        line = Line(at=began["seen_at"] or began["at"], kind="naked", text=text, level="warning", facts=facts)
        return began["seq"] + 0.5, line  # Right after the execution that began it.

    def _steps(self) -> Iterator[tuple[float, Line]]:
        for row in self._of("journal.trade_steps"):
            facts = _json(row["facts"])
            if any(_is_option(value) for value in facts.values()):
                yield row["seq"], Line(at=row["at"], kind="choice", text=_chosen(row["reason"], facts), facts=facts)
                continue
            words = [
                f"{row['status']}" + (f": {row['reason']}" if row["reason"] not in {"", row["status"]} else ""),
                f"z {row['exit_z']:+.3f}" if row["exit_z"] is not None else "",
                f"naked {row['naked_seconds']:.3f} s" if row["naked_seconds"] else "",
                *(f"{leg} at {number(row[f'price_{leg}'])}" for leg in LegName if row[f"price_{leg}"] is not None),
                shown_facts(facts),
            ]
            level = "error" if row["status"] == "attention" else ""
            yield row["seq"], Line(at=row["at"], kind="trade", text=_joined(words), level=level, facts=facts)

    def _funding(self) -> Iterator[tuple[float, Line]]:
        for row in self._of("fundings"):
            word = "paid" if row["amount_usd"] < 0 else "received"
            text = f"{word} {number(abs(row['amount_usd']))} USD on {_contract(row['symbol'])}"
            yield row["seq"], Line(at=row["at"], kind="funding", text=text, facts={"amount_usd": row["amount_usd"]})

    def _events(self) -> Iterator[tuple[float, Line]]:
        ours = f"trade_id = {literal(self._id)} OR (trade_id IS NULL AND pair_id = {self._pair()} AND {self._during})"
        everybodys = f"trade_id IS NULL AND pair_id IS NULL AND {self._during}"
        others = f"{everybodys} AND NOT regexp_matches(event, {literal(_NOT_ABOUT_TRADES)})"
        where = f"({ours} OR ({others})) AND event NOT IN ({literals(REPORTED_BY_OTHER_ROWS)})"
        for row in self._of("events", where):
            facts = _json(row["facts"])
            text = f"{row['event']} {shown_facts(facts)}".rstrip()
            yield row["seq"], Line(at=row["at"], kind="log", text=text, level=row["level"], facts=facts)


def short(client_order_id: str) -> str:
    """`tdm-<trade>-ae0` -> `ae0`: leg, purpose, attempt."""
    return client_order_id.rpartition("-")[2] if client_order_id.startswith("tdm-") else client_order_id


def number(value: Decimal | None) -> str:
    """An exact decimal without the zeros its column carries."""
    if value is None:
        return "?"
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: Decimal | float, places: int) -> str:
    """With its sign, and no minus before what is rounded to nothing."""
    rounded = round(float(value), places)
    return f"{rounded or 0.0:+.{places}f}"


def shown_facts(facts: Mapping[str, Any]) -> str:
    """`name value, …`, nothing for what is empty."""
    shown = ((name, _shown_value(value)) for name, value in facts.items())
    return ", ".join(f"{name} {value}" for name, value in shown if value not in {"", "None", "()"})


def _shown_value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({shown_facts(value)})"
    if isinstance(value, list):
        return f"({', '.join(map(_shown_value, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_option(value: object) -> bool:
    return isinstance(value, Mapping) and "total_usd" in value


def _chosen(reason: str, options: Mapping[str, Any]) -> str:
    """A line for each way out of an unequal opening, the chosen one first: what it would do and cost, or what forbade it."""
    ordered = sorted((name for name in options if _is_option(options[name])), key=lambda name: name != reason)
    return "\n".join(("" if name == reason else "or ") + _option(name, options[name]) for name in ordered)


def _option(name: str, option: Mapping[str, Any]) -> str:
    what = [name, *(str(option[part]) for part in ("leg", "quantity") if part in option)]
    if "limit_price" in option:
        what.append(f"limit {option['limit_price']}")
    sums = {part.removesuffix("_usd").replace("_", " "): option[part] for part in option if part.endswith("_usd")}
    total = sums.pop("total")
    why_not = f"; not possible: {option['obstacle']}, {option['detail']}" if "obstacle" in option else ""
    return f"{' '.join(what)}: expected cost {signed(total, 4)} USD ({shown_facts(sums)}){why_not}"


def _contract(symbol: str) -> str:
    """`BTC/USDT:USDT` -> `BTC/USDT`: the settlement coin is always the same."""
    return symbol.partition(":")[0]


def _clock(at: datetime | None) -> str:
    return "?" if at is None else at.isoformat(timespec="milliseconds")[11:23]


def _joined(words: Iterable[str | None]) -> str:
    return ", ".join(word for word in words if word)


def _json(text: str | None) -> dict[str, Any]:
    return dict(json.loads(text)) if text else {}


def _slippage(row: Row, decision: Decimal | None) -> str:
    if not decision:
        return ""
    worse = (row["price"] - decision) * (1 if row["side"] == "buy" else -1)
    return f"slip {signed(worse / decision * 10_000, 2)} bps ({signed(worse * row['quantity'], 4)} USD)"


def _plan_of(row: Row) -> TradeIntended:
    named = {name: row[name] for name in TradeIntended.__struct_fields__ if name in row}
    at_ms, time_stop_at = _ms(row["at"]), row["time_stop_at"]
    named |= {"at_ms": at_ms, "side": PairSide(row["side"]), "costs": {}}
    return TradeIntended(**named, time_stop_ms=None if time_stop_at is None else _ms(time_stop_at))


def _fill_of(row: Row) -> Fill:
    named = {name: row[name] for name in Fill.__struct_fields__ if name in row}
    return Fill(**(named | {"side": Side(row["side"]), "at_ms": _ms(row["at"])}))


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
