"""The probes of a health check: each looks at one thing and says what it saw; none of them raises."""

import contextlib
import http.client
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from domain.errors import ConfigError
from domain.web_requests import reachable
from flows.common.reads import ExchangeReads
from flows.health.rules import HealthRules
from runner.config import Settings
from runner.exchange.errors import ExchangeError
from runner.pairs.file import load_pairs
from storage import entries_file, ledger
from storage.ledger import LedgerUnavailable
from storage.locks import holder_of

REPLY_BYTES_MAX = 16 * 2**20
CONTROL_TIMEOUT_SECONDS = 3.0
_GIB = 1024**3


class ProbeStatus(StrEnum):
    """From good to bad."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one look found."""

    name: str
    status: ProbeStatus
    detail: str


def _ok(name: str, detail: str) -> Probe:
    return Probe(name=name, status=ProbeStatus.OK, detail=detail)


def _degraded(name: str, detail: str) -> Probe:
    return Probe(name=name, status=ProbeStatus.DEGRADED, detail=detail)


def _failed(name: str, detail: str) -> Probe:
    return Probe(name=name, status=ProbeStatus.FAILED, detail=detail)


def journal_lock_of(settings: Settings) -> Path:
    """The OS lock that says, beyond doubt, whether a live runner owns this account."""
    journal = settings.storage.journal
    return journal.with_name(journal.name + ".lock")


def runner_pid(settings: Settings) -> int | None:
    """Whoever holds the account's journal; None when nobody does."""
    return holder_of(journal_lock_of(settings))


def pairs_file(settings: Settings, path: Path) -> Probe:
    """Would the runner take this file?"""
    try:
        pairs = load_pairs(path, settings.signal)
    except ConfigError as problem:
        return _failed("pairs file", str(problem))
    enabled = sum(pair.enabled for pair in pairs)
    detail = f"{len(pairs)} pairs, {enabled} open for entries"
    return _ok("pairs file", detail) if enabled else _degraded("pairs file", f"{detail}: nothing will be traded")


def runner(settings: Settings, *, pid: int | None, is_wanted: bool) -> list[Probe]:
    """The process, its control address, its quotes."""
    if pid is None:
        detail = "nobody holds the account's journal: the live runner does not run"
        return [_failed("runner", detail)] if is_wanted else [_ok("runner", f"{detail}, and is not meant to")]
    alive = _ok("runner", f"process {pid} holds the account's journal")
    if settings.control.port == 0:
        return [alive, _degraded("runner control", "control.port is 0: its address is not known; set a port")]
    try:
        code, health = _ask_control(settings, "/health")
        _, status = _ask_control(settings, "/status")
    except (OSError, http.client.HTTPException, ValueError) as problem:
        where = f"{settings.control.host}:{settings.control.port}"
        return [alive, _failed("runner control", f"no answer at {where} ({type(problem).__name__})")]
    answer = _shortly(health)
    return [
        alive,
        _ok("runner control", answer) if code == 200 else _failed("runner control", f"HTTP {code}: {answer}"),
        _quotes(status),
    ]


def _ask_control(settings: Settings, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(
        reachable(settings.control.host), settings.control.port, timeout=CONTROL_TIMEOUT_SECONDS
    )
    with contextlib.closing(connection):
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read(REPLY_BYTES_MAX))


def _quotes(status: Any) -> Probe:
    stale = dict(_found(status, {"symbols_stale", "stale_symbols", "stale"}))
    names = [str(name) for value in stale.values() if isinstance(value, list) for name in value]
    count = max([len(names), *(value for value in stale.values() if type(value) is int)])
    if not stale:
        return _ok("quotes", "the runner reports no staleness")
    which = f": {', '.join(names[:8])}" if names else ""
    return _degraded("quotes", f"{count} symbols are stale{which}") if count else _ok("quotes", "no symbol is stale")


