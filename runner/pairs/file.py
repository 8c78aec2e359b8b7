"""`pairs_config.json`: read strictly, written whole or not at all, previous versions kept.

Seven keys are enough for a pair. What recalibration adds is kept and shown; anything else is refused by name.
"""

import difflib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from domain.errors import ConfigError
from domain.pairs import PairConfig
from domain.symbols import PairId, unified
from runner.config import SignalSettings
from storage.files import private_folder, read_file, sweep, write_whole
from storage.locks import LockHeld, take

HISTORY_KEPT = 50
WRITER_WAIT_SECONDS = 30.0
_KEPT = re.compile(r"(\d{6,})-until-.*\.json")
_PAIR_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class PairRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One pair as the file spells it."""

    pair_id: str
    leg_a: str
    leg_b: str
    hedge_ratio: float
    z_score_threshold: float | None = None
    exit_threshold: float | None = None
    stop_loss_z: float | None = None
    half_life_candles: float | None = None
    bar_seconds: int | None = None  # Of the bars behind mean and deviation; without it, signal.bar_seconds.
    # From here on: what recalibration adds.
    candle_seconds: int | None = None  # The candle of half_life_candles; without it, the bar of the pair's window.
    hedge_estimator: str | None = None  # Of hedge_ratio, as the recalibration's rules name it.
    intercept: float | None = None
    spread_mean: float | None = None
    spread_std: float | None = None
    t_stat: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    observations: int | None = None
    calibrated_at: str | None = None
    window: str | None = None
    run_id: str | None = None
    reason: str | None = None
    closed_by: str | None = None  # "recalibration" when a recalibration disabled the pair; it opens no other.
    enabled: bool = True


class PairsDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The whole file. The header is recalibration's; a file written by hand needs none of it."""

    pairs: tuple[PairRow, ...]
    version: int | None = None
    generated_at: str | None = None
    content_sha256: str | None = None
    run_id: str | None = None
    decided_on: str | None = (
        None  # Of which bars and rules a recalibration wrote it: the same once more is no new evidence.
    )


def read_document(path: Path) -> PairsDocument:
    """Raises: ConfigError naming file, key and remedy."""
    return parse_document(read_raw(path), where=str(path))


def read_raw(path: Path) -> bytes:
    """What stands in the file. Raises: ConfigError."""
    try:
        return read_file(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; create it, or name another with --pairs") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); correct its permissions") from None


def standing_in(path: Path) -> bytes | None:
    """The same; None when there is no file. Raises: FileRefused, OSError."""
    try:
        return read_file(path)
    except FileNotFoundError:
        return None


def parse_document(raw: bytes, *, where: str) -> PairsDocument:
    """Raises: ConfigError naming file, key and remedy."""
    try:
        document = msgspec.json.decode(raw, type=PairsDocument)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_with_suggestion(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{where}: not valid JSON ({error}); tandem config history lists what tandem config restore brings back"
        ) from None
    if document.content_sha256 is not None and document.content_sha256 != sha256_of(document.pairs):
        raise ConfigError(
            f"{where}: content_sha256 does not match the pairs; if you edited the file by hand, remove that line"
        )
    return document


def load_pairs(path: Path, defaults: SignalSettings) -> tuple[PairConfig, ...]:
    """The pairs, checked, with `signal`'s thresholds where a pair has none of its own. Raises: ConfigError."""
    return pairs_of(read_document(path), defaults, where=str(path))


def pairs_of(document: PairsDocument, defaults: SignalSettings, *, where: str) -> tuple[PairConfig, ...]:
    """Raises: ConfigError naming the pair, the key and the remedy."""
    pairs: dict[PairId, PairConfig] = {}
    legs: dict[frozenset[str], PairId] = {}
    for row in document.pairs:
        if not _PAIR_ID.fullmatch(row.pair_id):
            raise ConfigError(f"{where}: pair_id {row.pair_id!r} must be 1 to 64 letters, digits, '_', '-' or '.'")
        try:
            pair = _pair_of(row, defaults)
        except ValueError as error:
            text = str(error)
            raise ConfigError(f"{where}: {text if row.pair_id in text else f'{row.pair_id}: {text}'}") from None
        if pair.pair_id in pairs:
            raise ConfigError(f"{where}: pair_id {pair.pair_id} occurs twice; give each pair its own")
        twin = legs.setdefault(frozenset(pair.symbols), pair.pair_id)
        if twin != pair.pair_id:
            raise ConfigError(f"{where}: {pair.pair_id} has the same two legs as {twin}; remove one of them")
        pairs[pair.pair_id] = pair
    return tuple(pairs.values())


