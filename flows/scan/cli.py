"""`tandem scan`: the scan by hand, of the exchange's candles or of a file of prices."""

from pathlib import Path
from typing import Any

import click

from domain.errors import ConfigError
from flows.common.commands import AS_JSON, DONE, FAILED, SECTORS, rules_of, say, show, speaking, with_config


@click.command()
@with_config(pairs=False)
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    metavar="BASE/USDT",
    help="A contract (of a FILE, its symbol) to pair up; several times.",
)
@click.option("--symbols-max", type=int, default=None, help="Cap on the universe.  [default: 200]")
@click.option("--timeframe", default=None, help="The candle of the test.  [default: 1h]")
@click.option("--window-days", type=float, default=None, help="How far back the test looks.  [default: 60]")
@click.option("--space", type=click.Choice(["levels", "logs"]), default=None, help="Prices or logs.  [default: levels]")
@click.option(
    "--criterion",
    type=click.Choice(["aic", "bic", "t-stat", "fixed"]),
    default=None,
    help="How the number of lags is chosen.  [default: aic]",
)
@click.option("--lags-max", type=int, default=None, help="Most lags.  [default: 12 · (n / 100)^¼]")
@click.option("--observations-min", type=int, default=None, help="Fewest common candles.  [default: 200]")
@click.option("--gap-share-max", type=float, default=None, help="Largest share of missing candles.  [default: 0.02]")
@click.option("--leg-p-min", type=float, default=None, help="ADF p up to which a leg is stationary.  [default: 0.05]")
@click.option("--q-max", type=float, default=None, help="Largest q-value, the share of false pairs.  [default: 0.05]")
@click.option("--correction", type=click.Choice(["by", "bh"]), default=None, help="Of the q-values.  [default: by]")
@click.option("--half-life-candles-min", type=float, default=None, help="Shortest half-life believed.  [default: 0.1]")
@click.option("--half-life-candles-max", type=float, default=None, help="Longest half-life accepted.  [default: 120]")
@click.option("--sub-windows", type=int, default=None, help="Parts that must agree on the hedge ratio.  [default: 3]")
@click.option("--sub-window-drift-max", type=float, default=None, help="… within this share.  [default: 0.5]")
@click.option(
    "--holdout-share", type=float, default=None, help="Newest share that no fit sees.  [default: 0.25; of a FILE 0]"
)
@click.option("--holdout-z-max", type=float, default=None, help="Largest |z| out of sample.  [default: 4]")
@click.option("--taker-fee-bps", type=float, default=None, help="Fee on each of four fills.  [default: 5]")
@click.option("--half-spread-bps", type=float, default=None, help="Half the spread, on each of them.  [default: 0.5]")
@click.option("--funding-bps-per-day", type=float, default=None, help="Funding of each leg, always paid.  [default: 3]")
@click.option("--min-edge-ratio", type=float, default=None, help="Reversion over costs; 0: off.  [default: 1]")
@click.option("--pairs-per-symbol-max", type=int, default=None, help="Most kept pairs of a symbol.  [default: 3]")
@click.option("--pairs-max", type=int, default=None, help="Most kept pairs.  [default: 20]")
@click.option("--quote-volume-usd-per-day-min", type=float, default=None, help="Only symbols that trade as much.")
@click.option("--age-days-min", type=float, default=None, help="Only symbols that were listed so long ago.")
@click.option(
    "--funding-bps-per-day-max",
    type=float,
    default=None,
    help="Only symbols whose funding of no day was further from 0.",
)
@click.option("--same-sector", is_flag=True, help="Only pairs within one sector, as the exchange names it.")
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
    **given: Any,
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
    from flows.scan.rules import ScanRules  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    if sectors_path is not None:
        given["sectors"] = read_sectors(sectors_path)
    if prices is not None:
        for name in ("symbols_max", "timeframe", "window_days"):
            if given[name] is not None:
                raise ConfigError(f"--{name.replace('_', '-')}: of a FILE all is taken, bar by bar; leave it out")
        # A file is a study: all of its bars, and the symbols that ended before it does.
        given["holdout_share"] = given["holdout_share"] or 0.0
        given["must_be_current"] = False
    rules = rules_of(ScanRules, symbols=list(symbols), **given)
    if output is not None:
        own = (config_path, config_path.parent / "pairs_config.json", prices, sectors_path)
        check_output("--output", output, work.OUTPUT_SUFFIXES, inputs=[path for path in own if path is not None])
    with Bar("pairs", say) as bar:
        if prices is not None:
            if rules.needs_the_exchange is not None:
                raise ConfigError(f"{rules.needs_the_exchange} needs the exchange's word; a FILE has only closes")
            facts = {symbol: SymbolFacts(sector=sector) for symbol, sector in rules.sectors.items()}
            panel = only_symbols(read_prices(prices), symbols, prices)
            found = work.scan(panel, work.options_of(rules), facts=facts, progress=bar)
        else:
            from flows.common.universe import gather  # noqa: PLC0415

            universe = gather(load_settings(config_path, Purpose.READ), rules, say=say)
            found = work.scan(universe.panel, work.options_of(rules), facts=universe.facts, progress=bar)
    if output is not None:
        work.write_directions(output, found.result)
    for line in work.excluded_lines(found):
        say(line)
    show(work.table_of(found, rows_max=top), title="Best pairs", as_json=as_json, summary=work.summary_of(found))
    return DONE if found.tested else FAILED
