"""Bars and funding rates, as an exchange tells them and as the files of history keep them."""

from typing import NamedTuple


class Kline(NamedTuple):
    """One bar, in the order of ccxt's OHLCV. As an exchange tells it, the newest may still be open."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class FundingRate(NamedTuple):
    """One settlement's rate: a fraction of notional, positive when longs pay."""

    at_ms: int
    rate: float
