"""Whose holding an execution closed that none of our orders made: auto-deleveraging, liquidation, settlement, a person.

The venue speaks of one net position a symbol; several trades may share it. Whatever is gone is taken from the trades that
held on that side, oldest first, and never more than they hold.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import msgspec

from domain.orders import Fill, LegName
from domain.symbols import Symbol
from domain.trades import ZERO, TradeState

FORCED_PREFIXES = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""Client ids of the orders that the exchange itself makes: liquidation, auto-deleveraging, delisting."""
FEE_PLACES = Decimal("1E-8")


class Share(NamedTuple):
    """The part of an execution that closed one leg of one trade."""

    trade: TradeState
    leg: LegName
    fill: Fill


def holders(
    trades: Sequence[TradeState], symbol: Symbol, closing_sign: int, at_ms: int
) -> list[tuple[TradeState, LegName]]:
    """The legs that an order of this sign (+1 buys) reduced at that time, oldest trade first. Times are the venue's."""
    found = [
        (trade, leg)
        for trade in trades
        for leg in LegName
        if trade.symbol_of(leg) == symbol
        and trade.signed_held(leg) * closing_sign < 0
        and trade.first_fill_ms.get(leg, at_ms) <= at_ms
    ]
    return sorted(found, key=lambda pair: (pair[0].plan.at_ms, pair[0].trade_id))


def share_out(fill: Fill, trades: Sequence[TradeState], quantity_max: Decimal) -> list[Share]:
    """Give at most `quantity_max` of the execution to those who held. Fees go with the quantities; nothing is lost.

    The first share keeps the execution's identity, so that news of it told twice is known; the others carry `#2`, `#3`.
    What nobody of ours held is in no share.
    """
    left = min(fill.quantity, quantity_max)
    shares: list[Share] = []
    for trade, leg in holders(trades, fill.symbol, fill.side.sign, fill.at_ms):
        part = min(left, abs(trade.held[leg]))
        if part <= 0:
            break
        left -= part
        identity = fill.exchange_trade_id if not shares else f"{fill.exchange_trade_id}#{len(shares) + 1}"
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
