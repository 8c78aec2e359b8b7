"""The report of a backtest: one page with its pictures inside, for a browser and for the UI."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from numpy.typing import NDArray

from domain.units import DAY_MS
from flows.backtest.engine.figures import Sums, net_by_day, turnover_by_day
from flows.backtest.engine.forward import Stretch
from flows.backtest.engine.market import Floats, Times
from flows.backtest.engine.trades import BacktestTrade
from flows.backtest.report import earned, summary_of, table_of
from flows.backtest.result import Backtest
from flows.common import facts
from flows.common.output_files import replacing
from flows.common.pages import Heading, Part, Picture, Points, Rows, Text, as_html, as_markdown
from flows.common.pictures import BAD, FAINT, GOOD, INK, LINE, data_uri, figure, style

REPORT_BYTES_MAX = 900_000
"""Of the markdown: what the server takes in one artifact without complaint."""
_POINTS_MAX = 3_000
_TRADES_MAX = 200
_STRETCHES_MAX = 120


def write_report(path: Path, result: Backtest) -> None:
    """A page that opens in a browser and needs no other file. Raises: ConfigError when it cannot be written; an old one stays."""
    page = as_html(title_of(result), list(parts_of(result)))
    with replacing("--report", path) as beside:
        beside.write_text(page, encoding="utf-8")


def markdown_of(result: Backtest) -> str:
    """The same for an artifact."""
    return as_markdown(title_of(result), list(parts_of(result)), bytes_max=REPORT_BYTES_MAX)


def title_of(result: Backtest) -> str:
    kind = "Walk-forward backtest" if result.stretches else "Backtest"
    return f"{kind}, {facts.iso(result.start_ms)[:10]} to {facts.iso(result.end_ms)[:10]}"


def parts_of(result: Backtest) -> Iterator[Part]:
    """Every part in order of what a reader asks first."""
    yield Text(summary_of(result))
    yield Rows([_earned(result)])
    yield Rows([_used(result)])
    yield Heading("Equity and drawdown")
    yield _equity(result)
    yield Heading("With other fees")
    yield Text("The same prices, decided anew with so many times the fee: a dearer trade must also promise more.")
    yield Rows([_scaled_row(f"{one.scale:g} × fees", one.sums, one.drawdown_usd_max) for one in result.scaled])
    if result.stretches:
        yield Heading("In sample against out of sample")
        yield Text(
            "Of every recalibration: what the pairs it left open for entries did on the very window they were chosen and fitted on,"
            " and what was traded until the next one. Net USD a day. The first is no result; the distance between the two is."
        )
        yield Rows([_sample_row("in sample", result, fitted=True), _sample_row("out of sample", result, fitted=False)])
        yield _samples(result)
    yield Heading("Day by day")
    yield _days(result)
    yield Heading("Pairs")
    yield Rows(table_of(result), sums=True)
    if result.stretches:
        yield Heading("Recalibrations")
        shown = result.stretches[-_STRETCHES_MAX:]
        if len(shown) < len(result.stretches):
            yield Text(f"The last {len(shown)} of {len(result.stretches)}.")
        yield Rows([_stretch_row(one) for one in shown])
    yield Heading("How it was reckoned")
    yield Points(reckoned(result))
    yield Heading(f"Latest {min(_TRADES_MAX, len(result.trades))} of {len(result.trades)} trades")
    yield Rows([_trade_row(trade) for trade in result.trades[-_TRADES_MAX:]])


def reckoned(result: Backtest) -> list[str]:
    """What a reader must know to believe the numbers, and what they leave out."""
    terms, rules, limits = result.terms, result.rules, result.terms.limits
    fills = "the quote that is there" if result.is_of_quotes else "the next bar's open"
    spread = "" if result.is_of_quotes else f" half a spread of {terms.half_spread * 1e4:g} bps,"
    later = f"{terms.latency_bars} {'quote' if result.is_of_quotes else 'bar'}(s)"
    later += f" and {terms.latency_ms} ms" if terms.latency_ms else ""
    paid = f"a taker fee of {terms.taker_fee_rate * 1e4:g} bps,{spread} slippage of {terms.slippage * 1e4:g} bps"
    cap, loss = limits.gross_notional_usd_max, limits.daily_loss_usd_max
    lines = [
        f"Decided by the live functions, by the {terms.lookback_bars} closed bars before; filled {later} later at {fills}, whole.",
        f"Paid on each of the four fills: {paid}; and funding at every settlement.",
        (
            f"{terms.notional_usd} USD of leg b a trade, at most {cap} USD of both legs of all trades, no entries after {loss} USD"
            f" lost in a day (UTC); the expected reversion must be {limits.min_edge_ratio:g} × the costs."
        ),
        "One trade a pair. An entry is denied while another pair's order is under way in one of its symbols; exits are not.",
        "The curve has open trades at the bars' closes; what is open at the end is closed there.",
        "Not simulated: margin and liquidation, partial fills and rollbacks, our own impact, outages, freezes. Live pays for these.",
    ]
    if result.stretches:
        calibration = rules.calibration
        tested = "every pair of all symbols" if calibration.universe == "listed" else "the configured pairs"
        lines += [
            (
                f"Recalibrated half an hour after midnight UTC every {rules.recalibrate_every_days} day(s) by the nightly flow's own"
                f" function: {tested}, over {calibration.window_days:g} days of {calibration.timeframe} candles closed by then."
            ),
            "statsmodels was not asked to confirm, as live would. The symbols are the data's: what died before is not there.",
        ]
    elif not rules.walk_forward:
        lines.append(
            "Hedge ratios and half-lives are today's and knew these prices: this flatters. --walk-forward does not."
        )
    return (
        lines
        + [f"{note[0].upper()}{note[1:]}." for note in result.notes]
        + [f"Data {result.data_hash}, run {result.run_id}."]
    )


def _earned(result: Backtest) -> dict[str, Any]:
    sums = result.total.sums
    return {
        **earned(sums),
        "net bps of turnover": "" if sums.net_bps is None else f"{sums.net_bps:.2f}",
        "expected at entry, USD": f"{sums.expected_edge_usd:.2f}",
    }


def _used(result: Backtest) -> dict[str, Any]:
    curve, days = result.curve, max(result.days, 1e-9)
    return {
        "max drawdown USD": f"{curve.drawdown_usd_max:.2f}",
        "turnover USD a day": f"{result.total.sums.turnover_usd / days:.0f}",
        "exposure USD, average": f"{curve.exposure_usd_average:.0f}",
        "at most": f"{curve.exposure_usd_max:.0f}",
        "exposed, of the time": f"{curve.exposed_share:.0%}",
        "days": f"{result.days:.1f}",
    }


def _scaled_row(name: str, sums: Sums, drawdown_usd_max: float) -> dict[str, Any]:
    return {
        "": name,
        "trades": sums.trades,
        "gross USD": f"{sums.gross_usd:.2f}",
        "fees USD": f"{sums.fees_usd:.2f}",
        "funding USD": f"{sums.funding_usd:.2f}",
        "net USD": f"{sums.net_usd:.2f}",
        "net bps of turnover": "" if sums.net_bps is None else f"{sums.net_bps:.2f}",
        "max drawdown USD": f"{drawdown_usd_max:.2f}",
    }


def sample_totals(result: Backtest, *, fitted: bool) -> tuple[Sequence[Sums], float]:
    """Every stretch's sums, and how many days they are of together."""
    if fitted:
        return [one.in_sample for one in result.stretches], sum(one.in_sample_days for one in result.stretches)
    return [one.out_of_sample for one in result.stretches], sum(one.days for one in result.stretches)


