"""What can be traded: the real rules of the perpetuals we list, and sensible ones where the real are not known."""

from dataclasses import dataclass
from decimal import Decimal

from domain.units import DAY_MS
from paper.market import LeverageBracket, Listing

_ONBOARD_DAY = 18_164  # Of contracts that nobody knows: 2019-09-25.

# Tick, step, min notional: reference sheet, table 3.3. Price levels are plausible, not quotes.
_RULES: tuple[tuple[str, str, str, str, float], ...] = (
    # symbol          tick          step     min    base price
    ("BTCUSDT", "0.1", "0.001", "50", 95_000.0),
    ("ETHUSDT", "0.01", "0.001", "20", 3_400.0),
    ("SOLUSDT", "0.01", "0.01", "5", 160.0),
    ("XRPUSDT", "0.0001", "0.1", "5", 2.2),
    ("BNBUSDT", "0.01", "0.01", "5", 640.0),
    ("DOGEUSDT", "0.00001", "1", "5", 0.19),
    ("ADAUSDT", "0.0001", "1", "5", 0.72),
    ("LINKUSDT", "0.001", "0.01", "20", 15.5),
    ("AVAXUSDT", "0.001", "1", "5", 26.0),
    ("LTCUSDT", "0.01", "0.001", "5", 92.0),
    ("BCHUSDT", "0.01", "0.001", "20", 395.0),
    ("1000PEPEUSDT", "0.0000001", "1", "5", 0.0112),
    ("1000SHIBUSDT", "0.000001", "1", "5", 0.0131),
    ("SUIUSDT", "0.0001", "0.1", "5", 3.3),
    ("WIFUSDT", "0.0001", "0.1", "5", 0.95),
    ("ARBUSDT", "0.00001", "0.1", "5", 0.42),
    ("OPUSDT", "0.00001", "0.1", "5", 0.78),
    ("NEARUSDT", "0.001", "1", "5", 2.7),
    ("TRXUSDT", "0.00001", "1", "5", 0.27),
    ("HYPEUSDT", "0.001", "0.01", "5", 31.0),
    ("1000FLOKIUSDT", "0.00001", "1", "5", 0.095),
    ("1000BONKUSDT", "0.000001", "1", "5", 0.021),
    ("1000SATSUSDT", "0.00000001", "1", "5", 0.00022),
    ("1000000MOGUSDT", "0.0001", "0.1", "5", 1.1),
    ("1000CATUSDT", "0.000001", "1", "5", 0.0069),
    ("1MBABYDOGEUSDT", "0.0000001", "1", "5", 0.0051),
)

