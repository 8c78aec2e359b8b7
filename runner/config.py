"""`config.json` and the environment, parsed once and strictly into frozen types. Nothing starts on a bad one.

Order: built-in defaults, then the file, then `TANDEM_…` variables (`TANDEM_SIGNAL__ENTRY_THRESHOLD`). Keys come from
`BINANCE_API_KEY` / `BINANCE_API_SECRET` (and `TANDEM_READ_API_KEY` / `TANDEM_READ_API_SECRET` for what only reads) or from the file,
never from both; settings hold those of one purpose.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from domain.errors import ConfigError
from domain.web_requests import hostname, is_loopback
from runner.keys import FIELDS, FOLDER, PAPER_ACCOUNT, VARIABLES, Purpose, keys_from
from storage.files import read_file

ENV_PREFIX = "TANDEM_"
# Names of ours that are about processes, not about trading.
ENV_RESERVED = frozenset(
    {"TANDEM_HOME", "TANDEM_LOG_FILE", "TANDEM_CONFIG", "TANDEM_PAIRS", "TANDEM_BOT", "TANDEM_KEYS"}
)
PAPER_REST_URL = "http://127.0.0.1:18080"
STREAM_URL = "wss://fstream.binance.com"
STREAM_URL_DEMO = "wss://demo-fstream.binance.com"
CONFIG_BYTES_MAX = 2**20
DEAD_MAN_SECONDS_MIN = 5.0
PAPER_KEY = "paper-key"
PAPER_SECRET = "paper-secret"  # noqa: S105  (The paper exchange's public default, not a secret.)

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
PositiveDecimal = Annotated[Decimal, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(_Section):
    """Where the exchange is."""

    exchange: Literal["binance"] = "binance"
    use_testnet: bool = False
    rest_url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+$")
    stream_url: str | None = Field(default=None, pattern=r"^wss?://[^/\s]+$")
    quote_age_ms_max: PositiveInt = 2_000
    silence_seconds_max: PositiveFloat = 15.0  # A symbol without a quote for so long is reported stale.
    request_timeout_seconds: PositiveFloat = 10.0
    clock_skew_ms_max: Annotated[int, Field(ge=100, le=60_000)] = 5_000  # This machine's clock against the exchange's.


class SignalSettings(_Section):
    """When to trade, unless the pair says otherwise."""

    lookback_bars: Annotated[int, Field(ge=3, le=100_000)] = 60
    bar_seconds: Literal[60, 180, 300, 900, 1800, 3600, 7200, 14400, 21600, 28800, 43200, 86400] = 60
    entry_threshold: PositiveFloat = 2.0
    exit_threshold: Annotated[float, Field(ge=0)] = 0.0
    stop_loss_threshold: PositiveFloat = 4.0
    debounce_ms: Annotated[int, Field(ge=0)] = 20
    spread_sample_seconds: PositiveFloat = 15.0

    @model_validator(mode="after")
    def _ordered(self) -> "SignalSettings":
        if not self.exit_threshold < self.entry_threshold < self.stop_loss_threshold:
            raise ValueError("need exit_threshold < entry_threshold < stop_loss_threshold")
        return self


class ExecutionSettings(_Section):
    """How orders are sent and what happens when they misbehave."""

    use_limit_orders: bool = False  # Post-only on the less liquid leg; the other is taken as that one fills.
    limit_wait_seconds: Annotated[float, Field(gt=0, le=600)] = (
        20.0  # How long an entry may rest, all its quotes together.
    )
    limit_chases_max: Annotated[int, Field(ge=0, le=100)] = 5  # How often it may be quoted anew.
    # The exchange cancels every order of a symbol in which ours rests unless it hears from us within so long. 0: never.
    dead_man_seconds: Annotated[float, Field(ge=0, le=600)] = 30.0
    max_slippage_pct: Annotated[float, Field(gt=0, le=0.05)] = 0.001
    order_timeout_seconds: PositiveFloat = 30.0  # A resting order older than this is cancelled.
    # Failed attempts to close a leg after which a person is called; the attempts themselves never end.
    max_order_retries: Annotated[int, Field(ge=0, le=20)] = 3
    recv_window_ms: Annotated[int, Field(ge=500, le=60_000)] = 2_500
    batch_orders: bool = True
    hedge_error_max: Annotated[float, Field(gt=0, lt=1)] = 0.02
    # What one entry may stand unhedged: notional x seconds. 500 USD for 20 s: longer than the proof that a lost order is dead.
    naked_notional_usd_seconds_max: PositiveFloat = 10_000.0
    rollbacks_before_freeze: PositiveInt = 3
    freeze_seconds: PositiveInt = 900
    rollback_pairs_before_halt: Annotated[int, Field(ge=0)] = 3  # So many different pairs within the window; 0: never.
    halt_window_seconds: PositiveInt = 300
    # A trade in a contract that will be delisted is closed so long before its delivery.
    delivery_lead_hours: Annotated[float, Field(ge=0.5, le=720)] = 24.0
    on_shutdown: Literal["keep", "flatten"] = "keep"

    @model_validator(mode="after")
    def _dead_man_can_be_kept(self) -> "ExecutionSettings":
        if 0 < self.dead_man_seconds < DEAD_MAN_SECONDS_MIN:
            raise ValueError(
                f"dead_man_seconds: set 0 (off) or at least {DEAD_MAN_SECONDS_MIN:g}, so that one lost request does not fire it"
            )
        return self


class RiskSettings(_Section):
    """What may be lost."""

    pair_notional_usd: PositiveDecimal = Decimal(500)
    gross_notional_usd_max: PositiveDecimal = Decimal(10_000)
    daily_loss_usd_max: PositiveDecimal = Decimal(250)
    leverage: Annotated[int, Field(ge=1, le=125)] = 3
    min_edge_ratio: Annotated[float, Field(ge=0)] = 1.0
    taker_fee_bps: Annotated[float, Field(ge=0, le=100)] = 5.0  # Until the account's own rate is known.
    maker_fee_bps: Annotated[float, Field(ge=-10, le=100)] = 2.0  # The same; a rebate is negative.


class StorageSettings(_Section):
    """Where facts are kept; relative paths start at the folder of config.json."""

    journal: Path = Path("var/journal.sqlite")
    ledger: Path = Path("var/ledger.duckdb")
    market: Path = Path("var/market")


class ControlSettings(_Section):
    """The runner's control address."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765  # 0: any free one.
    host_names: tuple[str, ...] = ()  # Further names by which it is reached, for example behind a proxy.


