"""A backtest for people and for a program: a row a pair, one line over all of it, everything as JSON."""

from collections.abc import Sequence
from typing import Any

import msgspec

from flows.backtest.engine.figures import Sums
from flows.backtest.engine.trades import END_OF_DATA, BacktestTrade
from flows.backtest.result import Backtest, PairSummary, parameters_of, rounded, stretch_row


def table_of(result: Backtest) -> list[dict[str, Any]]:
    """One row a pair, the total last: for a terminal and an artifact."""
    return [_row(summary) for summary in (*result.pairs, result.total)]


def _row(summary: PairSummary) -> dict[str, Any]:
    sums = summary.sums
    return {
        "pair": summary.name,
        **earned(sums),
        "net bps": "" if sums.net_bps is None else f"{sums.net_bps:.1f}",
        "max drawdown USD": f"{summary.drawdown_usd_max:.2f}",
        "stops": sums.stops,
        "hours held": "" if sums.average_hold_hours is None else f"{sums.average_hold_hours:.2f}",
        "passed over": ", ".join(f"{number} {reason}" for reason, number in summary.denials.items()),
    }


def earned(sums: Sums) -> dict[str, Any]:
    """What every table of a backtest begins with."""
    return {
        "trades": sums.trades,
        "win rate": "" if sums.win_rate is None else f"{sums.win_rate:.0%}",
        "gross USD": f"{sums.gross_usd:.2f}",
        "fees USD": f"{sums.fees_usd:.2f}",
        "funding USD": f"{sums.funding_usd:.2f}",
        "net USD": f"{sums.net_usd:.2f}",
    }


def summary_of(result: Backtest) -> str:
    """One line for people."""
    sums = result.total.sums
    unfinished = sum(trade.exit_reason == END_OF_DATA for trade in result.trades)
    walked = f"{len(result.stretches)} recalibrations; " if result.stretches else ""
    scaled = ", ".join(f"{one.scale:g} × {one.sums.net_usd:.2f}" for one in result.scaled if one.scale != 1)
    notes = "".join(f"; {note}" for note in result.notes)
    return (
        f"{result.window}: {walked}{sums.trades} trades ({unfinished} cut off by the end of the data), gross {sums.gross_usd:.2f},"
        f" fees {sums.fees_usd:.2f}, funding {sums.funding_usd:.2f}, net {sums.net_usd:.2f} USD"
        f"{f' (with other fees: {scaled})' if scaled else ''}, drawdown {result.curve.drawdown_usd_max:.2f}{notes}"
    )


def as_json(result: Backtest) -> bytes:
    """Everything, trades included, with the derived figures spelt out."""
    pairs = [_pair_json(one) for one in (*result.pairs, result.total)]
    curve = result.curve
    body = {
        "run_id": result.run_id,
        "window": result.window,
        "notes": result.notes,
        "parameters": parameters_of(result),
        "data_hash": result.data_hash,
        "pairs": pairs[:-1],
        "total": pairs[-1],
        "drawdown_usd_max": curve.drawdown_usd_max,
        "exposure_usd_average": curve.exposure_usd_average,
        "exposed_share": curve.exposed_share,
        "cost_sensitivity": [
            {"fees": one.scale, "drawdown_usd_max": one.drawdown_usd_max, **rounded(one.sums)} for one in result.scaled
        ],
        "stretches": [stretch_row(one) for one in result.stretches],
        "trades": _trades_json(result.trades),
    }
    return msgspec.json.encode(body)


def _pair_json(one: PairSummary) -> dict[str, Any]:
    sums = one.sums
    return {
        "name": one.name,
        **msgspec.to_builtins(sums),
        "net_usd": sums.net_usd,
        "average_hold_hours": sums.average_hold_hours,
        "drawdown_usd_max": one.drawdown_usd_max,
        "denials": one.denials,
    }


def _trades_json(trades: Sequence[BacktestTrade]) -> list[dict[str, Any]]:
    return [{**msgspec.to_builtins(one), "net_usd": one.net_usd} for one in trades]
