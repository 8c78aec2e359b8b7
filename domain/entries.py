"""What the journal holds: one frozen struct per kind of fact. Append-only; state is what replaying gives.

Times are Unix milliseconds (UTC). Money and quantities are Decimal, encoded as strings. A kind's name is its tag in the
journal, so a tag, once written by a release, is never reused for something else; fields are only added, with defaults.
"""

from decimal import Decimal
from typing import Any

import msgspec

from domain.orders import Fill, LegName, OrderChange, OrderIntent, OrderStatus, Purpose
from domain.pairs import ExitReason, PairSide, SignalOutcome, SignalType, TradeStatus
from domain.refusals import RefusalKind
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """The common head of every row."""

    at_ms: int

    @property
    def unique_key(self) -> str | None:
        """What may be in the journal only once, whoever writes it; None where repeats are fine."""
        return None


class RunStarted(Entry, frozen=True, kw_only=True, tag="run_started"):
    run_id: str
    trading_mode: str
    dry_run: bool
    version: str
    config_sha256: str
    pairs_sha256: str


class RunStopped(Entry, frozen=True, kw_only=True, tag="run_stopped"):
    run_id: str
    reason: str
    uptime_seconds: float
    signals_processed: int
    trades_executed: int
    success_rate: float


class SignalReceived(Entry, frozen=True, kw_only=True, tag="signal_received"):
    signal_id: str
    pair_id: PairId
    signal_type: SignalType
    z_score: float
    spread: float
    price_a: float
    price_b: float

    @property
    def unique_key(self) -> str:
        return f"signal:{self.signal_id}"


class SignalResolved(Entry, frozen=True, kw_only=True, tag="signal_resolved"):
    signal_id: str
    pair_id: PairId
    outcome: SignalOutcome
    reason: str  # A stable code, for example QUOTE_STALE; EXECUTED has "".
    trade_id: TradeId | None
    facts: dict[str, Any]


class TradeIntended(Entry, frozen=True, kw_only=True, tag="trade_intended"):
    """The plan of one pair trade. Hedge ratio, mean, deviation and exits are frozen at decision."""

    trade_id: TradeId
    pair_id: PairId
    signal_id: str
    side: PairSide
    symbol_a: Symbol
    symbol_b: Symbol
    hedge_ratio: float
    spread_mean: float
    spread_std: float
    entry_z: float
    exit_threshold: float
    stop_z: float
    time_stop_ms: int | None  # Close after this moment, whatever z says.
    quantity_a: Decimal
    quantity_b: Decimal
    price_a: Decimal  # Executable prices at decision: bid of what we sell, ask of what we buy.
    price_b: Decimal
    hedge_error: float  # |qty_a − h·qty_b|·price_a over leg b's notional, after rounding.
    expected_edge_usd: Decimal
    costs: dict[str, str]  # The sums behind expected_edge_usd.
    signal_ms: int | None = None  # When it was decided, in market time: what a repetition is judged by.

    @property
    def unique_key(self) -> str:
        return f"trade:{self.trade_id}"


class TradeAdvanced(Entry, frozen=True, kw_only=True, tag="trade_advanced"):
    trade_id: TradeId
    pair_id: PairId
    status: TradeStatus
    reason: str
    exit_z: float | None = None
    exit_reason: ExitReason | None = None
    naked_seconds: float | None = None  # Total so far.
    naked_notional_usd_seconds: float | None = None  # The same, each second times the notional that stood unhedged.
    leg_skew_ms: float | None = None  # Between the two legs' first fills.
    price_a: Decimal | None = (
        None  # Executable prices at the decision to close: what an exit's slippage is measured from.
    )
    price_b: Decimal | None = None  # None for a leg that held nothing, or had no quote.
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class OrderIntended(Entry, frozen=True, kw_only=True, tag="order_intended"):
    intent: OrderIntent
    others_held: Decimal | None = (
        None  # Signed, in the symbol, of the account's position; None while nobody could tell.
    )
    others_held_ms: int | None = None  # When that was last compared, by the exchange's clock.

    @property
    def unique_key(self) -> str:
        return f"order:{self.intent.client_order_id}"


class OrderAdvanced(Entry, frozen=True, kw_only=True, tag="order_advanced"):
    client_order_id: ClientOrderId
    trade_id: TradeId
    change: OrderChange
    status: OrderStatus
    exchange_order_id: str | None
    filled: Decimal
    average_price: Decimal | None
    source: str  # reply, stream, query, recovery
    reason: str
    refusal_kind: RefusalKind | None = None  # What the exchange said against it; proof only when `status` is refused.
    refusal_code: str = ""  # The exchange's own code of it.


class FillSeen(Entry, frozen=True, kw_only=True, tag="fill_seen"):
    fill: Fill
    trade_id: TradeId | None  # None: not one of our orders.
    pair_id: PairId | None
    leg: LegName | None
    purpose: Purpose | None

    @property
    def unique_key(self) -> str:
        return f"fill:{self.fill.symbol}:{self.fill.exchange_trade_id}"


class FundingPaid(Entry, frozen=True, kw_only=True, tag="funding_paid"):
    """One trade's share of one settlement. Negative: paid. Positive: received."""

    trade_id: TradeId | None
    symbol: Symbol
    amount_usd: Decimal
    transaction_id: str

    @property
    def unique_key(self) -> str:
        return f"funding:{self.symbol}:{self.transaction_id}:{self.trade_id or ''}"


class EquitySampled(Entry, frozen=True, kw_only=True, tag="equity_sampled"):
    wallet_usd: Decimal
    unrealized_usd: Decimal


