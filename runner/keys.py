"""The exchange's keys on their way from `tandem up` to the one process that needs them: by files, never by an environment.

An environment is inherited by every child, and Prefect writes a worker's into temporary files. So whoever starts others keeps the
keys in two files of mode 0600, one a purpose, and names their folder; a process reads the one that it is for.
"""

import json
import os
import shutil
import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from domain.errors import ConfigError

FOLDER = "TANDEM_KEYS"
"""The environment variable that names the folder."""
PAPER_ACCOUNT = "none"
"""In its place: this process asks the stack's own paper exchange, and no key of the user's is for it."""
BYTES_MAX = 10_000


class Purpose(StrEnum):
    """What a process wants keys for."""

    TRADE = "trade"
    READ = "read"
    NONE = "none"  # It asks the exchange nothing.


VARIABLES: Mapping[Purpose, Mapping[str, str]] = MappingProxyType(
    {
        Purpose.TRADE: {"binance_api_key": "BINANCE_API_KEY", "binance_api_secret": "BINANCE_API_SECRET"},
        Purpose.READ: {"read_api_key": "TANDEM_READ_API_KEY", "read_api_secret": "TANDEM_READ_API_SECRET"},
        Purpose.NONE: {},
    }
)
"""The key of config.json and the environment variable of each half, by purpose."""
NAMES = frozenset(variable for row in VARIABLES.values() for variable in row.values())
FIELDS = frozenset(key for row in VARIABLES.values() for key in row)


def without_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that has no business with any key."""
    return {name: value for name, value in environ.items() if name not in NAMES}


def are_in(environ: Mapping[str, str]) -> bool:
    """Whether an environment holds any of them."""
    return any(environ.get(name) for name in NAMES)


def hand_over(folder: Path, environ: Mapping[str, str]) -> None:
    """Write what the environment holds into the folder, readable by this user alone. Raises: OSError."""
    forget(folder)
    folder.mkdir(mode=0o700, parents=True)
    for purpose, row in VARIABLES.items():
        held = {variable: environ[variable] for variable in row.values() if environ.get(variable)}
        if held:
            descriptor = os.open(
                folder / f"{purpose}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600
            )
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(held, file)


def forget(folder: Path) -> None:
    """Remove what was handed over."""
    shutil.rmtree(folder, ignore_errors=True)


def keys_from(purpose: Purpose, environ: Mapping[str, str]) -> dict[str, str]:
    """Variable and value of what the environment, or the folder that it names, holds for this purpose.

    Raises: ConfigError for a file that others can read, or that is none of ours.
    """
    row = VARIABLES[purpose]
    held = {variable: environ[variable] for variable in row.values() if environ.get(variable)}
    folder = environ.get(FOLDER)
    if held or not folder or not row:
        return held
    return {name: value for name, value in _read(Path(folder) / f"{purpose}.json").items() if name in row.values()}


def _read(path: Path) -> dict[str, str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); start `tandem up` again") from None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise ConfigError(f"{path}: must be a file of this user that nobody else can read; start `tandem up` again")
        try:
            return {str(name): str(value) for name, value in json.loads(file.read(BYTES_MAX)).items()}
        except (ValueError, AttributeError):
            raise ConfigError(f"{path}: damaged; start `tandem up` again") from None
