"""A backtest as entries of the ledger."""

from decimal import Decimal

from domain.entries import BacktestDone, BacktestTraded, Entry, EventLogged
from flows.backtest.engine.trades import BacktestTrade
from flows.backtest.result import Backtest, parameters_of, rounded, stretch_row
from flows.common import facts
from runner import events

_PLACES = 10


def entries_of(result: Backtest) -> list[Entry]:
    """One of the run, one of each trade at the fee as configured, and the event that people look for."""
    at_ms = facts.now_ms()
    return [
        _done(result, at_ms),
        *(_traded(result.run_id, at_ms, trade) for trade in result.trades),
        _event(result, at_ms),
    ]


def _done(result: Backtest, at_ms: int) -> BacktestDone:
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


def _event(result: Backtest, at_ms: int) -> EventLogged:
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