class SpreadSampled(Entry, frozen=True, kw_only=True, tag="spread_sampled"):
    pair_id: PairId
    price_a: float
    price_b: float
    spread: float
    z_score: float | None  # None until the window is full.


class PairFrozen(Entry, frozen=True, kw_only=True, tag="pair_frozen"):
    """No entries for this pair until the moment given."""

    pair_id: PairId
    until_ms: int
    reason: str


class EventLogged(Entry, frozen=True, kw_only=True, tag="event_logged"):
    level: str
    event: str
    pair_id: PairId | None = None
    trade_id: TradeId | None = None
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class CalibrationDecided(Entry, frozen=True, kw_only=True, tag="calibration_decided"):
    run_id: str
    pair_id: PairId
    symbol_a: Symbol
    symbol_b: Symbol
    hedge_ratio: float | None
    intercept: float | None
    spread_std: float | None
    t_stat: float | None
    p_value: float | None
    q_value: float | None
    half_life: float | None  # In bars of the calibration's timeframe.
    observations: int
    previous_hedge_ratio: float | None
    decision: str  # kept, updated, added, retired, rejected; of earlier releases also refused
    reason: str
    codes: str = ""  # The stable words behind `reason`, by commas.
    edge_ratio: float | None = None  # Expected reversion of an entry over its costs.
    enabled: bool | None = None  # Open for entries afterwards; None: not in the file.
    previous_half_life: float | None = None
    previous_t_stat: float | None = None
    previous_p_value: float | None = None


class CalibrationRun(Entry, frozen=True, kw_only=True, tag="calibration_run"):
    """One recalibration as a whole."""

    run_id: str
    universe: str  # configured, listed
    symbols: int
    tests: int  # Directions that the q-values count.
    correction: str
    level: float
    kept: int
    updated: int
    added: int
    retired: int
    rejected: int
    data_hash: str
    timeframe: str
    bars_from_ms: int  # The stretch of market time that was tested.
    bars_to_ms: int
    parameters: dict[str, Any]
    duration_seconds: float
    outcome: str  # written, unchanged, refused
    refusals: str  # The gates that refused, each with its facts; "" when none did.
    written_version: int | None = None


class ReconciliationDone(Entry, frozen=True, kw_only=True, tag="reconciliation_done"):
    run_id: str
    verdict: str  # match, explained, mismatch, incomplete
    symbols_checked: int
    detail: str


class ReconciliationItemFound(Entry, frozen=True, kw_only=True, tag="reconciliation_item_found"):
    run_id: str
    symbol: Symbol
    pair_id: PairId | None
    ledger_quantity: Decimal
    exchange_quantity: Decimal
    explanation: str
    action: str


class HealthChecked(Entry, frozen=True, kw_only=True, tag="health_checked"):
    run_id: str
    name: str
    status: str  # ok, degraded, failed
    detail: str


class BacktestDone(Entry, frozen=True, kw_only=True, tag="backtest_done"):
    """One backtest as a whole. USD; net = gross − fees + funding."""

    run_id: str
    mode: str  # static: as configured; walk_forward: recalibrated on the way
    from_ms: int  # The stretch of market time that was traded.
    to_ms: int
    timeframe: str
    parameters: dict[str, Any]
    data_hash: str
    pairs: int
    trades: int
    wins: int
    gross_usd: Decimal
    fees_usd: Decimal
    funding_usd: Decimal
    net_usd: Decimal
    drawdown_usd_max: Decimal
    turnover_usd: Decimal
    exposure_usd_average: Decimal
    cost_sensitivity: list[dict[str, float]]  # The same with other multiples of the fee.
    stretches: list[dict[str, Any]]  # In and out of sample, between two recalibrations each.
    seconds: float
    notes: list[str]


class BacktestTraded(Entry, frozen=True, kw_only=True, tag="backtest_traded"):
    """One trade of a backtest. Never one of the account's."""

    run_id: str
    trade_id: str
    pair_id: PairId
    symbol_a: Symbol
    symbol_b: Symbol
    side: PairSide
    opened_ms: int
    closed_ms: int
    hedge_ratio: float
    entry_z: float
    exit_z: float
    exit_reason: str  # An ExitReason, or end_of_data.
    quantity_a: Decimal
    quantity_b: Decimal
    entry_price_a: Decimal
    entry_price_b: Decimal
    exit_price_a: Decimal
    exit_price_b: Decimal
    gross_pnl_usd: Decimal
    fees_usd: Decimal
    funding_usd: Decimal
    net_pnl_usd: Decimal
    expected_edge_usd: Decimal


AnyEntry = (
    RunStarted
    | RunStopped
    | SignalReceived
    | SignalResolved
    | TradeIntended
    | TradeAdvanced
    | OrderIntended
    | OrderAdvanced
    | FillSeen
    | FundingPaid
    | EquitySampled
    | SpreadSampled
    | PairFrozen
    | EventLogged
    | CalibrationDecided
    | CalibrationRun
    | ReconciliationDone
    | ReconciliationItemFound
    | HealthChecked
    | BacktestDone
    | BacktestTraded
)

_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder: msgspec.json.Decoder[AnyEntry] = msgspec.json.Decoder(AnyEntry)


def encode(entry: Entry) -> bytes:
    """One entry as JSON, its kind inside."""
    return _encoder.encode(entry)


def decode(body: bytes | str) -> AnyEntry:
    """Raises: msgspec.ValidationError for a row of a newer release or a damaged one."""
    return _decoder.decode(body)


def kind_of(entry: Entry) -> str:
    """The tag under which the entry is stored."""
    return str(entry.__struct_config__.tag)
