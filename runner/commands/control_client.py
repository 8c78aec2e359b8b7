"""`tandem status | pause | resume | flatten | reload`: speaks to the running runner through its control address."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domain.errors import TandemError
from runner.commands.options import config_option
from storage.files import read_file

if TYPE_CHECKING:
    from runner.config import Settings

TIMEOUT_SECONDS = 60.0  # A flatten is answered when the legs are closed.
ANSWER_BYTES_MAX = 16 * 2**20

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable, on stdout.")


class NoRunner(TandemError):
    """Nobody answers at the control address, or not as asked."""


@click.command()
@config_option
@json_option
def status(config_path: Path, *, as_json: bool) -> int:
    """Show the pairs with their z-scores, the open trades, and the state of feed, journal and exchange."""
    report = _ask(config_path, "GET", "/status")
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    return 0


@click.command()
@config_option
@click.option("--reason", default="asked by the operator", show_default=True, help="Kept in the log.")
def pause(config_path: Path, reason: str) -> int:
    """Stop new entries. Open trades are still watched and closed; 'tandem resume' ends it."""
    _ask(config_path, "POST", "/pause", {"reason": reason})
    click.echo("paused: no new entries; open trades go on")
    return 0


@click.command()
@config_option
def resume(config_path: Path) -> int:
    """Allow entries again."""
    _ask(config_path, "POST", "/resume", {})
    click.echo("resumed: entries again")
    return 0


@click.command()
@config_option
@click.argument("pair", required=False)
def flatten(config_path: Path, pair: str | None) -> int:
    """Close PAIR's open trade, or every open trade. Entries go on afterwards; pause first to stay flat."""
    answer = _ask(config_path, "POST", "/flatten", {"pair_id": pair})
    outcomes = {name: outcome for name, outcome in answer.items() if name != "done"}
    for name, outcome in outcomes.items():
        click.echo(f"{name}: {outcome}")
    if not outcomes:
        click.echo("nothing is open")
    return 0


@click.command()
@config_option
def reload(config_path: Path) -> int:
    """Read the pairs file now, instead of when the runner next looks. A bad file is refused whole; the old one stays."""
    answer = _ask(config_path, "POST", "/reload", {})
    facts = " ".join(f"{name}={value}" for name, value in answer.items() if name != "done")
    click.echo(f"reloaded {facts}".rstrip())
    return 0


def _ask(config_path: Path, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Raises: ConfigError, NoRunner with the remedy."""
    # urllib: these commands should answer at once, and a loopback address needs no proxy and no session.
    import http.client  # noqa: PLC0415
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.NONE)
    address = _address(settings)
    request = urllib.request.Request(  # noqa: S310  (The scheme is ours.)
        address + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={} if body is None else {"Authorization": f"Bearer {_token(settings)}"},
    )
    opener = urllib.request.OpenerDirector()  # No proxy, and nothing that follows a redirect with the token.
    for handler in (urllib.request.HTTPHandler(), urllib.request.HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            report: Mapping[str, Any] = json.loads(answer.read(ANSWER_BYTES_MAX))
            return report
    except urllib.error.HTTPError as error:
        with error:
            raise NoRunner(f"{address}: {_reason(error.read(ANSWER_BYTES_MAX), error.code)}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise NoRunner(f"no runner answers at {address} ({why}); start one with 'tandem run' or 'make up'") from None


def _reason(body: bytes, status_code: int) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status_code}; is something else listening there?"


def _address(settings: "Settings") -> str:
    from runner.control import address_file, url_of  # noqa: PLC0415

    control = settings.control
    if control.port == 0:
        try:
            return read_file(address_file(settings)).decode(errors="replace")
        except OSError:
            raise NoRunner(
                f"no runner says where it listens ({address_file(settings)}); start one with 'tandem run' or 'make up'"
            ) from None
    return url_of(control.host, control.port)


def _token(settings: "Settings") -> str:
    path = settings.control_token_file
    try:
        return read_file(path).decode(errors="replace").strip()
    except FileNotFoundError:
        raise NoRunner(f"no runner answers: {path} is not there; start one with 'tandem run' or 'make up'") from None
    except OSError as error:
        raise NoRunner(f"{path}: cannot be read ({error.strerror}); be the user that runs the runner") from None


def _show(report: Mapping[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    pairs = Table(title="Pairs", title_justify="left")
    for column in ("pair", "standing", "z", "price a", "price b", "hedge ratio"):
        pairs.add_column(column, justify="left" if column in {"pair", "standing"} else "right")
    for pair_id, row in report.get("pairs", {}).items():
        standing = row["standing"] + (" (stale)" if row.get("stale") else "")
        numbers = [_number(row.get(key)) for key in ("z_score", "price_a", "price_b", "hedge_ratio")]
        pairs.add_row(pair_id, standing, *numbers)
    console.print(pairs)
    trades = Table(title="Open trades", title_justify="left")
    rows = report.get("open_trades", [])
    columns = list(rows[0]) if rows else ["none"]
    for column in columns:
        trades.add_column(column.replace("_", " "))
    for row in rows:
        trades.add_row(*(str(row.get(column, "")) for column in columns))
    console.print(trades)
    rest = Table(title="Runner", title_justify="left", show_header=False)
    for name, value in report.items():
        if name not in {"pairs", "open_trades"}:
            rest.add_row(name.replace("_", " "), _brief(value))
    console.print(rest)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _brief(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_brief(inner)}" for name, inner in value.items()) or "none"
    return "" if value is None else str(value)