class Settings(_Section):
    """Everything config.json may say."""

    trading_mode: Literal["paper", "live"] = "paper"
    dry_run: bool = False
    binance_api_key: SecretStr | None = None
    binance_api_secret: SecretStr | None = None
    read_api_key: SecretStr | None = None  # For flows, which only read; without it they read with the trading key.
    read_api_secret: SecretStr | None = None
    data: DataSettings = DataSettings()
    signal: SignalSettings = SignalSettings()
    execution: ExecutionSettings = ExecutionSettings()
    risk: RiskSettings = RiskSettings()
    storage: StorageSettings = StorageSettings()
    control: ControlSettings = ControlSettings()

    @property
    def sha256(self) -> str:
        """Of everything but the secrets."""
        shown = self.model_dump_json(exclude=set(FIELDS))
        return hashlib.sha256(shown.encode()).hexdigest()

    @property
    def exchange_rest_url(self) -> str | None:
        """The host that requests go to; None is Binance itself. Paper money never asks Binance."""
        if self.data.rest_url is None and self.trading_mode == "paper":
            return PAPER_REST_URL
        return self.data.rest_url

    @property
    def exchange_stream_url(self) -> str:
        """The base of every websocket route."""
        if self.data.stream_url is not None:
            return self.data.stream_url
        if self.trading_mode == "paper":
            rest_url = self.exchange_rest_url or PAPER_REST_URL
            return "ws" + rest_url.removeprefix("http")  # The paper exchange serves both on one port.
        return STREAM_URL_DEMO if self.data.use_testnet else STREAM_URL

    @property
    def unencrypted_urls(self) -> tuple[str, ...]:
        """Addresses of the exchange at which keys and orders travel in plain text, for whoever can listen on the way."""
        urls = (self.exchange_rest_url, self.exchange_stream_url)
        return tuple(url for url in urls if url is not None and urlsplit(url).scheme in {"http", "ws"})

    @property
    def flows_journal(self) -> Path:
        """Where flows write their facts, beside the runner's journal."""
        return self.storage.journal.with_name("flows.sqlite")

    @property
    def control_token_file(self) -> Path:
        """Readable by its user alone; whoever can read it may pause and flatten."""
        return self.storage.journal.with_name("control.token")


