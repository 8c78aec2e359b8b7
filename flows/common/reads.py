"""The one place where flows name an exchange: what they read comes through this door, with one budget and one check of shapes."""

from runner.exchange.binance.job_reads import (
    FUNDINGS_PER_REQUEST_MAX,
    KLINES_PER_REQUEST,
    ExchangeReads,
    ExchangeTime,
    Listing,
    RestingOrder,
)

__all__ = ["FUNDINGS_PER_REQUEST_MAX", "KLINES_PER_REQUEST", "ExchangeReads", "ExchangeTime", "Listing", "RestingOrder"]
