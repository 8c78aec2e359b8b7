"""How Binance spells contracts, and the orders it makes itself."""

from domain.symbols import Symbol

FORCED_PREFIXES = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""Client ids of the exchange's own orders: liquidation, auto-deleveraging, delisting."""


def exchange_id(symbol: Symbol) -> str:
    """`1000CAT/USDT:USDT` -> `1000CATUSDT`. The numeric prefix is part of the asset and is never stripped."""
    return symbol.split(":", 1)[0].replace("/", "")


def stream_name(symbol: Symbol) -> str:
    """The lower-case name that websocket streams use."""
    return exchange_id(symbol).lower()
