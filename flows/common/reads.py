"""What flows ask the exchange comes through this one door, with one budget and one check of the replies' shape."""

from flows.common.exchange_reads import (
    FUNDINGS_PER_REQUEST_MAX,
    KLINES_PER_REQUEST,
    ExchangeReads,
    Listing,
    RestingOrder,
    VenueTime,
)

__all__ = ["FUNDINGS_PER_REQUEST_MAX", "KLINES_PER_REQUEST", "ExchangeReads", "Listing", "RestingOrder", "VenueTime"]