class _Environment(BaseSettings):
    """Only its machinery is used: it turns TANDEM_A__B into {a: {b: …}}."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid")

    trading_mode: Any = None
    dry_run: Any = None
    data: DataSettings = DataSettings()
    signal: SignalSettings = SignalSettings()
    execution: ExecutionSettings = ExecutionSettings()
    risk: RiskSettings = RiskSettings()
    storage: StorageSettings = StorageSettings()
    control: ControlSettings = ControlSettings()


def load_settings(path: Path, purpose: Purpose = Purpose.TRADE) -> Settings:
    """Read, overlay the environment, check. Of the keys, only those of the purpose are kept, as `binance_api_key` and its secret.

    Raises: ConfigError, one line that says what, where and how to correct it.
    """
    try:
        raw = read_file(path, bytes_max=CONFIG_BYTES_MAX)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; create it, or name another with --config") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); correct its permissions") from None
    try:
        from_file = Settings.model_validate_json(raw, strict=False)
    except ValidationError as error:
        raise ConfigError(_one_line(str(path), error)) from None
    _refuse_loose_types(path, raw)
    environment = _from_environment(os.environ)
    merged = _merge(from_file.model_dump(exclude_unset=True), environment)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_one_line("environment", error, environment=True)) from None
    if settings.trading_mode == "live":
        _refuse_open_file(path, has_keys=any(getattr(from_file, key) is not None for key in FIELDS))
    _refuse_inconsistent(settings, path)
    return _rooted(_with_keys(settings, path, purpose), path.resolve().parent)


def _refuse_open_file(path: Path, *, has_keys: bool) -> None:
    """With real money: keys are for this user's eyes alone, and nobody else says where they are sent. Raises: ConfigError."""
    mode = path.stat().st_mode
    if has_keys and mode & 0o077:
        raise ConfigError(
            f"{path}: holds the exchange keys, and other users can read or write it; run chmod 600 {path}"
        )
    if mode & 0o002:
        raise ConfigError(f"{path}: every user can write it; run chmod o-w {path}")


def _refuse_loose_types(path: Path, raw: bytes) -> None:
    """A file says 2.0, not "2.0"; only the environment, where everything is text, may be read loosely."""
    try:
        Settings.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise ConfigError(_one_line(str(path), error)) from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    for name in environ:
        if name.startswith(ENV_PREFIX) and name not in ENV_RESERVED:
            _known_variable(name)
    try:
        return dict(EnvSettingsSource(_Environment)())
    except ValueError as error:  # Pydantic's SettingsError is one: a section that is not JSON.
        raise ConfigError(f"environment: {error}; set one key at a time, as in TANDEM_RISK__LEVERAGE=2") from None


