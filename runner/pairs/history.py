"""The versions of a pairs file: listed, compared, brought back. A version brought back is a new one; nothing is rewritten."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from domain.errors import ConfigError
from runner.config import SignalSettings
from runner.pairs.file import (
    PairRow,
    PairsDocument,
    kept_versions,
    number_of,
    pairs_of,
    read_document,
    standing_in,
    write_document,
)


class PairsVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `document` is None for a file that does not read, and `problem` then says why."""

    number: int
    path: Path
    is_current: bool
    document: PairsDocument | None
    problem: str = ""


class PairChange(msgspec.Struct, frozen=True, kw_only=True):
    """One key of one pair in two versions; None where a version does not have it, and `key` is empty for a whole pair."""

    pair_id: str
    key: str
    before: object
    after: object


def versions(path: Path) -> list[PairsVersion]:
    """Oldest first, the one that stands last. Raises: ConfigError when there is no file at all."""
    kept = kept_versions(path)
    found = [_version(number, file, is_current=False) for number, file in kept]
    if not path.exists() and kept:
        return found
    standing = standing_in(path)
    return [*found, _version(number_of(path, standing), path, is_current=True)]


def _version(number: int, path: Path, *, is_current: bool) -> PairsVersion:
    try:
        document = read_document(path)
    except ConfigError as problem:
        if is_current and not path.exists():
            raise
        return PairsVersion(number=number, path=path, is_current=is_current, document=None, problem=str(problem))
    return PairsVersion(number=number, path=path, is_current=is_current, document=document)


def version_of(path: Path, number: int) -> PairsVersion:
    """Raises: ConfigError when there is no such version."""
    known = versions(path)
    for version in known:
        if version.number == number:
            return version
    numbers = f"{known[0].number} to {known[-1].number}" if known else "none"
    raise ConfigError(f"{path}: no version {number}; it has {numbers}, see tandem config history")


def document_of(version: PairsVersion) -> PairsDocument:
    """Raises: ConfigError when the version does not read."""
    if version.document is None:
        raise ConfigError(f"version {version.number}: {version.problem}")
    return version.document


def changes(before: Sequence[PairRow], after: Sequence[PairRow]) -> list[PairChange]:
    """What is different, pair by pair, key by key; a pair that came or went is one change."""
    old = {row.pair_id: row for row in before}
    new = {row.pair_id: row for row in after}
    found = []
    for pair_id in dict.fromkeys((*old, *new)):
        one, other = old.get(pair_id), new.get(pair_id)
        if one is None or other is None:
            found.append(PairChange(pair_id=pair_id, key="", before=one, after=other))
            continue
        for key in PairRow.__struct_fields__:
            was, is_now = getattr(one, key), getattr(other, key)
            if was != is_now:
                found.append(PairChange(pair_id=pair_id, key=key, before=was, after=is_now))
    return found


def restore(path: Path, number: int, defaults: SignalSettings, *, restored_at: str) -> PairsDocument | None:
    """Write the pairs of that version as a new one, whole; None when they are what stands already. A running runner reloads.

    Raises: ConfigError when there is no such version, or when it would not load with this configuration; the file stays as it is.
    """
    wanted = document_of(version_of(path, number))
    pairs_of(wanted, defaults, where=f"{path}: version {number}")
    standing = standing_in(path)
    try:
        current = read_document(path).pairs
    except ConfigError:
        current = None  # Gone or damaged: reason enough to bring a version back; what is damaged is kept, too.
    if current == wanted.pairs:
        return None
    return write_document(
        path, wanted.pairs, generated_at=restored_at, run_id=f"restored-version-{number}", expected=standing
    )
