"""Who can read and change this clone's files."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.findings import Finding, fail, ok, warn
from flows.stack.layout import Layout
from runner.config import Settings

OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
SHOWN = 3


def examine(layout: Layout, settings: Settings | None) -> list[Finding]:
    """Return a finding a place: what is run, what is kept, what is secret."""
    found = [_not_changed_by_others(layout), *_state_folders(layout, settings), _inside(layout.var)]
    secrets = [layout.prefect_auth, layout.encryption_key, *sorted(layout.keys.glob("*.json"))]
    if settings is not None:
        secrets.append(settings.control_token_file)
    return found + [_secret(path, layout.home) for path in secrets if path.exists()]


def _not_changed_by_others(layout: Layout) -> Finding:
    """Whoever can change these decides what this user runs."""
    run = (
        "",
        "config.json",
        "pairs_config.json",
        "prefect.yaml",
        "domain",
        "runner",
        "storage",
        "flows",
        "paper",
        ".venv",
    )
    paths = [layout.home / name for name in run]
    open_ = [path for path in paths if path.exists() and _is_open(path, OTHERS_WRITE)]
    if open_:
        return fail("project folder", f"others can change {_names(open_, layout.home)}", f"chmod -R go-w {layout.home}")
    return ok("project folder", "only this user can change code and configuration")


def _state_folders(layout: Layout, settings: Settings | None) -> Iterator[Finding]:
    folders = {layout.var: None}
    if settings is not None:
        folders |= {path.parent: None for path in (settings.storage.journal, settings.storage.ledger)}
    for folder in folders:
        name = f"{_name(folder, layout.home)}/"
        if not folder.exists():
            yield ok(name, "not there yet")
        elif folder.stat().st_uid != os.geteuid():
            yield fail(name, "belongs to another user", f"chown -R $(id -un) {folder}, or run in a clone of your own")
        elif _is_open(folder, OTHERS):
            yield fail(name, f"others can look into it ({_mode(folder)})", f"chmod 700 {folder}")
        else:
            yield ok(name, "only this user can look into it")


def _inside(var: Path) -> Finding:
    """A folder of mode 0700 keeps everybody out; a file with a wide mode would be open wherever it is copied to."""
    open_: list[Path] = []
    for folder, names, files in os.walk(var):
        open_ += [Path(folder) / name for name in (*names, *files) if _is_open(Path(folder) / name, OTHERS)]
    if not open_:
        return ok("files in var/", "none is readable by others")
    detail = f"{len(open_)} with a wider mode than 0600: {_names(open_, var)}"
    return warn("files in var/", detail, f"chmod -R go-rwx {var}")


def _secret(path: Path, home: Path) -> Finding:
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        return fail(_name(path, home), "not a file of this user", f"stop everything, remove {path} and start again")
    if stat.S_IMODE(facts.st_mode) & OTHERS:
        return fail(
            _name(path, home), f"readable by others ({_mode(path)})", f"chmod 600 {path}, then make a new secret"
        )
    return ok(_name(path, home), "readable by this user alone")


def _is_open(path: Path, bits: int) -> bool:
    try:
        facts = path.lstat()
    except OSError:
        return False  # Gone since it was listed.
    return not stat.S_ISLNK(facts.st_mode) and bool(facts.st_mode & bits)


def _mode(path: Path) -> str:
    return f"mode {stat.S_IMODE(path.stat().st_mode):04o}"


def _name(path: Path, home: Path) -> str:
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _names(paths: list[Path], home: Path) -> str:
    shown = ", ".join(_name(path, home) for path in paths[:SHOWN])
    return shown + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")
