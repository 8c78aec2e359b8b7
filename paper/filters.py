"""The rules of a contract, applied to an order: precision, price, lot, notional and price-band filters."""

from decimal import Decimal

from paper.errors import refused
from paper.market import Listing
from paper.numbers import ZERO, plain
from paper.orders import OrderRequest


def decimals_used(number: Decimal) -> int:
    """Digits after the point, as they were sent."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def check_quantity(listing: Listing, quantity: Decimal, *, market: bool) -> None:
    """LOT_SIZE or MARKET_LOT_SIZE. Raises: VenueError -1111, -4003, -4004, -4005 or -4023."""
    if quantity <= 0:
        raise refused(-4003)
    if decimals_used(quantity) > listing.quantity_precision:
        raise refused(-1111)
    if quantity < listing.quantity_min:
        raise refused(-4004)
    if quantity > (listing.market_quantity_max if market else listing.quantity_max):
        raise refused(-4005)
    if quantity % listing.step:
        raise refused(-4023)


def check_price(listing: Listing, side: str, price: Decimal, mark_price: Decimal) -> None:
    """PRICE_FILTER and PERCENT_PRICE. Raises: VenueError -1111, -4001, -4002, -4013, -4014, -4016 or -4024."""
    if price <= 0:
        raise refused(-4001)
    if decimals_used(price) > listing.price_precision:
        raise refused(-1111)
    if price > listing.price_max:
        raise refused(-4002)
    if price < listing.price_min:
        raise refused(-4013)
    if (price - listing.price_min) % listing.tick:
        raise refused(-4014)
    ceiling = mark_price * listing.percent_price_up
    if side == "BUY" and price > ceiling:
        raise refused(-4016, plain(ceiling.quantize(listing.tick)))
    floor = mark_price * listing.percent_price_down
    if side == "SELL" and price < floor:
        raise refused(-4024, plain(floor.quantize(listing.tick)))


def check_filters(listing: Listing, request: OrderRequest, mark_price: Decimal) -> None:
    """Every filter that needs no account. Raises: VenueError."""
    market = request.type == "MARKET"
    check_quantity(listing, request.quantity, market=market)
    if not market:
        check_price(listing, request.side, request.price, mark_price)
    if not request.reduce_only:
        notional = request.quantity * (mark_price if market else request.price)
        if notional < listing.notional_min:
            raise refused(-4164, plain(listing.notional_min))


def check_counterparty(listing: Listing, side: str, best_price: Decimal, mark_price: Decimal) -> None:
    """PERCENT_PRICE for a market order, judged by the best price it would meet. Raises: VenueError -4131."""
    if side == "BUY" and best_price > mark_price * listing.percent_price_up:
        raise refused(-4131)
    if side == "SELL" and best_price < mark_price * listing.percent_price_down:
        raise refused(-4131)


def take_limit(listing: Listing, side: str, mark_price: Decimal) -> Decimal:
    """The worst price a market order may execute at (marketTakeBound)."""
    bound = listing.market_take_bound if side == "BUY" else -listing.market_take_bound
    return max(ZERO, mark_price * (1 + bound))
