"""`tandem trade`: one trade's story in order of time, or the last trades."""

import json
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domain.text import printable
from runner.commands.options import config_option

if TYPE_CHECKING:
    from runner.config import Settings
    from storage.story import Line, Story

WIDTH_DEFAULT, WIDTH_MIN, WIDTH_MAX = 100, 72, 160
COLOURS = {"error": "red", "critical": "red", "warning": "yellow"}
LAST_COUNT = 20


@click.command()
@click.argument("trade_id", required=False)
@config_option
@click.option("--last", "count", type=click.IntRange(min=1), default=LAST_COUNT, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")
def trade(trade_id: str | None, config_path: Path, count: int, *, as_json: bool) -> int:
    """Tell the story of TRADE_ID: signal, plan, orders, replies, executions, unhedged stretches, exits, log lines.

    The beginning of an id suffices when it is unique, and so does the id of one of its orders. Without TRADE_ID: the last trades.
    From the published ledger, about two seconds old, whether or not a runner runs. Times are UTC; ms count from the first line.
    """
    # DuckDB is loaded for this command alone; the live process never carries it.
    from domain.errors import ConfigError  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415
    from storage.ledger import LedgerUnavailable, QueryRefused  # noqa: PLC0415
    from storage.story import NoSuchTrade, last_trades, story_of  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.NONE)
    ledger = settings.storage.ledger
    try:
        if trade_id is None:
            _show_last(last_trades(ledger, count), as_json=as_json)
            return 0
        story = story_of(ledger, trade_id, hedge_tolerance=settings.execution.hedge_error_max)
    except NoSuchTrade as problem:
        raise ConfigError(f"{problem} ('tandem trade' lists the last ones)") from None
    except QueryRefused as problem:  # Our own statements: a ledger that an older recorder publishes lacks a column.
        raise LedgerUnavailable(
            f"{ledger}: not what this release writes ({problem}); restart what records it"
        ) from None
    if as_json:
        click.echo(json.dumps(_plain(story), default=str))
        return 0
    width = max(WIDTH_MIN, min(WIDTH_MAX, shutil.get_terminal_size((WIDTH_DEFAULT, 24)).columns))
    for line in (*_header(story.trade, width), "", *_lines(story, width)):
        click.echo(line)
    _say_how_old(settings)
    return 0


def _say_how_old(settings: "Settings") -> None:
    """Nobody records, and the journal knows more than the ledger: say so, or the end of a story is missed in silence."""
    from storage.entries_file import last_seq_of, open_for_reading  # noqa: PLC0415
    from storage.ledger import freshness  # noqa: PLC0415

    known = freshness(settings.storage.ledger)
    journal = settings.storage.journal
    if known.recorder_pid is not None or not journal.exists():
        return
    with closing(open_for_reading(journal)) as connection:
        behind = last_seq_of(connection) - known.runner_seq
    if behind > 0:
        click.echo(
            f"nobody records: the ledger is {behind} rows behind {journal}; start the runner, or a recorder", err=True
        )


def _plain(story: "Story") -> dict[str, Any]:
    first = story.lines[0].at if story.lines else None
    return {
        "trade": story.trade,
        "story": [
            {
                "at": line.at.isoformat(timespec="milliseconds"),
                "ms": 0 if first is None else _ms_between(first, line.at),
                "kind": line.kind,
                "level": line.level,
                "text": line.text,
                "facts": line.facts,
            }
            for line in story.lines
        ],
    }


