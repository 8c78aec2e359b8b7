"""Whose holding an execution closed that none of our orders made: auto-deleveraging, liquidation, settlement, a person.

The venue speaks of one net position a symbol; several trades may share it. Whatever is gone is taken from the trades that
held on that side, oldest first, and never more than they hold.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import msgspec

from domain.orders import Fill, LegName
from domain.symbols import Symbol
from domain.trades import SHARE_MARK, ZERO, TradeState

FORCED_PREFIXES = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""Client ids of the orders that the exchange itself makes: liquidation, auto-deleveraging, delisting."""
FEE_PLACES = Decimal("1E-8")


class Share(NamedTuple):
    """The part of an execution that closed one leg of one trade."""

    trade: TradeState
    leg: LegName
    fill: Fill


def held_at(trade: TradeState, leg: LegName, at_ms: int) -> Decimal:
    """What a trade held of a leg at a moment of the venue's clock, by the executions booked until now; unsigned."""
    return sum((change for when_ms, of, change in trade.executions if of is leg and when_ms <= at_ms), ZERO)


def holders(
    trades: Iterable[TradeState], symbol: Symbol, closing_sign: int, at_ms: int
) -> list[tuple[TradeState, LegName, Decimal]]:
    """The legs that an order of this sign (+1 buys) reduced at that moment, with what they held; oldest trade first.

    A trade that is over by now counts as well: what it has closed since then, thinking it was there, was somebody else's.
    """
    found = [
        (trade, leg, held)
        for trade in trades
        for leg in LegName
        if trade.symbol_of(leg) == symbol
        and trade.plan.side.side_of(leg).sign * closing_sign < 0
        and (held := held_at(trade, leg, at_ms)) > 0
    ]
    return sorted(found, key=lambda holder: (holder[0].plan.at_ms, holder[0].trade_id))


def share_out(
    fill: Fill, trades: Iterable[TradeState], quantity_max: Decimal, *, booked: Sequence[Decimal] = ()
) -> list[Share]:
    """Give at most `quantity_max` of the execution to those who held. Fees go with the quantities; nothing is lost.

    `booked` are the shares given before. The first share keeps the execution's identity, so that news of it told twice is
    known; the others carry `#2`, `#3`. What nobody of ours held is in no share.
    """
    left = min(fill.quantity - sum(booked, ZERO), quantity_max)
    shares: list[Share] = []
    for trade, leg, held in holders(trades, fill.symbol, fill.side.sign, fill.at_ms):
        part = min(left, held)
        if part <= 0:
            break
        left -= part
        number = len(booked) + len(shares) + 1
        identity = fill.exchange_trade_id if number == 1 else f"{fill.exchange_trade_id}{SHARE_MARK}{number}"
        fee = (fill.fee * part / fill.quantity).quantize(FEE_PLACES, ROUND_HALF_EVEN)
        shares.append(
            Share(trade, leg, msgspec.structs.replace(fill, exchange_trade_id=identity, quantity=part, fee=fee))
        )
    if shares and sum((share.fill.quantity for share in shares), ZERO) == fill.quantity:
        rest = fill.fee - sum((share.fill.fee for share in shares), ZERO)
        last = shares[-1]
        shares[-1] = last._replace(fill=msgspec.structs.replace(last.fill, fee=last.fill.fee + rest))
    return shares


def suffix_explains(changes: Sequence[Decimal], difference: Decimal) -> bool:
    """Whether the latest of these signed changes (oldest first) add up to the difference."""
    total = ZERO
    for change in reversed(changes):
        total += change
        if total == difference:
            return True
    return False