def _sample_row(name: str, result: Backtest, *, fitted: bool) -> dict[str, Any]:
    listed, days = sample_totals(result, fitted=fitted)
    trades, turnover = sum(one.trades for one in listed), sum(one.turnover_usd for one in listed)
    net = sum(one.net_usd for one in listed)
    return {
        "": name,
        "trades a day": f"{trades / max(days, 1e-9):.2f}",
        "win rate": f"{sum(one.wins for one in listed) / trades:.0%}" if trades else "",
        "gross USD a day": f"{sum(one.gross_usd for one in listed) / max(days, 1e-9):.2f}",
        "fees USD a day": f"{sum(one.fees_usd for one in listed) / max(days, 1e-9):.2f}",
        "net USD a day": f"{net / max(days, 1e-9):.2f}",
        "net bps of turnover": f"{1e4 * net / turnover:.2f}" if turnover else "",
    }


def _stretch_row(one: Stretch) -> dict[str, Any]:
    counts = ", ".join(f"{count} {action}" for action, count in one.decided.counts.items() if count)
    return {
        "from": facts.iso(one.start_ms)[:16],
        "pairs open": sum(pair.enabled for pair in one.pairs),
        "tests": one.decided.scanned.family,
        "decided": counts or "nothing",
        "refused": "; ".join(map(str, one.decided.refusals)),
        "in sample, net a day": f"{one.in_sample.net_usd / max(one.in_sample_days, 1e-9):.2f}",
        "trades": one.out_of_sample.trades,
        "net USD": f"{one.out_of_sample.net_usd:.2f}",
    }


