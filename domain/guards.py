"""What may stop an entry: an ordered tuple of pure functions. Approval is a type, and the engine accepts nothing else.

A denial is a stable code with facts. Orders that reduce exposure are never reviewed here: an exit must not be stopped by a limit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Any

from domain.edge import Edge
from domain.pairs import PairSide, TradingSignal
from domain.reasons import Reason
from domain.sizing import Sized, TooLarge, TooSmall
from domain.symbols import PairId, Symbol
from domain.units import MINUTE_MS

BALANCE_AGE_MS_MAX = MINUTE_MS
"""An account that could not be read for so long may have no margin left; it is read every ten seconds."""


class DenialCode(StrEnum):
    """Stable codes; `docs/execution.md` says what each means and what to do."""

    PAUSED = "PAUSED"
    DRY_RUN = "DRY_RUN"
    JOURNAL_BROKEN = "JOURNAL_BROKEN"
    RECOVERING = "RECOVERING"
    USER_STREAM_DOWN = "USER_STREAM_DOWN"
    EXCHANGE_BLOCKED = "EXCHANGE_BLOCKED"
    CLOCK_UNFIT = "CLOCK_UNFIT"
    FOREIGN_ORDERS = "FOREIGN_ORDERS"
    PAIR_CLOSE_ONLY = "PAIR_CLOSE_ONLY"
    PAIR_FROZEN = "PAIR_FROZEN"
    ENTRIES_HALTED = "ENTRIES_HALTED"
    PAIR_BUSY = "PAIR_BUSY"
    SYMBOL_BUSY = "SYMBOL_BUSY"
    SYMBOL_NOT_TRADING = "SYMBOL_NOT_TRADING"
    SYMBOL_NOT_PREPARED = "SYMBOL_NOT_PREPARED"
    RULES_DOUBTED = "RULES_DOUBTED"
    QUOTE_STALE = "QUOTE_STALE"
    BEYOND_STOP = "BEYOND_STOP"
    Z_NOT_EXECUTABLE = "Z_NOT_EXECUTABLE"
    SIZE_TOO_SMALL = "SIZE_TOO_SMALL"
    SIZE_TOO_LARGE = "SIZE_TOO_LARGE"
    FILTER = "FILTER"
    LEVERAGE = "LEVERAGE"
    EDGE_TOO_SMALL = "EDGE_TOO_SMALL"
    GROSS_NOTIONAL = "GROSS_NOTIONAL"
    DAILY_LOSS = "DAILY_LOSS"
    BALANCE_STALE = "BALANCE_STALE"
    MARGIN = "MARGIN"
    DUPLICATE = "DUPLICATE"
    DEAD_MAN = "DEAD_MAN"
    NOT_FILLED = "NOT_FILLED"
    ROLLED_BACK = "ROLLED_BACK"  # Approved, sent, and taken back.
    EXCHANGE_REFUSED = "EXCHANGE_REFUSED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows."""

    quote_age_ms_max: int
    gross_notional_usd_max: Decimal
    daily_loss_usd_max: Decimal
    min_edge_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTradeSnapshot:
    """The world at the moment of review, gathered before any guard runs, so that guards cannot disagree about it.

    No field has a default: whoever makes one states everything that could be an objection.
    """

    signal: TradingSignal
    side: PairSide
    entry_z: float
    stop_z: float
    paused_because: str | None
    dry_run: bool
    journal_broken: bool
    recovering: bool
    user_stream_down: bool
    exchange_blocked_ms: int
    foreign_orders: int
    pair_enabled: bool
    pair_frozen_ms: int
    entries_halted_ms: int
    pair_has_trade: bool
    symbols_not_trading: tuple[str, ...]
    quote_age_ms: int  # Of the older leg.
    sized: Sized | TooSmall | TooLarge
    filter_problem: tuple[Symbol, Reason] | None  # Of the first order that would be refused.
    leverage_problem: Reason | None
    edge: Edge | None  # None when nothing could be sized.
    order_notional_usd: Decimal
    gross_notional_usd: Decimal  # Held and reserved, before this one.
    lost_today_usd: Decimal  # Positive: a loss.
    margin_needed_usd: Decimal
    margin_free_usd: Decimal
    clock_problem: Reason | None
    rules_doubted: tuple[Symbol, ...]
    unprepared: Mapping[Symbol, Reason]  # Why a symbol's margin type or leverage is not known to be set.
    balance_age_ms: int | None  # None: it was never read.