# Reference sheet, 3.4: (cap notional, max leverage, maintenance rate, cumulative).
_Ladder = tuple[tuple[int, int, str, str], ...]
_MAJOR: _Ladder = (
    (50_000, 125, "0.004", "0"),
    (600_000, 100, "0.005", "50"),
    (3_000_000, 75, "0.0065", "950"),
    (12_000_000, 50, "0.01", "11450"),
    (70_000_000, 25, "0.02", "131450"),
)
_SOL: _Ladder = (
    (20_000, 100, "0.005", "0"),
    (100_000, 75, "0.0065", "30"),
    (800_000, 50, "0.01", "380"),
    (4_000_000, 25, "0.02", "8380"),
    (8_000_000, 20, "0.025", "28380"),
)
_MID: _Ladder = (
    (10_000, 75, "0.005", "0"),
    (50_000, 50, "0.01", "50"),
    (80_000, 40, "0.015", "300"),
    (400_000, 25, "0.02", "700"),
    (800_000, 20, "0.025", "2700"),
)
_DOGE: _Ladder = (
    (10_000, 75, "0.005", "0"),
    (50_000, 50, "0.007", "20"),
    (750_000, 40, "0.01", "170"),
    (800_000, 25, "0.02", "7670"),
)
_PEPE: _Ladder = (
    (20_000, 75, "0.0065", "0"),
    (200_000, 50, "0.01", "70"),
    (300_000, 40, "0.015", "1070"),
    (1_500_000, 25, "0.02", "2570"),
)
_CAT: _Ladder = (
    (5_000, 75, "0.01", "0"),
    (10_000, 50, "0.015", "25"),
    (30_000, 25, "0.02", "75"),
    (60_000, 20, "0.025", "225"),
    (300_000, 10, "0.05", "1725"),
)
_BABYDOGE: _Ladder = (
    (10_000, 75, "0.01", "0"),
    (30_000, 50, "0.015", "50"),
    (150_000, 25, "0.02", "200"),
    (300_000, 20, "0.025", "950"),
)
_LADDERS: dict[str, _Ladder] = {
    "BTCUSDT": _MAJOR,
    "ETHUSDT": _MAJOR[:-1],
    "SOLUSDT": _SOL,
    "XRPUSDT": _SOL,
    "BNBUSDT": _SOL,
    "DOGEUSDT": _DOGE,
    "1000PEPEUSDT": _PEPE,
    "1000CATUSDT": _CAT,
    "1MBABYDOGEUSDT": _BABYDOGE,
}
# Limit and market maxima: known for BTC and ETH; the others get a notional that is plausible.
_QUANTITY_MAX: dict[str, tuple[str, str]] = {"BTCUSDT": ("1000", "120"), "ETHUSDT": ("10000", "2000")}
_FUNDING_HOURS: dict[str, int] = {"1000CATUSDT": 4, "1MBABYDOGEUSDT": 4}
FUNDING_HOURS_DEFAULT = 8
_STEP_USD_MIN = 0.05
# What the exchange calls the coin, and the day since 1970 on which the contract was listed; plausible, like the prices.
_ABOUT: dict[str, tuple[str, int]] = {
    "BTCUSDT": ("PoW", 18_147),
    "ETHUSDT": ("Layer-1", 18_227),
    "SOLUSDT": ("Layer-1", 18_519),
    "XRPUSDT": ("Payment", 18_267),
    "BNBUSDT": ("Layer-1", 18_302),
    "DOGEUSDT": ("Meme", 18_453),
    "ADAUSDT": ("Layer-1", 18_292),
    "LINKUSDT": ("Infrastructure", 18_278),
    "AVAXUSDT": ("Layer-1", 18_527),
    "LTCUSDT": ("PoW", 18_270),
    "BCHUSDT": ("PoW", 18_243),
    "1000PEPEUSDT": ("Meme", 19_482),
    "1000SHIBUSDT": ("Meme", 18_757),
    "SUIUSDT": ("Layer-1", 19_480),
    "WIFUSDT": ("Meme", 19_740),
    "ARBUSDT": ("Layer-2", 19_439),
    "OPUSDT": ("Layer-2", 19_144),
    "NEARUSDT": ("Layer-1", 18_549),
    "TRXUSDT": ("Layer-1", 18_276),
    "HYPEUSDT": ("DeFi", 20_238),
    "1000FLOKIUSDT": ("Meme", 19_482),
    "1000BONKUSDT": ("Meme", 19_683),
    "1000SATSUSDT": ("Meme", 19_703),
    "1000000MOGUSDT": ("Meme", 20_047),
    "1000CATUSDT": ("Meme", 20_073),
    "1MBABYDOGEUSDT": ("Meme", 19_989),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """A listing together with the price level it starts from."""

    listing: Listing
    base_price: float


def _digits(unit: Decimal) -> int:
    return max(0, -int(unit.normalize().as_tuple().exponent))


def _brackets(ladder: _Ladder) -> tuple[LeverageBracket, ...]:
    floor = 0
    rows: list[LeverageBracket] = []
    for cap, leverage_max, rate, cumulative in ladder:
        rows.append(
            LeverageBracket(
                notional_floor=Decimal(floor),
                notional_cap=Decimal(cap),
                leverage_max=leverage_max,
                maintenance_margin_rate=Decimal(rate),
                cumulative=Decimal(cumulative),
            )
        )
        floor = cap
    return tuple(rows)


def _rounded_up(quantity: float, step: Decimal) -> Decimal:
    return max(1, round(quantity / float(step))) * step


def make_listing(symbol: str, *, tick: Decimal, step: Decimal, notional_min: Decimal, price: float) -> Listing:
    """The whole row of one USDT perpetual whose price is about `price`."""
    if symbol in _QUANTITY_MAX:
        quantity_max, market_quantity_max = (Decimal(text) for text in _QUANTITY_MAX[symbol])
    else:
        quantity_max = _rounded_up(20_000_000 / price, step)
        market_quantity_max = _rounded_up(2_000_000 / price, step)
    sector, onboard_day = _ABOUT.get(symbol, (None, _ONBOARD_DAY))
    return Listing(
        symbol=symbol,
        base_asset=symbol.removesuffix("USDT"),
        quote_asset="USDT",
        tick=tick,
        step=step,
        price_min=tick,
        price_max=max(1, round(price * 50 / float(tick))) * tick,
        quantity_min=step,
        quantity_max=quantity_max,
        market_quantity_max=market_quantity_max,
        notional_min=notional_min,
        percent_price_up=Decimal("1.0500"),
        percent_price_down=Decimal("0.9500"),
        market_take_bound=Decimal("0.05"),
        price_precision=max(_digits(tick), 2),
        quantity_precision=_digits(step),
        open_orders_max=200,
        onboard_ms=onboard_day * DAY_MS,
        funding_interval_hours=_FUNDING_HOURS.get(symbol, FUNDING_HOURS_DEFAULT),
        status="TRADING",
        brackets=_brackets(_LADDERS.get(symbol, _MID)),
        sectors=() if sector is None else (sector,),
    )


def known_listing(symbol: str, *, price: float | None = None) -> Listing | None:
    """The listing with the sheet's real rules, or None for a symbol the sheet does not name."""
    for name, tick, step, notional_min, base_price in _RULES:
        if name == symbol:
            return make_listing(
                name,
                tick=Decimal(tick),
                step=Decimal(step),
                notional_min=Decimal(notional_min),
                price=base_price if price is None else price,
            )
    return None


def known_quotations() -> tuple[Quotation, ...]:
    """Every listed perpetual of the synthetic market with the price it starts from."""
    rows: list[Quotation] = []
    for symbol, _, _, _, base_price in _RULES:
        listing = known_listing(symbol)
        assert listing is not None
        rows.append(Quotation(listing=listing, base_price=base_price))
    return tuple(rows)


def made_up_quotations(count: int) -> tuple[Quotation, ...]:
    """T0001USDT, T0002USDT, …: contracts that exist for load tests only."""
    rows: list[Quotation] = []
    for number in range(1, count + 1):
        price = 1.0 + number % 97
        listing = make_listing(
            f"T{number:04d}USDT",
            tick=Decimal("0.0001"),
            step=Decimal("0.01"),
            notional_min=Decimal(5),
            price=price,
        )
        rows.append(Quotation(listing=listing, base_price=price))
    return tuple(rows)


def guessed_listing(symbol: str, *, tick: Decimal, price: float) -> Listing:
    """A listing for a symbol known by its prices alone: a step worth some five cents or more."""
    step = next((step for step in ("0.001", "0.01", "0.1") if float(step) * price >= _STEP_USD_MIN), "1")
    return make_listing(symbol, tick=tick, step=Decimal(step), notional_min=Decimal(5), price=price)
