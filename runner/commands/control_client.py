"""`tandem status | pause | resume | flatten | reload`: speaks to the running runner through its control address."""

import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from domain import proof
from domain.errors import TandemError
from domain.text import one_line, printable
from runner.commands.options import config_option
from storage.files import read_file

if TYPE_CHECKING:
    import http.client

    from runner.config import Settings

PROOF_SECONDS = 10.0
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
    """The report that came back. Raises: ConfigError, NoRunner with the remedy."""
    # http.client: these commands should answer at once; it takes no proxy and follows nobody elsewhere.
    import http.client  # noqa: PLC0415

    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.NONE)
    address = _address(settings)
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PROOF_SECONDS)
    try:
        connection.connect()
        connection.auto_open = 0  # Whoever answers next is the one who has given the proof.
        token = _token(settings, needed=body is not None)
        if token is not None:
            _require_proof(connection, address, token)
        headers = {} if body is None else {"Authorization": f"Bearer {token}"}
        connection.sock.settimeout(TIMEOUT_SECONDS)
        connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        raw = answer.read(ANSWER_BYTES_MAX)
        if answer.status >= 300:
            raise NoRunner(f"{address}: {_reason(raw, answer.status)}")
        report = _report(raw)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoRunner(
            f"no runner answers at {address} ({one_line(str(error))}); start one with 'tandem run' or 'make up'"
        ) from None
    else:
        return report
    finally:
        connection.close()


def _require_proof(connection: "http.client.HTTPConnection", address: str, token: str) -> None:
    """The runner knows the token; anybody else who listens there must not hear it. Raises: NoRunner, OSError, HTTPException."""
    nonce = secrets.token_hex(16)
    expected = proof.proof(token, nonce, connection.port).encode()
    connection.request("GET", proof.PATH + nonce)
    answer = connection.getresponse()
    said = answer.read(ANSWER_BYTES_MAX)
    if answer.status != 200 or not hmac.compare_digest(said, expected):
        raise NoRunner(
            f"{address}: who listens there is not the runner whose token we have, and was not sent it;"
            " see who it is with 'tandem doctor', and whether a runner runs with another config.json"
        )


def _report(raw: bytes) -> Mapping[str, Any]:
    """Raises: ValueError."""
    report = json.loads(raw)
    if not isinstance(report, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004 - as one that is no JSON at all.
    shown: Mapping[str, Any] = _printable(report)
    return shown


def _reason(body: bytes, status_code: int) -> str:
    try:
        return one_line(str(json.loads(body)["error"]))
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


def _token(settings: "Settings", *, needed: bool) -> str | None:
    """None when it is not needed and this user may not read it: everybody of this machine may look."""
    path = settings.control_token_file
    try:
        return read_file(path).decode(errors="replace").strip()
    except OSError as error:
        if not needed:
            return None
        if isinstance(error, FileNotFoundError):
            raise NoRunner(
                f"no runner answers: {path} is not there; start one with 'tandem run' or 'make up'"
            ) from None
        raise NoRunner(f"{path}: cannot be read ({error.strerror}); be the user that runs the runner") from None


def _printable(value: Any) -> Any:
    """What a runner, or somebody in its place, says is shown on a terminal."""
    if isinstance(value, dict):
        return {printable(name): _printable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_printable(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def _show(report: Mapping[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(markup=False)  # A name in brackets is a name.
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
