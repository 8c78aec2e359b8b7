"""Everything that listens: its address, who may use it, how it is protected, and whether the protection answers as it should."""

import asyncio
import http.client
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.doctor.findings import Finding, fail, ok, warn
from flows.doctor.processes import Ours, Socket
from flows.stack.proof import proves
from runner.config import Settings

FOREIGN_HOST = "rebound.invalid"
TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What is known of one kind of listening socket."""

    what: str
    who: str
    guard: str
    is_http: bool
    probe: Callable[[Socket], str | None]
    """What is wrong with it, None if nothing is."""


def examine(processes: Sequence[Ours], settings: Settings | None, prefect_auth: str) -> list[Finding]:
    """Return a finding for every listening socket of ours."""
    by_address: dict[Socket, list[Ours]] = {}
    for process in processes:
        for socket in process.sockets:
            by_address.setdefault(socket, []).append(process)
    if not by_address:
        return [ok("listening", "nothing of this clone listens now; run this again while it does")]
    control = settings.control.port if settings is not None else 0
    return [
        _judged(socket, holders, _door_of(holders, is_control=socket.port == control, prefect_auth=prefect_auth))
        for socket, holders in sorted(by_address.items(), key=lambda row: row[0].port)
    ]


def _door_of(holders: Sequence[Ours], *, is_control: bool, prefect_auth: str) -> Door | None:
    roles = {holder.role for holder in holders}
    if "prefect server" in roles:
        return Door(
            what="Prefect API and UI",
            who="who has var/prefect-auth.key, or the printed link",
            guard="secret, Host and Origin checked",
            is_http=True,
            probe=lambda socket: _prefect(socket, prefect_auth),
        )
    if "live runner" in roles or is_control:
        return Door(
            what="control",
            who="programs of this machine look, who has control.token acts",
            guard="token, Host and Origin checked",
            is_http=True,
            probe=_control,
        )
    if "paper exchange" in roles:
        return Door(
            what="paper exchange",
            who="programs of this machine; no real money",
            guard="Host and Origin checked",
            is_http=True,
            probe=_exchange,
        )
    if roles <= {"prefect worker", "flow run"}:
        return Door(
            what="Prefect's signals to a flow run",
            who="that run alone",
            guard="a token for one use",
            is_http=False,
            probe=lambda _: None,
        )
    return None


def _judged(socket: Socket, holders: Sequence[Ours], door: Door | None) -> Finding:
    address = f"[{socket.host}]:{socket.port}" if ":" in socket.host else f"{socket.host}:{socket.port}"
    if door is None:
        who = ", ".join(f"{holder.role} (pid {holder.pid})" for holder in holders)
        return warn(address, f"listened on by {who}, unknown to us", "find out what it is; stop it if nobody needs it")
    detail = f"{door.what}: {door.who} ({door.guard})"
    if door.is_http and _status(socket, "GET", "/health") is None:
        return warn(
            address, f"{detail}; gives no answer now", "it may be starting: ask again in a moment; var/log/ says more"
        )
    if problem := door.probe(socket):
        return fail(address, f"{door.what}: {problem}", "stop it and start it with this version's `tandem up`")
    if not ipaddress.ip_address(socket.host).is_loopback:
        remedy = "bind it to 127.0.0.1, or put a proxy with TLS and authentication before it"
        return warn(address, f"{detail}; other machines can reach it, unencrypted", remedy)
    return ok(address, detail)


def _prefect(socket: Socket, auth: str) -> str | None:
    if not asyncio.run(proves(f"http://127.0.0.1:{socket.port}", auth)):
        return "does not prove that it is this clone's server"
    if _status(socket, "GET", "/api/admin/version") != 401:
        return "answers without the secret"
    return None if _status(socket, "GET", "/", host=FOREIGN_HOST) == 403 else "answers to a foreign Host"


def _control(socket: Socket) -> str | None:
    # Nothing is changed should it be obeyed: the pairs file is read again whenever it changes.
    if _status(socket, "POST", "/reload") not in {401, 403}:
        return "obeys without the token"
    return (
        None if _status(socket, "GET", "/health", host=FOREIGN_HOST) in {400, 403, 421} else "answers to a foreign Host"
    )


def _exchange(socket: Socket) -> str | None:
    status = _status(socket, "GET", "/fapi/v1/ping", host=FOREIGN_HOST)
    return "answers to a foreign Host" if status == 200 else None


def _status(socket: Socket, method: str, path: str, *, host: str | None = None) -> int | None:
    """The HTTP status, None when there is no answer."""
    anywhere = ipaddress.ip_address(socket.host).is_unspecified
    where = ("::1" if ":" in socket.host else "127.0.0.1") if anywhere else socket.host
    connection = http.client.HTTPConnection(where, socket.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers={} if host is None else {"Host": host})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
