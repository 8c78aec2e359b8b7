"""One runner per account on this machine, whatever folder, journal or configuration each of them has.

The journal's own lock keeps two runners from one journal; this one keeps two journals from one account.
"""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from domain.errors import AccountBusy, ConfigError
from runner.config import Settings
from storage.files import state_folder
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
    # Not in the session's runtime folder: the runner may live on after log-out.
    return state_folder("accounts", outlives_session=True) / f"{name}.lock"


def lock_account(settings: Settings) -> OsLock:
    """Hold it for as long as the runner lives. Raises: AccountBusy, ConfigError."""
    path = lock_file(settings)
    try:
        return OsLock(path)
    except LockHeld as held:
        ours = (
            f"another runner (process {held.holder}) trades this account at {account_address(settings)} with another"
            " journal; stop it first, or give this one an account of its own"
        )
        raise AccountBusy(held.explain(ours)) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be locked ({error.strerror}); correct its permissions") from None
