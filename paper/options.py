"""How this exchange behaves where the real one could not be asked or a test wants it otherwise."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreOptions:
    """Fees, accounts and reply forms."""

    balance_usdt: Decimal = Decimal(10_000)
    api_key: str = "paper-key"
    api_secret: str = "paper-secret"  # noqa: S105 - published on purpose, it opens play money only.
    maker_fee_rate: Decimal = Decimal("0.0002")
    taker_fee_rate: Decimal = Decimal("0.0005")
    liquidation_fee_rate: Decimal = Decimal("0.0125")
    replies_carry_average_price: bool = False  # The form before July 2026: avgPrice and cumQuote in order replies.
    trade_lite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """Request budgets. Zero switches one off."""

    weight_per_minute_max: int = 2400
    orders_per_10s_max: int = 300
    orders_per_minute_max: int = 1200
    ignored_refusals_max: int = 20  # This many requests after a 429 within its minute earn a ban.
    ban_seconds: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Times of the user stream, scalable so that tests need not wait an hour."""

    listen_key_life_seconds: float = 3600.0
    ping_every_seconds: float = 180.0
    pong_wait_seconds_max: float = 600.0
    connection_life_seconds: float = 86_400.0
    queue_events_max: int = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOptions:
    """Everything that a server needs besides its market."""

    core: CoreOptions = CoreOptions()
    limits: LimitOptions = LimitOptions()
    streams: StreamOptions = StreamOptions()
    chaos_seed: int | None = None
    chaos_rate: float = 0.02
    timer_seconds: float = 0.1
