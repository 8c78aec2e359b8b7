"""The synthetic market's secret: which symbols really belong together, and how."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPair:
    """price_b = (intercept + hedge_ratio · price_a) · (1 + slow + fast), two mean-reverting disturbances."""

    symbol_a: str
    symbol_b: str
    hedge_ratio: float  # Units of a per unit of b, in price levels.
    intercept: float  # In the quote asset.
    spread_sd: float  # Fast disturbance's standard deviation, as a fraction of price b.
    half_life_seconds: float  # Of the fast disturbance, market time.
    slow_sd: float  # As a fraction of price b.
    slow_half_life_hours: float


def _pair(symbol_a: str, symbol_b: str, hedge_ratio: float, intercept: float, slow_hours: float) -> KnownPair:
    return KnownPair(
        symbol_a=symbol_a,
        symbol_b=symbol_b,
        hedge_ratio=hedge_ratio,
        intercept=intercept,
        spread_sd=0.0038,
        half_life_seconds=4.5,
        slow_sd=0.0022,
        slow_half_life_hours=slow_hours,
    )


# Hedge ratios fit the base prices of `listings.py`: intercept + ratio · price_a is about price_b.
_PAIRS: tuple[KnownPair, ...] = (
    _pair("1000CATUSDT", "1MBABYDOGEUSDT", 0.7387, 0.0, 3.0),
    _pair("SOLUSDT", "ETHUSDT", 18.5, 440.0, 4.0),
    _pair("LTCUSDT", "BCHUSDT", 4.1, 17.8, 3.5),
    _pair("DOGEUSDT", "1000SHIBUSDT", 0.0625, 0.00122, 2.5),
    _pair("ADAUSDT", "XRPUSDT", 2.75, 0.22, 4.5),
    _pair("ARBUSDT", "OPUSDT", 1.72, 0.0576, 3.0),
    _pair("1000BONKUSDT", "WIFUSDT", 41.0, 0.089, 5.0),
    _pair("SUIUSDT", "HYPEUSDT", 8.9, 1.63, 3.5),
    _pair("1000PEPEUSDT", "1000FLOKIUSDT", 7.6, 0.0099, 4.0),
    _pair("1000SATSUSDT", "1000000MOGUSDT", 4700.0, 0.066, 2.5),
)

# Decoys share the market's common move by this much and wander alone otherwise: correlated, never cointegrated.
COMMON_LOADING: dict[str, float] = {"NEARUSDT": 0.0, "TRXUSDT": 0.0, "AVAXUSDT": 0.4}
COMMON_LOADING_DEFAULT = 1.0


def known_pairs() -> tuple[KnownPair, ...]:
    """The pairs of the synthetic market that are cointegrated by construction, with their true parameters."""
    return _PAIRS