def _show_last(trades: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(trades, default=str))
        return
    if not trades:
        click.echo("no trades yet")
        return
    head = ("trade", "pair", "side", "status", "opened (UTC)", "held", "net USD", "naked s", "slip bps")
    table = [head, *(_brief(row) for row in trades)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        cells = [cell.ljust(widths[i]) if i < 5 else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        click.echo(printable("  ".join(cells).rstrip()))


def _brief(row: dict[str, Any]) -> tuple[str, ...]:
    status = row["status"] if row["exit_reason"] in {None, "rolled_back"} else f"{row['status']}: {row['exit_reason']}"
    return (
        row["trade_id"],
        row["pair_id"],
        row["side"],
        status,
        f"{row['opened_at']:%m-%d %H:%M:%S}",
        _held(row),
        "" if row["net_pnl_usd"] is None else f"{row['net_pnl_usd']:+.4f}",
        f"{row['naked_seconds']:.3f}",
        "" if row["slippage_bps"] is None else f"{row['slippage_bps']:+.2f}",
    )


def _held(row: dict[str, Any]) -> str:
    seconds = row["hold_seconds"]
    if seconds is None:
        return ""
    minutes, rest = divmod(float(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"


def _header(row: dict[str, Any], width: int) -> Iterator[str]:
    why = f" ({row['exit_reason']})" if row["exit_reason"] not in {None, row["status"]} else ""
    yield click.style(f"{row['trade_id']}  {row['pair_id']}  {row['side']}  {row['status']}{why}", bold=True)
    for title, text in _paragraphs(row):
        pieces = textwrap.wrap(text, width - 12, break_on_hyphens=False)
        yield from (f"  {title if number == 0 else '':<9} {piece}" for number, piece in enumerate(pieces))


def _paragraphs(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from storage.story import number, shown_facts, signed  # noqa: PLC0415

    def exact(value: Decimal | None) -> str:
        return "-" if value is None else number(value)

    def usd(value: Decimal | None) -> str:
        return "- USD" if value is None else f"{signed(value, 4)} USD"

    yield "opened", f"{_moment(row['opened_at'])} UTC at z {row['entry_z']:+.3f}; hedge ratio {row['hedge_ratio']:.6g}"
    yield (
        "exits",
        f"at z {row['exit_threshold']:.2f}, stop at {row['stop_z']:.2f}, latest {_moment(row['time_stop_at'])}",
    )
    costs = json.loads(row["costs"] or "{}")
    sums = ", ".join(f"{name.removesuffix('_usd').replace('_', ' ')} {_short(value)}" for name, value in costs.items())
    yield "expected", f"{usd(row['expected_edge_usd'])} net ({sums})"
    for leg in ("a", "b"):
        prices = (row[f"decision_price_{leg}"], row[f"entry_price_{leg}"], row[f"exit_price_{leg}"])
        quantity, symbol = exact(row[f"quantity_{leg}"]), row[f"symbol_{leg}"]
        yield (
            f"leg {leg}",
            f"{quantity} {symbol}, decided/entered/left at {' / '.join(exact(price) for price in prices)}",
        )
    if row["closed_at"] is None:
        yield "result", f"still {row['status']}: holds {exact(row['held_a'])} of a, {exact(row['held_b'])} of b"
    else:
        parts = ", ".join(
            f"{name} {signed(value, 4)}"
            for name, value in (
                ("gross", row["gross_pnl_usd"]),
                ("fees", -row["fees_usd"]),
                ("funding", row["funding_usd"]),
            )
        )
        yield (
            "result",
            f"{usd(row['net_pnl_usd'])} net ({parts}); closed {_moment(row['closed_at'])}, held {_held(row)}",
        )
    if row["fees_unpriced"]:
        yield "", f"{row['fees_unpriced']} fees are not in dollars and in no sum: {row['fees_by_asset']}"
    skew = "" if row["leg_skew_ms"] is None else f", skew {row['leg_skew_ms']:.0f} ms"
    slipped = [
        f"{way} {signed(row[f'{way}_slippage_bps'], 2)} bps ({usd(row[f'{way}_slippage_usd'])})"
        for way in ("entry", "exit")
        if row[f"{way}_slippage_bps"] is not None
    ]
    naked = f"naked {row['naked_seconds']:.3f} s ({row['naked_notional_usd_seconds']:.4g} USD·s)"
    yield "quality", f"{naked}{skew}; slippage {', '.join(slipped) or 'none to measure'}"
    if row["limit_entry"] is not None:
        yield "rested", f"leg {row['passive_leg']}: {shown_facts(json.loads(row['limit_entry']))}"
    fates = f"{row['refused_orders']} refused, {row['unknown_orders']} of unknown fate for a while"
    yield (
        "orders",
        f"{row['orders']} ({row['entered_by']} entry), {row['extra_orders']} beyond the first of a leg, {fates}",
    )


def _lines(story: "Story", width: int) -> Iterator[str]:
    first = story.lines[0].at if story.lines else None
    day = None
    for line in story.lines:
        if line.at.date() != day:
            day = line.at.date()
            yield click.style(f"{'ms':>9}  {day:%Y-%m-%d}", bold=True)
        since = 0 if first is None else _ms_between(first, line.at)
        head = f"{since:>9,}  {_moment(line.at)[11:]}  {line.kind:<8} "
        yield from _wrapped(head, line, width)


def _wrapped(head: str, line: "Line", width: int) -> Iterator[str]:
    room = max(20, width - len(head))
    pieces = [
        piece
        for part in printable(line.text).splitlines() or [""]
        for piece in textwrap.wrap(
            part, room, subsequent_indent="  " if "\n" in line.text else "", break_on_hyphens=False
        )
    ]
    colour = COLOURS.get(line.level, "green" if line.kind == "fill" else None)
    for number, piece in enumerate(pieces):
        yield (head if number == 0 else " " * len(head)) + (click.style(piece, fg=colour) if colour else piece)


def _ms_between(first: datetime, then: datetime) -> int:
    return round((then - first).total_seconds() * 1000)


def _moment(at: datetime | None) -> str:
    return "never" if at is None else at.isoformat(sep=" ", timespec="milliseconds")[:23]


def _short(value: object) -> str:
    try:
        return f"{float(str(value)):.4g}"
    except ValueError:
        return str(value)
