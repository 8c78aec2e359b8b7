"""`tandem exchange`: the paper exchange alone, for any ccxt script that can be pointed at it."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domain.web_requests import is_loopback

if TYPE_CHECKING:
    from paper.server import PaperExchange

CANNOT_START = 2


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--host-name",
    "host_names",
    multiple=True,
    help="A further name by which it is reached, for example behind a proxy. May be given several times.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=18080, show_default=True, help="0 takes a free one.")
@click.option(
    "--market",
    "market_kind",
    type=click.Choice(["synthetic", "replay", "upstream"]),
    default="synthetic",
    show_default=True,
    help="Where prices come from.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the synthetic market.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Market seconds per second. 0: a replay stands still and is played by POST /paper/play.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),  # Not `exists`: the name may end in ?start=…; the market checks it.
    default=None,
    metavar="FILE[?start=TIME]",
    help="What to replay: Parquet or CSV of one-minute klines, or of quotes. TIME is where the past ends and playing"
    " begins, as 2025-05-19T00:00Z; without it two weeks are past.",
)
@click.option("--upstream-rest", default=None, help="REST base of the exchange to take prices from.")
@click.option("--upstream-stream", default=None, help="Its websocket base.")
@click.option("--funding-interval-seconds", type=click.FloatRange(min=0, min_open=True), default=None)
@click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Keep accounts in this file across restarts.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Where the token of /paper/… is written while it runs. Without it beside --state, else in a private temporary folder.",
)
@click.option("--balance", default="10000", show_default=True, help="USDT of a new account.")
@click.option("--key", default="paper-key", show_default=True)
@click.option("--secret", default="paper-secret", show_default=True)
@click.option("--chaos", "chaos_seed", type=int, default=None, help="Seed of random faults on order requests.")
@click.option("--chaos-rate", type=click.FloatRange(0, 1), default=0.02, show_default=True)
def exchange(
    *,
    host: str,
    host_names: tuple[str, ...],
    port: int,
    market_kind: str,
    seed: int,
    speed: float,
    data: Path | None,
    upstream_rest: str | None,
    upstream_stream: str | None,
    funding_interval_seconds: float | None,
    state_path: Path | None,
    token_file: Path | None,
    balance: str,
    key: str,
    secret: str,
    chaos_seed: int | None,
    chaos_rate: float,
) -> None:
    """Run the paper exchange: Binance USD-M futures on this machine, with play money."""
    # Only here: `--help` answers at once.
    from paper.markets import open_market  # noqa: PLC0415
    from paper.options import CoreOptions, ExchangeOptions  # noqa: PLC0415
    from paper.server import PaperExchange, open_state  # noqa: PLC0415
    from paper.state import StateError  # noqa: PLC0415

    try:
        balance_usdt = Decimal(balance)
    except ArithmeticError:
        raise click.BadParameter(f"{balance!r} is not a number", param_hint="--balance") from None
    if not balance_usdt.is_finite() or balance_usdt < 0:
        raise click.BadParameter("must be a finite number, 0 or more", param_hint="--balance")
    options = ExchangeOptions(
        core=CoreOptions(balance_usdt=balance_usdt, api_key=key, api_secret=secret),
        chaos_seed=chaos_seed,
        chaos_rate=chaos_rate,
    )

    async def run() -> int:
        state = open_state(state_path)
        market = await open_market(
            market_kind,
            seed=seed,
            speed=speed,
            data=data,
            upstream_rest=upstream_rest,
            upstream_stream=upstream_stream,
            snapshot=None if state is None else state.market_snapshot(),
            funding_interval_seconds=funding_interval_seconds,
        )
        paper_exchange = PaperExchange(
            market, options, state=state, host=host, port=port, host_names=host_names, token_file=written_to
        )
        return await serve(paper_exchange, f"{market_kind} market, key {key}", written_to)

    try:
        with _token_file(token_file, state_path) as written_to:
            _warn_of(host)
            code = asyncio.run(run())
    except (OSError, ValueError, StateError) as error:
        click.echo(f"exchange: cannot start: {error}", err=True)
        code = CANNOT_START
    sys.exit(code)


@contextmanager
def _token_file(chosen: Path | None, state_path: Path | None) -> Iterator[Path]:
    """Where the control endpoint's token goes. Raises: OSError."""
    if chosen is None and state_path is not None:
        chosen = state_path.with_name(f"{state_path.name}.token")
    if chosen is not None:
        yield chosen.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="tandem-exchange-") as folder:  # Of mode 0700.
        yield Path(folder) / "control.token"


def _warn_of(host: str) -> None:
    if not is_loopback(host):
        click.echo(
            f"exchange: WARNING: it listens on {host}: every machine that reaches this address may trade on it,"
            " and what is sent can be read on the way; --host 127.0.0.1 keeps it to this machine",
            err=True,
        )


async def serve(paper_exchange: "PaperExchange", what: str, token_file: Path) -> int:
    """Run until SIGINT or SIGTERM (0), or until the market breaks (1). Raises: OSError when the port is taken."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    await paper_exchange.start()
    assert paper_exchange.failed is not None
    click.echo(
        f"exchange ready: {paper_exchange.rest_url} ({what}); "
        f"faults: POST {paper_exchange.rest_url}/paper/faults with the token in {token_file}; stop: Ctrl-C"
    )
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        waited: list[asyncio.Future[Any]] = [stopped, paper_exchange.failed]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        error = paper_exchange.failed.exception() if paper_exchange.failed.done() else None
        if error is not None:
            click.echo(f"exchange: stopped by a failure: {error!r}", err=True)
            return 1
        return 0
    finally:
        stopped.cancel()
        await paper_exchange.stop()
