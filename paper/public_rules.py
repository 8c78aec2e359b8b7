"""exchangeInfo: the rules of every contract as Binance prints them."""

from collections.abc import Iterable

from paper.market import Listing
from paper.numbers import plain

_ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
_TIMES_IN_FORCE = ["GTC", "IOC", "FOK", "GTX", "GTD", "RPI"]
_RATE_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
]


def _filters(listing: Listing) -> list[dict[str, object]]:
    lot = {"minQty": f"{listing.quantity_min:f}", "stepSize": f"{listing.step:f}"}
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": f"{listing.price_min:f}",
            "maxPrice": f"{listing.price_max:f}",
            "tickSize": f"{listing.tick:f}",
        },
        {"filterType": "LOT_SIZE", "maxQty": plain(listing.quantity_max), **lot},
        {"filterType": "MARKET_LOT_SIZE", "maxQty": plain(listing.market_quantity_max), **lot},
        {"filterType": "MAX_NUM_ORDERS", "limit": listing.open_orders_max},
        {"filterType": "MIN_NOTIONAL", "notional": plain(listing.notional_min)},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": f"{listing.percent_price_up:f}",
            "multiplierDown": f"{listing.percent_price_down:f}",
            "multiplierDecimal": "4",
        },
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ]


def _symbol(listing: Listing) -> dict[str, object]:
    return {
        "symbol": listing.symbol,
        "pair": listing.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": listing.delivery_ms,
        "onboardDate": listing.onboard_ms,
        "status": listing.status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": listing.base_asset,
        "quoteAsset": listing.quote_asset,
        "marginAsset": listing.quote_asset,
        "pricePrecision": listing.price_precision,
        "quantityPrecision": listing.quantity_precision,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": list(listing.sectors),
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": f"{listing.market_take_bound:f}",
        "maxMoveOrderLimit": 10000,
        "filters": _filters(listing),
        "orderTypes": _ORDER_TYPES,
        "timeInForce": _TIMES_IN_FORCE,
        "permissionSets": ["GRID", "COPY"],
    }


def exchange_info(listings: Iterable[Listing], server_ms: int) -> dict[str, object]:
    """The whole reply; `server_ms` is Unix milliseconds."""
    return {
        "timezone": "UTC",
        "serverTime": server_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": _RATE_LIMITS,
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_symbol(listing) for listing in listings],
    }
