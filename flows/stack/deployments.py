"""The deployments, as `prefect.yaml` lists them: who wants to know which there are, asks here."""

from pathlib import Path

import yaml

from domain.errors import ConfigError

LIVE = "live"
"""Trading starts with it: deployed before the others, and started by `tandem up` itself."""


def deployments(home: Path) -> tuple[str, ...]:
    """Their names, in the order of the file. Raises: ConfigError."""
    path = home / "prefect.yaml"
    try:
        return tuple(str(row["name"]) for row in yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"])
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror}); take it from the clone again") from None
    except (yaml.YAMLError, LookupError, TypeError) as problem:
        raise ConfigError(f"{path}: no list of deployments ({type(problem).__name__}); see the clone's own") from None


def others(home: Path) -> tuple[str, ...]:
    """All but the live runner, in the same order: deployed after it, and run once so that the UI shows what each does."""
    return tuple(name for name in deployments(home) if name != LIVE)
