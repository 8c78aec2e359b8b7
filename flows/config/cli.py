"""`tandem config`: the versions of the pairs file, what changed between them, and the way back."""

from pathlib import Path
from typing import Any

import click
import msgspec

from domain.errors import ConfigError
from flows.common.commands import AS_JSON, DONE, say, show, speaking, with_config

_HIDDEN = ("run_id", "calibrated_at", "window")
"""Of an update these always differ: shown with --all."""


@click.group()
def config() -> None:
    """The versions of the pairs file: list them, compare two, bring one back.

    Every write keeps the version before it in the folder PAIRS.history, the last 50 of them.
    """


@config.command()
@with_config()
@AS_JSON
@speaking
def history(*, config_path: Path, pairs_path: Path, as_json: bool) -> int:  # noqa: ARG001 - the same options everywhere.
    """Every version that is kept, the one that stands last."""
    from runner.pairs.history import versions  # noqa: PLC0415

    known = versions(pairs_path)
    rows = [_row(version) for version in known]
    kept = len(known) - sum(version.is_current for version in known)
    show(rows, title="Versions", as_json=as_json, summary=f"{pairs_path}: {kept} previous versions are kept")
    return DONE


def _row(version: Any) -> dict[str, Any]:
    document = version.document
    row: dict[str, Any] = {"version": version.number, "stands": "now" if version.is_current else ""}
    if document is None:
        return row | {"written": "", "by": "", "pairs": "", "open for entries": "", "note": version.problem}
    by = "" if document.run_id is None else document.run_id
    return row | {
        "written": document.generated_at or "",
        "by": by or "by hand",
        "pairs": len(document.pairs),
        "open for entries": sum(pair.enabled for pair in document.pairs),
        "note": "",
    }


@config.command()
@with_config()
@click.argument("first", metavar="[VERSION", type=int, required=False)
@click.argument("second", metavar="[VERSION]]", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="Also what differs after every run: run_id, times, window.")
@AS_JSON
@speaking
def diff(
    *,
    config_path: Path,  # noqa: ARG001 - the same options everywhere.
    pairs_path: Path,
    first: int | None,
    second: int | None,
    everything: bool,
    as_json: bool,
) -> int:
    """What changed between two versions, key by key.

    Without a VERSION: from the previous one to the one that stands. With one: from that to the one that stands.
    """
    from runner.pairs.history import changes, document_of, version_of, versions  # noqa: PLC0415

    known = versions(pairs_path)
    if first is None and len(known) < 2:
        raise ConfigError(f"{pairs_path}: there is no previous version yet; a recalibration or a restore keeps one")
    before = known[-2] if first is None else version_of(pairs_path, first)
    after = known[-1] if second is None else version_of(pairs_path, second)
    found = changes(document_of(before).pairs, document_of(after).pairs)
    shown = _as_json if as_json else _as_text
    rows = [
        {"pair": change.pair_id, "key": change.key, "before": shown(change.before), "after": shown(change.after)}
        for change in found
        if everything or change.key not in _HIDDEN
    ]
    pairs = len({row["pair"] for row in rows})
    end = f"{pairs} pairs differ" if rows else "no difference"
    summary = f"version {before.number} to {after.number}: {end}"
    show(rows, title="Differences", as_json=as_json, summary=summary)
    return DONE


def _as_json(value: Any) -> Any:
    from runner.pairs.file import PairRow  # noqa: PLC0415

    return msgspec.json.encode(value).decode() if isinstance(value, PairRow) else value


def _as_text(value: Any) -> Any:
    """Every digit that differs is to be seen."""
    return repr(value) if isinstance(value, float) else _as_json(value)


@config.command()
@with_config()
@click.argument("version", type=int)
@speaking
def restore(*, config_path: Path, pairs_path: Path, version: int) -> int:
    """Make the pairs of VERSION stand again, as a new version, whole or not at all. A running runner reloads by itself.

    Pairs that are not in it any more close only; open trades keep the numbers they were opened with.
    """
    from flows.common import facts  # noqa: PLC0415
    from runner.config import load_settings  # noqa: PLC0415
    from runner.keys import Purpose  # noqa: PLC0415
    from runner.pairs.history import restore as bring_back  # noqa: PLC0415

    settings = load_settings(config_path, Purpose.NONE)
    try:
        written = bring_back(pairs_path, version, settings.signal, restored_at=facts.iso(facts.now_ms()))
    except OSError as problem:
        raise ConfigError(
            f"{pairs_path}: cannot be written ({problem.strerror}), and stays as it was; make room or correct permissions"
        ) from None
    if written is None:
        say(f"the pairs of version {version} are what stands; nothing was written")
    else:
        say(f"{pairs_path} is now version {written.version}, with the pairs of version {version}")
    return DONE