@dataclass(frozen=True, slots=True)
class Denied:
    """Why not; the facts go to the ledger with the signal."""

    code: DenialCode
    facts: dict[str, Any]


class Approved:
    """Proof that every guard let this entry pass; only `review` makes one."""

    __slots__ = ("edge", "pair_id", "signal", "sized")

    def __init__(self, snapshot: PreTradeSnapshot, sized: Sized, edge: Edge) -> None:
        self.pair_id: PairId = snapshot.signal.pair_id
        self.signal = snapshot.signal
        self.sized = sized
        self.edge = edge


Guard = Callable[[PreTradeSnapshot, Limits], dict[str, Any] | None]
"""Facts when the entry must not happen, None when this guard has no objection."""


def _not_paused(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return None if now.paused_because is None else {"because": now.paused_because}


def _journal_works(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {} if now.journal_broken else None


def _recovered(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {} if now.recovering else None


def _user_stream_works(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {} if now.user_stream_down else None


def _exchange_listens(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {"blocked_ms": now.exchange_blocked_ms} if now.exchange_blocked_ms > 0 else None


def _clock_is_fit(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return None if now.clock_problem is None else {"why": str(now.clock_problem)}


def _no_foreign_orders(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {"orders": now.foreign_orders} if now.foreign_orders else None


def _pair_may_enter(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return None if now.pair_enabled else {}


def _pair_not_frozen(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {"for_ms": now.pair_frozen_ms} if now.pair_frozen_ms > 0 else None


def _entries_not_halted(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {"for_ms": now.entries_halted_ms} if now.entries_halted_ms > 0 else None


def _pair_is_flat(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {} if now.pair_has_trade else None


def _symbols_trade(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {"symbols": list(now.symbols_not_trading)} if now.symbols_not_trading else None


def _symbols_are_prepared(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {"why": "; ".join(str(reason) for reason in now.unprepared.values())} if now.unprepared else None


def _rules_are_believed(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return {"symbols": list(now.rules_doubted)} if now.rules_doubted else None


def _quotes_are_fresh(now: PreTradeSnapshot, limits: Limits) -> dict[str, Any] | None:
    if now.quote_age_ms <= limits.quote_age_ms_max:
        return None
    return {"age_ms": now.quote_age_ms, "age_ms_max": limits.quote_age_ms_max}


def _size_is_tradable(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    if not isinstance(now.sized, TooSmall):
        return None
    suffices = now.sized.notional_usd_min.quantize(Decimal("0.01"), ROUND_CEILING)
    return {"why": now.sized.why, "pair_notional_usd_min": str(suffices)}


def _size_is_closable(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    if not isinstance(now.sized, TooLarge):
        return None
    suffices = now.sized.notional_usd_max.quantize(Decimal("0.01"), ROUND_FLOOR)
    return {"why": now.sized.why, "pair_notional_usd_max": str(suffices)}


def _inside_the_stop(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    if now.edge is None or abs(now.edge.executable_z) < now.stop_z:
        return None
    return {"executable_z": round(now.edge.executable_z, 4), "stop_z": now.stop_z}


def _z_is_executable(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    if now.edge is None:
        return None
    z = now.edge.executable_z
    away = -z if now.side is PairSide.SELL else z
    return None if away >= now.entry_z else {"executable_z": round(z, 4), "entry_z": now.entry_z}


def _filters_pass(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    if now.filter_problem is None:
        return None
    symbol, reason = now.filter_problem
    return {"why": f"{symbol}: {reason}"}


def _leverage_allows(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    return None if now.leverage_problem is None else {"why": str(now.leverage_problem)}


def _edge_pays(now: PreTradeSnapshot, limits: Limits) -> dict[str, Any] | None:
    if now.edge is None or now.edge.reversion >= limits.min_edge_ratio * now.edge.costs:
        return None
    return {
        "reversion_usd": round(now.edge.reversion, 4),
        "costs_usd": round(now.edge.costs, 4),
        "min_edge_ratio": limits.min_edge_ratio,
    }


def _gross_within_limit(now: PreTradeSnapshot, limits: Limits) -> dict[str, Any] | None:
    total = now.gross_notional_usd + now.order_notional_usd
    if total <= limits.gross_notional_usd_max:
        return None
    return {"would_be_usd": f"{total:.2f}", "max_usd": str(limits.gross_notional_usd_max)}


def _loss_within_limit(now: PreTradeSnapshot, limits: Limits) -> dict[str, Any] | None:
    if now.lost_today_usd < limits.daily_loss_usd_max:
        return None
    return {"lost_usd": f"{now.lost_today_usd:.2f}", "max_usd": str(limits.daily_loss_usd_max)}


def _balance_is_fresh(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    if now.balance_age_ms is not None and now.balance_age_ms <= BALANCE_AGE_MS_MAX:
        return None
    return {"age_ms": now.balance_age_ms, "age_ms_max": BALANCE_AGE_MS_MAX}


def _margin_suffices(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    if now.margin_needed_usd <= now.margin_free_usd:
        return None
    return {"needed_usd": f"{now.margin_needed_usd:.2f}", "free_usd": f"{now.margin_free_usd:.2f}"}


def _orders_are_wanted(now: PreTradeSnapshot, _: Limits) -> dict[str, Any] | None:
    # Last, so that a dry run records what it would have done and why it would have been denied otherwise.
    return {"would_trade": True} if now.dry_run else None


GUARDS: tuple[tuple[DenialCode, Guard], ...] = (
    (DenialCode.JOURNAL_BROKEN, _journal_works),
    (DenialCode.RECOVERING, _recovered),
    (DenialCode.PAUSED, _not_paused),
    (DenialCode.USER_STREAM_DOWN, _user_stream_works),
    (DenialCode.EXCHANGE_BLOCKED, _exchange_listens),
    (DenialCode.CLOCK_UNFIT, _clock_is_fit),
    (DenialCode.FOREIGN_ORDERS, _no_foreign_orders),
    (DenialCode.PAIR_CLOSE_ONLY, _pair_may_enter),
    (DenialCode.ENTRIES_HALTED, _entries_not_halted),
    (DenialCode.PAIR_FROZEN, _pair_not_frozen),
    (DenialCode.PAIR_BUSY, _pair_is_flat),
    (DenialCode.SYMBOL_NOT_TRADING, _symbols_trade),
    (DenialCode.SYMBOL_NOT_PREPARED, _symbols_are_prepared),
    (DenialCode.RULES_DOUBTED, _rules_are_believed),
    (DenialCode.QUOTE_STALE, _quotes_are_fresh),
    (DenialCode.SIZE_TOO_SMALL, _size_is_tradable),
    (DenialCode.SIZE_TOO_LARGE, _size_is_closable),
    (DenialCode.BEYOND_STOP, _inside_the_stop),
    (DenialCode.Z_NOT_EXECUTABLE, _z_is_executable),
    (DenialCode.FILTER, _filters_pass),
    (DenialCode.LEVERAGE, _leverage_allows),
    (DenialCode.EDGE_TOO_SMALL, _edge_pays),
    (DenialCode.GROSS_NOTIONAL, _gross_within_limit),
    (DenialCode.DAILY_LOSS, _loss_within_limit),
    (DenialCode.BALANCE_STALE, _balance_is_fresh),
    (DenialCode.MARGIN, _margin_suffices),
    (DenialCode.DRY_RUN, _orders_are_wanted),
)


ASKED_ONCE = frozenset(
    {
        DenialCode.PAIR_BUSY,
        DenialCode.LEVERAGE,
        DenialCode.GROSS_NOTIONAL,
        DenialCode.MARGIN,
    }
)
"""Guards that would object to an entry because of that entry itself, once a part of it rests or is filled."""


def still_stands(now: PreTradeSnapshot, limits: Limits) -> Denied | None:
    """The first objection to an entry that was approved and still rests; None while it may go on."""
    for code, guard in GUARDS:
        facts = None if code in ASKED_ONCE else guard(now, limits)
        if facts is not None:
            return Denied(code, facts)
    return None


def review(now: PreTradeSnapshot, limits: Limits) -> Approved | Denied:
    """The first objection in order, or approval."""
    for code, guard in GUARDS:
        facts = guard(now, limits)
        if facts is not None:
            return Denied(code, facts)
    if not isinstance(now.sized, Sized) or now.edge is None:
        return Denied(DenialCode.INTERNAL, {"why": "sized without an edge"})
    return Approved(now, now.sized, now.edge)