def _found(value: Any, keys: set[str]) -> Iterator[tuple[str, Any]]:
    """Wherever in the runner's report these keys are."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in keys:
                yield key, inner
            yield from _found(inner, keys)


def _shortly(body: Any) -> str:
    if not isinstance(body, Mapping):
        return str(body)[:200]
    plain = {key: value for key, value in body.items() if not isinstance(value, Mapping | list) or value}
    return ", ".join(f"{key} {value}" for key, value in plain.items())[:300]


def records(settings: Settings, rules: HealthRules, *, runs: bool, now_ms: int) -> list[Probe]:
    """Journal, recorder and published ledger: does it grow, and does the ledger follow?"""
    journal = settings.storage.journal
    if not journal.exists():
        return [(_failed if runs else _degraded)("journal", f"{journal.name}: nothing recorded yet")]
    try:
        last_seq, newest_ms = _newest(journal)
    except ConfigError as problem:
        return [_failed("journal", str(problem))]
    age = max(0.0, (now_ms - newest_ms) / 1000)
    silent = runs and age > rules.journal_silence_seconds_max
    detail = f"row {last_seq}, the newest {age:.0f} s old"
    probes = [
        _failed("journal", f"{detail}: the runner lives but writes nothing") if silent else _ok("journal", detail)
    ]
    try:
        fresh = ledger.freshness(settings.storage.ledger)
    except LedgerUnavailable as problem:
        return [*probes, _failed("ledger", str(problem))]
    behind = last_seq - fresh.runner_seq
    drained_s = 0.0 if fresh.drained_at is None else now_ms / 1000 - fresh.drained_at.timestamp()
    lags = behind > rules.ledger_lag_rows_max and drained_s > rules.ledger_lag_seconds_max
    detail = f"{behind} rows behind the journal, drained {drained_s:.0f} s ago"
    probes.append(_failed("ledger", detail) if lags else _ok("ledger", detail))
    if fresh.recorder_pid is not None:
        return [*probes, _ok("recorder", f"process {fresh.recorder_pid}")]
    return [
        *probes,
        (_failed if runs else _degraded)("recorder", "nobody records; the journals keep everything meanwhile"),
    ]


def _newest(journal: Path) -> tuple[int, int]:
    with contextlib.closing(entries_file.open_for_reading(journal)) as connection:
        last_seq = entries_file.last_seq_of(connection)
        rows = entries_file.raw_rows(connection, after_seq=last_seq - 1, limit=1)
        return last_seq, rows[-1][1] if rows else 0


def exchange(settings: Settings, rules: HealthRules) -> Probe:
    """Reachable, and does it have the same time as we do?"""
    try:
        with ExchangeReads(settings, attempts=2) as reads:
            time = reads.time()
    except ExchangeError as problem:
        return _failed("exchange", str(problem))
    detail = f"answers in {time.round_trip_ms:.0f} ms, clock {time.skew_ms:+.0f} ms from ours"
    # Half the round trip cannot be told from skew.
    skew = max(0.0, abs(time.skew_ms) - time.round_trip_ms / 2)
    if skew > settings.execution.recv_window_ms:
        return _failed("exchange", f"{detail}: signed requests will be refused; set the clock (NTP)")
    return (
        _degraded("exchange", f"{detail}: set the clock (NTP)")
        if skew > rules.clock_skew_ms_max
        else _ok("exchange", detail)
    )


def disk(settings: Settings, rules: HealthRules) -> Probe:
    """Room for the journal: a full disk stops entries."""
    folder = settings.storage.journal.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIB
    detail = f"{free:.1f} GiB free; {_sizes(settings)}"
    if free < rules.disk_free_gib_min / 4:
        return _failed("disk", f"{detail}: make room, or entries will stop")
    return _degraded("disk", f"{detail}: make room") if free < rules.disk_free_gib_min else _ok("disk", detail)


def _sizes(settings: Settings) -> str:
    """What grows, so that a person sees it grow."""
    journal, ledger_file = settings.storage.journal, settings.storage.ledger
    files = {"journal": (journal, journal.with_name(f"{journal.name}-wal")), "ledger": (ledger_file,)}
    sizes = {name: sum(path.stat().st_size for path in paths if path.exists()) for name, paths in files.items()}
    return ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in sizes.items())
