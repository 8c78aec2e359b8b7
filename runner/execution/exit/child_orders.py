"""The form of a closing order: whose turn it is, and how far from the touch its limit may lie."""

from decimal import Decimal

from domain.instruments import Instrument, round_price_within
from domain.orders import LegName, OrderIntent, Purpose, Side, TimeInForce, client_order_id_of
from domain.pieces import Piece
from domain.trades import TradeState

LADDER_STEP = Decimal("0.005")
BAND_MARGIN = Decimal("0.001")
"""Kept from the edge of PERCENT_PRICE: the mark moves between our look and the order's arrival."""


def closing_order(
    trade: TradeState, leg: LegName, side: Side, piece: Piece, limit_price: Decimal | None, *, is_first: bool
) -> OrderIntent:
    """The next order of this leg, under the id that nobody has used yet; with a price it is immediate or cancelled."""
    purpose = Purpose.EXIT if is_first else Purpose.UNWIND
    attempt = trade.attempts(leg, purpose)
    return OrderIntent(
        client_order_id=client_order_id_of(trade.trade_id, leg, purpose, attempt),
        trade_id=trade.trade_id,
        pair_id=trade.pair_id,
        leg=leg,
        purpose=purpose,
        symbol=trade.symbol_of(leg),
        side=side,
        order_type=piece.order_type,
        time_in_force=None if limit_price is None else TimeInForce.IOC,
        quantity=piece.quantity,
        limit_price=limit_price,
        reduce_only=piece.reduce_only,
        attempt=attempt,
    )


def ladder_price(touch: Decimal, centre: Decimal, side: Side, instrument: Instrument, step: int) -> Decimal:
    """So many steps beyond the touch, but inside the band round the mark (PERCENT_PRICE)."""
    price = touch * (1 + LADDER_STEP * max(1, step) * side.sign)
    if side is Side.BUY:
        price = min(price, centre * (instrument.percent_price_up - BAND_MARGIN))
    else:
        price = max(price, centre * (instrument.percent_price_down + BAND_MARGIN))
    return round_price_within(price, instrument.tick, side)