def _pair_of(row: PairRow, defaults: SignalSettings) -> PairConfig:
    window_bar_seconds = defaults.bar_seconds if row.bar_seconds is None else row.bar_seconds
    return PairConfig(
        pair_id=PairId(row.pair_id),
        leg_a=unified(row.leg_a),
        leg_b=unified(row.leg_b),
        hedge_ratio=row.hedge_ratio,
        entry_z=defaults.entry_threshold if row.z_score_threshold is None else row.z_score_threshold,
        exit_z=defaults.exit_threshold if row.exit_threshold is None else row.exit_threshold,
        stop_z=defaults.stop_loss_threshold if row.stop_loss_z is None else row.stop_loss_z,
        half_life_bars=row.half_life_candles,
        half_life_bar_seconds=window_bar_seconds if row.candle_seconds is None else row.candle_seconds,
        enabled=row.enabled,
        bar_seconds=row.bar_seconds,
    )


def sha256_of(pairs: Sequence[PairRow]) -> str:
    """The hash of the pairs' own content, header excluded."""
    return hashlib.sha256(msgspec.json.encode(tuple(pairs), order="deterministic")).hexdigest()


def write_document(
    path: Path,
    pairs: Sequence[PairRow],
    *,
    generated_at: str,
    run_id: str,
    decided_on: str | None = None,
    expected: bytes | None = None,
) -> PairsDocument:
    """Replace the file whole: temporary file, fsync, rename. The previous one goes to `<name>.history/` first.

    `expected`: what must still stand in the file. Raises: ConfigError when something else does, or when the new content would not
    load again; OSError when the disk says no. Either way the old file stays.
    """
    # As they will be read: 1 is 1.0 then, and the hash is of that.
    pairs = parse_document(msgspec.json.encode(PairsDocument(pairs=tuple(pairs))), where=str(path)).pairs
    pairs_of(PairsDocument(pairs=pairs), SignalSettings(), where=str(path))
    with _only_writer(path):
        standing = standing_in(path)
        if expected is not None and standing != expected:
            raise ConfigError(f"{path}: was edited meanwhile; nothing was written, run it again")
        number = number_of(path, standing)
        document = PairsDocument(
            pairs=pairs,
            version=number + 1,
            generated_at=generated_at,
            content_sha256=sha256_of(pairs),
            run_id=run_id,
            decided_on=decided_on,
        )
        raw = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        parse_document(raw, where=str(path))
        if standing is not None:
            _keep(path, standing, number, generated_at)
        write_whole(path, raw)
    return document


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Wait for whoever else writes this file. The lock is the folder's own, so that nothing is left behind.

    Raises: ConfigError when somebody does not let go of it.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        take(folder, path.parent, wait_seconds=WRITER_WAIT_SECONDS)
        sweep(path)
        yield
    except LockHeld as held:
        ours = f"process {held.holder} has been writing it for {WRITER_WAIT_SECONDS:g} s; wait for it, or end it"
        raise ConfigError(f"{path}: {held.explain(ours)}") from None
    finally:
        os.close(folder)


def history_folder(path: Path) -> Path:
    """Where the previous versions of a pairs file are kept."""
    return path.with_name(path.name + ".history")


def kept_versions(path: Path) -> list[tuple[int, Path]]:
    """Number and file of every previous version, oldest first."""
    found = ((_KEPT.fullmatch(kept.name), kept) for kept in history_folder(path).glob("*.json"))
    return sorted((int(match[1]), kept) for match, kept in found if match is not None and kept.is_file())


def number_of(path: Path, standing: bytes | None) -> int:
    """The version of what stands in the file: its own, unless a person damaged it, wrote it anew or brought back an older one."""
    kept = kept_versions(path)
    newest = kept[-1][0] if kept else 0
    if standing is None:
        return newest
    try:
        own = max(parse_document(standing, where=str(path)).version or 0, 0)
    except ConfigError:
        own = 0
    if not kept or own > newest:
        return own
    # Killed between the two steps of a write: the newest of the history is what stands.
    return newest if read_file(kept[-1][1]) == standing else newest + 1


def _keep(path: Path, raw: bytes, version: int, replaced_at: str) -> None:
    folder = history_folder(path)
    private_folder(folder)
    stamp = re.sub(r"[^0-9T]", "", replaced_at)
    target = folder / f"{version:06d}-until-{stamp}.json"
    write_whole(target, raw)
    for number, old in kept_versions(path):
        if number == version and old != target:
            old.unlink()
    for _, old in kept_versions(path)[:-HISTORY_KEPT]:
        old.unlink()


def _with_suggestion(message: str) -> str:
    """msgspec's own words, plus the key that was probably meant."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown is None:
        return message
    known: Mapping[str, Any] = dict.fromkeys((*PairRow.__struct_fields__, *PairsDocument.__struct_fields__))
    near = difflib.get_close_matches(unknown[1], known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    place = message.rsplit(" - at ", 1)[-1] if " - at " in message else "`$`"
    return f"unknown key {unknown[1]}{hint} at {place.strip('`')}; remove or correct it"
