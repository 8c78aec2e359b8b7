"""`tandem scan`: the scan by hand, of the exchange's candles or of a file of prices."""

from pathlib import Path
from typing import Any

import click

from domain.errors import ConfigError
from flows.common.commands import AS_JSON, DONE, FAILED, SECTORS, rules_of, say, show, speaking, with_config
from flows.common.rule_options import rule_options
from flows.scan.rules import ScanRules

_WORDS = {
    "symbols_max": "Cap on the universe.",
    "timeframe": "The candle of the test.",
    "window_days": "How far back the test looks.",
    "space": "Prices or logs.",
    "statistic": "What pairs are ranked by.",
    "hedge_estimator": "How the hedge ratio is estimated.",
    "criterion": "How the number of lags is chosen.",
    "lags_max": "Most lags.  [default: 12 · (n / 100)^¼]",
    "observations_min": "Fewest common candles.",
    "gap_share_max": "Largest share of missing candles.",
    "leg_p_min": "ADF p up to which a leg is stationary.",
    "q_max": "Largest q-value, the share of false pairs.",
    "correction": "Of the q-values.",
    "half_life_candles_min": "Shortest half-life believed.",
    "half_life_candles_max": "Longest half-life accepted.",
    "sub_windows": "Parts that must agree on the hedge ratio.",
    "sub_window_drift_max": "… within this share.",
    "holdout_share": "Newest share that no fit sees.  [default: {default}; of a FILE 0]",
    "holdout_z_max": "Largest |z| out of sample.",
    "taker_fee_bps": "Fee on each of four fills.",
    "half_spread_bps": "Half the spread, on each of them.",
    "funding_bps_per_day": "Funding of each leg, always paid.",
    "min_edge_ratio": "Reversion over costs; 0: off.",
    "pairs_per_symbol_max": "Most kept pairs of a symbol.",
    "pairs_max": "Most kept pairs.",
    "quote_volume_usd_per_day_min": "Only symbols that trade as much.",
    "age_days_min": "Only symbols that were listed so long ago.",
    "funding_bps_per_day_max": "Only symbols whose funding of no day was further from 0.",
    "same_sector": "Only pairs within one sector, as the exchange names it.",
}
"""Shorter than in the form. A rule without words here is offered in its own."""


@click.command()
@with_config(pairs=False)
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    metavar="BASE/USDT",
    help="A contract (of a FILE, its symbol) to pair up; several times.",
)
@rule_options(ScanRules, _WORDS, leave_out={"must_be_current"})
@SECTORS
@click.option(
    "--prices",
    type=click.Path(path_type=Path),  # What is wrong with it is told in one line of our own.
    default=None,
    metavar="FILE",
    help="Scan this .parquet or .csv instead of the exchange: long (symbol, ts, close) or wide.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),  # What is wrong with it is told in one line of our own.
    default=None,
    metavar="FILE",
    help="Every direction to this .parquet, .csv or .json file.",
)
@click.option("--top", type=click.IntRange(min=1), default=25, show_default=True, help="Pairs to show.")
@AS_JSON
@speaking
def scan(
    *,
    config_path: Path,
    symbols: tuple[str, ...],
    prices: Path | None,
    output: Path | None,
    sectors_path: Path | None,
    top: int,
    as_json: bool,
    **parameters: Any,
) -> int:
    """Look for cointegrated pairs among all symbols, both directions, corrected for the number of tests.

    Never writes the pairs file: what it finds is a candidate, not a trade.
    """
    from domain.statistics.prefilter import SymbolFacts  # noqa: PLC0415
    from flows.common.output_files import check_output  # noqa: PLC0415
    from flows.common.prices import only_symbols, read_prices  # noqa: PLC0415
    from flows.common.progress import Bar  # noqa: PLC0415
    from flows.common.universe_rules import read_sectors  # noqa: PLC0415
    from flows.scan import job as work  # noqa: PLC0415
    from flows.scan.directions import OUTPUT_SUFFIXES, write_directions  # noqa: PLC0415
    from flows.scan.report import excluded_lines, summary_of, table_of  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    if sectors_path is not None:
        parameters["sectors"] = read_sectors(sectors_path)
    if prices is not None:
        for name in ("symbols_max", "timeframe", "window_days"):
            if parameters[name] is not None:
                raise ConfigError(f"--{name.replace('_', '-')}: of a FILE all is taken, bar by bar; leave it out")
        # A file is a study: all of its bars, and the symbols that ended before it does.
        parameters["holdout_share"] = parameters["holdout_share"] or 0.0
        parameters["must_be_current"] = False
    rules = rules_of(ScanRules, symbols=list(symbols), **parameters)
    if output is not None:
        own = (config_path, config_path.parent / "pairs_config.json", prices, sectors_path)
        check_output("--output", output, OUTPUT_SUFFIXES, inputs=[path for path in own if path is not None])
    with Bar("pairs", say) as bar:
        if prices is not None:
            if rules.needs_the_exchange is not None:
                raise ConfigError(f"{rules.needs_the_exchange} needs the exchange's word; a FILE has only closes")
            facts = {symbol: SymbolFacts(sector=sector) for symbol, sector in rules.sectors.items()}
            panel = only_symbols(read_prices(prices), symbols, prices)
            found = work.scan(panel, work.options_of(rules), facts=facts, progress=bar)
        else:
            found = work.scan_exchange(load_settings(config_path, Purpose.READ), rules, say=say, progress=bar)
    if output is not None:
        write_directions(output, found.result)
    for line in excluded_lines(found):
        say(line)
    show(table_of(found, rows_max=top), title="Best pairs", as_json=as_json, summary=summary_of(found))
    return DONE if found.tested else FAILED
