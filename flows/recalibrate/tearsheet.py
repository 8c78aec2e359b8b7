"""The tear sheet of a recalibration: one page of markdown with its pictures inside, small enough for an artifact."""

from collections.abc import Iterator

import numpy as np

from domain.statistics.adf import Floats
from domain.statistics.decisions import Decision, Fit
from domain.units import DAY_MS, SECOND_MS
from flows.common.pictures import BAD, FAINT, GOOD, INK, LINE, Axes, figure, markdown_image, style
from flows.recalibrate.report import end_of
from flows.recalibrate.result import Recalibration
from runner.config import SignalSettings

SHEET_BYTES_MAX = 900_000
"""Of the whole page: what the server takes in one artifact without complaint, and a browser shows at once."""
_POINTS_MAX = 1_500
_BINS = 40
_DOTS_PER_INCH = 72  # As wide as the page shows it, and twenty pairs are within the limit.


def sheet_of(result: Recalibration, signal: SignalSettings) -> str:
    """Markdown: what became of the file, the q-values of everything tested, and spread and z of every pair that stays in it."""
    end = end_of(result)
    parts = ["# Recalibration", "", f"**{end[0].upper()}{end[1:]}.**", ""]
    parts += _family(result)
    drawn = [(decision, fit) for decision in result.decisions if (fit := _standing(decision)) is not None]
    parts += ["", "## The pairs of the file", ""]
    if not drawn:
        parts.append("No pair of the file has numbers to draw.")
    else:
        parts.append(
            "Spread and z over the calibration's window, by its mean and deviation. The runner measures z over its own last"
            f" {signal.lookback_bars} bars of {signal.bar_seconds} s, or of the pair's own bar_seconds. Green: entry; red: stop."
        )
    size = sum(map(len, parts))
    for number, (decision, fit) in enumerate(drawn):
        picture = _pair_picture(result, decision, fit, signal)
        if size + len(picture) > SHEET_BYTES_MAX:
            parts.append(f"\n{len(drawn) - number} more pairs are not drawn: the page would be too large.")
            break
        size += len(picture)
        parts += ["", f"### {decision.pair_id}", _line(decision, fit), "", picture]
    blank = [decision for decision in result.decisions if decision.after is not None and _standing(decision) is None]
    if blank:
        parts += [
            "",
            "Without numbers of these bars: " + "; ".join(f"{one.pair_id} ({one.reason})" for one in blank) + ".",
        ]
    return "\n".join(parts) + "\n"


def _standing(decision: Decision) -> Fit | None:
    """The numbers that stand in the file afterwards, or those that were found of a pair that keeps its own."""
    return None if decision.after is None else decision.found


def _line(decision: Decision, fit: Fit) -> str:
    half_life = "none" if fit.half_life_bars is None else f"{fit.half_life_bars:.3g} bars"
    return (
        f"{decision.action}: {decision.leg_b} = {fit.intercept:.6g} + {fit.hedge_ratio:.6g} × {decision.leg_a}, half-life"
        f" {half_life}. {decision.reason}"
    )


def _family(result: Recalibration) -> Iterator[str]:
    """The histogram of q-values."""
    scanned, level = result.verdict.scanned, result.rules.q_max
    q = scanned.q_value[np.isfinite(scanned.q_value)]
    yield f"## {scanned.family} q-values"
    if not q.size:
        yield "Nothing could be ranked."
        return
    with style():
        made, (axes,) = figure(height_inches=1.8)
        counts, edges = np.histogram(q, bins=_BINS, range=(0, 1))
        axes.stairs(counts, edges, fill=True, color=LINE)
        axes.axvline(level, color=BAD, linestyle="--")
        axes.set_title(f"{int((q <= level).sum())} directions with q ≤ {level:g}, the dashed line", color=INK)
        axes.set_xlabel("q-value")
        axes.set_ylabel("directions")
        if counts.max() > 50 * max(1.0, float(np.median(counts))):
            axes.set_yscale("symlog")
        yield markdown_image(made, "q-values", kind="svg")


def _pair_picture(result: Recalibration, decision: Decision, fit: Fit, signal: SignalSettings) -> str:
    panel = result.evidence.panel
    b, a = (panel.prices[:, panel.symbols.index(leg)] for leg in (decision.leg_b, decision.leg_a))
    spread = b - fit.hedge_ratio * a
    days = np.arange(len(spread)) * (panel.bar_seconds or 0) * SECOND_MS / DAY_MS
    days -= days[-1]
    z = (spread - fit.intercept) / fit.residual_std
    row = next((row for row in result.rows_after if row.pair_id == decision.pair_id), None)
    entry = signal.entry_threshold if row is None or row.z_score_threshold is None else row.z_score_threshold
    stop = signal.stop_loss_threshold if row is None or row.stop_loss_z is None else row.stop_loss_z
    with style():
        made, (left, right) = figure(columns=2, height_inches=1.7)
        _curve(left, days, spread, "spread, in prices of leg b")
        left.axhline(fit.intercept, color=FAINT)
        _curve(right, days, z, "z")
        right.axhline(0, color=FAINT)
        for at, colour in ((entry, GOOD), (stop, BAD)):
            for sign in (-1, 1):
                right.axhline(sign * at, color=colour, linestyle="--", linewidth=0.7)
        return markdown_image(made, f"{decision.pair_id}: spread and z", dots_per_inch=_DOTS_PER_INCH)


def _curve(axes: Axes, days: Floats, values: Floats, title: str) -> None:
    step = max(1, len(values) // _POINTS_MAX)
    axes.plot(days[::step], values[::step], color=LINE)
    axes.set_title(title)
    axes.set_xlabel("days before the newest bar")
