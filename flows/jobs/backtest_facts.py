"""What a backtest tells the ledger, a terminal and a program."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from domain.entries import BacktestDone, BacktestTraded, Entry, EventLogged
from flows.backtesting.figures import Sums
from flows.backtesting.forward import Stretch
from flows.backtesting.trades import END_OF_DATA, BacktestTrade
from flows.jobs import facts
from runner import events

if TYPE_CHECKING:
    from flows.jobs.backtest import Backtest, PairSummary

_PLACES = 10


def entries_of(result: "Backtest") -> list[Entry]:
    """One of the run, one of each trade at the fee as configured, and the event that people look for."""
    at_ms = facts.now_ms()
    return [
        _done(result, at_ms),
        *(_traded(result.run_id, at_ms, trade) for trade in result.trades),
        _event(result, at_ms),
    ]


def _done(result: "Backtest", at_ms: int) -> BacktestDone:
    sums = result.total.sums
    return BacktestDone(
        at_ms=at_ms,
        run_id=result.run_id,
        mode="walk_forward" if result.stretches else "static",
        from_ms=result.start_ms,
        to_ms=result.end_ms,
        timeframe=result.timeframe,
        parameters=parameters_of(result),
        data_hash=result.data_hash,
        pairs=len(result.pairs),
        trades=sums.trades,
        wins=sums.wins,
        gross_usd=usd(sums.gross_usd),
        fees_usd=usd(sums.fees_usd),
        funding_usd=usd(sums.funding_usd),
        net_usd=usd(sums.net_usd),
        drawdown_usd_max=usd(result.curve.drawdown_usd_max),
        turnover_usd=usd(sums.turnover_usd),
        exposure_usd_average=usd(result.curve.exposure_usd_average),
        cost_sensitivity=[
            {"fees": one.scale, "drawdown_usd_max": round(one.drawdown_usd_max, 6), **rounded(one.sums)}
            for one in result.scaled
        ],
        stretches=[stretch_row(one) for one in result.stretches],
        seconds=round(result.seconds, 3),
        notes=list(result.notes),
    )


def _traded(run_id: str, at_ms: int, trade: BacktestTrade) -> BacktestTraded:
    return BacktestTraded(
        at_ms=at_ms,
        run_id=run_id,
        trade_id=trade.trade_id,
        pair_id=trade.pair_id,
        symbol_a=trade.symbol_a,
        symbol_b=trade.symbol_b,
        side=trade.side,
        opened_ms=trade.opened_ms,
        closed_ms=trade.closed_ms,
        hedge_ratio=trade.hedge_ratio,
        entry_z=trade.entry_z,
        exit_z=trade.exit_z,
        exit_reason=trade.exit_reason,
        quantity_a=usd(trade.quantity_a),
        quantity_b=usd(trade.quantity_b),
        entry_price_a=usd(trade.entry_price_a),
        entry_price_b=usd(trade.entry_price_b),
        exit_price_a=usd(trade.exit_price_a),
        exit_price_b=usd(trade.exit_price_b),
        gross_pnl_usd=usd(trade.gross_usd),
        fees_usd=usd(trade.fees_usd),
        funding_usd=usd(trade.funding_usd),
        net_pnl_usd=usd(trade.net_usd),
        expected_edge_usd=usd(trade.expected_edge_usd),
    )


def usd(value: float) -> Decimal:
    """Ten places: of dollars, and of what is counted or priced beside them."""
    return Decimal(f"{value:.{_PLACES}f}")


def _event(result: "Backtest", at_ms: int) -> EventLogged:
    sums = result.total.sums
    return EventLogged(
        at_ms=at_ms,
        level=events.BACKTEST_DONE.severity.value,
        event=events.BACKTEST_DONE.name,
        facts={
            "run_id": result.run_id,
            "window": result.window,
            "trades": sums.trades,
            "gross_usd": round(sums.gross_usd, 6),
            "fees_usd": round(sums.fees_usd, 6),
            "funding_usd": round(sums.funding_usd, 6),
            "net_usd": round(sums.net_usd, 6),
            "drawdown_usd_max": round(result.curve.drawdown_usd_max, 6),
        },
    )


def parameters_of(result: "Backtest") -> dict[str, Any]:
    """What was asked for, and what the configuration filled in."""
    terms = result.terms
    return result.rules.model_dump(mode="json") | {
        "timeframe": result.timeframe,
        "lookback_bars": terms.lookback_bars,
        "taker_fee_bps": terms.taker_fee_rate * 10_000,
        "min_edge_ratio": terms.limits.min_edge_ratio,
        "pair_notional_usd": str(terms.notional_usd),
        "gross_notional_usd_max": str(terms.limits.gross_notional_usd_max),
        "daily_loss_usd_max": str(terms.limits.daily_loss_usd_max),
    }


def rounded(sums: Sums) -> dict[str, float]:
    return {
        "trades": sums.trades,
        "gross_usd": round(sums.gross_usd, 6),
        "fees_usd": round(sums.fees_usd, 6),
        "funding_usd": round(sums.funding_usd, 6),
        "net_usd": round(sums.net_usd, 6),
        "turnover_usd": round(sums.turnover_usd, 6),
    }


def stretch_row(one: Stretch) -> dict[str, Any]:
    """One stretch between two recalibrations."""
    return {
        "from": facts.iso(one.start_ms),
        "days": round(one.days, 3),
        "pairs": sum(pair.enabled for pair in one.pairs),
        "decisions": {str(action): count for action, count in one.decided.counts.items() if count},
        "refused": [str(refusal) for refusal in one.decided.refusals],
        "in_sample_days": round(one.in_sample_days, 3),
        "in_sample": rounded(one.in_sample),
        "out_of_sample": rounded(one.out_of_sample),
    }


def table_of(result: "Backtest") -> list[dict[str, Any]]:
    """One row a pair, the total last: for a terminal and an artifact."""
    return [_row(summary) for summary in (*result.pairs, result.total)]


def _row(summary: "PairSummary") -> dict[str, Any]:
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


def summary_of(result: "Backtest") -> str:
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


def as_json(result: "Backtest") -> bytes:
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


def _pair_json(one: "PairSummary") -> dict[str, Any]:
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
