"""One runner per account on this machine, whatever folder, journal or configuration each of them has.

The journal's own lock keeps two runners from one journal; this one keeps two journals from one account.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from domain.errors import AccountBusy, ConfigError
from runner.config import Settings
from storage.locks import LockHeld, OsLock

NAME_LENGTH = 24


def account_address(settings: Settings) -> str:
    """Where the account lives: the same key is another account on another exchange."""
    url = settings.exchange_rest_url
    if url is None:
        return "binance-demo" if settings.data.use_testnet else "binance"
    parts = urlsplit(url.lower())
    host = "127.0.0.1" if parts.hostname in {"localhost", "::1", "127.0.0.1"} else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def lock_file(settings: Settings) -> Path:
    """In this user's own state folder. Its name is a fingerprint: the key cannot be told from it."""
    key = settings.binance_api_key
    identity = f"{account_address(settings)}\n{key.get_secret_value() if key is not None else ''}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:NAME_LENGTH]
    return _folder() / f"{name}.lock"


def _folder() -> Path:
    """Not the session's runtime folder, which some systems remove at log-out while the runner lives on."""
    state = os.environ.get("XDG_STATE_HOME")
    homes = [Path(state)] if state and Path(state).is_absolute() else []
    homes += [Path.home() / ".local" / "state", Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}"]
    problem: OSError | None = None
    for home in homes:
        folder = home / "tandem" / "accounts"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            problem = error
            continue
        if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
            return folder
    raise ConfigError(
        f"no folder for the lock of this account ({problem.strerror if problem else 'not ours to write'}: {homes[-1]});"
        " set XDG_STATE_HOME to one"
    )


def lock_account(settings: Settings) -> OsLock:
    """Hold it for as long as the runner lives. Raises: AccountBusy, ConfigError."""
    path = lock_file(settings)
    try:
        return OsLock(path)
    except LockHeld as held:
        raise AccountBusy(
            f"another runner (process {held.holder}) trades this account at {account_address(settings)} with another"
            " journal; stop it first, or give this one an account of its own"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be locked ({error.strerror}); mend its permissions") from None
