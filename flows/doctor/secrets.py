"""Where the exchange's keys are, and who could see them."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from domain.errors import ConfigError
from flows.doctor.findings import Finding, fail, ok, warn
from flows.doctor.processes import Ours
from runner import keys
from runner.config import Settings, load_settings
from runner.keys import Purpose
from storage.files import read_file

TRADER = "live runner"


def examine(config: Path, settings: Settings | None, processes: Sequence[Ours]) -> list[Finding]:
    """Return findings about configuration, keys and the environments of what runs."""
    if settings is None:
        return [_why_not(config)]
    found = [_in_file(config)]
    if settings.trading_mode == "live":
        found.append(_for_reading())
    found.append(_in_environments(processes))
    return found


def _why_not(config: Path) -> Finding:
    try:
        load_settings(config, Purpose.NONE)
    except ConfigError as problem:
        return fail(config.name, str(problem), "correct it; nothing starts before")
    return ok(config.name, "loads")


def _in_file(config: Path) -> Finding:
    content = json.loads(read_file(config))
    held = [key for key in sorted(keys.FIELDS) if content.get(key)]
    if not held:
        return ok(config.name, "holds no key")
    mode = config.stat().st_mode & 0o077
    if mode:
        return fail(
            config.name, f"holds {', '.join(held)} and others can read it", f"chmod 600 {config}; make new keys"
        )
    return warn(config.name, f"holds {', '.join(held)}", "better in the environment: a file is copied and backed up")


def _for_reading() -> Finding:
    variables = " and ".join(keys.VARIABLES[Purpose.READ].values())
    if keys.keys_from(Purpose.READ, os.environ):
        return ok("read-only key", "flows read with a key of their own")
    return warn("read-only key", "flows read with the trading key (or this shell has no other)", f"set {variables}")


def _in_environments(processes: Sequence[Ours]) -> Finding:
    """A key in an environment is inherited by every child. Only `tandem run` by hand has to have it there."""
    what = "environments"
    holding = [each for each in processes if keys.are_in(_environment_of(each.pid)) and each.role != TRADER]
    if holding:
        named = ", ".join(f"{each.role} (pid {each.pid})" for each in holding)
        return fail(what, f"keys are in the environment of {named}", "stop it and start it with `tandem up`")
    return ok(
        what, f"no key in those of {len(processes)} processes of ours" if processes else "nothing of this clone runs"
    )


def _environment_of(pid: int) -> Mapping[str, str]:
    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(pid).environ()
    return {}