def _known_variable(name: str) -> None:
    """Raises: ConfigError for a variable that no key answers to: a misspelt limit must not be silently no limit."""
    model: type[BaseModel] | None = Settings
    for part in name.removeprefix(ENV_PREFIX).lower().split("__"):
        fields = model.model_fields if model is not None else {}
        if part not in fields or part in VARIABLES[Purpose.TRADE]:
            raise ConfigError(f"environment: {name} names no key of config.json{_nearest(part, fields)}; unset it")
        annotation = fields[part].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = _merge(nested if isinstance(nested, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _refuse_inconsistent(settings: Settings, path: Path) -> None:
    if settings.trading_mode == "paper" and settings.data.rest_url is None and settings.data.use_testnet:
        raise ConfigError(f'{path}: data.use_testnet needs trading_mode "live" (the demo account takes real requests)')
    if settings.trading_mode == "live" and (settings.data.rest_url is None) != (settings.data.stream_url is None):
        raise ConfigError(f"{path}: data.rest_url and data.stream_url name one exchange; set both, or neither")
    for url in settings.unencrypted_urls if settings.trading_mode == "live" else ():
        if not is_loopback(hostname(url)):
            raise ConfigError(
                f'{path}: trading_mode "live" sends keys to {hostname(url)}, and others can read them on the way;'
                " use https:// in data.rest_url and wss:// in data.stream_url (plain text is for 127.0.0.1 alone)"
            )


def uses_paper_account(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether it trades the paper exchange's own account, so that a real key is sent to nobody who took its port.

    Paper money at an address that the user named is another matter: whoever listens there may want a key of his.
    """
    is_of_the_stack = environ.get(FOLDER) == PAPER_ACCOUNT
    return settings.trading_mode == "paper" and (settings.data.rest_url is None or is_of_the_stack)


def _with_keys(settings: Settings, path: Path, purpose: Purpose) -> Settings:
    """Only the keys of the purpose stay; what only reads takes the trading key when there is no other."""
    found = {kind: _key_and_secret(settings, path, kind) for kind in (Purpose.TRADE, Purpose.READ)}
    is_paper = settings.trading_mode == "paper"
    chosen = (
        found[Purpose.TRADE] if purpose is Purpose.TRADE or is_paper else found[Purpose.READ] or found[Purpose.TRADE]
    )
    if uses_paper_account(settings, os.environ):
        chosen = None
    if chosen is None and is_paper:
        chosen = (SecretStr(PAPER_KEY), SecretStr(PAPER_SECRET))
    if chosen is None and purpose is not Purpose.NONE:
        raise ConfigError(
            f'{path}: trading_mode "live" needs BINANCE_API_KEY and BINANCE_API_SECRET in the environment'
        )
    key, secret = chosen if chosen is not None and purpose is not Purpose.NONE else (None, None)
    kept = {"binance_api_key": key, "binance_api_secret": secret, "read_api_key": None, "read_api_secret": None}
    return settings.model_copy(update=kept)


def _key_and_secret(settings: Settings, path: Path, purpose: Purpose) -> tuple[SecretStr, SecretStr] | None:
    """From the file or from the environment. Raises: ConfigError for both, and for one half."""
    outside = keys_from(purpose, os.environ)
    halves: list[SecretStr] = []
    for key, variable in VARIABLES[purpose].items():
        in_file: SecretStr | None = getattr(settings, key)
        if in_file is not None and variable in outside:
            raise ConfigError(f"{path}: {key} is set here and in {variable}; keep one of the two")
        if in_file is not None or variable in outside:
            halves.append(in_file or SecretStr(outside[variable]))
    if not halves:
        return None
    if len(halves) == 1:
        raise ConfigError(f"{path}: a key without its secret; set both {' and '.join(VARIABLES[purpose].values())}")
    return halves[0], halves[1]


def _rooted(settings: Settings, root: Path) -> Settings:
    """Relative storage paths start at the folder of config.json, not wherever the command was typed."""
    storage = settings.storage
    update = {key: root / getattr(storage, key) for key in ("journal", "ledger", "market")}
    return settings.model_copy(update={"storage": storage.model_copy(update=update)})


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _fields_at(location: tuple[int | str, ...]) -> Mapping[str, Any]:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return {}
        model = annotation
    return model.model_fields


def _one_line(where: str, error: ValidationError, *, environment: bool = False) -> str:
    """The first problem in full, and how many more there are. Never shows a value: it might be a secret's."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    location = first["loc"]
    name = ".".join(str(part) for part in location)
    if environment:
        name = ENV_PREFIX + "__".join(str(part) for part in location).upper()
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key{_nearest(str(location[-1]), _fields_at(location))}; remove or correct it"
    elif first["type"] == "json_invalid":
        message = f"not valid JSON: {message.removeprefix('Invalid JSON: ')}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {name + ': ' if name else ''}{message[0].lower()}{message[1:]}{more}"