def _trade_row(trade: BacktestTrade) -> dict[str, Any]:
    return {
        "pair": trade.pair_id,
        "side": trade.side,
        "opened": facts.iso(trade.opened_ms)[:16],
        "closed": facts.iso(trade.closed_ms)[:16],
        "entry z": f"{trade.entry_z:.2f}",
        "exit z": f"{trade.exit_z:.2f}",
        "why": trade.exit_reason,
        "gross": f"{trade.gross_usd:.3f}",
        "fees": f"{trade.fees_usd:.3f}",
        "funding": f"{trade.funding_usd:.3f}",
        "net": f"{trade.net_usd:.3f}",
    }


# Pictures.


def _equity(result: Backtest) -> Picture:
    curve = result.curve
    with style():
        made, (top, middle, bottom) = figure(3, height_inches=1.75)
        _over_time(top, curve.at_ms, curve.equity_usd, "net, open trades included, USD")
        top.axhline(0, color=INK, linewidth=0.6)
        _over_time(middle, curve.at_ms, -curve.drawdown_usd, "below the highest point so far, USD", colour=BAD)
        _over_time(bottom, curve.at_ms, curve.exposure_usd, "exposure, both legs, USD", colour=FAINT)
        for one in result.stretches if len(result.stretches) <= 60 else ():
            top.axvline(_dates(np.array([one.start_ms]))[0], color=FAINT, linewidth=0.4, zorder=0)
        return Picture(data_uri(made, dots_per_inch=110), "equity, drawdown and exposure over time")


def _samples(result: Backtest) -> Picture:
    """A point a recalibration: where it was fitted against where it was traded."""
    with style():
        made, (left, right) = figure(columns=2, height_inches=2.6)
        fitted = np.array([one.in_sample.net_usd / max(one.in_sample_days, 1e-9) for one in result.stretches])
        traded = np.array([one.out_of_sample.net_usd / max(one.days, 1e-9) for one in result.stretches])
        times = _dates(np.array([one.start_ms for one in result.stretches]))
        left.plot(times, fitted, color=FAINT, marker=".", label="in sample")
        left.plot(times, traded, color=LINE, marker=".", label="out of sample")
        left.axhline(0, color=INK, linewidth=0.6)
        left.set_title("net USD a day, by recalibration", color=INK)
        left.legend(frameon=False)
        _date_axis(left)
        right.scatter(fitted, traded, s=14, color=LINE)
        right.axhline(0, color=INK, linewidth=0.6)
        right.axvline(0, color=INK, linewidth=0.6)
        right.set_xlabel("in sample")
        right.set_ylabel("out of sample")
        right.set_title("what was promised against what came", color=INK)
        return Picture(data_uri(made, kind="svg"), "net a day in and out of sample")


def _days(result: Backtest) -> Picture:
    with style():
        made, (top, bottom) = figure(2, height_inches=1.6)
        net, turnover = net_by_day(result.trades), turnover_by_day(result.trades)
        days = _dates(np.array(list(net), dtype=np.int64))
        values = np.array(list(net.values()))
        top.bar(days, values, width=0.8, color=[GOOD if value >= 0 else BAD for value in values])
        top.axhline(0, color=INK, linewidth=0.6)
        top.set_title("net of the trades closed, USD", color=INK)
        bottom.bar(_dates(np.array(list(turnover), dtype=np.int64)), list(turnover.values()), width=0.8, color=LINE)
        bottom.set_title("turnover, USD", color=INK)
        for axes in (top, bottom):
            axes.set_xlim(*_dates(np.array([result.start_ms, result.end_ms])))
            _date_axis(axes)
        return Picture(data_uri(made, dots_per_inch=110), "net and turnover by day")


def _over_time(axes: Axes, at_ms: Times, values: Floats, title: str, *, colour: str = LINE) -> None:
    at_ms, values = thinned(at_ms, values)
    axes.fill_between(_dates(at_ms), values, color=colour, alpha=0.15, linewidth=0)
    axes.plot(_dates(at_ms), values, color=colour)
    axes.set_title(title, color=INK)
    _date_axis(axes)


def thinned(at_ms: Times, values: Floats) -> tuple[Times, Floats]:
    """At most so many points, the lowest and the highest of each stretch among them: no drawdown is thinned away."""
    if values.size <= _POINTS_MAX:
        return at_ms, values
    edges = np.linspace(0, values.size, _POINTS_MAX // 2 + 1).astype(np.int64)
    keep: set[int] = {0, values.size - 1}
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[start:stop]
        keep.update((start + int(part.argmin()), start + int(part.argmax())))
    places = np.array(sorted(keep))
    return at_ms[places], values[places]


def _dates(at_ms: Times) -> NDArray[np.float64]:
    """Days since 1970, matplotlib's dates."""
    return at_ms / DAY_MS


def _date_axis(axes: Axes) -> None:
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
